//! A member that has nothing but its IDs: put where etcd has its data, and taken away again.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::aside::with_suffix;
use super::owner;
use super::places::Places;
use crate::etcd::empty_log::{NOBODY, SEGMENT, bytes};
use crate::etcd::proto::Metadata;
use crate::etcd::{datadir, wal};
use crate::settings::Settings;
use crate::sys::fs as files;

/// Puts it where the data was; nothing must be there. The log goes last: without one nobody takes the rest for a member's data.
///
/// # Errors
/// It cannot be written.
pub fn place(settings: &Settings, ids: Metadata) -> Result<()> {
    let places = Places::of(settings)?;
    let (uid, gid) = owner::ready(settings)?;
    let new = with_suffix(&places.member, ".empty");
    files::remove_dir_if_there(&new)?;
    for dir in [&new, &new.join("snap"), &new.join("wal")] {
        files::create_dir_as(dir, (uid, gid, 0o700))?;
    }
    let log = SEGMENT.path(&new.join("wal"));
    let mut file = files::create_private(&log).with_context(|| format!("creating {}", log.display()))?;
    file.write_all(&bytes(ids)?).with_context(|| format!("writing {}", log.display()))?;
    files::hand_over_and_sync(&new, Some((uid, gid)))?;
    let rename = |from: &Path, to: &Path| -> Result<()> {
        fs::rename(from, to).with_context(|| format!("putting an empty log into {}", to.display()))?;
        Ok(files::sync_dir(&files::parent(to))?)
    };
    let Some(wal) = &places.wal else { return rename(&new, &places.member) };
    // It may be a disk of its own.
    files::create_dir_as(wal, (uid, gid, 0o700))?;
    let there = SEGMENT.path(wal);
    let staged = there.with_extension("new");
    files::remove_if_there(&staged)?;
    fs::copy(&log, &staged).with_context(|| format!("writing {}", staged.display()))?;
    files::hand_over_and_sync(&staged, Some((uid, gid)))?;
    files::remove_dir_if_there(&new.join("wal"))?;
    rename(&new, &places.member)?;
    rename(&staged, &there)
}

/// Whether the log that is there is [`NOBODY`]'s: one that was left by a trial.
///
/// # Errors
/// There is one that cannot be read.
pub fn is_nobodys(settings: &Settings) -> Result<bool> {
    let wal_dir = wal_dir(&Places::of(settings)?);
    Ok(!wal::segments_if_there(&wal_dir)?.is_empty() && datadir::ids(&wal_dir)? == NOBODY)
}

/// Removes [`NOBODY`]'s log, and what etcd put beside it.
///
/// # Errors
/// It is somebody's, or it cannot be removed.
pub fn take_away(settings: &Settings) -> Result<()> {
    ensure!(
        is_nobodys(settings)?,
        "the log in {} is not the one that was put there",
        settings.effective_wal_dir().display()
    );
    let places = Places::of(settings)?;
    if let Some(wal) = &places.wal {
        empty(wal)?;
    }
    files::remove_dir_if_there(&places.member)
}

/// A separate WAL directory stays: it may be a disk of its own.
fn empty(dir: &Path) -> Result<()> {
    for entry in crate::sys::look::list(dir)? {
        fs::remove_file(entry.path()).with_context(|| format!("removing {}", entry.path().display()))?;
    }
    Ok(files::sync_dir(dir)?)
}

fn wal_dir(places: &Places) -> std::path::PathBuf {
    places.wal.clone().unwrap_or_else(|| places.member.join("wal"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::in_tree;

    #[test]
    fn it_is_put_there_and_taken_away_and_nothing_else_is() {
        for separate in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let mut settings = in_tree(&dir.path().join("etcd2"));
            settings.wal_dir = separate.then(|| dir.path().join("wal"));
            assert!(!is_nobodys(&settings).unwrap());
            place(&settings, NOBODY).unwrap();
            assert!(is_nobodys(&settings).unwrap());
            // What etcd makes beside it.
            files::write_atomic(&settings.effective_wal_dir().join("0.tmp"), b"", 0o600).unwrap();
            files::write_atomic(&settings.data_dir.join("member/snap/db"), b"", 0o600).unwrap();
            take_away(&settings).unwrap();
            assert!(!settings.data_dir.join("member").exists());
            assert_eq!(settings.effective_wal_dir().exists(), separate);
            let ids = Metadata { member_id: 3, cluster_id: 4 };
            place(&settings, ids).unwrap();
            assert!(take_away(&settings).unwrap_err().to_string().contains("is not the one"));
            assert_eq!(datadir::ids(&settings.effective_wal_dir()).unwrap(), ids);
        }
    }
}
