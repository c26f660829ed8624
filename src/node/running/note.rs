//! What the last look at the running etcd found, for those that have no rights to look: a backup in its sandbox.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::paths::LOOKED;
use crate::sys::fs::write_atomic;
use crate::sys::look;
use crate::sys::root::Root;

/// A look counts for so long, in seconds: a backup may send for as long, and the next one looks again.
const FRESH: u64 = 900;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// The member writes to the WAL in this folder; as it names it itself, if that is no folder of this node.
    Member(PathBuf),
    /// An etcd runs, and whether it is the member cannot be told.
    Untold,
    /// No process is known to be the member.
    Nothing,
    /// It could not be looked.
    Unasked,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// For people.
    said: String,
    seen: Seen,
    #[serde(flatten)]
    when: When,
}

/// A moment of this boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct When {
    /// The boot, by the kernel's random number.
    pub boot: String,
    /// How long ago that was, in seconds.
    pub uptime: u64,
}

/// Whether the etcd that runs has a log open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Open {
    /// The member has.
    Here,
    /// The member writes to another one: what was seen.
    Elsewhere(String),
    /// An etcd runs that may be the member: what was seen.
    Untold(String),
    /// Nothing was seen of it: why, where that is known.
    Unknown(String),
    /// It could not be looked: why.
    Unasked(String),
}

impl When {
    /// Now.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn now() -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| format!("reading {path}"));
        let uptime = read("/proc/uptime")?;
        let seconds = uptime.split('.').next().and_then(|seconds| seconds.parse().ok());
        Ok(Self {
            boot: read("/proc/sys/kernel/random/boot_id")?.trim().to_owned(),
            uptime: seconds.context("/proc/uptime has no number")?,
        })
    }
}

/// Writes down what was seen just now, and what is said of it.
///
/// # Errors
/// It cannot be written.
pub fn save(root: &Root, said: &str, seen: Seen) -> Result<()> {
    let note = Note { said: said.to_owned(), seen, when: When::now()? };
    write_atomic(&root.join(LOOKED), (serde_json::to_string(&note)? + "\n").as_bytes(), 0o644)
}

/// Whether the member has the log in a folder open, by the last look, if that was not long ago.
pub fn open(root: &Root, wal_dir: &Path) -> Open {
    let unasked =
        |e: anyhow::Error| Open::Unasked(format!("could not determine what etcd last had open: {e:#}"));
    let text = match look::read_if_there(&root.join(LOOKED)) {
        Ok(Some(text)) if root.is_live() => text,
        Ok(_) => return Open::Unknown(String::new()),
        Err(e) => return unasked(e),
    };
    let judged = || -> Result<Open> { judge(&text, &When::now()?, &|log| is_same(log, wal_dir)) };
    judged().unwrap_or_else(unasked)
}

fn judge(text: &[u8], now: &When, is_it: &dyn Fn(&Path) -> Result<bool>) -> Result<Open> {
    let Note { said, seen, when } = serde_json::from_slice(text)?;
    if when.boot != now.boot || now.uptime.saturating_sub(when.uptime) > FRESH {
        return Ok(Open::Unknown(String::new()));
    }
    Ok(match seen {
        Seen::Member(log) if is_it(&log)? => Open::Here,
        Seen::Member(_) => Open::Elsewhere(said),
        Seen::Untold => Open::Untold(said),
        Seen::Nothing => Open::Unknown(said),
        Seen::Unasked => Open::Unasked(said),
    })
}

/// Whether two names are those of one folder.
pub(super) fn is_same(one: &Path, other: &Path) -> Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let of = |path| Ok::<_, anyhow::Error>(look::at(path)?.map(|m| (m.dev(), m.ino())));
    Ok(one == other || (of(one)?.is_some() && of(one)? == of(other)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_counts_for_a_while_of_one_boot() {
        let note = |seen: &Seen| {
            let when = When { boot: "b".into(), uptime: 100 };
            serde_json::to_vec(&Note { said: "seen".into(), seen: seen.clone(), when }).unwrap()
        };
        let at = |seen: &Seen, boot: &str, uptime| {
            let is_it = |log: &Path| Ok(log == Path::new("/w"));
            judge(&note(seen), &When { boot: boot.into(), uptime }, &is_it).unwrap()
        };
        let (here, there) = (Seen::Member("/w".into()), Seen::Member("/x".into()));
        let said = "seen".to_owned();
        for (seen, want) in [
            (&here, Open::Here),
            (&there, Open::Elsewhere(said.clone())),
            (&Seen::Untold, Open::Untold(said.clone())),
            (&Seen::Nothing, Open::Unknown(said.clone())),
            (&Seen::Unasked, Open::Unasked(said)),
        ] {
            assert_eq!((at(seen, "b", 100), at(seen, "b", 1000)), (want.clone(), want), "{seen:?}");
            assert_eq!(at(seen, "b", 1001), Open::Unknown(String::new()));
            assert_eq!(at(seen, "c", 100), Open::Unknown(String::new()));
        }
        // What an earlier version wrote.
        assert!(
            judge(b"etcd2.service does not run", &When { boot: "b".into(), uptime: 1 }, &|_| Ok(true))
                .is_err()
        );
    }

    #[test]
    fn a_folder_has_many_names() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, link) = (dir.path().join("wal"), dir.path().join("link"));
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink("wal", &link).unwrap();
        for (other, want) in
            [(&folder, true), (&link, true), (&dir.path().to_owned(), false), (&folder.join("x"), false)]
        {
            assert_eq!(is_same(&folder, other).unwrap(), want, "{}", other.display());
        }
    }
}
