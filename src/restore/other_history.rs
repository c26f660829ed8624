//! Whether another generation has another entry at the index that is restored: a new leader takes back what was not
//! committed, and an older data directory that is put back is written on.
//!
//! Two logs that have an entry of the same index and term are equal up to it. A name says that of the last entry of each part.

use anyhow::Result;

use super::point::Point;
use super::source::Source;
use crate::archive::chain::Generation;
use crate::archive::names::PartName;
use crate::exit::{Exit, fault};

/// What another generation says of the entry that was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Other {
    /// Nothing against it.
    Agrees,
    /// Nothing for it either, though it would have to know.
    May,
    /// It has, or had, another one there, or before it.
    Differs,
}

/// The entry that is to be restored.
struct Chosen<'a> {
    /// Of this generation,
    generation: &'a Generation,
    /// at this index.
    index: u64,
    /// Up to here its entries were committed.
    commit: u64,
    /// The terms of its entries, as far as they are known.
    term_at: &'a dyn Fn(u64) -> Option<u64>,
}

impl Chosen<'_> {
    /// What a generation of the same history, or of one that it leads to, says of the entry.
    fn beside(&self, other: &Generation) -> Other {
        let is_later = other.name > self.generation.name;
        let (earlier, later) = if is_later { (self.generation, other) } else { (other, self.generation) };
        let (Some(end), Some(base)) = (earlier.last(), later.parts.first()) else { return Other::Agrees };
        // A new leader made the log shorter, and newer, and left what was committed. Of another one that is not known.
        let is_newer = is_later && base.end() > end.end() && base.last >= self.commit;
        // The later one began with less than the earlier one had: behind that, equal terms may be chance.
        let went_back = base.end() < end.end() || base.last < end.last && !is_newer;
        let common = if went_back { base.last } else { u64::MAX };
        let is_same = |part: &PartName| Some((self.term_at)(part.last)? == part.term);
        let said = || other.parts.iter().filter(move |part| part.last <= common);
        if said().any(|part| part.last >= self.index && is_same(part) == Some(true)) {
            return Other::Agrees;
        }
        if self.index > common || said().any(|part| part.last <= self.index && is_same(part) == Some(false)) {
            return Other::Differs;
        }
        // A new leader may have taken it back, and what came instead is in no log that is left.
        if went_back || (is_later && self.index > self.commit) { Other::May } else { Other::Agrees }
    }
}

/// Says what other generations have in the place of a point in the past.
///
/// # Errors
/// [`Exit::Refused`]: a later generation replaced the entry at the index that was asked for.
pub fn tell(source: &Source, point: Point, own: &Generation, others: &[&Generation]) -> Result<()> {
    let contents = &source.contents;
    let named = |at: u64| own.parts.iter().find(|part| part.last == at).map(|part| part.term);
    let term_at = |at: u64| contents.at(at).map(|entry| entry.term).or_else(|| named(at));
    let (index, commit) = (source.point.index, contents.log.hard_state.commit.max(contents.base_index()));
    let chosen = Chosen { generation: own, index, commit, term_at: &term_at };
    let number = own.name.number;
    for other in others.iter().filter(|other| other.name != own.name) {
        let (other_number, is_later) = (other.name.number, other.name > own.name);
        match (chosen.beside(other), is_later) {
            (Other::Agrees, _) => {}
            (Other::Differs, true) if matches!(point, Point::Index(_)) => {
                let what = format!(
                    "the entry at index {index} is in generation {number} only: generation {other_number} replaced it later"
                );
                let hint = format!(
                    "to restore it anyway: sudo /opt/bin/etcd2-backup restore --generation {number} \
                     --raft-index {index}"
                );
                return Err(fault(Exit::Refused, what, hint));
            }
            (Other::Differs, true) => log::warn!(
                "the state at that time is in generation {number} only: generation {other_number} replaced its last \
                 entries later"
            ),
            (Other::May, true) => log::warn!(
                "the entry at index {index} of generation {number} may have been replaced in generation {other_number}"
            ),
            (Other::Differs, false) => log::warn!(
                "generation {other_number} had other entries up to index {index}; restoring those of \
                 generation {number}, which replaced them (for the others: sudo /opt/bin/etcd2-backup \
                 restore --generation {other_number})"
            ),
            (Other::May, false) => log::warn!(
                "generation {other_number} may have had other entries up to index {index}; restoring those of generation \
                 {number}"
            ),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::names::GenerationName;

    /// Parts by the index and term of their last entry.
    fn generation(number: u64, first: u64, parts: &[(u64, u64)]) -> Generation {
        let name = GenerationName { number, cluster_id: 0xc, member_id: 1, writer: 1 };
        let part = |(sequence, &(last, term)): (usize, &(u64, u64))| PartName {
            sequence: sequence as u64,
            first,
            last,
            term,
            time: 0,
            size: 1,
            predecessor: 0,
            link: 0,
        };
        Generation {
            name,
            parts: parts.iter().enumerate().map(part).collect(),
            pieces: Vec::new(),
            beyond: Vec::new(),
        }
    }

    /// What `other` says of the chosen one's entry at `index`; the terms of its entries begin at these indexes.
    fn beside(
        chosen: &Generation,
        terms: &[(u64, u64)],
        index: u64,
        commit: u64,
        other: &Generation,
    ) -> Other {
        let last = chosen.last().unwrap().last;
        let term_at = |at: u64| {
            let known = (terms[0].0..=last).contains(&at);
            terms.iter().rfind(|(from, _)| known && *from <= at).map(|(_, term)| *term)
        };
        Chosen { generation: chosen, index, commit, term_at: &term_at }.beside(other)
    }

    #[test]
    fn what_goes_on_agrees() {
        let (first, second) =
            (generation(1, 1, &[(50, 2), (100, 3)]), generation(2, 61, &[(120, 3), (150, 4)]));
        for index in [60, 61, 100, 101, 150] {
            assert_eq!(beside(&second, &[(60, 3), (130, 4)], index, 150, &first), Other::Agrees, "{index}");
        }
        for index in [1, 50, 51, 100] {
            assert_eq!(beside(&first, &[(1, 2), (51, 3)], index, 100, &second), Other::Agrees, "{index}");
        }
    }

    #[test]
    fn what_a_new_leader_took_back_is_told() {
        // Entries 96 to 100 were not committed, and term 4 has others in their place.
        let first = generation(1, 1, &[(50, 2), (100, 3)]);
        let overlapping = generation(2, 61, &[(110, 4)]);
        for (index, expected) in [(95, Other::Agrees), (100, Other::Differs), (110, Other::Differs)] {
            assert_eq!(beside(&overlapping, &[(60, 3), (96, 4)], index, 110, &first), expected, "{index}");
        }
        // The later one does not reach back.
        let behind = generation(2, 106, &[(110, 4)]);
        for (index, expected) in [(95, Other::Agrees), (96, Other::May), (100, Other::May)] {
            assert_eq!(beside(&first, &[(1, 2), (51, 3)], index, 95, &behind), expected, "{index}");
        }
        // It begins with less than was there, of a later term: nothing went back.
        let shorter = generation(2, 61, &[(98, 4)]);
        for (index, expected) in [(95, Other::Agrees), (97, Other::May), (98, Other::Differs)] {
            assert_eq!(beside(&first, &[(1, 2), (51, 3)], index, 95, &shorter), expected, "{index}");
        }
        assert_eq!(beside(&first, &[(1, 2), (51, 3)], 95, 99, &shorter), Other::May);
        // An older directory that was written on until it had more: its term tells.
        let longer = generation(2, 61, &[(120, 2)]);
        assert_eq!(beside(&first, &[(1, 2), (51, 3)], 95, 95, &longer), Other::May);
        // The earlier one cannot have replaced anything.
        assert_eq!(beside(&behind, &[(105, 4)], 110, 105, &first), Other::Agrees);
    }

    #[test]
    fn what_was_written_behind_an_older_directory_is_another_entry() {
        // Put back at index 50, and again in term 3.
        let first = generation(1, 1, &[(50, 2), (100, 3)]);
        let second = generation(2, 41, &[(60, 3), (120, 3)]);
        let terms = [(40, 2), (51, 3)];
        for (index, expected) in [
            (45, Other::Agrees),
            (50, Other::Agrees),
            (55, Other::May),
            (61, Other::Differs),
            (100, Other::Differs),
            (120, Other::Differs),
        ] {
            assert_eq!(beside(&second, &terms, index, 120, &first), expected, "{index}");
        }
        let terms = [(1, 2), (51, 3)];
        for (index, expected) in [(45, Other::May), (61, Other::Differs), (100, Other::Differs)] {
            assert_eq!(
                beside(&first, &terms, index, 100, &generation(2, 41, &[(60, 4)])),
                expected,
                "{index}"
            );
        }
        let nothing = generation(2, 41, &[]);
        assert_eq!(beside(&first, &terms, 61, 100, &nothing), Other::Agrees);
    }
}
