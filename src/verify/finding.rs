//! What is wrong with an object of the archive, which points are lost with it, and what a listing alone tells.

use std::fmt;

use serde::Serialize;

use crate::archive::chain::Generation;
use crate::archive::names::{GenerationName, PartName, PieceName};
use crate::remote::Object;
use crate::sys::terminal::table::count;
use crate::sys::time;

/// What befell an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It is there, and is not what was written.
    Damaged,
    /// It is not there.
    Missing,
    /// The remote is there, and does not give it.
    Unreadable,
}

/// One object that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The generation's number.
    pub generation: u64,
    /// The part's place in it.
    pub part: u64,
    /// Its path in the machine's folder; what is missing has the start of one.
    pub object: String,
    /// What is wrong with it.
    pub reason: String,
    /// Which points cannot be restored any more.
    pub lost: String,
    /// What befell it.
    pub kind: Kind,
    #[serde(skip)]
    name: Option<GenerationName>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.object, self.reason, self.lost)
    }
}

impl Finding {
    /// About a part of the chain.
    pub fn of(generation: &Generation, part: &PartName, reason: String, kind: Kind) -> Self {
        Self::at(generation, part.sequence, generation.path(part), reason, kind)
    }

    /// About a piece of the v3 store that the base begins with.
    pub fn of_piece(generation: &Generation, piece: &PieceName, reason: String, kind: Kind) -> Self {
        Self::at(generation, 0, format!("{}/{piece}", generation.name), reason, kind)
    }

    fn at(generation: &Generation, part: u64, object: String, reason: String, kind: Kind) -> Self {
        let lost = lost(generation, part);
        let name = Some(generation.name);
        Self { generation: generation.name.number, part, object, reason, lost, kind, name }
    }

    /// Whether it is about this generation.
    pub fn is_of(&self, generation: GenerationName) -> bool {
        self.name == Some(generation)
    }
}

/// Which points are gone without part `sequence`, and up to where a restore still comes.
fn lost(generation: &Generation, sequence: u64) -> String {
    let number = generation.name.number;
    let before = sequence.checked_sub(1).and_then(|i| generation.parts.get(usize::try_from(i).ok()?));
    match before {
        None => format!("generation {number} cannot be restored"),
        Some(part) => format!(
            "in generation {number}, no restore point after part {}, index {}, {}, can be used",
            part.sequence,
            part.last,
            time::rfc3339(part.time)
        ),
    }
}

/// What a listing shows of a generation: parts that are missing or not whole although something was behind them, or
/// although part `known` is known to have been there. An upload that was cut off at the end never was a backup.
pub fn in_listing(generation: &Generation, objects: &[Object], known: Option<u64>) -> Vec<Finding> {
    let gap = generation.parts.len() as u64;
    if !is_lost(generation, objects) && known.is_none_or(|known| known < gap) {
        return Vec::new();
    }
    let mut all = Vec::new();
    for path in &generation.beyond {
        let Some(part) = part(path) else { continue };
        if let Some(reason) = objection(objects, path, part.size) {
            all.push(Finding::at(generation, part.sequence, path.clone(), reason, Kind::Damaged));
        }
    }
    if !all.iter().any(|f| f.part == gap) {
        all.extend(match whole_base(generation, objects) {
            Some(base) => pieces_of(generation, objects, base),
            None => {
                let object = format!("{}/{gap:08}-", generation.name);
                vec![Finding::at(generation, gap, object, "it is missing".to_owned(), Kind::Missing)]
            }
        });
    }
    all.sort_by_key(|f| f.part);
    all
}

/// Which piece a base lacks that is whole itself.
fn pieces_of(generation: &Generation, objects: &[Object], base: PartName) -> Vec<Finding> {
    let mut pieces: Vec<(PieceName, &String)> =
        generation.beyond.iter().filter_map(|path| Some((piece(path)?, path))).collect();
    pieces.sort_unstable();
    let mut all = Vec::new();
    for (piece, path) in &pieces {
        if let Some(reason) = objection(objects, path, piece.size) {
            all.push(Finding::at(generation, 0, (*path).clone(), reason, Kind::Damaged));
        }
    }
    if all.is_empty() {
        // The first that the one behind it, at last the base, does not lead to.
        let missing =
            (0..).zip(&pieces).find(|(number, (piece, _))| piece.number != *number).map(|(number, _)| number);
        let missing = missing.unwrap_or(pieces.len() as u64);
        let reason = match pieces.iter().any(|(piece, _)| piece.link == base.predecessor) {
            true if missing == pieces.len() as u64 => "its pieces are not of one v3 store",
            _ => "it is missing",
        };
        let object = format!("{}/{missing:08}-", generation.name);
        all.push(Finding::at(generation, 0, object, reason.to_owned(), Kind::Missing));
    }
    all
}

/// What is wrong with an object of this size, by the listing.
fn objection(objects: &[Object], path: &str, wanted: u64) -> Option<String> {
    match objects.iter().find(|o| o.path == path).map_or(0, |o| o.size) {
        size if size == wanted => None,
        Object::UNKNOWN_SIZE => Some("its size is unknown".to_owned()),
        size => Some(format!("it has {}, not {wanted}", count(size, "byte", "bytes"))),
    }
}

fn part(path: &str) -> Option<PartName> {
    PartName::parse(path.rsplit('/').next()?)
}

fn piece(path: &str) -> Option<PieceName> {
    PieceName::parse(path.rsplit('/').next()?)
}

/// A base that is whole and begins with pieces that are not.
fn whole_base(generation: &Generation, objects: &[Object]) -> Option<PartName> {
    let bases = generation.beyond.iter().filter_map(|path| Some((part(path)?, path)));
    let mut whole =
        bases.filter(|(base, path)| base.sequence == 0 && objection(objects, path, base.size).is_none());
    whole.next().map(|(base, _)| base).filter(|base| generation.parts.is_empty() && base.predecessor != 0)
}

/// Something lies behind what can be reached. A base of which only a piece arrived, and nothing behind it, is an upload
/// that was cut off; pieces are sent before it.
fn is_lost(generation: &Generation, objects: &[Object]) -> bool {
    let of_base = |path: &String| part(path).is_none_or(|part| part.sequence == 0);
    let cut_off = generation.parts.is_empty()
        && generation.beyond.iter().all(of_base)
        && whole_base(generation, objects).is_none();
    generation.is_broken() && !cut_off
}

/// Objects of a generation that belong to no chain, and that no restore misses.
pub fn strays<'a>(generation: &'a Generation, objects: &[Object]) -> &'a [String] {
    if is_lost(generation, objects) { &[] } else { &generation.beyond }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::chain::generations;

    const NAME: GenerationName = GenerationName { number: 4, cluster_id: 0xc, member_id: 0xa, writer: 0xb };

    fn object(sequence: u64, size: u64) -> Object {
        let predecessor = if sequence == 0 { 0 } else { 99 + sequence };
        let part = PartName {
            sequence,
            first: 1,
            last: 10 * sequence + 9,
            term: 1,
            time: 1_769_903_999,
            size: 10,
            predecessor,
            link: 100 + sequence,
        };
        Object { path: format!("{NAME}/{part}"), size }
    }

    #[test]
    fn a_piece_that_is_missing_or_cut_is_named_where_the_base_is_there() {
        let piece = |number: u64| PieceName {
            number,
            applied: 7,
            size: 10,
            predecessor: if number == 0 { 0 } else { 500 + number - 1 },
            link: 500 + number,
        };
        let base = PartName { predecessor: 502, ..part(object(0, 10).path.as_str()).unwrap() };
        let of = |name: String, size| Object { path: format!("{NAME}/{name}"), size };
        let whole: Vec<Object> =
            (0..3).map(|n| of(piece(n).to_string(), 10)).chain([of(base.to_string(), 10)]).collect();
        let found = |objects: &[Object], known| -> Vec<(String, String)> {
            let all = in_listing(&generations(objects)[0], objects, known);
            assert!(
                all.iter().all(|f| f.part == 0 && f.lost == "generation 4 cannot be restored"),
                "{all:?}"
            );
            all.into_iter().map(|f| (f.object.rsplit('/').next().unwrap().to_owned(), f.reason)).collect()
        };
        assert_eq!(found(&whole, Some(0)), []);
        for at in 0..3 {
            let mut fewer = whole.clone();
            fewer.remove(at);
            assert_eq!(found(&fewer, None), [(format!("{at:08}-"), "it is missing".to_owned())]);
            let mut cut = whole.clone();
            cut[at].size = 9;
            let expected = (piece(at as u64).to_string(), "it has 9 bytes, not 10".to_owned());
            assert_eq!(found(&cut, None), [expected]);
        }
        // The base comes last: without it whole, all of it is an upload that was cut off.
        let mut torn = whole.clone();
        torn[3].size = 9;
        assert_eq!(found(&torn, None), []);
        assert_eq!(strays(&generations(&torn)[0], &torn).len(), 4);
        assert_eq!(found(&torn, Some(0)), [(base.to_string(), "it has 9 bytes, not 10".to_owned())]);
        let mut mixed = whole;
        mixed[1] = of(PieceName { applied: 8, ..piece(1) }.to_string(), 10);
        assert_eq!(found(&mixed, None)[0].1, "its pieces are not of one v3 store");
    }

    #[test]
    fn a_listing_shows_what_is_missing_or_cut_and_what_that_costs() {
        let behind =
            "in generation 4, no restore point after part 0, index 9, 2026-01-31T23:59:59Z, can be used";
        let nothing = "generation 4 cannot be restored";
        type Case<'a> = (&'a [(u64, u64)], Option<u64>, &'a [(u64, &'a str, &'a str)]);
        let table: [Case<'_>; 11] = [
            (&[(0, 10), (1, 10), (2, 10)], Some(2), &[]),
            (&[(0, 10), (1, 10), (2, 9)], Some(1), &[]),
            (&[(0, 10), (1, 10), (2, 9)], None, &[]),
            (&[(0, 10), (1, 9)], Some(1), &[(1, "it has 9 bytes, not 10", behind)]),
            (&[(0, 10)], Some(2), &[(1, "it is missing", behind)]),
            (&[(0, 10), (2, 10)], None, &[(1, "it is missing", behind)]),
            (&[(0, 10), (1, u64::MAX), (2, 10)], None, &[(1, "its size is unknown", behind)]),
            (&[(1, 10), (2, 10)], None, &[(0, "it is missing", nothing)]),
            (&[(0, 3)], None, &[]),
            (&[(0, 3)], Some(0), &[(0, "it has 3 bytes, not 10", nothing)]),
            (&[(0, 0), (1, 10)], None, &[(0, "it has 0 bytes, not 10", nothing)]),
        ];
        for (there, known, expected) in table {
            let objects: Vec<Object> = there.iter().map(|&(s, size)| object(s, size)).collect();
            let found = in_listing(&generations(&objects)[0], &objects, known);
            let found: Vec<_> = found.iter().map(|f| (f.part, f.reason.as_str(), f.lost.as_str())).collect();
            assert_eq!(found, expected, "{there:?} {known:?}");
        }
    }
}
