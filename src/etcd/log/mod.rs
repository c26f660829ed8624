//! What the records of a log add up to: IDs, the last hard state, an unbroken run of entries, membership entries.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use super::frame::{Kind, Record};
use super::members::Change;
use super::proto::{Entry, EntryKind, HardState, LogPosition, Metadata};
use super::request::Effect;
use super::terms::Terms;
use super::v3::alarms::AlarmKind;
use super::v3::{self, V3Write};
use crate::exit::{Exit, fault};
use crate::sys::time;

/// A log with more membership entries than this behind its base is not one.
const MAX_CHANGES: usize = 100_000;
/// There are two kinds of alarms.
const MAX_ALARMS: usize = 10_000;

/// No log has an index near the end of all numbers: it can be counted on from any.
const MAX_INDEX: u64 = u64::MAX >> 1;
/// raftpb.EntryConfChangeV2: no etcd up to 3.5 writes it, but it is known.
const CONF_CHANGE_V2: u64 = 2;

/// The running sum over a log's records. Start one with [`Log::default`] or, in the middle of a log, with
/// [`Log::behind`] or [`Log::behind_index`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// Whose log it is; `None` until a segment's start was read.
    pub metadata: Option<Metadata>,
    /// The last one seen.
    pub hard_state: HardState,
    /// First index of the last run of entries without a gap; `None` without an entry.
    pub run_first: Option<u64>,
    /// The last entry, or where the log began.
    pub last: LogPosition,
    /// Entries seen, overwritten ones included.
    pub entries: u64,
    /// Those of them that may alter what a member holds: all but SYNC, reads and a new leader's first, unless they take the
    /// place of others.
    pub writes: u64,
    /// The leader's clock in the last SYNC, in nanoseconds since 1970.
    pub sync_time: Option<i64>,
    /// Snapshots that the log knows of.
    pub snapshots: Vec<LogPosition>,
    /// Membership entries that are still valid (a later entry with a lower index overwrites).
    pub changes: Vec<Change>,
    /// The first entry that writes to the v3 store and is still valid.
    pub v3_write: Option<V3Write>,
    /// An entry may set a key of Kubernetes in the v3 store, valid or not.
    pub kubernetes: bool,
    /// Alarms of the v3 store that were raised, and by which member. Some may be over.
    pub alarms: BTreeSet<(u64, AlarmKind)>,
    /// A sum over the records' kinds and places: what no CRC covers of them.
    pub kinds: u64,
    /// A frame was padded: etcd 3.x wrote it.
    pub padded: bool,
    /// Offset of the last record, and the rolling CRC before it.
    pub last_record: Option<(u64, u32)>,
    /// A snapshot from the leader took the place of entries that are in the log.
    pub replaced: bool,
    /// The terms of the last run of entries.
    pub terms: Terms,
}

impl Log {
    /// The leader's clock in the newest SYNC, in seconds since 1970.
    pub fn synced(&self) -> Option<u64> {
        time::seconds(self.sync_time?)
    }

    /// A log that is read on from behind an entry that was read before.
    pub fn behind(last: LogPosition, hard_state: HardState) -> Self {
        let (run_first, terms) = (Some(last.index + 1), Terms::behind(last));
        Self { last, hard_state, run_first, terms, ..Self::default() }
    }

    /// The same where the term of that entry is not known. No term of what lies before can be contradicted then.
    pub fn behind_index(index: u64, hard_state: HardState) -> Self {
        let last = LogPosition { index, term: 0 };
        Self { terms: Terms::default(), ..Self::behind(last, hard_state) }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// A payload cannot be read, the segments are of different members, or the record cannot follow those before it. The
    /// CRC does not cover a record's type: only what a record says, and where, tells that it has another one.
    pub fn add(&mut self, record: &Record<'_>) -> Result<()> {
        ensure!((record.start == 0) == (record.kind == Kind::Crc), "a segment begins with a CRC, once");
        if let Some((before, _)) = self.last_record {
            ensure!((before == 0) == (record.kind == Kind::Metadata), "a segment's IDs follow its CRC, once");
        }
        self.kinds = self.kinds.wrapping_add(weight(record));
        self.padded |= record.padded;
        self.last_record = Some((record.start, record.crc_before));
        if record.kind == Kind::Entry
            && let Some(entry) = &Entry::usual(record.data)
        {
            return self.add_entry(entry);
        }
        match record.kind {
            Kind::Crc => {}
            Kind::Metadata => {
                let metadata = Metadata::decode(record.data).context("reading the log's metadata")?;
                let same = self.metadata.is_none_or(|m| m == metadata);
                ensure!(same, "the log's segments belong to different members");
                self.metadata = Some(metadata);
            }
            Kind::HardState => {
                let state = HardState::decode(record.data).context("reading a hard state")?;
                let HardState { term, commit, .. } = self.hard_state;
                ensure!(state.term >= term, "the term goes back from {term} to {}", state.term);
                ensure!(
                    state.commit >= commit,
                    "the commit index goes back from {commit} to {}",
                    state.commit
                );
                self.hard_state = state;
            }
            Kind::Snapshot => {
                let position = LogPosition::decode(record.data).context("reading a snapshot record")?;
                ensure!(position.index <= MAX_INDEX, "a snapshot with the index {}", position.index);
                self.add_snapshot(position);
            }
            Kind::Entry => self.add_entry(&Entry::decode(record.data).context("reading an entry")?)?,
        }
        Ok(())
    }

    /// A member's own snapshot lies at an entry that it has. With another term there it came from the leader, in the place
    /// of all entries: what was before it is not reachable any more.
    fn add_snapshot(&mut self, position: LogPosition) {
        self.snapshots.push(position);
        if position.index <= self.last.index && self.terms.contradict(position) {
            self.replaced = true;
            self.run_first = Some(position.index + 1);
            self.last = position;
            self.terms = Terms::behind(position);
            self.changes.clear();
        }
    }

    /// The same log had it been read from behind one of its entries on, as far as the run of entries goes.
    #[must_use]
    pub(super) fn cut_to(mut self, from: LogPosition) -> Self {
        self.changes.retain(|c| c.index > from.index);
        let (run_first, terms) = (Some(from.index + 1), self.terms.split_off(from));
        Self { run_first, terms, replaced: false, ..self }
    }

    fn add_entry(&mut self, entry: &Entry<'_>) -> Result<()> {
        ensure!((1..=MAX_INDEX).contains(&entry.index), "an entry with the index {}", entry.index);
        let follows = entry.index <= self.last.index + 1;
        if follows && let Some(term) = self.terms.at(entry.index - 1) {
            ensure!(entry.term >= term, "the term goes back from {term} to {}", entry.term);
        }
        if let EntryKind::Other(kind) = entry.kind {
            ensure!(kind == CONF_CHANGE_V2, "an entry of kind {kind}");
            let hint = "the data is of an etcd newer than 3.5: use the etcd2-backup made for it";
            return Err(fault(
                Exit::Refused,
                format!("entry {} is of an unknown kind, {kind}", entry.index),
                hint,
            ));
        }
        if self.changes.last().is_some_and(|c| c.index >= entry.index) {
            self.changes.retain(|c| c.index < entry.index);
        }
        if self.v3_write.as_ref().is_some_and(|w| w.index >= entry.index) {
            self.v3_write = None;
        }
        let mut writes = entry.index <= self.last.index;
        if entry.kind == EntryKind::ConfChange {
            ensure!(self.changes.len() < MAX_CHANGES, "more than {MAX_CHANGES} membership entries");
            self.changes.push(Change::decode(entry.index, entry.data)?);
            writes = true;
        } else {
            match Effect::of(entry.data) {
                Effect::Nothing => {}
                Effect::Sync(time) => self.sync_time = Some(time),
                Effect::Write => writes = true,
                Effect::Alarm { member_id, kind } => {
                    writes = true;
                    ensure!(self.alarms.len() < MAX_ALARMS, "more than {MAX_ALARMS} alarms");
                    self.alarms.insert((member_id, kind));
                }
                Effect::V3Write(request) => {
                    writes = true;
                    self.v3_write.get_or_insert(V3Write { index: entry.index, request });
                    self.kubernetes = self.kubernetes || v3::may_be_of_kubernetes(entry.data);
                }
            }
        }
        self.writes += u64::from(writes);
        // A jump is legal where a follower received a snapshot; what was before it is not reachable any more.
        match self.run_first {
            Some(first) if follows => self.run_first = Some(first.min(entry.index)),
            _ => {
                self.run_first = Some(entry.index);
                self.terms = Terms::default();
            }
        }
        self.last = LogPosition { index: entry.index, term: entry.term };
        self.terms.add(self.last);
        self.entries += 1;
        Ok(())
    }

    /// The newest snapshot that lies ahead of all entries: the member received it from its leader, and nothing since.
    /// Its own ones lie at entries that it has.
    pub fn received(&self) -> Option<u64> {
        self.snapshots.iter().map(|s| s.index).filter(|&index| index > self.last.index).max()
    }

    /// The membership entries up to an index.
    pub fn changes_to(&self, index: u64) -> &[Change] {
        &self.changes[..self.changes.partition_point(|c| c.index <= index)]
    }

    /// The membership entries behind an index.
    pub fn changes_behind(&self, index: u64) -> &[Change] {
        &self.changes[self.changes_to(index).len()..]
    }

    /// Whether the entries behind `base` follow it without a gap, up to where the member was.
    pub fn continues(&self, base: u64) -> bool {
        let reached = self.received().is_none_or(|received| received <= base);
        reached && self.run_first.is_none_or(|first| first <= base + 1)
    }
}

/// What a record adds to [`Log::kinds`].
pub fn weight(record: &Record<'_>) -> u64 {
    (record.kind as u64).wrapping_mul(record.end | 1)
}

#[cfg(test)]
mod tests;
