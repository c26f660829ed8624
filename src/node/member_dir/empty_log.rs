//! A member that has nothing but its IDs: put where etcd has its data, and taken away again.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::fchown;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::owner;
use super::places::Places;
use super::workshop::{self, Workshop};
use crate::etcd::empty_log::{NOBODY, SEGMENT, bytes};
use crate::etcd::proto::Metadata;
use crate::etcd::{datadir, wal};
use crate::settings::EtcdConfig;
use crate::sys::folder::{self, Folder};
use crate::sys::{fs as files, look};

/// Puts it where the data was; nothing must be there. The log goes last: without one nobody takes the rest for a member's data.
///
/// # Errors
/// It cannot be written.
pub fn place(etcd: &EtcdConfig, ids: Metadata) -> Result<()> {
    let places = Places::of(etcd)?;
    let owner = owner::ready(etcd)?;
    // A seed may lie there, finished but for the member's ID.
    let workshop = Workshop::aside(&places.member)?;
    let new = workshop.way();
    files::create_dirs(&new.join("snap"), 0o700)?;
    if places.wal.is_none() {
        files::create_dirs(&new.join("wal"), 0o700)?;
        let (log, content) = (SEGMENT.path(&new.join("wal")), bytes(ids)?);
        let written = files::create_private(&log).and_then(|mut file| file.write_all(&content));
        written.with_context(|| format!("writing {}", log.display()))?;
    }
    workshop.hand_over(owner)?;
    workshop::put_in_place(&places.member)?;
    match &places.wal {
        Some(wal) => place_log(wal, ids, owner),
        None => Ok(()),
    }
}

/// Puts the log alone into a folder, which may be a disk of its own: of what is in it, only what is new here is touched.
fn place_log(wal: &Path, ids: Metadata, (uid, gid): (u32, u32)) -> Result<()> {
    if look::at_name(wal)?.is_none() {
        folder::create_as(wal, (uid, gid, 0o700))?;
    }
    let folder = Folder::open(wal)?;
    // A new disk's top folder is root's; where others can put something else in its place, it is what it is.
    if Folder::above(wal)?.0.is_administrators()? {
        folder.give(uid, gid, 0o700)?;
    }
    let staged = SEGMENT.path(Path::new("")).with_extension("new");
    folder.remove(staged.as_os_str())?;
    let write = || -> Result<()> {
        let mut file = files::create_private(&folder.at(&staged))?;
        file.write_all(&bytes(ids)?)?;
        fchown(&file, Some(uid), Some(gid))?;
        file.sync_all()?;
        fs::rename(folder.at(&staged), SEGMENT.path(&folder.at("")))?;
        folder.sync()
    };
    write().with_context(|| format!("placing an empty WAL in {}", wal.display()))
}

/// Whether the log that is there is [`NOBODY`]'s: one that was left by a trial.
///
/// # Errors
/// There is one that cannot be read.
pub fn is_nobodys(etcd: &EtcdConfig) -> Result<bool> {
    let wal_dir = wal_dir(&Places::of(etcd)?);
    Ok(!wal::segments_if_there(&wal_dir)?.is_empty() && datadir::ids(&wal_dir)? == NOBODY)
}

/// Removes [`NOBODY`]'s log, and what etcd put beside it.
///
/// # Errors
/// It is somebody's, or it cannot be removed.
pub fn take_away(etcd: &EtcdConfig) -> Result<()> {
    ensure!(
        is_nobodys(etcd)?,
        "the WAL in {} is not the one that was placed there",
        etcd.effective_wal_dir().display()
    );
    let places = Places::of(etcd)?;
    if let Some(wal) = &places.wal {
        empty(wal)?;
    }
    folder::remove(&places.member)
}

/// A separate WAL directory stays: it may be a disk of its own.
fn empty(dir: &Path) -> Result<()> {
    let folder = Folder::open(dir)?;
    for entry in look::list(&folder.at(""))? {
        folder.remove(&entry.file_name())?;
    }
    folder.sync()
}

fn wal_dir(places: &Places) -> std::path::PathBuf {
    places.wal.clone().unwrap_or_else(|| places.member.join("wal"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::in_tree;

    #[test]
    fn what_waits_to_be_the_members_data_outlasts_it() {
        let dir = tempfile::tempdir().unwrap();
        let etcd = in_tree(&dir.path().join("etcd2")).etcd;
        let place_of_data = etcd.data_dir.join("member");
        let seed = workshop::new_dir(&place_of_data).join("snap/x.snap");
        Workshop::make(&place_of_data).unwrap();
        files::create_dirs(&files::parent(&seed), 0o700).unwrap();
        files::write_atomic(&seed, b"seed", 0o600).unwrap();
        place(&etcd, NOBODY).unwrap();
        take_away(&etcd).unwrap();
        assert_eq!(fs::read(&seed).unwrap(), b"seed");
        // With nothing that waits, nothing is left behind.
        workshop::clear(&place_of_data).unwrap();
        place(&etcd, NOBODY).unwrap();
        let left: Vec<_> = look::list(&etcd.data_dir).unwrap().iter().map(fs::DirEntry::file_name).collect();
        assert_eq!(left, ["member"]);
    }

    #[test]
    fn it_is_put_there_and_taken_away_and_nothing_else_is() {
        for separate in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let mut etcd = in_tree(&dir.path().join("etcd2")).etcd;
            etcd.wal_dir = separate.then(|| dir.path().join("wal"));
            assert!(!is_nobodys(&etcd).unwrap());
            place(&etcd, NOBODY).unwrap();
            assert!(is_nobodys(&etcd).unwrap());
            // What etcd makes beside it.
            files::write_atomic(&etcd.effective_wal_dir().join("0.tmp"), b"", 0o600).unwrap();
            files::write_atomic(&etcd.data_dir.join("member/snap/db"), b"", 0o600).unwrap();
            take_away(&etcd).unwrap();
            assert!(!etcd.data_dir.join("member").exists());
            assert_eq!(etcd.effective_wal_dir().exists(), separate);
            let ids = Metadata { member_id: 3, cluster_id: 4 };
            place(&etcd, ids).unwrap();
            assert!(take_away(&etcd).unwrap_err().to_string().contains("is not the one"));
            assert_eq!(datadir::ids(&etcd.effective_wal_dir()).unwrap(), ids);
        }
    }
}
