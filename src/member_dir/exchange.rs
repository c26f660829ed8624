//! The new member directory for the old one, in one step, with nothing lost at any moment.
//!
//! In the data directory: `member.restoring` is being built and is garbage whenever it is found. When it is complete and
//! synced, it gets the name that the old data will have, and the two names are exchanged. Whoever finds
//! `member.before-restore-<time>` after a crash finds either the old data, or (the exchange did not happen) the new.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::aside;
use crate::etcd::wal;
use crate::exit::{Exit, fault};
use crate::sys::fs as files;
use crate::sys::lock;

/// Why old directories have the names they have.
const WHY: &str = "restore";

/// The name the present member directory will have after an [`exchange`] now.
pub fn kept_name(data_dir: &Path) -> PathBuf {
    aside::kept_name(&data_dir.join("member"), WHY)
}

/// Where the new member directory is built: on the data directory's own file system.
pub fn staging(data_dir: &Path) -> PathBuf {
    data_dir.join("member.restoring")
}

/// Refuses while any process has the log open for writing: etcd holds a lock on its newest segments.
///
/// # Errors
/// [`Exit::Refused`], or the segment cannot be opened.
pub fn refuse_if_in_use(wal_dir: &Path) -> Result<()> {
    let Some(newest) = wal::segments(wal_dir).ok().and_then(|all| all.last().copied()) else { return Ok(()) };
    let path = newest.path(wal_dir);
    if lock::is_locked(&path)? {
        let what = format!("a running etcd has {} open", path.display());
        return Err(fault(
            Exit::Refused,
            what,
            "stop it first: systemctl stop etcd2.service (or the unit you use)",
        ));
    }
    Ok(())
}

/// Puts what is at [`staging`] in the place of `member`; returns where the old directories are now. The fence must be up.
///
/// # Errors
/// A rename fails; the old data or the new is in place then, and neither is lost.
pub fn exchange(data_dir: &Path) -> Result<Vec<PathBuf>> {
    let (new, member) = (staging(data_dir), data_dir.join("member"));
    let mut kept = Vec::new();
    if member.exists() {
        let name = aside::kept_name(&member, WHY);
        rename(&new, &name)?;
        if !files::exchange(&member, &name)? {
            rename(&name, &new)?;
            rename(&member, &name)?;
            rename(&new, &member)?;
        }
        kept.push(name);
    } else {
        rename(&new, &member)?;
    }
    files::sync_dir(data_dir).with_context(|| format!("syncing {}", data_dir.display()))?;
    // Both `member` and `proxy` present is fatal in etcd; snap and wal directly in the data directory (2.0.0) would be
    // moved over the new ones. They go last: until then one of them may be the only data that can be restored.
    for other in ["proxy", "snap", "wal"] {
        kept.extend(aside::move_aside(&data_dir.join(other), WHY)?);
    }
    Ok(kept)
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("renaming {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs::{create_dirs, write_atomic};

    fn tree(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            create_dirs(&dir.path().join(name), 0o700).unwrap();
            write_atomic(&dir.path().join(name).join("of"), name.as_bytes(), 0o600).unwrap();
        }
        dir
    }

    fn content(path: &Path) -> String {
        fs::read_to_string(path.join("of")).unwrap()
    }

    #[test]
    fn the_old_data_is_kept_and_everything_else_that_etcd_would_trip_over() {
        let dir = tree(&["member", "member.restoring", "proxy", "wal"]);
        let kept = exchange(dir.path()).unwrap();
        assert_eq!(content(&dir.path().join("member")), "member.restoring");
        let kept: Vec<String> = kept.iter().map(|p| content(p)).collect();
        assert_eq!(kept, ["member", "proxy", "wal"]);
        assert!(!staging(dir.path()).exists() && !dir.path().join("proxy").exists());
    }

    #[test]
    fn an_empty_data_directory_just_gets_the_new_data() {
        let dir = tree(&["member.restoring"]);
        assert_eq!(exchange(dir.path()).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(content(&dir.path().join("member")), "member.restoring");
    }
}
