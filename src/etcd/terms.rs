//! The terms of a log's entries, kept as runs of equal ones: a log has few.

use super::proto::LogPosition;

/// First index and term of each run, ascending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms(Vec<LogPosition>);

impl Terms {
    /// Of a log that goes on behind an entry.
    pub(super) fn behind(last: LogPosition) -> Self {
        Self(if last.index > 0 { vec![last] } else { Vec::new() })
    }

    /// The term at an index that is not behind the last entry; `None` before the first one.
    pub(super) fn at(&self, index: u64) -> Option<u64> {
        self.0.iter().rfind(|run| run.index <= index).map(|run| run.term)
    }

    /// Whether a log with these entries cannot have that one among or before them, as terms never go back in a log.
    pub(super) fn contradict(&self, entry: LogPosition) -> bool {
        match (self.at(entry.index), self.0.first()) {
            (Some(term), _) => term != entry.term,
            (None, first) => first.is_some_and(|first| first.term < entry.term),
        }
    }

    /// Adds an entry, in the place of those from its index on.
    pub(super) fn add(&mut self, entry: LogPosition) {
        while self.0.pop_if(|run| run.index >= entry.index).is_some() {}
        if self.0.last().is_none_or(|run| run.term != entry.term) {
            self.0.push(entry);
        }
    }

    /// Those behind an entry.
    pub(super) fn split_off(self, from: LogPosition) -> Self {
        let mut behind = Self::behind(from);
        self.0.into_iter().filter(|run| run.index > from.index).for_each(|run| behind.add(run));
        behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_follow_what_is_added_and_replaced() {
        let mut terms = Terms::default();
        assert_eq!(terms.at(1), None);
        for (index, term) in [(5, 2), (6, 2), (7, 4), (8, 4), (7, 3), (8, 5)] {
            terms.add(LogPosition { index, term });
        }
        assert_eq!([4, 5, 6, 7, 8].map(|i| terms.at(i)), [None, Some(2), Some(2), Some(3), Some(5)]);
        let contradicted = |index, term| terms.contradict(LogPosition { index, term });
        assert!(!contradicted(6, 2) && contradicted(6, 3) && !contradicted(4, 2) && contradicted(4, 3));
        let behind = terms.split_off(LogPosition { index: 6, term: 2 });
        assert_eq!([5, 6, 7, 8].map(|i| behind.at(i)), [None, Some(2), Some(3), Some(5)]);
    }
}
