//! rclone.conf for a container. rclone renews tokens and writes them back, by a new file that it renames over the old one: one
//! that is itself mounted cannot be replaced. So the container gets a folder with a copy, and what it wrote is taken back.
//!
//! Some refresh tokens serve once: a new one that is lost ends all backups. So what a killed run left is taken back by the
//! next one, and of two that ran side by side the token stays that expires last.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use std::{fs, thread};

use anyhow::{Context, Result, ensure};

use crate::settings::rclone_section::is_encrypted;
use crate::sys::fs::{create_dirs, remove_dir_if_there, remove_if_there, write_atomic};
use crate::sys::lock::Lock;
use crate::sys::time::parse_rfc3339;

/// The others hold the lock for as long as it takes to write a small file.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// The copy of one container.
#[derive(Debug)]
pub(super) struct ConfCopy<'a> {
    conf: &'a Path,
    backup_dir: &'a Path,
    container: &'a str,
}

impl<'a> ConfCopy<'a> {
    /// Of a configuration, for the container of this name.
    pub(super) fn new(conf: &'a Path, backup_dir: &'a Path, container: &'a str) -> Self {
        Self { conf, backup_dir, container }
    }

    /// The folder that is mounted.
    pub(super) fn folder(&self) -> PathBuf {
        self.backup_dir.join(self.container)
    }

    /// The copy.
    pub(super) fn file(&self) -> PathBuf {
        self.folder().join("rclone.conf")
    }

    /// What was copied, to tell what is new.
    fn before(&self) -> PathBuf {
        self.backup_dir.join(format!("{}.before", self.container))
    }

    /// Makes the copy. What a killed run left is taken back first; its container must be gone.
    ///
    /// # Errors
    /// It cannot be made, or that not be taken back.
    pub(super) fn make(&self) -> Result<()> {
        self.take_back()?;
        let content = match fs::read(self.conf) {
            // rclone says that itself.
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            content => content.with_context(|| format!("reading {}", self.conf.display()))?,
        };
        remove_dir_if_there(&self.folder())?;
        create_dirs(self.backup_dir, 0o700)?;
        create_dirs(&self.folder(), 0o700)?;
        write_atomic(&self.file(), &content, 0o600)?;
        // Last: without it there is nothing to take back.
        write_atomic(&self.before(), &content, 0o600)
    }

    /// Takes back what rclone wrote into the copy, and removes it. What cannot be taken back stays for the next run.
    ///
    /// # Errors
    /// It cannot be taken back.
    pub(super) fn take_back(&self) -> Result<()> {
        if let (Some(before), Some(copy)) = (there(&self.before())?, there(&self.file())?)
            && before != copy
        {
            self.save(&before, &copy)?;
        }
        remove_if_there(&self.before())?;
        remove_dir_if_there(&self.folder())
    }

    fn save(&self, before: &[u8], copy: &[u8]) -> Result<()> {
        let _lock = self.lock()?;
        let now = fs::read(self.conf).with_context(|| format!("reading {}", self.conf.display()))?;
        let Some(new) = merged(before, copy, &now) else { return Ok(()) };
        let mode = fs::metadata(self.conf)?.permissions().mode() & 0o7777;
        write_atomic(self.conf, &new, mode)?;
        log::info!("rclone wrote new tokens into {}", self.conf.display());
        Ok(())
    }

    fn lock(&self) -> Result<Lock> {
        let (path, deadline) = (self.backup_dir.join("rclone-conf.lock"), Instant::now() + PATIENCE);
        loop {
            if let Some(lock) = Lock::try_take(&path)? {
                return Ok(lock);
            }
            ensure!(Instant::now() < deadline, "another run keeps {} locked", path.display());
            thread::sleep(PAUSE);
        }
    }
}

fn there(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        content => content.map(Some).with_context(|| format!("reading {}", path.display())),
    }
}

/// What the configuration becomes: `before` was copied, `copy` is what rclone made of it, `now` is what is there. `None`: it
/// stays. Pure.
fn merged(before: &[u8], copy: &[u8], now: &[u8]) -> Option<Vec<u8>> {
    if copy == before || copy == now || copy.trim_ascii().is_empty() {
        return None;
    }
    // Nothing can be told apart in an encrypted one: the later counts.
    if now == before || (is_encrypted(copy) && is_encrypted(now)) {
        return Some(copy.to_vec());
    }
    let [before, copy, now] = [before, copy, now].map(|bytes| std::str::from_utf8(bytes).ok());
    let new = with_newer_tokens(before?, copy?, now?);
    (Some(new.as_str()) != now).then(|| new.into_bytes())
}

/// `now` with the tokens of `copy` that were renewed there, unless its own expire later. All else in it stays: somebody may
/// have edited it.
fn with_newer_tokens(before: &str, copy: &str, now: &str) -> String {
    let (was, renewed) = (tokens(before), tokens(copy));
    let find = |all: &[(String, String, String)], section: &str, key: &str| {
        all.iter().find(|(s, k, _)| s == section && k == key).map(|(_, _, value)| value.clone())
    };
    let (mut out, mut section) = (String::with_capacity(now.len()), String::new());
    for line in now.split_inclusive('\n') {
        if let Some(name) = header(line) {
            name.clone_into(&mut section);
        }
        let own = token(line).and_then(|(key, value)| {
            let (old, new) = (find(&was, &section, key), find(&renewed, &section, key)?);
            let is_new = old.as_deref() != Some(new.as_str()) && new != value;
            (is_new && (old.as_deref() == Some(value) || expires_later(&new, value))).then_some((key, new))
        });
        match own {
            Some((key, new)) => out.push_str(&format!("{key} = {new}\n")),
            None => out.push_str(line),
        }
    }
    out
}

fn header(line: &str) -> Option<&str> {
    line.trim().strip_prefix('[')?.strip_suffix(']').map(str::trim)
}

fn token(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.trim().split_once('=')?;
    let key = key.trim();
    (key.contains("token") && !key.starts_with(['#', ';'])).then(|| (key, value.trim()))
}

/// Section, key and value of each.
fn tokens(conf: &str) -> Vec<(String, String, String)> {
    let (mut all, mut section) = (Vec::new(), String::new());
    for line in conf.lines() {
        if let Some(name) = header(line) {
            name.clone_into(&mut section);
        } else if let Some((key, value)) = token(line) {
            all.push((section.clone(), key.to_owned(), value.to_owned()));
        }
    }
    all
}

/// Whether a token expires later than another one; where that is not said, the one that is saved later counts.
fn expires_later(new: &str, other: &str) -> bool {
    match (expiry(new), expiry(other)) {
        (Some(new), Some(other)) => new > other,
        _ => true,
    }
}

fn expiry(token: &str) -> Option<SystemTime> {
    let token: serde_json::Value = serde_json::from_slice(token.as_bytes()).ok()?;
    parse_rfc3339(token.get("expiry")?.as_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two remotes; the tokens of the first one by its refresh token and the hour in which it expires.
    fn conf(refresh: &str, hour: &str, more: &str) -> String {
        let token = format!("{{\"refresh_token\":\"{refresh}\",\"expiry\":\"2026-01-01T{hour}\"}}");
        format!("# mine\n[box]\ntype = box\ntoken = {token}\n[s3]\ntype = s3\n{more}")
    }

    #[test]
    fn the_token_that_expires_last_stays_with_all_that_was_edited() {
        let before = conf("r1", "01:00:00Z", "");
        let (two, three) = (conf("r2", "02:00:00.5Z", ""), conf("r3", "05:30:00+03:00", ""));
        for (copy, now, want) in [
            // Nothing was written; nothing else was; the same was.
            (&before, &before, None),
            (&before, &two, None),
            (&two, &before, Some(two.clone())),
            (&two, &two, None),
            // 05:30 in that zone is 02:30.
            (&two, &three, None),
            (&three, &two, Some(three.clone())),
            // An edit of the operator's stays.
            (&two, &conf("r1", "01:00:00Z", "region = x\n"), Some(conf("r2", "02:00:00.5Z", "region = x\n"))),
            // Or a new login.
            (&two, &conf("r9", "09:00:00Z", ""), None),
            // rclone was cut off.
            (&String::new(), &before, None),
            (&"\n".to_owned(), &before, None),
            // The section was removed meanwhile.
            (&two, &"[s3]\ntype = s3\n".to_owned(), None),
            // Without a time the later one counts.
            (&conf("r4", "soon", ""), &two, Some(conf("r4", "soon", ""))),
        ] {
            let got = merged(before.as_bytes(), copy.as_bytes(), now.as_bytes());
            assert_eq!(got.map(|bytes| String::from_utf8(bytes).unwrap()), want, "{copy} {now}");
        }
        let encrypted = |text: &str| format!("# Encrypted\n\nRCLONE_ENCRYPT_V0:\n{text}\n").into_bytes();
        let all = ["a", "b", "c"].map(encrypted);
        assert_eq!(merged(&all[0], &all[1], &all[2]), Some(all[1].clone()));
        // Decrypted by the operator meanwhile.
        assert_eq!(merged(&all[0], &all[1], before.as_bytes()), None);
    }

    #[test]
    fn whichever_of_two_ends_first_the_same_token_stays() {
        let before = conf("r1", "01:00:00Z", "");
        let (early, late) = (conf("r2", "02:00:00Z", ""), conf("r3", "03:00:00Z", ""));
        for order in [[&early, &late], [&late, &early]] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("rclone.conf");
            write_atomic(&path, before.as_bytes(), 0o640).unwrap();
            let (backup_dir, names) = (dir.path().join("b"), ["one", "two"]);
            let copies = names.map(|name| ConfCopy::new(&path, &backup_dir, name));
            for (copy, renewed) in copies.iter().zip(order) {
                copy.make().unwrap();
                let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
                assert_eq!((mode(&copy.folder()), mode(&copy.file())), (0o700, 0o600));
                write_atomic(&copy.file(), renewed.as_bytes(), 0o600).unwrap();
            }
            // The second one was killed behind it: the next run finds what it left.
            copies[0].take_back().unwrap();
            copies[1].make().unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), late);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
            copies[1].take_back().unwrap();
            let left: Vec<_> = fs::read_dir(&backup_dir).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(left, ["rclone-conf.lock"]);
        }
    }
}
