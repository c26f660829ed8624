//! One at a time: an exclusive lock that the kernel releases when the process dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use anyhow::{Context, Result};

/// Held as long as it lives.
#[derive(Debug)]
pub struct Lock(File);

impl Drop for Lock {
    /// Closing the file alone would not do: a child that another thread is just starting has a copy of it until it is another
    /// program, and with that the lock.
    fn drop(&mut self) {
        // What is not released here is when all copies are closed.
        let _ = self.0.unlock();
    }
}

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
        drop(first);
        assert!(Lock::try_take(&path).unwrap().is_some());
        // As a child has it that is being started.
        let held = Lock::try_take(&path).unwrap().unwrap();
        let copy = held.0.try_clone().unwrap();
        drop(held);
        assert!(Lock::try_take(&path).unwrap().is_some());
        drop(copy);
        let first = Lock::try_take_folder(dir.path()).unwrap();
        assert!(first.is_some());
        assert!(Lock::try_take_folder(dir.path()).unwrap().is_none());
    }
}
