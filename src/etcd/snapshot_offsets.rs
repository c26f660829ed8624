//! Where in a log the entries behind each snapshot begin, found while the log is read once.

use super::log::Log;
use super::proto::HardState;
use super::wal::Place;

/// A place behind an entry, and what the log added up to there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Behind the entry.
    pub(super) place: Place,
    /// The last hard state before it.
    pub(super) hard_state: HardState,
    /// Entries up to it.
    pub(super) entries: u64,
    /// Those of them that write.
    pub(super) writes: u64,
    /// Snapshot records before it.
    pub(super) snapshots: usize,
    /// The records' kinds and places up to it.
    pub(super) kinds: u64,
}

/// Follows the entries of a log. The mark of a snapshot is behind the last entry that the snapshot contains: everything
/// further on lies behind the snapshot, even where a new leader's entries overwrote others.
#[derive(Debug)]
pub(super) struct Marks {
    /// Index of each snapshot, ascending, and its mark.
    snapshots: Vec<(u64, Option<Mark>)>,
    /// Index of the entry before; 0 if there is none.
    last: u64,
    /// The mark behind it, if a snapshot may still be passed.
    mark: Option<Mark>,
    /// The first snapshot that is not older than that entry. It alone can be passed by the next one.
    next: u64,
}

impl Default for Marks {
    /// Of no snapshot.
    fn default() -> Self {
        Self::new([])
    }
}

impl Marks {
    pub(super) fn new(snapshots: impl IntoIterator<Item = u64>) -> Self {
        let mut snapshots: Vec<_> = snapshots.into_iter().map(|index| (index, None)).collect();
        snapshots.sort_unstable_by_key(|s| s.0);
        let next = snapshots.first().map_or(u64::MAX, |s| s.0);
        Self { snapshots, last: 0, mark: None, next }
    }

    /// To be called behind each entry, which `log` has seen already.
    pub(super) fn add(&mut self, log: &Log, place: Place) {
        let index = log.last.index;
        if index <= self.last || self.next < index {
            self.pass(index);
        }
        self.last = index;
        if self.next < u64::MAX {
            let Log { hard_state, entries, writes, kinds, .. } = *log;
            let snapshots = log.snapshots.len();
            self.mark = Some(Mark { place, hard_state, entries, writes, snapshots, kinds });
        }
    }

    /// Marks the snapshots between the last entry and the one at `index`.
    #[cold]
    fn pass(&mut self, index: u64) {
        let passed = self.snapshots.iter_mut().filter(|s| (self.last..index).contains(&s.0));
        passed.for_each(|s| s.1 = self.mark);
        self.next = self.snapshots.iter().map(|s| s.0).find(|&s| s >= index).unwrap_or(u64::MAX);
    }

    /// The mark of a snapshot when the whole log was read; `None`: all entries lie behind it.
    pub(super) fn of(&self, snapshot: u64) -> Option<Mark> {
        if self.last <= snapshot {
            return self.mark;
        }
        self.snapshots.iter().find(|s| s.0 == snapshot)?.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::proto::LogPosition;
    use crate::etcd::wal::SegmentName;

    /// The mark's entry, counted from 1, for a log with entries of these indexes.
    fn found(indexes: &[u64], snapshots: &[u64], snapshot: u64) -> Option<u64> {
        let mut marks = Marks::new(snapshots.iter().copied());
        let mut log = Log::default();
        for &index in indexes {
            log.entries += 1;
            log.last = LogPosition { index, term: 1 };
            let place =
                Place { offset: log.entries, ..Place::start_of(SegmentName { sequence: 0, index: 0 }) };
            marks.add(&log, place);
        }
        let mark = marks.of(snapshot)?;
        assert_eq!(mark.place.offset, mark.entries);
        Some(mark.entries)
    }

    #[test]
    fn a_mark_is_behind_the_last_entry_that_the_snapshot_contains() {
        let table: [(&[u64], u64, Option<u64>); 7] = [
            (&[], 5, None),
            (&[7, 8], 5, None),
            (&[1, 2, 3, 4], 2, Some(2)),
            (&[1, 2, 3, 4], 4, Some(4)),
            (&[1, 2, 3, 2, 3], 2, Some(4)),
            (&[60, 61, 7036, 7037], 7035, Some(2)),
            (&[1, 2, 3, 4, 3], 9, Some(5)),
        ];
        for (indexes, snapshot, mark) in table {
            assert_eq!(found(indexes, &[snapshot], snapshot), mark, "{indexes:?} {snapshot}");
        }
    }

    /// Every log of five entries with indexes up to 4, jumps and overwrites included, against the rule itself.
    #[test]
    fn every_short_log_is_marked_by_the_rule() {
        for code in 0..4_u64.pow(5) {
            let indexes: Vec<u64> = (0..5).map(|digit| code / 4_u64.pow(digit) % 4 + 1).collect();
            for snapshot in 1..=4 {
                let rule = indexes.iter().rposition(|&i| i <= snapshot).map(|at| at as u64 + 1);
                assert_eq!(found(&indexes, &[4, 1, 3, 2], snapshot), rule, "{indexes:?} {snapshot}");
            }
        }
    }
}
