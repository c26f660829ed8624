//! A data directory: which snapshot and which log it really holds.
//!
//! The reader's rule: the newest `.snap` whose CRC is right, which the log knows of (same index and term), and behind
//! which the entries follow without a gap; else the next older; else none, if the log reaches back to index 1.
//! The snapshots are listed before the log, so that none is newer than the log copied with it. Only those that the log
//! fits are read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, Result};

use super::frame::{Kind, Stop};
use super::log::Log;
use super::members::{self, Change};
use super::proto::{HardState, LogPosition, Metadata};
use super::replay::{Behind, Replay, Sink};
use super::snap::{self, Snapshot, SnapshotName};
use super::store::{self, StoredMember};
use super::v3::base::{Base as V3Base, BesideLog};
use super::v3::{Db, Seen};
use super::wal::{self, Place, Reading, Walk};
use crate::exit::{Exit, OrFault, exit_of, fault};
use crate::sys::look;

/// How often a live data directory is read before it is believed that nothing in it fits together.
const LIVE_TRIES: u32 = 10;
const LIVE_PAUSE: Duration = Duration::from_millis(100);

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
    /// What the v3 store's file says.
    pub db: Db,
    /// The v3 store that the log goes on from, where it was looked for ([`DataDir::scan_both_stores`]) and is there.
    pub v3: Option<V3Base>,
}

impl DataDir {
    /// The layout of 2.0.1 and later (`member/snap`, `member/wal` or a separate WAL directory), else that of 2.0.0
    /// (`snap` and `wal` directly in it).
    ///
    /// # Errors
    /// [`Exit::NotFound`] if there is no log in it; another one if it could not be looked into.
    pub fn open(data_dir: &Path, wal_dir: Option<&Path>) -> Result<Self> {
        let member = data_dir.join("member");
        let top = if look::is_dir(&member)? { member } else { data_dir.to_path_buf() };
        let this =
            Self { snap: top.join("snap"), wal: wal_dir.map_or_else(|| top.join("wal"), Path::to_path_buf) };
        if !wal::segments_if_there(&this.wal)?.is_empty() {
            return Ok(this);
        }
        let what = format!("no etcd log in {}", this.wal.display());
        Err(fault(Exit::NotFound, what, "is ETCD_DATA_DIR right, and did etcd ever run as a member here?"))
    }

    /// Reads the log and the chosen snapshot once, in constant memory.
    ///
    /// A live one is read again while its files do not fit together: etcd may have purged between the looks at them, or
    /// received a snapshot, and the newest snapshot may be half written when the one before is purged.
    ///
    /// # Errors
    /// [`Exit::Corrupt`] for damage anywhere but in the log's tail, or if no snapshot fits a log that does not reach
    /// back to its beginning, or that ends with a received snapshot; [`Exit::NotFound`] for a segment that is gone each
    /// time it is to be read.
    pub fn scan(&self, reading: Reading) -> Result<Contents> {
        self.scan_from(reading, u64::MAX)
    }

    /// The same with the v3 store, where the member has data in it. Then the snapshot is one that this store contains, which need not
    /// be the newest.
    ///
    /// # Errors
    /// As [`DataDir::scan`]; what [`V3Base::open`] finds, or that the store is not one that the log goes on from
    /// ([`V3Base::refuse_if_unfit`]).
    pub fn scan_both_stores(&self, reading: Reading) -> Result<Contents> {
        let contents = self.scan(reading)?;
        if contents.v3_data().is_none() {
            return Ok(contents);
        }
        let base = V3Base::open(&self.snap, reading)?;
        let contents = match reading {
            // What etcd has applied by now, it has logged by now.
            Reading::Live => self.scan_from(reading, base.applied())?,
            Reading::Still if base.applied() < contents.base_index() => {
                self.scan_from(reading, base.applied())?
            }
            Reading::Still => contents,
        };
        contents.on(base)
    }

    /// The contents of a directory that etcd may be writing, on a copy of its v3 store from before: the newest snapshot that the copy
    /// contains, and the log behind it.
    ///
    /// # Errors
    /// As [`DataDir::scan_both_stores`].
    pub fn scan_on(&self, v3: V3Base) -> Result<Contents> {
        self.scan_from(Reading::Live, v3.applied())?.on(v3)
    }

    /// Contents of a directory that nobody writes, with the v3 store that lies in it.
    ///
    /// # Errors
    /// As [`DataDir::scan_both_stores`].
    pub fn with_v3(&self, contents: Contents) -> Result<Contents> {
        contents.on(V3Base::open(&self.snap, Reading::Still)?)
    }

    fn scan_from(&self, reading: Reading, newest: u64) -> Result<Contents> {
        let Survey { replay, walk, beginning, fault, base, passed_over, db, .. } =
            self.survey_from(reading, newest)?;
        if let Some(fault) = fault {
            return Err(fault);
        }
        let family = self.family(&replay.log)?;
        let start = (beginning, HardState::default());
        let contents = Contents::behind(base, replay, start, walk, family)?;
        Ok(Contents { passed_over, db, ..contents })
    }

    /// Reads what [`DataDir::scan`] reads, as far as it can be read: why that refuses it is in [`Survey::fault`].
    ///
    /// # Errors
    /// The folders cannot be listed.
    pub fn survey(&self, reading: Reading) -> Result<Survey> {
        self.survey_from(reading, u64::MAX)
    }

    /// The same with no later snapshot than this.
    fn survey_from(&self, reading: Reading, newest: u64) -> Result<Survey> {
        let tries = if reading == Reading::Live { LIVE_TRIES } else { 1 };
        for _ in 1..tries {
            let survey = self.look(reading, newest)?;
            let damaged = |e: &anyhow::Error| survey.damaged && exit_of(e) != Exit::NotFound;
            if survey.fault.as_ref().is_none_or(damaged) {
                return Ok(survey);
            }
            thread::sleep(LIVE_PAUSE);
        }
        self.look(reading, newest)
    }

    fn look(&self, reading: Reading, newest: u64) -> Result<Survey> {
        let mut names = snap::list(&self.snap)?;
        names.retain(|name| name.index <= newest);
        let first = *wal::segments(&self.wal)?.first().context("the log has no segment")?;
        let beginning = Place::start_of(first);
        let mut replay = Replay::choosing(names.iter().map(|n| n.index));
        let (walk, damage) = wal::walk_to_fault(&self.wal, beginning, reading, &mut |segment, record| {
            let at = Place { segment, offset: record.start, crc: record.crc_before };
            replay.record(segment, record).map_err(|e| wal::senseless(at, e))
        });
        let damaged = damage.is_some();
        let mut passed_over = Vec::new();
        let (base, missing) = match self.base(&names, &replay.log, &mut passed_over) {
            Ok(base) => (base, None),
            Err(e) => (None, Some(e)),
        };
        let fault = damage.or(missing).or_else(|| {
            let what = format!("the log in {} does not name its member", self.wal.display());
            let hint = "take another member's data or an older backup";
            replay.log.metadata.is_none().then(|| fault(Exit::Corrupt, what, hint))
        });
        let db = Db::look(&self.snap);
        Ok(Survey { replay, walk, beginning, fault, damaged, base, passed_over, db })
    }

    /// Which etcd wrote the log and what lies beside it.
    ///
    /// # Errors
    /// It could not be asked what lies there.
    pub fn family(&self, log: &Log) -> Result<Family> {
        let three = log.padded || look::is_there(&self.snap.join("db"))?;
        Ok(if three { Family::Three } else { Family::Two })
    }

    /// The newest snapshot that the log fits and that is whole, and what was passed over for it.
    fn base(
        &self,
        names: &[SnapshotName],
        whole: &Log,
        passed_over: &mut Vec<String>,
    ) -> Result<Option<Snapshot>> {
        let mut unread = None;
        for &name in names {
            let mut pass_over = |why: &str| {
                passed_over.push(format!("{}: {why}", self.snap.join(name.to_string()).display()));
            };
            if !whole.snapshots.contains(&name.position()) {
                pass_over("the log has no record of it");
            } else if !whole.continues(name.index) {
                pass_over("the entries after it are missing");
            } else {
                match Snapshot::open(&self.snap, name) {
                    Ok(snapshot) => return Ok(Some(snapshot)),
                    Err(e) => {
                        passed_over.push(format!("{e:#}"));
                        unread = unread.or(Some(e).filter(look::is_unread));
                    }
                }
            }
        }
        if whole.continues(0) {
            return Ok(None);
        }
        // It may be a good one, and the log fit it.
        if let Some(e) = unread {
            return Err(e.context("no other snapshot fits the log"));
        }
        let what = match whole.received() {
            Some(index) => format!("ends with the snapshot of index {index}, received from the leader,"),
            None => format!("begins at index {}", whole.run_first.unwrap_or_default()),
        };
        let why = if passed_over.is_empty() { "there is none".into() } else { passed_over.join("; ") };
        let what = format!("the log in {} {what} and no snapshot fits it: {why}", self.wal.display());
        Err(fault(Exit::Corrupt, what, "take another member's data or an older backup"))
    }
}

/// What a data directory holds as far as it can be read, damaged or not.
#[derive(Debug)]
pub struct Survey {
    /// What all records before the first fault add up to. The snapshot is none of it.
    pub replay: Replay,
    /// How far they were read.
    pub walk: Walk,
    /// Where the log begins.
    beginning: Place,
    /// Why this is not a member's whole data; a torn tail is no fault.
    pub fault: Option<anyhow::Error>,
    /// The fault is at the end of `walk`, and not that something is missing.
    pub damaged: bool,
    /// The snapshot to begin with.
    pub base: Option<Snapshot>,
    /// Snapshots that were passed over, and why.
    pub passed_over: Vec<String>,
    /// What the v3 store's file says.
    pub db: Db,
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
    let what = format!("no segment in {} names its member", wal_dir.display());
    Err(fault(Exit::Corrupt, what, "take another member's data or a backup"))
}

/// The IDs that a segment says in its second record; `None` if it has no whole one.
///
/// # Errors
/// The segment is gone, or cannot be read.
pub fn segment_ids(wal_dir: &Path, segment: wal::SegmentName) -> Result<Option<Metadata>> {
    let (end, crc) = match wal::record_at(wal_dir, Place::start_of(segment), |r| (r.end, r.crc)) {
        Ok(found) => found,
        Err(e) if look::is_unread(&e) || !look::is_there(&segment.path(wal_dir))? => return Err(e),
        Err(_) => return Ok(None),
    };
    let second = wal::record_at(wal_dir, Place { segment, offset: end, crc }, |r| {
        (r.kind == Kind::Metadata).then(|| Metadata::decode(r.data))
    });
    match second {
        Err(e) if look::is_unread(&e) => Err(e),
        second => second.ok().flatten().transpose(),
    }
}

impl Contents {
    /// Of a log that was read whole, from a place with a hard state on, and is replayed on `base`.
    ///
    /// # Errors
    /// The log does not say whose it is.
    pub fn behind(
        base: Option<Snapshot>,
        replay: Replay,
        beginning: (Place, HardState),
        walk: Walk,
        family: Family,
    ) -> Result<Self> {
        let metadata = replay.log.metadata.context("the log has no metadata record")?;
        let position = base.as_ref().map(|base| base.metadata.position);
        let Behind { start, state: start_state, tail, log } = replay.behind(position, beginning, walk);
        let (passed_over, db, v3) = (Vec::new(), Db::Empty, None);
        Ok(Self { metadata, base, start, start_state, tail, log, family, passed_over, db, v3 })
    }

    /// The same with a v3 store that the log goes on from.
    fn on(self, v3: V3Base) -> Result<Self> {
        v3.refuse_if_unfit(&BesideLog {
            member_id: self.metadata.member_id,
            base: self.base_index(),
            last: self.last().index,
            adds_it: self
                .log
                .changes_behind(v3.applied())
                .iter()
                .any(|c| c.member_id == self.metadata.member_id),
            term_at_applied: self.at(v3.applied()).map(|entry| entry.term),
        })?;
        Ok(Self { v3: Some(v3), ..self })
    }

    /// The place in the log that the base stands at; 0 without one.
    pub fn base_position(&self) -> LogPosition {
        self.base.as_ref().map_or_else(LogPosition::default, |b| b.metadata.position)
    }

    /// Its index.
    pub fn base_index(&self) -> u64 {
        self.base_position().index
    }

    /// The lowest index that can be restored: the base's, and with a v3 store that of the last entry in it.
    pub fn lowest(&self) -> u64 {
        self.base_index().max(self.v3.as_ref().map_or(0, V3Base::applied))
    }

    /// The entry at an index that is not behind the last one, or the base.
    pub fn at(&self, index: u64) -> Option<LogPosition> {
        let base = self.base.as_ref().map(|b| b.metadata.position).filter(|base| base.index == index);
        base.or_else(|| self.log.terms.at(index).map(|term| LogPosition { index, term }))
            .filter(|_| (self.base_index()..=self.last().index).contains(&index))
    }

    /// The last entry, or the base if nothing lies behind it.
    pub fn last(&self) -> LogPosition {
        self.log.last
    }

    /// Members and their peer URLs when all of the log is applied.
    ///
    /// # Errors
    /// As [`Contents::members_at`].
    pub fn members(&self) -> Result<BTreeMap<u64, StoredMember>> {
        self.members_at(u64::MAX)
    }

    /// Members and their peer URLs when the log is applied up to an index, not before the base.
    ///
    /// # Errors
    /// [`Exit::Corrupt`] if the snapshot's store or a membership entry cannot be read.
    pub fn members_at(&self, index: u64) -> Result<BTreeMap<u64, StoredMember>> {
        self.members_by(self.log.changes_to(index))
    }

    /// Members and their peer URLs when these membership entries are applied to the base.
    ///
    /// # Errors
    /// As [`Contents::members_at`].
    pub fn members_by(&self, changes: &[Change]) -> Result<BTreeMap<u64, StoredMember>> {
        members_of(self.base.as_ref(), changes)
    }

    /// Whether the log's last write did not arrive whole; etcd repairs that itself.
    pub fn torn(&self) -> Option<&str> {
        match &self.tail.stop {
            Stop::Torn(reason) => Some(reason),
            _ => None,
        }
    }

    /// Whether the member that wrote it had no vote at its end.
    ///
    /// # Errors
    /// A membership entry cannot be read.
    pub fn is_of_learner(&self) -> Result<bool> {
        let conf_state = self.base.as_ref().map_or(&[][..], |base| &base.metadata.conf_state);
        let learners = members::learners(conf_state, self.log.changes_to(u64::MAX))?;
        Ok(learners.contains(&self.metadata.member_id))
    }

    /// Where data of the v3 store was seen, if any: in the whole log, or in `snap/db`.
    pub fn v3_data(&self) -> Option<String> {
        Seen::new(self.log.v3_write, &self.db).map(|seen| seen.to_string())
    }

    /// The size of the base in bytes, with that of the v3 store; 0 without either.
    pub fn base_size(&self) -> Result<u64> {
        let snapshot = self.base.as_ref().map_or(Ok(0), |b| fs::metadata(&b.path).map(|m| m.len()))?;
        Ok(snapshot + self.v3.as_ref().map_or(0, |v3| v3.size))
    }
}

/// Members and their peer URLs when these membership entries are applied to a base, or to nothing.
///
/// # Errors
/// [`Exit::Corrupt`] if the snapshot's store or a membership entry cannot be read.
pub fn members_of(base: Option<&Snapshot>, changes: &[Change]) -> Result<BTreeMap<u64, StoredMember>> {
    let read = || {
        let (voters, stored) = match base {
            Some(base) => (base.metadata.members.clone(), store::members(base.store()?)?),
            None => (Vec::new(), BTreeMap::new()),
        };
        members::follow(&voters, stored, changes)
    };
    read().or_fault(Exit::Corrupt, "reading the member list", "take another member's data or an older backup")
}
