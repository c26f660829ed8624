//! Whether a log is in use: held by a process at this moment, or written to since it was looked at.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::file;
use super::wal::{self, Reading, SegmentName};
use crate::sys::{held, look};

/// The newest segment of a log, if some process holds it, as etcd does while it runs. None is locked for it.
///
/// # Errors
/// The log cannot be listed, or it cannot be asked.
pub fn held(wal_dir: &Path) -> Result<Option<PathBuf>> {
    let Some(newest) = wal::segments_if_there(wal_dir)?.last().copied() else { return Ok(None) };
    let path = newest.path(wal_dir);
    let Some(segment) = file::open(&path)? else { return Ok(None) };
    Ok(held::is_held(&segment)?.then_some(path))
}

/// Whether some process holds a log.
///
/// # Errors
/// As [`held`].
pub fn is_held(wal_dir: &Path) -> Result<bool> {
    Ok(held(wal_dir)?.is_some())
}

/// How a log is to be read that may or may not be in use.
///
/// # Errors
/// As [`held`].
pub fn reading(wal_dir: &Path) -> Result<Reading> {
    Ok(if is_held(wal_dir)? { Reading::Live } else { Reading::Still })
}

/// What every writer changes of a log: two that are equal say that none came in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace(Vec<(SegmentName, u64, u64, (i64, i64))>);

impl Trace {
    /// Of the log in this folder at this moment; an empty one if there is none.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn of(wal_dir: &Path) -> Result<Self> {
        let mut all = Vec::new();
        for name in wal::segments_if_there(wal_dir)? {
            if let Some(meta) = look::at_name(&name.path(wal_dir))? {
                all.push((name, meta.ino(), meta.len(), (meta.mtime(), meta.mtime_nsec())));
            }
        }
        Ok(Self(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::Write as _;

    #[test]
    fn a_log_is_held_by_its_newest_segment_and_a_writer_leaves_a_trace() {
        let dir = tempfile::tempdir().unwrap();
        let wal_dir = dir.path().join("wal");
        assert_eq!(held(&wal_dir).unwrap(), None);
        let nothing = Trace::of(&wal_dir).unwrap();
        fs::create_dir(&wal_dir).unwrap();
        assert_eq!(Trace::of(&wal_dir).unwrap(), nothing);
        let path = |index| SegmentName { sequence: index, index }.path(&wal_dir);
        let old = File::create(path(0)).unwrap();
        let mut new = File::create(path(1)).unwrap();
        // Preallocated, as etcd 3 does: what is written changes no size.
        new.set_len(4096).unwrap();
        let before = Trace::of(&wal_dir).unwrap();
        assert!(before != nothing && before == Trace::of(&wal_dir).unwrap());
        old.lock().unwrap();
        assert_eq!((held(&wal_dir).unwrap(), reading(&wal_dir).unwrap()), (None, Reading::Still));
        new.lock().unwrap();
        assert_eq!((held(&wal_dir).unwrap(), reading(&wal_dir).unwrap()), (Some(path(1)), Reading::Live));
        assert_eq!(Trace::of(&wal_dir).unwrap(), before);
        // A file system's clock may stand still for some milliseconds.
        while Trace::of(&wal_dir).unwrap() == before {
            new.write_all(b"x").unwrap();
        }
    }
}
