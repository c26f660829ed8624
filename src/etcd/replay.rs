//! What a snapshot and the records of a log add up to, read one behind the other and once: a data directory, a segment, the
//! parts of an archive.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context as _, Result, ensure};

use super::frame::{Kind, Record};
use super::log::Log;
use super::members;
use super::proto::{HardState, LogPosition};
use super::snap::{self, Outline, SnapshotName};
use super::snapshot_offsets::Marks;
use super::store::{self, StoredMember};
use super::wal::{Place, SegmentName, Walk};

/// What a snapshot and the records behind it go to, in this order.
pub trait Sink {
    /// A snapshot file: its name, where it has one; its size in bytes, and these. What is not read of them is passed over.
    ///
    /// # Errors
    /// It cannot be taken.
    fn snapshot(&mut self, name: Option<SnapshotName>, size: u64, bytes: &mut dyn Read) -> Result<()>;

    /// A record of the log, and the segment it is from.
    ///
    /// # Errors
    /// It cannot be taken.
    fn record(&mut self, segment: SegmentName, record: &Record<'_>) -> Result<()>;
}

/// The running sum. It takes as much memory as there are members and changes of them, however long the log is.
#[derive(Debug, Default)]
pub struct Replay {
    /// The snapshot that was read; `None`: there was none, or which one it is will be chosen by what the log says.
    pub base: Option<Outline>,
    /// The members that its store lists.
    pub stored: BTreeMap<u64, StoredMember>,
    /// What the records add up to, those too that the snapshot contains.
    pub log: Log,
    /// Where the entries behind the snapshot begin.
    marks: Marks,
}

/// What of a log lies behind the snapshot that it is replayed on.
#[derive(Debug)]
pub(super) struct Behind {
    /// Where it begins.
    pub(super) start: Place,
    /// The hard state there.
    pub(super) state: HardState,
    /// The walk from there on.
    pub(super) tail: Walk,
    /// The log from there on.
    pub(super) log: Log,
}

impl Replay {
    /// Goes on where a log was read before.
    pub fn on(log: Log) -> Self {
        Self { log, ..Self::default() }
    }

    /// Of a log that says itself which of these snapshots it is to be replayed on.
    pub(super) fn choosing(snapshots: impl IntoIterator<Item = u64>) -> Self {
        Self { marks: Marks::new(snapshots), ..Self::default() }
    }

    /// The place of the snapshot in the log; 0 without one.
    pub fn base_position(&self) -> LogPosition {
        self.base.as_ref().map_or_else(LogPosition::default, |base| base.metadata.position)
    }

    /// Whether etcd could replay it: the log knows of the snapshot, and goes on behind it without a gap.
    ///
    /// # Errors
    /// Why not.
    pub fn is_continuous(&self) -> Result<()> {
        let (base, log) = (self.base_position(), &self.log);
        let known = self.base.is_none() || log.snapshots.contains(&base);
        ensure!(known, "the log has no record of the snapshot at index {}", base.index);
        ensure!(log.continues(base.index), "the entries after index {} are missing", base.index);
        Ok(())
    }

    /// Whether it ends with this entry, or with the snapshot of it.
    ///
    /// # Errors
    /// Where else it ends.
    pub fn ends_at(&self, wanted: LogPosition) -> Result<()> {
        let (base, entries) = (self.base_position(), self.log.entries > 0);
        let end = if self.base.is_some() && !entries { base } else { self.log.last };
        // Of the entry that a log goes on behind nothing but its index may be known.
        let term_known = entries || self.base.is_some() || end.index == 0;
        ensure!(
            end.index == wanted.index && (end.term == wanted.term || !term_known),
            "it ends at index {} of term {}, not at {} of term {}",
            end.index,
            end.term,
            wanted.index,
            wanted.term
        );
        Ok(())
    }

    /// Members and their peer URLs when all of the log is applied to the snapshot.
    ///
    /// # Errors
    /// A membership entry cannot be read.
    pub fn members(&self) -> Result<BTreeMap<u64, StoredMember>> {
        let voters = self.base.as_ref().map_or(&[][..], |base| &base.metadata.members);
        members::follow(voters, self.stored.clone(), self.log.changes_behind(self.base_position().index))
    }

    /// What of it lies behind a snapshot of those that it knew of, or behind the beginning; `walk` is that of all of it,
    /// which began at a place with a hard state.
    pub(super) fn behind(
        self,
        base: Option<LogPosition>,
        (beginning, state): (Place, HardState),
        walk: Walk,
    ) -> Behind {
        let mark = base.and_then(|base| self.marks.of(base.index));
        let base = base.unwrap_or_default();
        let (start, state) = mark.map_or((beginning, state), |mark| (mark.place, mark.hard_state));
        let tail = walk.behind(start);
        let (entries, writes, kinds, snapshots) =
            mark.map_or((0, 0, 0, 0), |m| (m.entries, m.writes, m.kinds, m.snapshots));
        let whole = self.log;
        let (entries, writes) = (whole.entries - entries, whole.writes - writes);
        let mut whole = whole.cut_to(base);
        let log = Log {
            last: if entries > 0 { whole.last } else { base },
            entries,
            writes,
            kinds: whole.kinds.wrapping_sub(kinds),
            snapshots: whole.snapshots.split_off(snapshots),
            last_record: whole.last_record.filter(|_| !tail.extents.is_empty()),
            ..whole
        };
        Behind { start, state, tail, log }
    }
}

impl Sink for Replay {
    fn snapshot(&mut self, name: Option<SnapshotName>, size: u64, bytes: &mut dyn Read) -> Result<()> {
        let mut stored = BTreeMap::new();
        let outline = snap::read_through(bytes, size, &mut |json| {
            stored = store::members(json).context("reading the member list")?;
            Ok(())
        })?;
        let position = outline.metadata.position;
        ensure!(
            name.is_none_or(|name| name.position() == position),
            "it holds the state at term {}, index {}",
            position.term,
            position.index
        );
        self.marks = Marks::new([position.index]);
        (self.base, self.stored) = (Some(outline), stored);
        Ok(())
    }

    fn record(&mut self, segment: SegmentName, record: &Record<'_>) -> Result<()> {
        self.log.add(record)?;
        if record.kind == Kind::Entry {
            self.marks.add(&self.log, Place { segment, offset: record.end, crc: record.crc });
        }
        Ok(())
    }
}
