//! A data directory: which snapshot and which log it really holds.
//!
//! The reader's rule: the newest `.snap` whose CRC is right, which the log knows of (same index and term), and behind
//! which the entries follow without a gap; else the next older; else none, if the log reaches back to index 1.
//! The snapshots are listed before the log, so that none is newer than the log copied with it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::frame::{Kind, Stop};
use super::log::Log;
use super::members::{self, Change};
use super::proto::{Entry, HardState, LogPosition, Metadata};
use super::snap::{self, Snapshot};
use super::store::{self, StoredMember};
use super::wal::{self, Place, Reading, Walk};
use crate::exit::{Exit, OrFault, fault};

/// Where a member's files lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDir {
    /// Snapshots.
    pub snap: PathBuf,
    /// The log's segments.
    pub wal: PathBuf,
}

/// What differs between the versions of etcd that wrote a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Family {
    /// 2.0 to 2.3.
    #[serde(rename = "2")]
    Two,
    /// 3.0 to 3.5: padded frames, `snap/db`.
    #[serde(rename = "3")]
    Three,
}

/// What a data directory holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Whose it is.
    pub metadata: Metadata,
    /// The snapshot to begin with; `None`: the log reaches back to index 1.
    pub base: Option<Snapshot>,
    /// The place in the log from which on all entries lie behind the base.
    pub start: Place,
    /// The hard state before `start`.
    pub start_state: HardState,
    /// The walk over the log behind `start`.
    pub tail: Walk,
    /// The log behind `start`.
    pub log: Log,
    /// Which etcd wrote it.
    pub family: Family,
    /// Snapshots that were passed over, and why.
    pub passed_over: Vec<String>,
}

impl DataDir {
    /// The layout of 2.0.1 and later (`member/snap`, `member/wal` or a separate WAL directory), else that of 2.0.0
    /// (`snap` and `wal` directly in it).
    ///
    /// # Errors
    /// [`Exit::NotFound`] if there is no log in it.
    pub fn open(data_dir: &Path, wal_dir: Option<&Path>) -> Result<Self> {
        let member = data_dir.join("member");
        let top = if member.is_dir() { member } else { data_dir.to_path_buf() };
        let this =
            Self { snap: top.join("snap"), wal: wal_dir.map_or_else(|| top.join("wal"), Path::to_path_buf) };
        if wal::segments(&this.wal).is_ok_and(|all| !all.is_empty()) {
            return Ok(this);
        }
        let what = format!("no etcd log in {}", this.wal.display());
        Err(fault(Exit::NotFound, what, "is ETCD_DATA_DIR right, and did etcd ever run as a member here?"))
    }

    /// Reads everything once (the log behind the chosen snapshot twice), in constant memory.
    ///
    /// # Errors
    /// [`Exit::Corrupt`] for damage anywhere but in the log's tail, or if no snapshot fits a log that does not reach
    /// back to its beginning.
    pub fn scan(&self, reading: Reading) -> Result<Contents> {
        let mut passed_over = Vec::new();
        let mut candidates = Vec::new();
        for name in snap::list(&self.snap)? {
            match Snapshot::open(&self.snap, name) {
                Ok(snapshot) => candidates.push(Candidate { snapshot, behind: None }),
                Err(e) => passed_over.push(format!("{e:#}")),
            }
        }
        let first = *wal::segments(&self.wal)?.first().context("no segment of the log is there")?;
        let beginning = Place::start_of(first);

        let mut whole = Log::default();
        wal::walk(&self.wal, beginning, reading, &mut |segment, record| {
            whole.add(record).with_context(|| format!("at {segment}@{}", record.start))?;
            if record.kind == Kind::Entry {
                let index = Entry::decode(record.data)?.index;
                let behind = Place { segment, offset: record.end, crc: record.crc };
                for candidate in candidates.iter_mut().filter(|c| index <= c.index()) {
                    candidate.behind = Some((behind, whole.hard_state));
                }
            }
            Ok(())
        })?;

        candidates.retain(|c| {
            let position = c.snapshot.metadata.position;
            let known = whole.snapshots.contains(&position);
            let usable = known && whole.continues(position.index);
            if !usable {
                let why = if known { "entries are missing behind it" } else { "the log does not know it" };
                passed_over.push(format!("{}: {why}", c.snapshot.path.display()));
            }
            usable
        });
        let base = candidates.into_iter().next();
        if base.is_none() && !whole.continues(0) {
            let first = whole.run_first.unwrap_or_default();
            let why = if passed_over.is_empty() { "there is none".into() } else { passed_over.join("; ") };
            return Err(fault(
                Exit::Corrupt,
                format!(
                    "the log in {} begins at index {first} and no snapshot fits it: {why}",
                    self.wal.display()
                ),
                "take another member's data or an older backup",
            ));
        }
        let metadata = whole.metadata.context("the log has no metadata record")?;
        let (start, start_state) =
            base.as_ref().and_then(|b| b.behind).unwrap_or((beginning, HardState::default()));
        let base = base.map(|b| b.snapshot);
        let from = base.as_ref().map_or_else(LogPosition::default, |b| b.metadata.position);
        let mut log = Log { metadata: Some(metadata), ..Log::behind(from, start_state) };
        let tail = wal::walk(&self.wal, start, reading, &mut |_, record| log.add(record))?;
        let family = if whole.padded || self.snap.join("db").exists() { Family::Three } else { Family::Two };
        Ok(Contents { metadata, base, start, start_state, tail, log, family, passed_over })
    }
}

/// The IDs in the newest segment of a WAL directory that has them.
///
/// # Errors
/// The log cannot be read at all.
pub fn ids(wal_dir: &Path) -> Result<Metadata> {
    for segment in wal::segments(wal_dir)?.into_iter().rev() {
        if let Some(metadata) = segment_ids(wal_dir, segment)? {
            return Ok(metadata);
        }
    }
    let what = format!("no segment in {} says whose log it is", wal_dir.display());
    Err(fault(Exit::Corrupt, what, "take another member's data or a backup"))
}

/// The IDs that a segment says in its second record; `None` if it has no whole one.
///
/// # Errors
/// The segment cannot be opened.
pub fn segment_ids(wal_dir: &Path, segment: wal::SegmentName) -> Result<Option<Metadata>> {
    let (end, crc) = match wal::record_at(wal_dir, Place::start_of(segment), |r| (r.end, r.crc)) {
        Ok(found) => found,
        Err(_) if segment.path(wal_dir).exists() => return Ok(None),
        Err(e) => return Err(e),
    };
    let second = wal::record_at(wal_dir, Place { segment, offset: end, crc }, |r| {
        (r.kind == Kind::Metadata).then(|| Metadata::decode(r.data))
    });
    second.ok().flatten().transpose()
}

/// A snapshot that might be the base, and where the entries behind it begin.
struct Candidate {
    snapshot: Snapshot,
    behind: Option<(Place, HardState)>,
}

impl Candidate {
    fn index(&self) -> u64 {
        self.snapshot.metadata.position.index
    }
}

impl Contents {
    /// The index that the base stands at; 0 without one.
    pub fn base_index(&self) -> u64 {
        self.base.as_ref().map_or(0, |b| b.metadata.position.index)
    }

    /// The last entry, or the base if nothing lies behind it.
    pub fn last(&self) -> LogPosition {
        self.log.last
    }

    /// Members and their peer URLs when all of the log is applied.
    ///
    /// # Errors
    /// [`Exit::Corrupt`] if the snapshot's store or a membership entry cannot be read.
    pub fn members(&self) -> Result<std::collections::BTreeMap<u64, StoredMember>> {
        let read = || {
            let (voters, stored) = match &self.base {
                Some(base) => (base.metadata.members.clone(), store::members(base.store()?)?),
                None => (Vec::new(), Default::default()),
            };
            members::follow(&voters, stored, self.changes())
        };
        read().or_fault(
            Exit::Corrupt,
            "reading the member list",
            "take another member's data or an older backup",
        )
    }

    fn changes(&self) -> &[Change] {
        &self.log.changes
    }

    /// Whether the log's last write did not arrive whole; etcd repairs that itself.
    pub fn torn(&self) -> Option<&str> {
        match &self.tail.stop {
            Stop::Torn(reason) => Some(reason),
            _ => None,
        }
    }

    /// The size of the base, 0 without one.
    pub fn base_size(&self) -> Result<u64> {
        self.base.as_ref().map_or(Ok(0), |b| Ok(fs::metadata(&b.path)?.len()))
    }
}
