//! What a listing of a machine's folder means: generations, and in each the chain of parts that is really there. Pure.

use super::names::{GenerationName, PartName};
use crate::remote::Object;

/// One generation as the listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Number and owner.
    pub name: GenerationName,
    /// The base and the parts that follow it without a gap, each linked to the one before.
    pub parts: Vec<PartName>,
    /// Objects that lie behind a gap in the chain, or are not complete: their paths.
    pub beyond: Vec<String>,
}

impl Generation {
    /// The newest restore point; `None` when not even the base is whole.
    pub fn last(&self) -> Option<&PartName> {
        self.parts.last()
    }

    /// Path of a part below the machine's folder.
    pub fn path(&self, part: &PartName) -> String {
        format!("{}/{part}", self.name)
    }

    /// Whole parts that cannot be reached, as something before them is missing or damaged.
    pub fn is_broken(&self) -> bool {
        let next = self.parts.len() as u64;
        self.parts.is_empty() || self.beyond.iter().any(|path| sequence(path).is_some_and(|s| s > next))
    }
}

fn sequence(path: &str) -> Option<u64> {
    path.rsplit('/').next().and_then(PartName::parse).map(|p| p.sequence)
}

/// The generations in a listing, oldest first. An object whose size is not the one in its name is absent: its upload
/// did not end.
pub fn generations(objects: &[Object]) -> Vec<Generation> {
    let mut all: Vec<(Generation, Vec<PartName>)> = Vec::new();
    for object in objects {
        let Some((folder, file)) = object.path.split_once('/') else { continue };
        let (Some(name), Some(part)) = (GenerationName::parse(folder), PartName::parse(file)) else {
            continue;
        };
        let at = all.iter().position(|(g, _)| g.name == name).unwrap_or_else(|| {
            all.push((Generation { name, parts: Vec::new(), beyond: Vec::new() }, Vec::new()));
            all.len() - 1
        });
        if part.size == object.size {
            all[at].1.push(part);
        } else {
            all[at].0.beyond.push(object.path.clone());
        }
    }
    for (generation, found) in &mut all {
        found.sort_unstable();
        link(generation, found);
    }
    let mut all: Vec<Generation> = all.into_iter().map(|(generation, _)| generation).collect();
    all.sort_unstable_by_key(|g| g.name);
    all
}

/// Follows the longest chain; of two that are equally long, the one whose last part sorts last. Two machines may have
/// written into one generation before they noticed: the other one's parts are none of it.
fn link(generation: &mut Generation, found: &[PartName]) {
    let mut reached: Vec<PartName> = Vec::new();
    for part in found {
        let before = |p: &&PartName| p.sequence + 1 == part.sequence && p.checksum == part.predecessor;
        let mut near = reached.iter().rev().take_while(|p| p.sequence + 1 >= part.sequence);
        if (part.sequence, part.predecessor) == (0, 0) || near.any(|p| before(&p)) {
            reached.push(*part);
        }
    }
    let mut wanted = reached.last().map(|p| (p.sequence, p.checksum));
    for part in reached.iter().rev() {
        if wanted == Some((part.sequence, part.checksum)) {
            wanted = part.sequence.checked_sub(1).map(|sequence| (sequence, part.predecessor));
            generation.parts.push(*part);
        }
    }
    generation.parts.reverse();
    let other = found.iter().filter(|part| !generation.parts.contains(part));
    let other: Vec<String> = other.map(|part| generation.path(part)).collect();
    generation.beyond.extend(other);
}

/// Whether a folder was written by etcd2-backup-coreos, the program before this one.
pub fn is_original(objects: &[Object]) -> bool {
    objects.iter().any(|o| o.path.starts_with("member/wal/")) && generations(objects).is_empty()
}

/// The number for a new generation: one more than the largest that was ever seen in the folder, complete or not.
pub fn next_number(objects: &[Object]) -> u64 {
    let folders = objects.iter().filter_map(|o| GenerationName::parse(o.path.split_once('/')?.0));
    folders.map(|g| g.number).max().unwrap_or(0) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: GenerationName = GenerationName { number: 4, cluster_id: 0xc, member_id: 0xa, writer: 0xb };

    fn part(sequence: u64) -> PartName {
        let previous = if sequence == 0 { 0 } else { 100 + sequence - 1 };
        PartName {
            sequence,
            first: 1,
            last: 9,
            term: 1,
            time: 0,
            size: 10,
            predecessor: previous,
            checksum: 100 + sequence,
        }
    }

    fn object(part: &PartName, size: u64) -> Object {
        Object { path: format!("{NAME}/{part}"), size }
    }

    fn sequences(objects: &[Object]) -> (Vec<u64>, usize, bool) {
        let all = generations(objects);
        assert_eq!(all.len(), 1);
        (all[0].parts.iter().map(|p| p.sequence).collect(), all[0].beyond.len(), all[0].is_broken())
    }

    #[test]
    fn the_chain_ends_where_a_part_is_missing_truncated_or_foreign() {
        let whole: Vec<Object> = (0..4).map(|s| object(&part(s), 10)).collect();
        assert_eq!(sequences(&whole), (vec![0, 1, 2, 3], 0, false));

        let missing: Vec<Object> = [0, 1, 3].iter().map(|&s| object(&part(s), 10)).collect();
        assert_eq!(sequences(&missing), (vec![0, 1], 1, true));

        let mut truncated = whole.clone();
        truncated[3].size = 9;
        assert_eq!(sequences(&truncated), (vec![0, 1, 2], 1, false));
        truncated[3].size = 10;
        truncated[1].size = 0;
        assert_eq!(sequences(&truncated), (vec![0], 3, true));

        let foreign = PartName { predecessor: 7, checksum: 8, ..part(2) };
        let mut mixed = whole.clone();
        mixed.push(object(&foreign, 10));
        assert_eq!(sequences(&mixed), (vec![0, 1, 2, 3], 1, false));
    }

    #[test]
    fn of_two_machines_parts_in_one_generation_one_chain_is_followed() {
        // Of the other machine: the same predecessor, other content.
        let fork =
            |sequence, predecessor| PartName { predecessor, checksum: 200 + sequence, ..part(sequence) };
        let ours: Vec<PartName> = (0..4).map(part).collect();
        let others = [fork(2, 101), fork(3, 202), fork(4, 203)];
        let table = [
            (&ours[..], &others[..1], vec![100, 101, 102, 103], 1),
            (&ours, &others[..2], vec![100, 101, 202, 203], 2),
            (&ours[..3], &others, vec![100, 101, 202, 203, 204], 1),
            (&ours, &others[1..], vec![100, 101, 102, 103], 2),
        ];
        for (ours, others, chain, beyond) in table {
            let mut objects: Vec<Object> = [ours, others].concat().iter().map(|p| object(p, 10)).collect();
            for _ in 0..2 {
                let all = generations(&objects);
                let got: Vec<u64> = all[0].parts.iter().map(|p| p.checksum).collect();
                assert_eq!((&got, all[0].beyond.len()), (&chain, beyond), "{ours:?} {others:?}");
                objects.reverse();
            }
        }
    }

    #[test]
    fn other_files_are_left_alone_and_numbers_only_grow() {
        let mut objects = vec![object(&part(0), 3)];
        objects.push(Object { path: "member/snap/x.snap".into(), size: 1 });
        objects.push(Object { path: "recovery/abc".into(), size: 1 });
        let all = generations(&objects);
        assert_eq!((all.len(), all[0].last(), all[0].is_broken()), (1, None, true));
        assert_eq!(next_number(&objects), 5);
        assert_eq!(next_number(&[]), 1);
    }
}
