//! What this node knows of the last part it made, in `ETCD_BACKUP_DIR/state.json`. It only speeds things up: without it
//! the next backup begins a new generation.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::etcd::proto::{HardState, LogPosition, Metadata};
use crate::etcd::wal::Place;
use crate::sys::fs::{remove_if_there, write_atomic};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Format of this file, [`State::VERSION`]; another one counts as lost.
    pub version: u32,
    /// The folder the parts went to, `<endpoint>/<machine-id>`; another one begins a new generation there.
    pub folder: String,
    /// The generation being written.
    pub generation: u64,
    /// Its writer, as its folder's name says it.
    pub writer: u32,
    /// The last part's place in it.
    pub sequence: u64,
    /// The last part's checksum, 64 hex digits.
    pub checksum: String,
    /// Whose log it is.
    pub cluster_id: u64,
    /// The member.
    pub member_id: u64,
    /// The base's index and size.
    pub base_index: u64,
    /// The base's size in bytes.
    pub base_size: u64,
    /// Bytes of the log behind the base, all parts together.
    pub log_bytes: u64,
    /// Entries behind the base.
    pub entries: u64,
    /// Behind the last shipped record.
    pub place: Place,
    /// The last shipped record, to be found again as it was.
    pub last_record: Option<LastRecord>,
    /// The last shipped entry.
    pub last: LogPosition,
    /// The last shipped hard state.
    pub hard_state: HardState,
    /// Path of the last part in the spool, while its upload did not end or its end was not seen.
    pub pending: Option<String>,
}

/// A record that must still be where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRecord {
    /// Where it begins.
    pub at: Place,
    /// Offset behind it.
    pub end: u64,
    /// The rolling CRC behind it.
    pub crc: u32,
}

impl State {
    /// The current format.
    pub const VERSION: u32 = 1;

    /// The path of the file in the backup directory.
    pub fn path(backup_dir: &Path) -> PathBuf {
        backup_dir.join("state.json")
    }

    /// Whose log it is, as the log says it.
    pub fn metadata(&self) -> Metadata {
        Metadata { member_id: self.member_id, cluster_id: self.cluster_id }
    }

    /// Reads it; `None` if there is none, or one that this program cannot use.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn load(backup_dir: &Path) -> Result<Option<Self>> {
        let path = Self::path(backup_dir);
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            bytes => bytes.with_context(|| format!("reading {}", path.display()))?,
        };
        match serde_json::from_slice::<Self>(&bytes) {
            Ok(state) if state.version == Self::VERSION => Ok(Some(state)),
            Ok(state) => {
                log::warn!("{} has format {}: a new generation begins", path.display(), state.version);
                Ok(None)
            }
            Err(e) => {
                log::warn!("{} cannot be read ({e}): a new generation begins", path.display());
                Ok(None)
            }
        }
    }

    /// Writes it, durably.
    ///
    /// # Errors
    /// It cannot be written; the old one is still there then.
    pub fn save(&self, backup_dir: &Path) -> Result<()> {
        write_atomic(&Self::path(backup_dir), &serde_json::to_vec_pretty(self)?, 0o600)
    }

    /// Forgets it: the next backup begins a new generation.
    ///
    /// # Errors
    /// It is there and cannot be removed.
    pub fn forget(backup_dir: &Path) -> Result<()> {
        remove_if_there(&Self::path(backup_dir))
    }
}
