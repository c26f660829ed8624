//! A base on this disk, until it is in a generation: `ETCD_BACKUP_DIR/base`.
//!
//! ```text
//! db         the copy of the v3 store, until the remote has all of it
//! base.json  what it is, and which pieces were sent
//! *.part     the snapshot and the log that etcd needs with it
//! log.json   where that log ends
//! pieces/    what is being sent
//! ```
//!
//! The process that sends the store writes `base.json`, a cycle writes `log.json`: neither waits for the other.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::copy::Way;
use crate::archive::names::{GenerationName, PieceName};
use crate::archive::part::{self, Head, Part, Written};
use crate::archive::pieces::{Pieces, RAW_BYTES};
use crate::backup::capture::{self, Capture, Follow};
use crate::backup::state::State;
use crate::etcd::datadir::DataDir;
use crate::sys::fs::{remove_dir_if_there, remove_if_there, write_atomic};
use crate::sys::{look, summed};

/// So much log is put beside the store before the base is there: etcd keeps four full segments, and not more.
const KEEP_UP_BYTES: u64 = 64 << 20;

/// Where a backup says, for systemd, that a base is to be brought, and why.
pub fn due_file(backup_dir: &Path) -> PathBuf {
    backup_dir.join("base.due")
}

/// The folder in a backup directory.
pub fn folder(backup_dir: &Path) -> PathBuf {
    backup_dir.join("base")
}

/// What is known of the store, and how far it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Format of this file, [`Progress::VERSION`]; another one counts as lost.
    pub version: u32,
    /// The writer of its generation, as that of the log beside it.
    pub writer: u32,
    /// By which way the copy was made.
    pub way: Way,
    /// The last entry that it contains.
    pub applied: u64,
    /// Its revision.
    pub revision: u64,
    /// Its size in bytes.
    pub size: u64,
    /// CRC-32C of all its bytes.
    pub crc: u32,
    /// CRC-32C of those that are in pieces.
    pub crc_sent: u32,
    /// The pieces that were sent, in their order.
    pub sent: Vec<Sent>,
    /// The remote was seen to have all of them.
    pub arrived: bool,
}

/// A piece that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Its file's name.
    pub name: String,
    /// Its whole link, 64 hex digits.
    pub link: String,
}

/// The log beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// Format of this file, [`Progress::VERSION`].
    pub version: u32,
    /// The name of the file with the snapshot and the log.
    pub part: String,
    /// As if a generation had begun with it: where the log goes on.
    pub state: State,
}

/// A base that was taken, and is in no generation yet.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Where it lies.
    pub dir: PathBuf,
    /// The store.
    pub progress: Progress,
    /// The log.
    pub log: Log,
}

impl Progress {
    /// The current format.
    pub const VERSION: u32 = 1;

    /// The pieces by now.
    pub fn pieces(&self) -> Pieces {
        let count = self.sent.len() as u64;
        let link = self.sent.last().map(|sent| sent.link.clone()).unwrap_or_default();
        Pieces { count, link, bytes: self.size.min(count.saturating_mul(RAW_BYTES)) }
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = PieceName> {
        self.sent.iter().filter_map(|sent| PieceName::parse(&sent.name))
    }
}

impl Prepared {
    /// What lies in a backup directory for this folder of the remote; `None` if there is nothing that can be used.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn load(backup_dir: &Path, remote_folder: &str) -> Result<Option<Self>> {
        let dir = folder(backup_dir);
        let progress: Option<Progress> = read(&dir.join("base.json"))?;
        let log: Option<Log> = read(&dir.join("log.json"))?;
        let (Some(progress), Some(log)) = (progress, log) else { return Ok(None) };
        let usable = (progress.version, log.version) == (Progress::VERSION, Progress::VERSION)
            && log.state.version == State::VERSION
            && log.state.writer == progress.writer
            && log.state.folder == remote_folder;
        Ok(usable.then_some(Self { dir, progress, log }))
    }

    /// Removes whatever lies there.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn clear(backup_dir: &Path) -> Result<()> {
        remove_dir_if_there(&folder(backup_dir))
    }

    /// The generation that it is to begin.
    pub fn generation(&self) -> GenerationName {
        self.log.state.generation_name()
    }

    /// Whether its generation may still begin behind the one of this state: of one that has begun something may be left here.
    pub fn is_ahead_of(&self, state: Option<&State>) -> bool {
        state.is_none_or(|state| self.log.state.generation > state.generation)
    }

    /// Why it cannot begin a generation any more; `None`: it can.
    pub fn objection(&self, dir: &DataDir) -> Option<String> {
        let looked = || -> Result<Option<String>> {
            let there = look::at(&self.db())?.map(|meta| meta.len());
            if !self.progress.arrived && there != Some(self.progress.size) {
                return Ok(Some("the copy of the store is not whole any more".into()));
            }
            self.part()?;
            Ok(match self.follow(dir)? {
                Follow::Broken(why) => Some(why),
                Follow::On(_) | Follow::Nothing(_) => None,
            })
        };
        looked().unwrap_or_else(|e| Some(format!("{e:#}")))
    }

    /// Where the copy of the store lies.
    pub fn db(&self) -> PathBuf {
        self.dir.join("db")
    }

    /// How the log goes on behind what lies here.
    ///
    /// # Errors
    /// As [`capture::follow`].
    pub fn follow(&self, dir: &DataDir) -> Result<Follow> {
        capture::follow(dir, &self.log.state)
    }

    /// Notes how far the store was sent.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save_progress(&self) -> Result<()> {
        write_atomic(&self.dir.join("base.json"), &summed::to_vec(&self.progress)?, 0o600)
    }

    /// Notes where the log ends.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save_log(&self) -> Result<()> {
        write_atomic(&self.dir.join("log.json"), &summed::to_vec(&self.log)?, 0o600)
    }

    /// The snapshot and the log, read through.
    ///
    /// # Errors
    /// They are damaged.
    pub fn part(&self) -> Result<Part> {
        let path = self.dir.join(&self.log.part);
        Part::read_unnamed(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// Puts what the log has become since beside the store, where it is much: etcd purges its log while a large store is on its way.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn keep_up(&mut self, dir: &DataDir, looked: u64) -> Result<()> {
        let Follow::On(more) = self.follow(dir)? else { return Ok(()) };
        if more.log_bytes() < KEEP_UP_BYTES {
            return Ok(());
        }
        let before = self.part()?;
        let head = longer(&before.head, Some(&more), looked);
        let written = self.write(&before, &head, Some(&more), &self.dir)?;
        let old = std::mem::replace(&mut self.log.part, written.name.to_string());
        let folder = self.log.state.folder.clone();
        self.log.state = more.state_behind(Some(&self.log.state), &folder, &head, &written, looked);
        self.save_log()?;
        if old == self.log.part { Ok(()) } else { remove_if_there(&self.dir.join(old)) }
    }

    /// Writes the part with all of the log by now.
    ///
    /// # Errors
    /// As [`part::write`].
    pub fn write(&self, before: &Part, head: &Head, more: Option<&Capture>, to: &Path) -> Result<Written> {
        part::write(to, head, |out| {
            io::copy(&mut before.payload()?, out)?;
            more.map_or(Ok(()), |more| more.write_payload(out))
        })
    }
}

/// The head of a base part to which more of the log was added.
pub fn longer(before: &Head, more: Option<&Capture>, looked: u64) -> Head {
    let mut head = Head { time: before.time.max(looked), ..before.clone() };
    if let Some(more) = more {
        head.log.extend(more.tail.extents.iter().copied());
        head.last = more.last();
        head.commit = Some(more.commit()).max(before.commit);
    }
    head
}

/// Reads one of the files; what is not as it was written counts as not there.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let Some(text) = look::read_if_there(path)? else { return Ok(None) };
    Ok(summed::from_slice(&text)
        .inspect_err(|e| log::warn!("{} cannot be read ({e}): another base is taken", path.display()))
        .ok())
}

/// Makes the folder anew, for the next base.
///
/// # Errors
/// It cannot be made.
pub fn anew(backup_dir: &Path) -> Result<PathBuf> {
    Prepared::clear(backup_dir)?;
    let dir = folder(backup_dir);
    crate::sys::fs::create_dirs(&dir, 0o700)?;
    Ok(dir)
}

/// Empties a folder of it.
///
/// # Errors
/// It cannot be removed or made.
pub fn emptied(dir: &Path) -> Result<()> {
    remove_dir_if_there(dir)?;
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))
}
