//! The file system makes the copy: a file that shares its blocks with the first one until either is written (FICLONE, ioctl_ficlone(2)).
//!
//! XFS and btrfs do that while nobody can write the first file, and write what etcd has written so far before: so it is the file
//! as after a crash at that moment, which bolt is made for. Other file systems promise no such thing, or nobody has looked.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use rustix::fs::{fstatfs, ioctl_ficlone};
use rustix::io::Errno;

use super::target::Target;
use crate::etcd::file;

/// XFS and btrfs, as statfs(2) calls them.
const KNOWN: [u64; 2] = [0x5846_5342, 0x9123_683e];

/// Clones `db`.
pub(super) fn take(db: &Path, target: &Target) -> Result<()> {
    let source = file::reopen(db)?;
    let folder = target.folder().display();
    let magic = fstatfs(&source)?.f_type as u64;
    ensure!(KNOWN.contains(&magic), "the file system of {} is neither XFS nor btrfs", db.display());
    let file = target.create()?;
    match ioctl_ficlone(&file, &source) {
        Ok(()) => target.sync(&file),
        Err(e) => bail!("{}", reason(e, &folder.to_string())),
    }
}

fn reason(errno: Errno, folder: &str) -> String {
    match errno {
        Errno::XDEV => format!("{folder} is on another file system than etcd's data"),
        Errno::OPNOTSUPP | Errno::INVAL | Errno::NOTTY | Errno::NOSYS => {
            format!("the file system of {folder} was not made to clone files, or not that one ({errno})")
        }
        Errno::PERM | Errno::ACCESS => format!("it is not permitted here ({errno})"),
        other => format!("the file system could not ({other})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_is_in_plain_words() {
        for (errno, said) in [
            (Errno::XDEV, "/b is on another file system"),
            (Errno::OPNOTSUPP, "the file system of /b was not made to clone files"),
            (Errno::INVAL, "the file system of /b was not made to clone files"),
            (Errno::NOTTY, "the file system of /b was not made to clone files"),
            (Errno::PERM, "it is not permitted here"),
            (Errno::IO, "the file system could not"),
        ] {
            assert!(reason(errno, "/b").starts_with(said), "{errno}");
        }
    }

    #[test]
    fn proc_is_no_place_of_clones() {
        let dir = tempfile::tempdir().unwrap();
        let target = Target::new(dir.path(), 0).unwrap();
        let error = take(Path::new("/proc/version"), &target).unwrap_err();
        assert_eq!(error.to_string(), "the file system of /proc/version is neither XFS nor btrfs");
    }
}
