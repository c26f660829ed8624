//! What a listing of a machine's folder means: generations, and in each the chain of parts that is really there. Pure.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::names::{GenerationName, PartName, PieceName};
use crate::exit::{Exit, fault};
use crate::remote::Object;

/// One generation as the listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Number and owner.
    pub name: GenerationName,
    /// The pieces of the v3 store that the base begins with, each linked to the one before; none where only the v2 store is there.
    pub pieces: Vec<PieceName>,
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

    /// The lowest index that can be restored: the base's, and with a v3 store that of the last entry in it. Before the first entry of
    /// all there is nothing.
    pub fn lowest(&self) -> Option<u64> {
        let before = self.parts.first()?.first.saturating_sub(1);
        Some(self.pieces.first().map_or(before, |piece| before.max(piece.applied)).max(1))
    }

    /// Path of a part below the machine's folder.
    pub fn path(&self, part: &PartName) -> String {
        format!("{}/{part}", self.name)
    }

    /// The pieces as objects below the machine's folder.
    pub fn piece_objects(&self) -> Vec<Object> {
        self.pieces.iter().map(|p| Object { path: format!("{}/{p}", self.name), size: p.size }).collect()
    }

    /// Bytes of a part and, of the base, its pieces.
    pub fn bytes_of(&self, part: &PartName) -> u64 {
        let pieces = self.pieces.iter().filter(|_| part.sequence == 0).map(|piece| piece.size);
        pieces.fold(part.size, u64::saturating_add)
    }

    /// Parts as objects below the machine's folder, with the sizes that their names announce.
    pub fn objects(&self, parts: &[PartName]) -> Vec<Object> {
        parts.iter().map(|part| Object { path: self.path(part), size: part.size }).collect()
    }

    /// Parts that cannot be reached, as something before them is missing or damaged. One more than is there may be on its way.
    pub fn is_broken(&self) -> bool {
        let Some(last) = self.parts.last() else { return true };
        self.beyond.iter().filter_map(|path| part(path)).any(|p| p.sequence > last.sequence.saturating_add(1))
    }
}

fn part(path: &str) -> Option<PartName> {
    path.rsplit('/').next().and_then(PartName::parse)
}

/// The generations in a listing, oldest first. An object whose size is not the one in its name is absent: its upload
/// did not end. Pieces without a part are no generation yet: its base is on its way, or never arrived ([`unbegun`]).
pub fn generations(objects: &[Object]) -> Vec<Generation> {
    let mut all: BTreeMap<GenerationName, Found> = BTreeMap::new();
    for object in objects {
        let Some((name, kind)) = of_ours(&object.path) else { continue };
        let found = all.entry(name).or_default();
        let whole = |size| size == object.size && size != Object::UNKNOWN_SIZE;
        match kind {
            Kind::Part(part) if whole(part.size) => found.parts.push(part),
            Kind::Piece(piece) if whole(piece.size) => found.pieces.push(piece),
            Kind::Part(_) => {
                found.has_part = true;
                found.absent.push(object.path.clone());
            }
            Kind::Piece(_) => found.absent.push(object.path.clone()),
        }
    }
    let begun = all.into_iter().filter(|(_, found)| found.has_part || !found.parts.is_empty());
    begun.map(|(name, found)| found.linked(name)).collect()
}

/// The folders in which there are pieces and no part.
pub fn unbegun(objects: &[Object]) -> Vec<GenerationName> {
    let mut all: BTreeMap<GenerationName, bool> = BTreeMap::new();
    for (name, kind) in objects.iter().filter_map(|object| of_ours(&object.path)) {
        *all.entry(name).or_default() |= matches!(kind, Kind::Part(_));
    }
    all.into_iter().filter(|(_, begun)| !begun).map(|(name, _)| name).collect()
}

enum Kind {
    Part(PartName),
    Piece(PieceName),
}

/// What a path below the machine's folder names, if it is ours.
fn of_ours(path: &str) -> Option<(GenerationName, Kind)> {
    let (folder, file) = path.split_once('/')?;
    let kind = PartName::parse(file).map(Kind::Part).or_else(|| PieceName::parse(file).map(Kind::Piece))?;
    Some((GenerationName::parse(folder)?, kind))
}

/// What lies in one folder.
#[derive(Default)]
struct Found {
    parts: Vec<PartName>,
    pieces: Vec<PieceName>,
    absent: Vec<String>,
    has_part: bool,
}

impl Found {
    fn linked(mut self, name: GenerationName) -> Generation {
        self.parts.sort_unstable();
        let mut generation = Generation { name, pieces: Vec::new(), parts: Vec::new(), beyond: self.absent };
        link(&mut generation, &self.parts, &self.pieces);
        generation
    }
}

/// Follows the links from the base to the last part that they lead to; of two of the same sequence, to the one that sorts last.
/// Two machines may have written into one generation before they noticed: the other one's parts are none of it. Of several parts
/// that end where one begins, the one that holds most is taken: what was written in place of several ends where they do.
fn link(generation: &mut Generation, found: &[PartName], pieces: &[PieceName]) {
    // What ends at a place, and what each part that was reached follows. All that is before a part was sorted before it.
    let mut ends: BTreeMap<u64, PartName> = BTreeMap::new();
    let mut follows: BTreeMap<PartName, Option<PartName>> = BTreeMap::new();
    for &part in found {
        let base = part.sequence == 0 && leading_to(part.predecessor, pieces).is_some();
        let before = ends.get(&part.predecessor).filter(|p| !base && p.sequence < part.sequence).copied();
        if base || before.is_some() {
            follows.insert(part, before);
            let most = ends.entry(part.link).or_insert(part);
            if part.first < most.first {
                *most = part;
            }
        }
    }
    let mut next = follows.keys().next_back().and_then(|last| ends.get(&last.link).copied());
    while let Some(part) = next {
        generation.parts.push(part);
        next = follows.get(&part).copied().flatten();
    }
    generation.parts.reverse();
    let base = generation.parts.first().map(|base| base.predecessor);
    generation.pieces = base.and_then(|base| leading_to(base, pieces)).unwrap_or_default();
    let taken: BTreeSet<&PartName> = generation.parts.iter().collect();
    let other = found.iter().filter(|part| !taken.contains(part));
    let mut other: Vec<String> = other.map(|part| generation.path(part)).collect();
    let loose = pieces.iter().filter(|piece| !generation.pieces.contains(piece));
    other.extend(loose.map(|piece| format!("{}/{piece}", generation.name)));
    generation.beyond.extend(other);
}

/// The pieces up to the one with this link, from the first on; none of 0. `None`: not all of them are there.
fn leading_to(link: u64, pieces: &[PieceName]) -> Option<Vec<PieceName>> {
    let mut all: Vec<PieceName> = Vec::new();
    let mut next = link;
    while next != 0 {
        let number = all.last().map_or(u64::MAX, |after| after.number);
        let piece = pieces.iter().find(|p| p.link == next && p.number < number)?;
        all.push(*piece);
        next = piece.predecessor;
    }
    all.reverse();
    let counted = all.iter().zip(0..).all(|(piece, number)| piece.number == number);
    let of_one = all.windows(2).all(|two| two[0].applied == two[1].applied);
    (counted && of_one).then_some(all)
}

/// Whether a folder was written by etcd2-backup-coreos, the program before this one.
pub fn is_original(objects: &[Object]) -> bool {
    objects.iter().any(|o| o.path.starts_with("member/wal/")) && generations(objects).is_empty()
}

/// The number for a new generation: one more than the largest of those in the folder, whole or not, and than `known`; as many
/// more as `apart` says. A folder without a part is no generation, whatever it is called: nobody would read it as one; but one with
/// pieces may become one.
///
/// # Errors
/// [`Exit::Refused`]: there is no larger number.
pub fn next_number(objects: &[Object], known: u64, apart: u8) -> Result<u64> {
    let names = objects.iter().filter_map(|object| of_ours(&object.path));
    let largest = names.map(|(name, _)| name.number).max().unwrap_or(0).max(known);
    largest.checked_add(1 + u64::from(apart)).ok_or_else(|| {
        fault(
            Exit::Refused,
            format!("no number is left for a new generation: the directory already holds generation {largest}"),
            "no backup program counts that far: find out who created that generation, then move it out of this \
             machine's directory in the remote",
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            link: 100 + sequence,
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

        let foreign = PartName { predecessor: 7, link: 8, ..part(2) };
        let mut mixed = whole.clone();
        mixed.push(object(&foreign, 10));
        assert_eq!(sequences(&mixed), (vec![0, 1, 2, 3], 1, false));
    }

    #[test]
    fn of_two_machines_parts_in_one_generation_one_chain_is_followed() {
        // Of the other machine: the same predecessor, other content.
        let fork = |sequence, predecessor| PartName { predecessor, link: 200 + sequence, ..part(sequence) };
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
                let got: Vec<u64> = all[0].parts.iter().map(|p| p.link).collect();
                assert_eq!((&got, all[0].beyond.len()), (&chain, beyond), "{ours:?} {others:?}");
                objects.reverse();
            }
        }
    }

    /// Compared with each other they would take longer than a test may (.config/nextest.toml).
    #[test]
    fn very_many_parts_or_generations_cost_each_as_little_as_a_few() {
        let many = 100_000;
        let objects: Vec<Object> = (0..many).map(|sequence| object(&part(sequence), 10)).collect();
        let all = generations(&objects);
        assert_eq!((all.len(), all[0].parts.len()), (1, many as usize));
        // Of two machines, of which one wrote the longer chain.
        let fork = PartName { link: 7, ..part(0) };
        let forks = (1..many).map(|n| PartName { predecessor: 7, link: n << 32, ..part(1) });
        let objects: Vec<Object> = forks.chain([fork]).map(|p| object(&p, 10)).collect();
        assert_eq!(generations(&objects)[0].beyond.len(), many as usize - 2);
        let base = part(0);
        let at = |number| Object { path: format!("{}/{base}", GenerationName { number, ..NAME }), size: 10 };
        let objects: Vec<Object> = (1..=many).map(at).collect();
        assert_eq!(generations(&objects).len(), many as usize);
    }

    /// The pieces of a store, and the base that names the last of them.
    fn in_pieces(count: u64) -> (Vec<PieceName>, PartName) {
        let piece = |number| PieceName {
            number,
            applied: 7,
            size: 10,
            predecessor: if number == 0 { 0 } else { 500 + number - 1 },
            link: 500 + number,
        };
        ((0..count).map(piece).collect(), PartName { predecessor: 500 + count - 1, first: 4, ..part(0) })
    }

    #[test]
    fn a_base_in_pieces_is_whole_with_each_of_them_alone() {
        let (pieces, base) = in_pieces(3);
        let name = |piece: &PieceName| format!("{NAME}/{piece}");
        let mut objects: Vec<Object> =
            pieces.iter().map(|p| Object { path: name(p), size: p.size }).collect();
        // Nobody takes it for a generation before its base is there, but its number is taken.
        assert_eq!((generations(&objects), unbegun(&objects)), (vec![], vec![NAME]));
        assert_eq!(next_number(&objects, 0, 0).unwrap(), NAME.number + 1);
        objects.extend([object(&base, 10), object(&part(1), 10)]);
        let whole = &generations(&objects)[0];
        assert_eq!((&whole.pieces, whole.parts.len(), whole.is_broken()), (&pieces, 2, false));
        assert_eq!((whole.lowest(), whole.bytes_of(&base)), (Some(7), 40));
        assert!(unbegun(&objects).is_empty());
        for at in 0..3 {
            for (size, beyond) in [(None, 4), (Some(9), 5), (Some(Object::UNKNOWN_SIZE), 5)] {
                let mut fewer = objects.clone();
                match size {
                    None => drop(fewer.remove(at)),
                    Some(size) => fewer[at].size = size,
                }
                let found = &generations(&fewer)[0];
                assert_eq!((found.last(), found.beyond.len(), found.is_broken()), (None, beyond, true));
            }
        }
        // One of another capture, in the place of one of these.
        let mut other = objects.clone();
        other[1].path = name(&PieceName { applied: 8, ..pieces[1] });
        assert!(generations(&other)[0].is_broken());
        other[1].path = name(&PieceName { number: 7, ..pieces[1] });
        assert!(generations(&other)[0].is_broken());
    }

    #[test]
    fn other_files_are_left_alone() {
        let mut objects = vec![object(&part(0), 3)];
        objects.push(Object { path: "member/snap/x.snap".into(), size: 1 });
        objects.push(Object { path: "recovery/abc".into(), size: 1 });
        let all = generations(&objects);
        assert_eq!((all.len(), all[0].last(), all[0].is_broken()), (1, None, true));
    }

    #[test]
    fn a_size_that_the_remote_does_not_know_is_no_part_s() {
        let unknown = PartName { size: Object::UNKNOWN_SIZE, ..part(0) };
        assert_eq!(sequences(&[object(&unknown, Object::UNKNOWN_SIZE)]), (vec![], 1, true));
    }

    #[test]
    fn only_what_holds_a_part_counts_for_the_next_number() {
        let at = |number, file: &str| Object {
            path: format!("{}/{file}", GenerationName { number, ..NAME }),
            size: 10,
        };
        let whole = part(0).to_string();
        let cut = PartName { size: 99, ..part(0) }.to_string();
        let next = |objects: &[Object], known, apart| next_number(objects, known, apart).ok();
        for (objects, known, apart, expected) in [
            (vec![], 0, 0, Some(1)),
            (vec![at(4, &whole)], 0, 0, Some(5)),
            (vec![at(4, &whole)], 4, 3, Some(8)),
            (vec![at(4, &whole)], 9, 0, Some(10)),
            // An upload that was cut off is one that readers see.
            (vec![at(4, &whole), at(5, &cut)], 0, 0, Some(6)),
            (vec![at(4, &whole), at(99_999_999, "junk")], 0, 0, Some(5)),
            (vec![at(4, &whole), at(99_999_999, "x/y"), at(u64::MAX, "00000000-1.part")], 0, 0, Some(5)),
            (vec![at(99_999_999, &whole)], 0, 0, Some(100_000_000)),
            (vec![at(u64::MAX - 1, &whole)], 0, 0, Some(u64::MAX)),
            (vec![at(u64::MAX - 1, &whole)], 0, 1, None),
            (vec![at(u64::MAX, &whole)], 0, 0, None),
        ] {
            assert_eq!(next(&objects, known, apart), expected, "{objects:?} {known} {apart}");
        }
    }

    /// A part from one place of a log to another, as format 2 names it. `sequence` is that of the last one it holds.
    fn between(from: u64, to: u64) -> PartName {
        let predecessor = if from == 0 { 0 } else { 100 + from };
        PartName { sequence: to - 1, first: from + 1, last: to, predecessor, link: 100 + to, ..part(0) }
    }

    /// The places that parts lead to from the start of the log.
    fn places(parts: &[PartName]) -> BTreeSet<u64> {
        let mut places = BTreeSet::from([0]);
        for at in 0..32 {
            if places.contains(&at) {
                places.extend(parts.iter().filter(|p| p.first == at + 1).map(|p| p.last));
            }
        }
        places
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_begins_is_the_newest_whatever_lies_in_the_folder(
            there in prop::collection::vec((any::<u64>(), 0..64u32, 0..3usize), 0..8), writer in any::<u32>(),
        ) {
            let file = [part(0).to_string(), "junk".into(), PartName { size: 99, ..part(0) }.to_string()];
            let mut objects: Vec<Object> = there.iter().map(|&(number, bits, kind)| {
                let name = GenerationName { number: number >> bits, ..NAME };
                Object { path: format!("{name}/{}", file[kind]), size: 10 }
            }).collect();
            if let Ok(number) = next_number(&objects, 0, 0) {
                let new = GenerationName { number, writer, ..NAME };
                objects.push(Object { path: format!("{new}/{}", file[0]), size: 10 });
                let all = generations(&objects);
                prop_assert_eq!(all.last().map(|g| (g.name, g.parts.len())), Some((new, 1)));
            }
        }

        /// Of a chain some parts were written anew as one, some are lost, some cut off.
        #[test]
        fn a_chain_leads_as_far_as_its_places_do_whatever_is_merged_cut_or_lost(
            length in 1..24_u64,
            merged in prop::collection::vec((0..24_u64, 1..24_u64), 0..6),
            lost in prop::collection::btree_set(0..30_usize, 0..12),
            cut in prop::collection::btree_set(0..30_usize, 0..4),
            turn in any::<bool>(),
        ) {
            let mut all: Vec<PartName> = (0..length).map(|n| between(n, n + 1)).collect();
            // A base stays what it is.
            all.extend(merged.iter().filter(|&&(from, n)| from > 0 && from + n <= length).map(|&(from, n)| between(from, from + n)));
            all.sort_unstable();
            all.dedup();
            let there = |(at, part): (usize, &PartName)| {
                (!lost.contains(&at)).then(|| object(part, if cut.contains(&at) { 9 } else { 10 }))
            };
            let mut objects: Vec<Object> = all.iter().enumerate().filter_map(there).collect();
            if turn {
                objects.reverse();
            }
            prop_assume!(!objects.is_empty());
            let generation = &generations(&objects)[0];
            let whole: Vec<PartName> =
                objects.iter().filter(|o| o.size == 10).map(|o| super::part(&o.path).unwrap()).collect();
            let chain = &generation.parts;
            let places = places(&whole);
            prop_assert_eq!(chain.last().map(|p| p.last).max(Some(0)), places.last().copied(), "{:?}", generation);
            prop_assert!(chain.iter().all(|p| whole.contains(p)));
            prop_assert!(chain.first().is_none_or(|p| p.sequence == 0));
            prop_assert!(chain.windows(2).all(|p| p[0].last + 1 == p[1].first && p[0].link == p[1].predecessor));
            prop_assert_eq!(chain.len() + generation.beyond.len(), objects.len());
            for step in chain {
                let longer = |p: &&PartName| p.last == step.last && p.first < step.first && places.contains(&(p.first - 1));
                prop_assert_eq!(whole.iter().find(longer), None, "instead of {:?}", step);
            }
        }
    }
}
