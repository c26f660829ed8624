//! Data that a restore begins with, read through and intact, and where it came from.

use anyhow::Result;

use crate::archive::lineage::Parent;
use crate::archive::link;
use crate::etcd::datadir::{Contents, DataDir};
use crate::etcd::proto::LogPosition;
use crate::exit::{Exit, fault};
use crate::sys::time;

/// Data that was read through and is whole.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where its files are.
    pub dir: DataDir,
    /// What is in them.
    pub contents: Contents,
    /// Where they came from.
    pub origin: Origin,
    /// SHA-256 that stands for exactly this data, 64 hex digits.
    pub hash: String,
    /// The last entry that is restored: the last one there is, or an earlier one that was asked for.
    pub point: LogPosition,
    /// Bytes that were brought from the remote.
    pub bytes: u64,
    /// What its cluster continues, if that is known.
    pub parent: Option<Parent>,
    /// What was given up on the way, and why.
    pub given_up: Vec<String>,
    /// Where data of the v3 store was seen, if any: it does not come back.
    pub v3_data: Option<String>,
    /// The highest index that the cluster is known to have come to, wherever that was seen: the source may be an older state.
    pub newest: u64,
}

/// Where data came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The data directory of this node.
    Local,
    /// A part of a generation, captured at this time (seconds since 1970).
    Archive {
        /// The generation.
        generation: u64,
        /// The part.
        part: u64,
        /// When the part was captured.
        time: u64,
    },
    /// A file that another node's disk was written to.
    File,
    /// A folder of this name as the scripts before this program wrote it: `member/snap`, `member/wal`.
    Original(String),
}

impl Origin {
    /// For people.
    pub fn describe(&self) -> String {
        match self {
            Self::Local => "this node's own data directory".into(),
            Self::Archive { generation, part, time } => {
                format!(
                    "the archive, generation {generation}, part {part}, captured {}",
                    time::rfc3339(*time)
                )
            }
            Self::File => "the given file".into(),
            Self::Original(folder) => {
                format!("the remote, in the layout of etcd2-backup-coreos, prefix {folder}")
            }
        }
    }

    /// The folder it was found in, if that need not be the machine's.
    pub fn folder(&self) -> Option<&str> {
        if let Self::Original(folder) = self { Some(folder) } else { None }
    }

    /// The generation's number; 0 for what has none.
    pub fn generation(&self) -> u64 {
        match self {
            Self::Archive { generation, .. } => *generation,
            _ => 0,
        }
    }
}

impl Source {
    /// The leader's clock in its newest SYNC, in seconds since 1970.
    pub fn synced(&self) -> Option<u64> {
        self.contents.log.synced()
    }

    /// How many bytes of log are behind the base.
    pub fn log_size(&self) -> u64 {
        self.contents.tail.extents.iter().map(|e| e.to - e.from.offset).sum()
    }

    /// Takes note of how far the cluster came elsewhere.
    pub fn came_to(&mut self, index: u64) {
        self.newest = self.newest.max(index);
    }

    /// Refuses a backup that lacks what the member had in the v3 store: what it gives is no member's data.
    ///
    /// # Errors
    /// [`Exit::Refused`].
    pub fn refuse_without_v3(&self) -> Result<()> {
        let of_backup = matches!(self.origin, Origin::Archive { .. } | Origin::Original(_));
        let Some(seen) = self.v3_data.as_ref().filter(|_| of_backup) else { return Ok(()) };
        let what = format!(
            "the member had data in the v3 store ({seen}), and {} does not have it",
            self.origin.describe()
        );
        let hint = "take a disk that survived (--source local on its node) or a generation that has it: sudo \
                    /opt/bin/etcd2-backup list; to restore the v2 store alone and give the v3 store up, add --force";
        Err(fault(Exit::Refused, what, hint))
    }

    /// Says it if not all of the member's data comes back.
    pub fn warn_of_v3_data(&self) {
        if let Some(seen) = &self.v3_data {
            log::warn!("the member had data in the v3 store, but only the v2 store is restored: {seen}");
        }
    }
}

/// A source that no checksum came with.
pub(super) fn read(dir: DataDir, contents: Contents, origin: Origin) -> Source {
    let (hash, point) = (hash(&contents), contents.last());
    let v3_data = if contents.v3.is_some() { None } else { contents.v3_data() };
    let (newest, given_up) = (point.index, Vec::new());
    Source { dir, contents, origin, hash, point, bytes: 0, parent: None, given_up, v3_data, newest }
}

/// What stands for data that no checksum came with.
pub(super) fn hash(contents: &Contents) -> String {
    link::of(contents.metadata, contents.last(), Some(contents.tail.end))
}
