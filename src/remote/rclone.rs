//! rclone keeps the contract of [`Remote`].

use std::borrow::Cow;
use std::cell::Cell;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::invocation::Invocation;
use super::listing::Listing;
use super::retry::{FULL, Retry};
use super::route::Route;
use super::{Object, Proof, Remote, Seen};
use crate::exit::{Exit, OrFault, fault};
use crate::settings::{RemoteConfig, endpoint};
use crate::sys::fs::{create_dirs, remove_if_there};
use crate::sys::look;
use crate::sys::room::{self, Leave};
use crate::sys::terminal::live::{self, Step};
use crate::sys::terminal::progress::Unit;

/// How long a look may take that is of no need.
const GLANCE: Duration = Duration::from_secs(30);
/// So many heads are asked for by one rclone, before another one takes a share,
const FEW: usize = 16;
/// and so many rclones ask at the same time.
const AT_ONCE: usize = 8;
/// rclone's exit status for a folder that does not exist.
const NO_FOLDER: i32 = 3;

/// See the module.
#[derive(Debug)]
pub struct Rclone {
    endpoint: String,
    rclone: Invocation,
    /// Whether the same size is enough to take an object for the same.
    size_only: bool,
    /// Whether somebody waits for what is done.
    shown: bool,
}

impl Rclone {
    /// For what a timer starts: it gives up soon, since the next cycle comes, and keeps to the site's bandwidth.
    pub fn new(config: &RemoteConfig) -> Self {
        Self::with(config, Retry::CYCLE)
    }

    /// For a recovery: it is patient with the remote, and as fast as it can be.
    pub fn for_recovery(config: &RemoteConfig) -> Self {
        Self::with(config, Retry::RECOVERY)
    }

    /// For a look beside a recovery, which can do without it: each call once, of half a minute at most.
    pub fn at_a_glance(config: &RemoteConfig) -> Self {
        let timeout = config.timeout.min(GLANCE);
        let this = Self::with(&RemoteConfig { timeout, ..config.clone() }, Retry::ONCE);
        Self { rclone: this.rclone.beside("glance"), shown: false, ..this }
    }

    fn with(config: &RemoteConfig, retry: Retry) -> Self {
        let (endpoint, size_only) = (config.endpoint.clone(), !config.checksum);
        Self { endpoint, rclone: Invocation::new(config, retry), size_only, shown: true }
    }

    /// The same for what runs beside the backups, and is called `purpose`.
    pub fn beside(config: &RemoteConfig, purpose: &str) -> Self {
        let this = Self::new(config);
        Self { rclone: this.rclone.beside(purpose), ..this }
    }

    /// What decides at this moment where objects go, to be compared with `before`.
    ///
    /// # Errors
    /// [`Exit::Settings`]: rclone.conf is there and cannot be read, or its password cannot.
    pub fn route(&self, before: Option<&Route>) -> Result<Route> {
        self.rclone.route(before)
    }

    fn step(&self, what: impl Into<Cow<'static, str>>) -> Step {
        if self.shown { live::step(what) } else { Step::hidden() }
    }

    /// `remote:path/folder`.
    fn at(&self, folder: &str) -> String {
        endpoint::join(&self.endpoint, folder)
    }
}

fn heads_of(rclone: &Invocation, place: &str, paths: &[String], bytes: u64) -> Result<Vec<u8>> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let head = bytes.to_string();
    // Without a buffer of its own rclone would read on, 16 MB of each object.
    let limits = ["--head", &head, "--buffer-size", "0", "--no-traverse"];
    let arguments = [&["cat"], &limits[..], &["--files-from-raw", "-", "--", place]].concat();
    let output = rclone.run_fed(&arguments, (paths.join("\n") + "\n").as_bytes())?;
    if output.status.success() { Ok(output.stdout) } else { Err(rclone.failure(&arguments, &output)) }
}

impl Remote for Rclone {
    fn walk(&self, folder: &str, only: &[String], take: &mut dyn FnMut(Seen<'_>)) -> Result<()> {
        let place = self.at(folder);
        let mut arguments = vec!["lsjson", "--recursive", "--files-only", "--no-modtime", "--no-mimetype"];
        // These also keep rclone out of the folders that nothing matches in.
        only.iter().for_each(|pattern| arguments.extend(["--include", pattern]));
        arguments.extend(["--", &place]);
        let (mut listing, mut bad) = (Listing::new(only), None);
        let (step, seen) = (self.step("listing the remote"), Cell::new(0));
        let mut take = |object: Seen<'_>| {
            seen.set(if object == Seen::Start { 0 } else { seen.get() + 1 });
            take(object);
        };
        let output = self.rclone.run_read(&arguments, &mut |piece| match piece {
            None => {
                (listing, bad) = (Listing::new(only), None);
                take(Seen::Start);
            }
            Some(_) if bad.is_some() => {}
            Some(bytes) => {
                bad = listing.feed(bytes, &mut |path, size| take(Seen::Object(path, size))).err();
                step.of(Unit::Of("objects"), None);
                step.done(seen.get());
            }
        })?;
        let read = || match bad {
            Some(error) => Err(error),
            None => listing.finish(&mut |path, size| take(Seen::Object(path, size))),
        };
        match output.status.code() {
            Some(0) => read().or_fault(Exit::Remote, format!("listing {place}"), self.rclone.try_it()),
            Some(NO_FOLDER) => {
                take(Seen::Start);
                Ok(())
            }
            _ => Err(self.rclone.failure(&arguments, &output)),
        }
    }

    fn folders(&self) -> Result<Vec<String>> {
        let arguments = ["lsf", "--dirs-only", "--", &self.at("")];
        let output = self.rclone.run(&arguments)?;
        match output.status.code() {
            Some(0) => Ok(output.text().lines().map(|l| l.trim_end_matches('/').to_owned()).collect()),
            Some(NO_FOLDER) => Ok(Vec::new()),
            _ => Err(self.rclone.failure(&arguments, &output)),
        }
    }

    fn put(&self, local: &Path, folder: &str) -> Result<()> {
        let local = local.to_string_lossy();
        let _step = self.step("uploading");
        // A name is given to one content only, and says its size, so that this is all that can differ of an upload that was cut off. What the
        // remote damaged, RCLONE_CHECKSUM finds. No listing is needed.
        let compare = if self.size_only { "--size-only" } else { "--checksum" };
        self.rclone.run_ok(&["copy", compare, "--no-traverse", "--", &local, &self.at(folder)]).map(drop)
    }

    fn get(&self, folder: &str, objects: &[Object], local: &Path, leave: Leave, proof: Proof) -> Result<()> {
        room::check(local, Object::bytes(objects), leave, &format!("the download from {}", self.at(folder)))?;
        create_dirs(local, 0o700)?;
        let list = local.join(".wanted");
        let paths = objects.iter().map(|o| o.path.as_str());
        let lines = paths.clone().fold(String::new(), |lines, path| lines + path + "\n");
        crate::sys::fs::write_atomic(&list, lines.as_bytes(), 0o600)?;
        let wanted = list.to_string_lossy();
        let target = local.to_string_lossy();
        let place = self.at(folder);
        let mut arguments = vec!["copy", "--files-from-raw", &wanted, "--no-traverse"];
        if proof == Proof::Own {
            // rclone would hash it, too, and the object of a remote without hashes of its own once more.
            arguments.push("--ignore-checksum");
        }
        arguments.extend(["--", &place, &target]);
        let bytes = Object::bytes(objects);
        let download = if self.shown { live::download(local, bytes) } else { None };
        let output = self.rclone.run(&arguments);
        if let Some(download) = download.filter(|_| output.as_ref().is_ok_and(|o| o.status.success())) {
            download.arrived(bytes);
        }
        remove_if_there(&list)?;
        let output = output?;
        if !output.status.success() {
            // rclone has one exit status for that and for everything else; the only disk it writes to here is ours.
            if FULL.iter().any(|text| output.stderr.contains(text)) {
                let what = format!("{} has no room for what {} holds", local.display(), self.at(folder));
                return Err(fault(
                    Exit::NoSpace,
                    what,
                    "make room there, or set ETCD_RESTORE_DIR; nothing was changed",
                ));
            }
            return Err(self.rclone.failure(&arguments, &output));
        }
        for path in paths {
            if !look::is_file(&local.join(path))? {
                let what = format!("{path} did not arrive from {}", self.at(folder));
                let hint = "somebody removed it, or the remote's listing is out of date: try again";
                return Err(fault(Exit::Remote, what, hint));
            }
        }
        Ok(())
    }

    fn copy(&self, from: &str, to: &str, paths: &[String]) -> Result<()> {
        // Without a list it would copy everything.
        if paths.is_empty() {
            return Ok(());
        }
        let _step = self.step(format!("copying {} objects", paths.len()));
        let (from, to) = (self.at(from), self.at(to));
        let arguments = ["copy", "--size-only", "--no-traverse", "--files-from-raw", "-", "--", &from, &to];
        let output = self.rclone.run_fed(&arguments, (paths.join("\n") + "\n").as_bytes())?;
        if output.status.success() { Ok(()) } else { Err(self.rclone.failure(&arguments, &output)) }
    }

    fn heads(&self, folder: &str, paths: &[String], bytes: u64) -> Result<Vec<u8>> {
        let _step = self.step(format!("reading {} objects", paths.len()));
        // rclone asks for one after the other, and the way there and back is most of what each takes.
        let place = &self.at(folder);
        let several = paths.len().div_ceil(FEW).clamp(1, AT_ONCE);
        if several == 1 {
            return heads_of(&self.rclone, place, paths, bytes);
        }
        let shares: Vec<(Invocation, &[String])> = (0..)
            .map(|n| self.rclone.clone().one_of_several(n))
            .zip(paths.chunks(paths.len().div_ceil(several)))
            .collect();
        thread::scope(|scope| {
            let ask = |(rclone, paths)| scope.spawn(move || heads_of(&rclone, place, paths, bytes));
            let all: Vec<_> = shares.into_iter().map(ask).collect();
            let gone = || Err(fault(Exit::Remote, "a thread ended early", "try again"));
            let mut found = Vec::new();
            for share in all {
                found.extend(share.join().unwrap_or_else(|_| gone())?);
            }
            Ok(found)
        })
    }

    fn remove(&self, folder: &str, paths: &[String]) -> Result<()> {
        // Without a list it would remove everything.
        if paths.is_empty() {
            return Ok(());
        }
        let _step = self.step(format!("removing {} objects", paths.len()));
        let place = self.at(folder);
        let arguments = ["delete", "--files-from-raw", "-", "--", &place];
        let output = self.rclone.run_fed(&arguments, (paths.join("\n") + "\n").as_bytes())?;
        if output.status.success() { Ok(()) } else { Err(self.rclone.failure(&arguments, &output)) }
    }

    fn remove_empty_folders(&self, folder: &str) -> Result<()> {
        self.rclone.run_ok(&["rmdirs", "--leave-root", "--", &self.at(folder)]).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::invocation::tests::invocation;
    use super::*;
    use crate::settings::Runner;

    fn rclone(runner: Runner) -> Rclone {
        Rclone {
            endpoint: "r:bucket/backups".into(),
            rclone: invocation(runner),
            size_only: true,
            shown: true,
        }
    }

    #[test]
    fn what_there_is_no_room_for_is_not_brought() {
        let missing = rclone(Runner::Bundled);
        let dir = tempfile::tempdir().unwrap();
        let local = dir.path().join("local");
        let get = |sizes: &[u64]| {
            let objects: Vec<Object> = sizes.iter().map(|&size| Object { path: "x".into(), size }).collect();
            crate::exit::exit_of(
                &missing.get("id", &objects, &local, Leave::Reserve, Proof::Own).unwrap_err(),
            )
        };
        assert_eq!(get(&[1 << 60]), Exit::NoSpace);
        assert_eq!(get(&[u64::MAX - 1, 1 << 60]), Exit::NoSpace);
        assert!(!local.exists());
        // One whose size nobody knows is tried.
        assert_eq!(get(&[Object::UNKNOWN_SIZE, 10]), Exit::Remote);
    }

    #[test]
    fn a_runner_that_cannot_start_is_a_remote_failure_with_a_way_out() {
        let missing = rclone(Runner::Bundled);
        let error = missing.list("id").unwrap_err();
        assert_eq!(crate::exit::exit_of(&error), Exit::Remote);
        assert!(crate::exit::hint_of(&error).unwrap().contains("bundle"));
    }
}
