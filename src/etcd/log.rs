//! What the records of a log add up to: IDs, the last hard state, an unbroken run of entries, membership entries.

use anyhow::{Context, Result, ensure};

use super::frame::{Kind, Record};
use super::members::Change;
use super::proto::{Entry, EntryKind, HardState, LogPosition, Metadata};
use super::request;
use super::terms::Terms;
use super::v3::V3Write;
use crate::exit::{Exit, fault};

/// A log with more membership entries than this behind its base is not one.
const MAX_CHANGES: usize = 100_000;

/// No log has an index near the end of all numbers: it can be counted on from any.
const MAX_INDEX: u64 = u64::MAX >> 1;
/// raftpb.EntryConfChangeV2: no etcd up to 3.5 writes it, but it is known.
const CONF_CHANGE_V2: u64 = 2;

/// The running sum over a log's records. Start one with [`Log::default`] or, in the middle of a log, with
/// [`Log::behind`].
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
    /// Snapshots that the log knows of.
    pub snapshots: Vec<LogPosition>,
    /// Membership entries that are still valid (a later entry with a lower index overwrites).
    pub changes: Vec<Change>,
    /// The first entry that writes to the v3 store and is still valid.
    pub v3_write: Option<V3Write>,
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
    /// A log that is read on from behind an entry that was read before.
    pub fn behind(last: LogPosition, hard_state: HardState) -> Self {
        let (run_first, terms) = (Some(last.index + 1), Terms::behind(last));
        Self { last, hard_state, run_first, terms, ..Self::default() }
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
        if self.v3_write.is_none()
            && entry.kind == EntryKind::Normal
            && let Some(request) = request::v3_write(entry.data)
        {
            self.v3_write = Some(V3Write { index: entry.index, request });
        }
        if entry.kind == EntryKind::ConfChange {
            ensure!(self.changes.len() < MAX_CHANGES, "more than {MAX_CHANGES} membership entries");
            self.changes.push(Change::decode(entry.index, entry.data)?);
        }
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

    /// Whether the entries behind `base` follow it without a gap, up to where the member was.
    pub fn continues(&self, base: u64) -> bool {
        let reached = self.received().is_none_or(|received| received <= base);
        reached && self.run_first.is_none_or(|first| first <= base + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::proto::{ConfChange, ConfChangeKind};
    use crate::etcd::wire::Encoder;

    fn add(log: &mut Log, kind: Kind, data: &[u8]) -> Result<()> {
        add_at(log, 80, kind, data)
    }

    fn add_at(log: &mut Log, start: u64, kind: Kind, data: &[u8]) -> Result<()> {
        log.add(&Record { kind, data, start, end: start + 8, crc_before: 0, crc: 0, padded: false })
    }

    fn entries(indexes: &[u64]) -> Log {
        let mut log = Log::default();
        for &index in indexes {
            let entry = Entry { kind: EntryKind::Normal, term: 1, index, data: &[] };
            add(&mut log, Kind::Entry, &entry.encode()).unwrap();
        }
        log
    }

    #[test]
    fn runs_overwrites_and_jumps() {
        let table: [(&[u64], u64, Option<u64>, bool); 5] = [
            (&[], 7, None, true),
            (&[1, 2, 3], 0, Some(1), true),
            (&[1, 2, 3, 3, 4], 0, Some(1), true),
            (&[60, 61, 7036, 7037], 61, Some(7036), false),
            (&[60, 61, 7036, 7037], 7035, Some(7036), true),
        ];
        for (indexes, base, first, continues) in table {
            let log = entries(indexes);
            assert_eq!((log.run_first, log.continues(base)), (first, continues), "{indexes:?} behind {base}");
            assert_eq!(log.last.index, indexes.last().copied().unwrap_or(0));
        }
    }

    #[test]
    fn a_snapshot_ahead_of_all_entries_was_received_and_nothing_older_reaches_it() {
        let mut log = entries(&[60, 61]);
        let snapshot = |log: &mut Log, index| {
            add(log, Kind::Snapshot, &LogPosition { index, term: 1 }.encode()).unwrap();
            (log.received(), log.continues(61), log.continues(7035))
        };
        assert_eq!(snapshot(&mut log, 61), (None, true, true));
        assert_eq!(snapshot(&mut log, 7035), (Some(7035), false, true));
        assert_eq!(snapshot(&mut log, 7100), (Some(7100), false, false));
        let entry = Entry { kind: EntryKind::Normal, term: 1, index: 7101, data: &[] };
        add(&mut log, Kind::Entry, &entry.encode()).unwrap();
        assert_eq!((log.received(), log.continues(7035), log.continues(7100)), (None, false, true));
    }

    #[test]
    fn an_overwritten_membership_entry_is_forgotten() {
        let mut log = entries(&[1, 2]);
        let change = ConfChange { kind: ConfChangeKind::Remove, member_id: 9, context: &[] }.encode(1);
        let entry = Entry { kind: EntryKind::ConfChange, term: 1, index: 3, data: &change };
        add(&mut log, Kind::Entry, &entry.encode()).unwrap();
        assert_eq!(log.changes.len(), 1);
        let entry = Entry { kind: EntryKind::Normal, term: 2, index: 3, data: &[] };
        add(&mut log, Kind::Entry, &entry.encode()).unwrap();
        assert_eq!((log.changes.len(), log.last), (0, LogPosition { index: 3, term: 2 }));
    }

    #[test]
    fn the_first_valid_write_to_the_v3_store_is_remembered() {
        let put = Encoder::default().number(1, 9).bytes(4, b"").done();
        let v2 = Encoder::default().number(1, 9).bytes(2, b"PUT").done();
        let mut log = Log::default();
        let mut write = |index, data: &[u8]| {
            let entry = Entry { kind: EntryKind::Normal, term: 1, index, data };
            add(&mut log, Kind::Entry, &entry.encode()).unwrap();
            log.v3_write.map(|w| (w.index, w.request))
        };
        for (index, data, first) in [
            (1, &v2, None),
            (2, &put, Some((2, "put"))),
            (3, &put, Some((2, "put"))),
            (2, &v2, None),
            (3, &put, Some((3, "put"))),
        ] {
            assert_eq!(write(index, data), first, "behind {index}");
        }
    }

    #[test]
    fn an_entry_of_an_unknown_kind_is_refused() {
        let entry = Entry { kind: EntryKind::Other(2), term: 1, index: 1, data: &[] };
        let error = add(&mut Log::default(), Kind::Entry, &entry.encode()).unwrap_err();
        assert_eq!(crate::exit::exit_of(&error), Exit::Refused);
        let entry = Entry { kind: EntryKind::Other(3), ..entry };
        let error = add(&mut Log::default(), Kind::Entry, &entry.encode()).unwrap_err();
        assert_eq!(crate::exit::exit_of(&error), Exit::Failed);
    }

    #[test]
    fn segments_of_two_members_are_refused() {
        let mut log = Log::default();
        let mut segment = |cluster_id| {
            add_at(&mut log, 0, Kind::Crc, b"")?;
            add_at(&mut log, 14, Kind::Metadata, &Metadata { member_id: 1, cluster_id }.encode())?;
            add(&mut log, Kind::Snapshot, &LogPosition::default().encode())
        };
        segment(2).unwrap();
        segment(2).unwrap();
        assert_eq!(segment(3).unwrap_err().to_string(), "the log's segments belong to different members");
    }

    #[test]
    fn a_segment_begins_with_crc_and_ids_and_has_neither_further_on() {
        use Kind::{Crc, Entry, Metadata};
        let table: [(&[(u64, Kind)], bool); 7] = [
            (&[(0, Crc), (14, Metadata), (40, Entry), (0, Crc), (14, Metadata)], true),
            (&[(0, Entry)], false),
            (&[(0, Metadata)], false),
            (&[(0, Crc), (14, Entry)], false),
            (&[(0, Crc), (0, Crc)], false),
            (&[(0, Crc), (14, Metadata), (40, Metadata)], false),
            (&[(0, Crc), (14, Metadata), (40, Crc)], false),
        ];
        for (records, legal) in table {
            let mut log = Log::default();
            let added = records.iter().try_for_each(|&(start, kind)| match kind {
                Metadata => {
                    add_at(&mut log, start, kind, &super::Metadata { member_id: 1, cluster_id: 2 }.encode())
                }
                Entry => add_at(&mut log, start, kind, &[8, 0, 0x10, 1, 0x18, 1]),
                _ => add_at(&mut log, start, kind, b""),
            });
            assert_eq!(added.is_ok(), legal, "{records:?}");
        }
    }

    #[test]
    fn terms_and_commits_do_not_go_back() {
        let state = |log: &mut Log, term, commit| {
            add(log, Kind::HardState, &HardState { term, vote: 0, commit }.encode()).is_ok()
        };
        let entry = |log: &mut Log, term, index| {
            let entry = Entry { kind: EntryKind::Normal, term, index, data: &[] };
            add(log, Kind::Entry, &entry.encode()).is_ok()
        };
        let mut log = Log::default();
        assert!(state(&mut log, 2, 5) && state(&mut log, 2, 5) && state(&mut log, 3, 6));
        assert!(!state(&mut log, 2, 7) && !state(&mut log, 3, 5));

        assert!(entry(&mut log, 4, 8) && !entry(&mut log, 3, 9) && entry(&mut log, 4, 9));
        // A new leader's log may hold older terms than what it replaces, not than what stays.
        assert!(entry(&mut log, 6, 10) && entry(&mut log, 5, 10) && !entry(&mut log, 3, 9));
    }

    #[test]
    fn a_snapshot_with_another_term_than_the_entry_replaces_all_before_it() {
        let log = |position: LogPosition| {
            let mut log = entries(&[1, 2, 3, 4]);
            let entry = Entry { kind: EntryKind::Normal, term: 9, index: 5, data: &[] };
            add(&mut log, Kind::Entry, &entry.encode()).unwrap();
            add(&mut log, Kind::Snapshot, &position.encode()).unwrap();
            assert_eq!(log.replaced, !log.continues(0));
            (log.run_first, log.last.index, log.continues(0), log.continues(position.index))
        };
        for (index, term, expected) in [
            (3, 1, (Some(1), 5, true, true)),
            (5, 9, (Some(1), 5, true, true)),
            (0, 0, (Some(1), 5, true, true)),
            (5, 2, (Some(6), 5, false, true)),
            (3, 2, (Some(4), 3, false, true)),
        ] {
            assert_eq!(log(LogPosition { index, term }), expected, "{index} in {term}");
        }
        // What was before is not known when reading goes on, but that it was of no later term.
        let mut log = Log::behind(LogPosition { index: 70, term: 2 }, HardState::default());
        for (term, replaced) in [(2, false), (3, true)] {
            add(&mut log, Kind::Snapshot, &LogPosition { index: 65, term }.encode()).unwrap();
            assert_eq!(log.replaced, replaced, "{term}");
        }
    }

    #[test]
    fn indexes_at_the_end_of_all_numbers_are_read() {
        for (index, legal) in
            [(0, false), (1, true), (MAX_INDEX, true), (MAX_INDEX + 1, false), (u64::MAX, false)]
        {
            let entry = Entry { kind: EntryKind::Normal, term: 1, index, data: &[] };
            assert_eq!(add(&mut Log::default(), Kind::Entry, &entry.encode()).is_ok(), legal, "{index}");
            let snapshot = LogPosition { index, term: 1 }.encode();
            assert_eq!(add(&mut Log::default(), Kind::Snapshot, &snapshot).is_ok(), legal || index == 0);
        }
        assert!(entries(&[MAX_INDEX]).continues(MAX_INDEX));
    }
}
