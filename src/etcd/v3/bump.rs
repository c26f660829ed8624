//! The revision after a restore: beyond all that any client can have seen, and with everything before it compacted.
//!
//! A watcher remembers the revision that it saw last. If the restored store counted on from an older one, it would be given
//! other keys for revisions that it knows, or wait in silence until they are passed. So the restore appends writes of one key until
//! the revision has passed them all, and a compaction there: then a watch from before is told that its revision is compacted, and
//! its client reads everything anew. Kubernetes depends on that.
//!
//! Each entry moves the revision by one at most. With `r` the revision of the base, `n` entries replayed on it and `lost` writes that
//! nobody has any more, clients have seen `r + n + lost` at most; and the store is at `r` at least when the replay ends. So `n + lost`
//! writes more end beyond it, whatever the replayed transactions did. A watch that goes on behind revision `x` begins at `x + 1`, and
//! is told so only if the compaction is later than that: hence two more.

use std::fmt;

use super::proposals::Proposal;

/// How many writes may have been acknowledged that the restored data does not have: a day's of a cluster that was cut off from a
/// lagging member, at more than one a second.
pub const LOST: u64 = 100_000;

/// More writes than this are too much: etcd has its whole log in memory when it starts, three times over.
pub const MOST: u64 = 10_000_000;

/// The key that is written and then deleted. No client of Kubernetes looks there.
const KEY: &[u8] = b"etcd2-backup/revision";

/// How the revision is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Bump {
    /// How many times the key is written.
    pub writes: u64,
    /// The revision before which everything is compacted.
    pub compacted: u64,
}

impl Bump {
    /// Beyond a base's revision, the entries that are replayed on it, and what was lost.
    pub fn beyond(revision: u64, entries: u64, lost: u64) -> Self {
        let writes = entries.saturating_add(lost).saturating_add(2);
        Self { writes, compacted: revision.saturating_add(writes) }
    }

    /// How many entries [`Bump::proposals`] gives.
    pub fn entries(self) -> u64 {
        self.writes + 2
    }

    /// What is appended, in this order.
    pub fn proposals(self) -> impl Iterator<Item = Proposal<'static>> {
        let writes = (0..self.writes).map(|_| Proposal::Put(KEY));
        writes.chain([Proposal::Delete(KEY), Proposal::Compact(self.compacted)])
    }
}

/// For people: what becomes of who watches, and what they have to do.
impl fmt::Display for Bump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the revision of the v3 store moves beyond {}, and watches from before end; afterwards restart what watches: for \
             Kubernetes every kube-apiserver, then controller managers, schedulers and kubelets",
            self.compacted
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the replayed entries did, and whatever was lost within the margin: the revision ends beyond what anybody saw, and
        /// the compaction is at a revision that is there and that nobody's watch is behind.
        #[test]
        fn nobody_has_seen_the_revision(base in 1..1_000_000_u64, moved in prop::collection::vec(any::<bool>(), 0..300),
            margin in 0..1000_u64, lost_part in 0..=1000_u64) {
            let lost = margin * lost_part / 1000;
            let bump = Bump::beyond(base, moved.len() as u64, margin);
            let replayed = base + moved.iter().filter(|moves| **moves).count() as u64;
            let seen = replayed + lost;
            let (mut revision, mut compacted, mut entries) = (replayed, 0, 0);
            for proposal in bump.proposals() {
                entries += 1;
                match proposal {
                    Proposal::Put(_) | Proposal::Delete(_) => revision += 1,
                    Proposal::Compact(at) => {
                        prop_assert!(at <= revision, "{} is in the future of {}", at, revision);
                        compacted = at;
                    }
                    Proposal::Disarm { .. } => unreachable!(),
                }
            }
            prop_assert_eq!(entries, bump.entries());
            prop_assert!(revision > seen && compacted > seen + 1, "{} {} {}", revision, compacted, seen);
        }
    }
}
