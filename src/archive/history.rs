//! Whether a member's generations are of one history. An etcd that lost its data and is started with its old flags has the IDs
//! it had, and so has an older directory that somebody put back. Pure.
//!
//! Terms say nothing across histories, as each restart of an empty etcd makes them higher. But what was once committed stays in
//! its history for ever.

use std::collections::BTreeMap;

use super::chain::Generation;
use super::names::GenerationName;

/// Up to where generations knew what was committed. What is not known counts as committed: in doubt somebody is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed(BTreeMap<GenerationName, u64>);

impl FromIterator<(GenerationName, u64)> for Committed {
    fn from_iter<I: IntoIterator<Item = (GenerationName, u64)>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

impl Committed {
    /// What is known of a generation.
    pub fn known(&self, name: GenerationName) -> Option<u64> {
        self.0.get(&name).copied()
    }

    /// The index up to which a generation's entries cannot have been replaced.
    pub fn of(&self, generation: &Generation) -> u64 {
        let last = generation.last().map_or(0, |part| part.last);
        self.known(generation.name).map_or(last, |known| known.min(last))
    }
}

/// The generations of which only what they knew to be committed tells whether others are of their history.
pub fn in_question(generations: &[Generation]) -> Vec<&Generation> {
    let unknown = Committed::default();
    let mut all: Vec<&Generation> =
        before_empty_logs(generations, &unknown).map(|(before, _)| before).collect();
    all.extend(generations.last().into_iter().flat_map(|newest| fuller_than(newest, generations, &unknown)));
    all.sort_unstable_by_key(|generation| generation.name);
    all.dedup();
    all
}

/// The generation that holds most of what was committed in the cluster of `newest`, if that one does not hold it: an older
/// directory was put back. One that is broken has less for another reason.
pub fn fuller<'a>(
    generations: &'a [Generation],
    newest: &Generation,
    committed: &Committed,
) -> Option<&'a Generation> {
    fuller_than(newest, generations, committed).max_by_key(|generation| committed.of(generation))
}

fn fuller_than<'a>(
    newest: &Generation,
    generations: &'a [Generation],
    committed: &Committed,
) -> impl Iterator<Item = &'a Generation> {
    let (name, end) = (newest.name, newest.last().filter(|_| !newest.is_broken()).map(|part| part.last));
    generations.iter().filter(move |generation| {
        let earlier = generation.name.cluster_id == name.cluster_id && generation.name < name;
        earlier && end.is_some_and(|end| committed.of(generation) > end)
    })
}

/// The generations that are not taken for what goes on from those before them: what started over, and the newest if another
/// one is fuller.
pub fn doubtful<'a>(generations: &'a [Generation], committed: &Committed) -> Vec<&'a Generation> {
    let mut all = started_over(generations, committed);
    let newest = generations.last().filter(|newest| fuller(generations, newest, committed).is_some());
    all.extend(newest);
    all.dedup();
    all
}

/// The generations whose member began with an empty log although it had a longer one before. An empty etcd that is started
/// with the flags of a lost one gets the same IDs, and with each restart a higher term, which says nothing across histories.
/// But what was committed stays: a base without a snapshot that ends before that is of another history.
pub fn started_over<'a>(generations: &'a [Generation], committed: &Committed) -> Vec<&'a Generation> {
    before_empty_logs(generations, committed).map(|(_, over)| over).collect()
}

/// Pairs of a member's generations, one behind the other, of which the second begins at the first index and does not hold what
/// was committed in the first.
fn before_empty_logs<'a>(
    generations: &'a [Generation],
    committed: &Committed,
) -> impl Iterator<Item = (&'a Generation, &'a Generation)> {
    let pair = move |(at, generation): (usize, &'a Generation)| {
        let member = |g: &Generation| (g.name.cluster_id, g.name.member_id);
        let of_member = |g: &&Generation| member(g) == member(generation) && g.last().is_some();
        Some((generations[..at].iter().rev().find(of_member)?, generation))
    };
    generations.iter().enumerate().filter_map(pair).filter(move |(before, generation)| {
        let (Some(end), Some(base)) = (before.last(), generation.parts.first()) else { return false };
        let kept = committed.of(before);
        // Terms never go back in one log: behind an entry that stays no other one is of an earlier term.
        let earlier_term = kept == end.last && base.term < end.term;
        base.first <= 1 && (base.last < kept || earlier_term)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::names::PartName;

    #[test]
    fn an_empty_log_in_place_of_a_longer_one_is_another_history() {
        let point = |first, (term, last)| PartName {
            first,
            last,
            term,
            sequence: 0,
            time: 0,
            size: 1,
            predecessor: 0,
            link: 0,
        };
        let of = |number, cluster_id, member_id, first, last| {
            let name = GenerationName { number, cluster_id, member_id, writer: 1 };
            Generation { name, parts: vec![point(first, last)], pieces: Vec::new(), beyond: Vec::new() }
        };
        let numbers = |all: &[Generation], committed: &Committed| -> Vec<u64> {
            started_over(all, committed).iter().map(|generation| generation.name.number).collect()
        };
        let nothing = Committed::default();
        let unreadable = Generation { parts: Vec::new(), ..of(2, 0xa, 1, 1, (2, 99)) };
        let old = of(1, 0xa, 1, 1, (2, 58));
        let empty = of(3, 0xa, 1, 1, (2, 15));
        for (all, expected) in [
            (vec![old.clone(), empty.clone()], vec![3]),
            // What follows it is another matter, and so is what lies between.
            (vec![old.clone(), of(2, 0xb, 2, 1, (2, 99)), empty.clone(), of(4, 0xa, 1, 1, (2, 16))], vec![3]),
            (vec![old.clone(), of(2, 0xa, 1, 1, (2, 58))], vec![]),
            // Its snapshot says that it is no empty one: an older directory was put back.
            (vec![old.clone(), of(2, 0xa, 1, 11, (2, 15))], vec![]),
            // Each restart of an empty one makes its term higher.
            (vec![old.clone(), of(2, 0xa, 1, 1, (3, 15))], vec![2]),
            (vec![old.clone(), of(2, 0xa, 1, 1, (9, 57))], vec![2]),
            (vec![old.clone(), of(2, 0xa, 1, 1, (9, 58))], vec![]),
            (vec![old.clone(), of(2, 0xa, 1, 1, (1, 99))], vec![2]),
            (vec![old.clone(), of(2, 0xa, 2, 1, (2, 15))], vec![]),
            (vec![old.clone(), of(2, 0xb, 1, 1, (2, 15))], vec![]),
            (vec![old.clone(), unreadable.clone(), empty.clone()], vec![3]),
        ] {
            assert_eq!(numbers(&all, &nothing), expected, "{all:?}");
        }
        // What was not committed may be lost, or replaced by a new leader.
        for (commit, end, expected) in [
            (57, (3, 57), vec![]),
            (58, (3, 57), vec![2]),
            (20, (2, 20), vec![]),
            (20, (1, 20), vec![]),
            (20, (9, 19), vec![2]),
            (58, (1, 58), vec![2]),
            (99, (2, 58), vec![]),
        ] {
            let all = [old.clone(), of(2, 0xa, 1, 1, end)];
            let committed: Committed = [(old.name, commit)].into_iter().collect();
            assert_eq!(numbers(&all, &committed), expected, "{commit} {end:?}");
            let asked: Vec<u64> = in_question(&all).iter().map(|g| g.name.number).collect();
            assert!(asked == [1] || end == (2, 58), "{asked:?} {end:?}");
        }
    }

    #[test]
    fn the_newest_is_asked_about_while_it_lacks_what_was_committed() {
        let of = |number, cluster_id, first, ends: &[u64]| {
            let part = |(sequence, &last): (usize, &u64)| PartName {
                first,
                last,
                term: number,
                sequence: sequence as u64,
                time: 0,
                size: 1,
                predecessor: 0,
                link: 0,
            };
            // The higher term is of no account, nor is the member: it may have been replaced.
            let name = GenerationName { number, cluster_id, member_id: number, writer: 1 };
            Generation {
                name,
                parts: ends.iter().enumerate().map(part).collect(),
                pieces: Vec::new(),
                beyond: Vec::new(),
            }
        };
        let old = of(1, 0xa, 51, &[80, 100]);
        let broken = {
            let mut all = of(2, 0xa, 51, &[70, 71]);
            all.beyond = vec![all.path(&PartName { sequence: 5, ..all.parts[0] })];
            all
        };
        for (later, committed, expected) in [
            (vec![of(2, 0xa, 51, &[70])], None, Some(1)),
            (vec![of(2, 0xa, 51, &[70])], Some(71), Some(1)),
            // What lies behind was not committed: a new leader has taken it back.
            (vec![of(2, 0xa, 51, &[70])], Some(70), None),
            (vec![of(2, 0xa, 51, &[70, 99])], None, Some(1)),
            (vec![of(2, 0xa, 51, &[70, 100])], None, None),
            (vec![of(2, 0xa, 51, &[120]), of(3, 0xa, 51, &[110])], None, Some(2)),
            (vec![of(2, 0xa, 51, &[99]), of(3, 0xa, 51, &[100])], None, None),
            (vec![of(2, 0xb, 51, &[70])], None, None),
            (vec![broken], None, None),
            (vec![of(2, 0xa, 51, &[])], None, None),
        ] {
            let all = [&[old.clone()][..], &later[..]].concat();
            let committed: Committed = committed.into_iter().map(|commit| (old.name, commit)).collect();
            let newest = all.last().unwrap();
            let found = fuller(&all, newest, &committed).map(|g| g.name.number);
            assert_eq!(found, expected, "{all:?}");
            let doubted: Vec<u64> = doubtful(&all, &committed).iter().map(|g| g.name.number).collect();
            assert_eq!(doubted, expected.map(|_| newest.name.number).into_iter().collect::<Vec<_>>());
        }
    }
}
