//! Which parts a run reads. Pure.
//!
//! A share is chosen by the link in a part's name: part x of n are the parts whose link leaves x. So n runs in a
//! row read every part that is there all the time, whatever comes and goes meanwhile. What a generation holds is spread
//! evenly over its shares, its base apart, which is one object.

use crate::archive::chain::Generation;
use crate::archive::names::PartName;

/// How much of the generations is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Every part.
    Whole,
    /// The parts of one share.
    Share {
        /// Which one, from 0.
        number: u64,
        /// How many make the whole; not 0.
        of: u64,
    },
}

impl Scope {
    /// Whether it has a part.
    pub fn has(self, part: &PartName) -> bool {
        match self {
            Self::Whole => true,
            Self::Share { number, of } => part.link % of == number,
        }
    }
}

/// The parts of a generation to read, in runs to be brought by one call: of `bytes` at most, or of one part.
pub fn batches(generation: &Generation, scope: Scope, bytes: u64) -> Vec<Vec<PartName>> {
    let mut all: Vec<Vec<PartName>> = Vec::new();
    let mut room = 0;
    for part in generation.parts.iter().filter(|p| scope.has(p)) {
        match all.last_mut().filter(|_| part.size <= room) {
            Some(batch) => batch.push(*part),
            None => {
                all.push(vec![*part]);
                room = bytes;
            }
        }
        room = room.saturating_sub(part.size);
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::archive::names::GenerationName;

    fn generation(sizes_and_links: &[(u64, u64)]) -> Generation {
        let name = GenerationName { number: 1, cluster_id: 2, member_id: 3, writer: 4 };
        let part = |(sequence, &(size, link)): (usize, &(u64, u64))| PartName {
            sequence: sequence as u64,
            first: 1,
            last: 1,
            term: 1,
            time: 0,
            size,
            predecessor: 0,
            link,
        };
        let parts = sizes_and_links.iter().enumerate().map(part).collect();
        Generation { name, parts, pieces: Vec::new(), beyond: Vec::new() }
    }

    proptest! {
        #[test]
        fn n_runs_in_a_row_read_every_part_once_whatever_is_added_meanwhile(
            parts in prop::collection::vec((1..1000_u64, any::<u64>()), 0..60),
            more in prop::collection::vec((1..1000_u64, any::<u64>()), 0..60),
            of in 1..40_u64,
            start in 0..40_u64,
            bytes in 0..3000_u64,
        ) {
            let all = [parts.clone(), more].concat();
            let mut read = vec![0; all.len()];
            for run in 0..of {
                let grown = parts.len() + (all.len() - parts.len()) * run as usize / of as usize;
                let scope = Scope::Share { number: (start + run) % of, of };
                for part in batches(&generation(&all[..grown]), scope, bytes).concat() {
                    read[part.sequence as usize] += 1;
                }
            }
            prop_assert!(read[..parts.len()].iter().all(|n| *n == 1), "{:?}", read);
            prop_assert!(read[parts.len()..].iter().all(|n| *n <= 1), "{:?}", read);
        }

        #[test]
        fn batches_are_in_order_leave_nothing_out_and_are_bounded(
            parts in prop::collection::vec((1..1000_u64, any::<u64>()), 0..60),
            bytes in 0..3000_u64,
        ) {
            let generation = generation(&parts);
            let batches = batches(&generation, Scope::Whole, bytes);
            prop_assert_eq!(batches.concat(), generation.parts);
            for batch in batches {
                let size: u64 = batch.iter().map(|p| p.size).sum();
                prop_assert!(!batch.is_empty() && (size <= bytes || batch.len() == 1), "{}", size);
            }
        }
    }
}
