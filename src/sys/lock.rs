//! One at a time: an exclusive lock that the kernel releases when the process dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, OFlags, fcntl_lock};
use rustix::io::Errno;

/// Held as long as it lives.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held for its drop")] File);

impl Lock {
    /// Takes the lock at `path`; `None` if another process holds it.
    ///
    /// # Errors
    /// The file cannot be created or locked.
    pub fn try_take(path: &Path) -> Result<Option<Self>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .with_context(|| format!("opening {}", path.display()))?;
        Self::of(file, path)
    }

    /// Takes the lock of a folder, which is there already and stays as it is; `None` if another process holds it.
    ///
    /// # Errors
    /// The folder cannot be opened or locked.
    pub fn try_take_folder(path: &Path) -> Result<Option<Self>> {
        Self::of(File::open(path).with_context(|| format!("opening {}", path.display()))?, path)
    }

    fn of(file: File, path: &Path) -> Result<Option<Self>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e).with_context(|| format!("locking {}", path.display())),
        }
    }
}

/// Whether another process holds a lock on a file: one of flock(2), as etcd 2.x takes, or of fcntl(2), as 3.x does. Takes
/// none that outlives the question. A link is not followed, and a pipe not waited for.
///
/// # Errors
/// The file cannot be opened for writing, or asked.
pub fn is_locked(path: &Path) -> Result<bool> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let ask = || -> io::Result<bool> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(true),
            Err(TryLockError::Error(e)) => return Err(e),
        }
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(false),
            Err(Errno::AGAIN | Errno::ACCESS) => Ok(true),
            Err(e) => Err(e.into()),
        }
    };
    ask().with_context(|| format!("asking for the lock on {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_turned_away_until_the_first_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::try_take(&path).unwrap();
        assert!(first.is_some());
        assert!(Lock::try_take(&path).unwrap().is_none());
        assert!(is_locked(&path).unwrap());
        drop(first);
        assert!(!is_locked(&path).unwrap());
        assert!(Lock::try_take(&path).unwrap().is_some());
        let first = Lock::try_take_folder(dir.path()).unwrap();
        assert!(first.is_some());
        assert!(Lock::try_take_folder(dir.path()).unwrap().is_none());
    }
}
