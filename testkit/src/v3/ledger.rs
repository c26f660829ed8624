//! What clients of a v3 store were told is written, and whether a restored store has it.

use std::collections::BTreeMap;

use super::{Store, base64};

/// What was asked for, and what of it was acknowledged.
#[derive(Debug, Default)]
pub struct Ledger {
    keys: BTreeMap<String, Told>,
    /// Revision and raft index of each acknowledged write.
    writes: Vec<(u64, u64)>,
}

/// What became of one key.
#[derive(Debug, Default)]
struct Told {
    /// So many requests about it were sent, acknowledged or not.
    asked: usize,
    /// One of them was to remove it.
    removal: bool,
    /// By revision: the value, `None` where it was removed.
    acknowledged: BTreeMap<u64, Option<String>>,
}

/// A write: keys with their new values, `None` for one that is removed.
pub type Write = Vec<(String, Option<String>)>;

impl Ledger {
    /// A write is about to be asked for. What becomes of it nobody knows before it is acknowledged.
    pub fn ask(&mut self, write: &Write) {
        for (key, value) in write {
            let told = self.keys.entry(key.clone()).or_default();
            told.asked += 1;
            told.removal |= value.is_none();
        }
    }

    /// It was acknowledged, with this revision; the member that did it has this index committed (none: it could not be asked).
    pub fn acknowledge(&mut self, write: Write, revision: u64, index: Option<u64>) {
        for (key, value) in write {
            self.keys.entry(key).or_default().acknowledged.insert(revision, value);
        }
        self.writes.push((revision, index.unwrap_or(u64::MAX)));
    }

    /// How many writes were acknowledged.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether nothing was acknowledged.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Compares a store with what must be in it if it was restored to this raft index or one behind it. Gives how many keys were
    /// compared, and what is wrong with each that is not right.
    pub fn compare(&self, store: &Store, index: u64) -> (usize, Vec<String>) {
        // Revisions are in the order of the log: each write before one that must be there must be there too.
        let within = self.writes.iter().filter(|(_, at)| *at <= index);
        let newest = within.map(|(revision, _)| *revision).max().unwrap_or(0);
        let mut wrong = Vec::new();
        if store.revision < newest {
            wrong.push(format!("the store is at revision {}, not {newest}", store.revision));
        }
        let mut compared = 0;
        for (key, told) in &self.keys {
            let Some((&revision, value)) = told.acknowledged.range(..=newest).next_back() else { continue };
            compared += 1;
            if let Some(why) = told.differs(store, key, revision, value.as_deref()) {
                wrong.push(format!("{key}, revision {revision}: {why}"));
            }
        }
        (compared, wrong)
    }
}

impl Told {
    fn differs(&self, store: &Store, key: &str, revision: u64, value: Option<&str>) -> Option<String> {
        // Whether something behind this revision may have changed it.
        let later = self.asked > self.acknowledged.range(..=revision).count();
        match (store.keys.get(&base64(key)), value) {
            (None, None) => None,
            (None, Some(_)) if later && self.removal => None,
            (None, Some(_)) => Some("it is missing".into()),
            (Some(found), _) if found.modified > revision && later => None,
            (Some(found), None) => {
                Some(format!("it was removed, and is there with revision {}", found.modified))
            }
            (Some(found), Some(value)) => {
                let same = found.modified == revision && found.value == base64(value);
                (!same).then(|| format!("it is {found:?}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Key;
    use super::*;

    fn put(key: &str, value: &str) -> (String, Option<String>) {
        (key.into(), Some(value.into()))
    }

    fn removed(key: &str) -> (String, Option<String>) {
        (key.into(), None)
    }

    /// `a` and `b` in one write, `c` written and removed, `d` written twice; `e` was never acknowledged.
    fn ledger() -> Ledger {
        let mut all = Ledger::default();
        for (write, revision, index) in [
            (vec![put("a", "1"), put("b", "1")], 2, Some(10)),
            (vec![put("c", "1")], 3, None),
            (vec![put("d", "1")], 4, Some(12)),
            (vec![removed("c")], 5, Some(13)),
            (vec![put("d", "2")], 6, Some(14)),
        ] {
            all.ask(&write);
            all.acknowledge(write, revision, index);
        }
        all.ask(&vec![put("e", "1")]);
        all
    }

    fn store(revision: u64, keys: &[(&str, &str, u64)]) -> Store {
        let none = BTreeMap::new;
        let key = |&(key, value, modified): &(&str, &str, u64)| {
            let value = base64(value);
            (base64(key), Key { value, created: modified, modified, version: 1, lease: 0 })
        };
        let keys = keys.iter().map(key).collect();
        Store { revision, keys, leases: none(), users: none(), roles: none() }
    }

    #[test]
    fn what_was_acknowledged_up_to_a_point_must_be_there_and_nothing_else() {
        let (a, b, c, d, newer) = (("a", "1", 2), ("b", "1", 2), ("c", "1", 3), ("d", "1", 4), ("d", "2", 6));
        for (index, revision, keys, wrong) in [
            (9, 1, &[][..], &[][..]),
            (10, 2, &[a, b], &[]),
            (10, 2, &[a], &["b, revision 2: it is missing"]),
            // Later is allowed, and so is what was never acknowledged.
            (10, 6, &[a, b, newer, ("e", "1", 7)], &[]),
            (12, 4, &[a, b, c, d], &[]),
            // Its own index is not known, and a later write's is.
            (12, 4, &[a, b, d], &[]),
            (13, 5, &[a, b, d], &[]),
            (13, 5, &[a, b, c, d], &["c, revision 5: it was removed, and is there with revision 3"]),
            (14, 6, &[a, b, newer], &[]),
            (14, 6, &[a, b, d], &["d, revision 6: it is "]),
            (14, 6, &[a, b], &["d, revision 6: it is missing"]),
            (14, 6, &[("a", "2", 2), b, newer], &["a, revision 2: it is "]),
            (14, 6, &[("a", "1", 3), b, newer], &["a, revision 2: it is "]),
            (14, 5, &[a, b, newer], &["the store is at revision 5, not 6"]),
        ] {
            let (compared, found) = ledger().compare(&store(revision, keys), index);
            let what = format!("{index} {keys:?}: {found:?}");
            assert!(found.len() == wrong.len(), "{what}");
            assert!(found.iter().zip(wrong).all(|(found, wrong)| found.starts_with(wrong)), "{what}");
            assert_eq!(compared == 0, index == 9, "{what}");
        }
    }

    /// `c` may have been removed, as somebody asked for it; without that it must be there.
    #[test]
    fn what_was_asked_for_and_not_acknowledged_may_have_happened() {
        let mut all = Ledger::default();
        all.ask(&vec![put("c", "1")]);
        all.acknowledge(vec![put("c", "1")], 2, Some(10));
        assert_eq!(all.compare(&store(2, &[]), 10).1.len(), 1);
        assert_eq!(all.compare(&store(3, &[("c", "2", 3)]), 10).1.len(), 1);
        all.ask(&vec![put("c", "2")]);
        assert_eq!(all.compare(&store(3, &[("c", "2", 3)]), 10).1.len(), 0);
        assert_eq!(all.compare(&store(3, &[]), 10).1.len(), 1);
        all.ask(&vec![removed("c")]);
        assert_eq!(all.compare(&store(3, &[]), 10).1.len(), 0);
        assert!(all.len() == 1 && !all.is_empty());
    }
}
