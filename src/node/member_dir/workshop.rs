//! Where a new directory is made: beside the old one, on its file system, in a folder that only root can enter. What lies beside
//! it is etcd's user's to rename and replace, at any moment; what is in it is not.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::aside::with_suffix;
use crate::sys::folder::{self, Folder};
use crate::sys::fs::{create_dirs, remove_if_there};
use crate::sys::look;

/// What is made in it.
const NEW: &str = "new";
/// What is made in it for a trial, while the other one waits.
const TRIAL: &str = "trial";

/// The workshop of one place, open, and the name of what is made there.
#[derive(Debug)]
pub struct Workshop(Folder, &'static str);

/// What is made for a place, by its path: for people, and to be renamed from there.
pub fn new_dir(place: &Path) -> PathBuf {
    of(place).join(NEW)
}

fn of(place: &Path) -> PathBuf {
    with_suffix(place, ".restoring")
}

/// Puts what was made by [`Workshop::aside`] into its place, where nothing must be.
///
/// # Errors
/// It cannot be renamed, or the workshop of nothing else not be removed.
pub fn put_in_place(place: &Path) -> Result<()> {
    folder::rename(&of(place).join(TRIAL), place)?;
    folder::sync_above(place)?;
    // What a member is to begin with waits there while another one is tried.
    if look::is_there(&new_dir(place))? { Ok(()) } else { clear(place) }
}

/// Removes a place's workshop with what was being made.
///
/// # Errors
/// It cannot be removed.
pub fn clear(place: &Path) -> Result<()> {
    folder::remove(&of(place))
}

impl Workshop {
    /// A new one, with nothing in it.
    ///
    /// # Errors
    /// An old one cannot be removed, or a new one not be made.
    pub fn make(place: &Path) -> Result<Self> {
        clear(place)?;
        create_dirs(&crate::sys::fs::parent(place), 0o755)?;
        Self::open(place)
    }

    /// The one that was made before.
    ///
    /// # Errors
    /// It cannot be opened, or somebody else can enter it.
    pub fn open(place: &Path) -> Result<Self> {
        let workshop = of(place);
        let (above, name) = Folder::above(&workshop)?;
        Ok(Self(above.private(name)?, NEW))
    }

    /// The same workshop for something else: what is being made there for the place stays as it is.
    ///
    /// # Errors
    /// It cannot be opened, somebody else can enter it, or what an earlier one left cannot be removed.
    pub fn aside(place: &Path) -> Result<Self> {
        let Self(folder, _) = Self::open(place)?;
        folder.remove(OsStr::new(TRIAL))?;
        Ok(Self(folder, TRIAL))
    }

    /// The way to what is made, as long as this is open, whatever has its name outside.
    pub fn way(&self) -> PathBuf {
        self.0.at(self.1)
    }

    /// Has a log written into another workshop, where the rest of a member is made in this one.
    ///
    /// # Errors
    /// It cannot be linked to.
    pub fn link_log(&self, log: &Self) -> Result<()> {
        for dir in [self, log] {
            create_dirs(&dir.way(), 0o700)?;
        }
        self.unlink_log()?;
        symlink(log.way(), self.way().join("wal")).context("linking to where the WAL is written")
    }

    /// Takes that back.
    ///
    /// # Errors
    /// The link cannot be removed.
    pub fn unlink_log(&self) -> Result<()> {
        remove_if_there(&self.way().join("wal"))
    }

    /// Gives all that was made to a user and group, and syncs it.
    ///
    /// # Errors
    /// That is not allowed, or cannot be synced.
    pub fn hand_over(&self, owner: (u32, u32)) -> Result<()> {
        folder::hand_over(&self.0, OsStr::new(self.1), Some(owner))
    }

    /// The same of one folder of it.
    ///
    /// # Errors
    /// As [`Workshop::hand_over`].
    pub fn hand_over_only(&self, name: &str, owner: (u32, u32)) -> Result<()> {
        let made = self.0.inside(OsStr::new(self.1))?.context("nothing was written")?;
        folder::hand_over(&made, &OsString::from(name), Some(owner))
    }
}
