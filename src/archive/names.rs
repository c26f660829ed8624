//! Names in the archive, parsed and built as inverses.
//!
//! ```text
//! <generation:8 digits>-<cluster ID:16 hex>-<member ID:16 hex>-<writer:8 hex>/
//!     <number:8 digits>-<applied>-<size>-<predecessor:16 hex>-<link:16 hex>.piece
//!     <sequence:8 digits>-<first>-<last>-<term>-<time>-<size>-<predecessor:16 hex>-<link:16 hex>.part
//! ```
//!
//! First, last, applied and term are raft's, in hex; the time is `20260131T235959Z`; the size is the object's, in bytes. A number that
//! needs more than 8 digits has more: a name that is written and not read would hide everything behind it. No name has more
//! than [`MAX_LENGTH`] characters.

use std::fmt;

use crate::etcd::proto::LogPosition;
use crate::sys::time;

/// The longest name that rclone's crypt can encrypt.
pub const MAX_LENGTH: usize = 143;

/// Whether readers will find a part under these names, and take it for this one. What is written under others is lost
/// without a word.
pub fn are_read_back(generation: GenerationName, part: PartName) -> bool {
    let (folder, file) = (generation.to_string(), part.to_string());
    let same = GenerationName::parse(&folder) == Some(generation) && PartName::parse(&file) == Some(part);
    same && folder.len().max(file.len()) <= MAX_LENGTH
}

/// Which generation an object belongs to, and whose data it is: the folder's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GenerationName {
    /// Counts up from 1 in a machine's folder; no clock.
    pub number: u64,
    /// The cluster.
    pub cluster_id: u64,
    /// The member.
    pub member_id: u64,
    /// Random, fresh for each generation: two machines of one machine-id do not write into one folder.
    pub writer: u32,
}

impl GenerationName {
    /// Reads a folder's name.
    pub fn parse(name: &str) -> Option<Self> {
        let mut fields = name.split('-');
        let number = decimal(fields.next()?, 8)?;
        let (cluster_id, member_id) = (hex16(fields.next()?)?, hex16(fields.next()?)?);
        let writer = fields.next().filter(|w| w.len() == 8).and_then(hex)?.try_into().ok()?;
        let this = Self { number, cluster_id, member_id, writer };
        // One way to write a name, or the same generation could have two.
        (fields.next().is_none() && this.to_string() == name).then_some(this)
    }
}

impl fmt::Display for GenerationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, cluster_id, member_id, writer } = self;
        write!(f, "{number:08}-{cluster_id:016x}-{member_id:016x}-{writer:08x}")
    }
}

/// What a part's name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartName {
    /// 0 is the base, then one more for each part.
    pub sequence: u64,
    /// Index of the first entry that may be in it: one behind the predecessor's last, or the base's.
    pub first: u64,
    /// Index of the last entry that is known with it.
    pub last: u64,
    /// The term of that entry.
    pub term: u64,
    /// When it was captured, in seconds since 1970.
    pub time: u64,
    /// Its size in bytes.
    pub size: u64,
    /// The first 8 bytes of the predecessor's link; in the base of the last piece's, 0 if it has none.
    pub predecessor: u64,
    /// The first 8 bytes of its link, by which the next part names it: [`super::link`]; in format 1 of its checksum.
    pub link: u64,
}

/// What the name of a piece of a v3 store says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PieceName {
    /// Its place among them, from 0 on.
    pub number: u64,
    /// Index of the last entry that the store contains.
    pub applied: u64,
    /// Its size in bytes.
    pub size: u64,
    /// The first 8 bytes of the link of the piece before it; 0 in the first.
    pub predecessor: u64,
    /// The first 8 bytes of its link: [`super::pieces`].
    pub link: u64,
}

impl PieceName {
    /// Reads a file's name.
    pub fn parse(name: &str) -> Option<Self> {
        let mut fields = name.strip_suffix(".piece")?.split('-');
        let mut next = || fields.next();
        let this = Self {
            number: decimal(next()?, 8)?,
            applied: hex(next()?)?,
            size: decimal(next()?, 1)?,
            predecessor: hex16(next()?)?,
            link: hex16(next()?)?,
        };
        (fields.next().is_none() && this.to_string() == name).then_some(this)
    }
}

impl fmt::Display for PieceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, applied, size, predecessor, link } = self;
        write!(f, "{number:08}-{applied:x}-{size}-{predecessor:016x}-{link:016x}.piece")
    }
}

impl PartName {
    /// Where its log ends.
    pub fn end(&self) -> LogPosition {
        LogPosition { index: self.last, term: self.term }
    }

    /// Reads a file's name.
    pub fn parse(name: &str) -> Option<Self> {
        let mut fields = name.strip_suffix(".part")?.split('-');
        let mut next = || fields.next();
        let this = Self {
            sequence: decimal(next()?, 8)?,
            first: hex(next()?)?,
            last: hex(next()?)?,
            term: hex(next()?)?,
            time: time::parse_compact(next()?)?,
            size: decimal(next()?, 1)?,
            predecessor: hex16(next()?)?,
            link: hex16(next()?)?,
        };
        // One way to write a name, or the same content could have two.
        (fields.next().is_none() && this.to_string() == name).then_some(this)
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequence, first, last, term, size, predecessor, link, .. } = self;
        write!(f, "{sequence:08}-{first:x}-{last:x}-{term:x}-{}-{size}", time::compact(self.time))?;
        write!(f, "-{predecessor:016x}-{link:016x}.part")
    }
}

/// A number of at least so many digits. Whether it has zeros too many shows where the name is written again.
fn decimal(text: &str, digits: usize) -> Option<u64> {
    (text.len() >= digits && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

fn hex(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (digits && text.len() <= 16).then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

fn hex16(text: &str) -> Option<u64> {
    (text.len() == 16).then(|| hex(text)).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PART: PartName = PartName {
        sequence: 3,
        first: 0x65,
        last: 0xc8,
        term: 2,
        time: 1_769_903_999,
        size: 4711,
        predecessor: 5,
        link: 0xabcd_ef01_2345_6789,
    };
    const TEXT: &str = "00000003-65-c8-2-20260131T235959Z-4711-0000000000000005-abcdef0123456789.part";

    #[test]
    fn names_are_read_as_they_are_written() {
        assert_eq!(PART.to_string(), TEXT);
        assert_eq!(PartName::parse(TEXT), Some(PART));
        let generation = GenerationName { number: 7, cluster_id: 0xa, member_id: u64::MAX, writer: 0xbeef };
        assert_eq!(generation.to_string(), "00000007-000000000000000a-ffffffffffffffff-0000beef");
        assert_eq!(GenerationName::parse(&generation.to_string()), Some(generation));
    }

    #[test]
    fn the_longest_name_fits_into_crypt() {
        let max = u64::MAX;
        // A generation has 1,001 parts at most.
        let longest =
            PartName { sequence: 999_999_999_999_999, first: max, last: max, term: max, size: max, ..PART };
        let folder = GenerationName { number: max, cluster_id: max, member_id: max, writer: u32::MAX };
        assert_eq!(longest.to_string().len(), MAX_LENGTH);
        assert!(are_read_back(folder, longest));
        assert!(!are_read_back(folder, PartName { sequence: max, ..longest }), "too long for crypt");
        assert!(!are_read_back(folder, PartName { time: max, ..PART }), "behind the year 9999");
    }

    /// Numbers of every length, and the ends of the range.
    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![
            (0..64u32, any::<u64>()).prop_map(|(bits, n)| n >> bits),
            (0..20u32).prop_map(|digits| 10_u64.pow(digits)),
            (0..20u32).prop_map(|digits| 10_u64.pow(digits) - 1),
            Just(u64::MAX),
        ]
    }

    prop_compose! {
        fn generations()(number in number(), cluster_id in number(), member_id in number(), writer in any::<u32>())
            -> GenerationName {
            GenerationName { number, cluster_id, member_id, writer }
        }
    }

    prop_compose! {
        fn parts()(
            [sequence, first, last, term, size, predecessor, link] in prop::array::uniform7(number()),
            time in prop_oneof![0..=time::LAST, number().prop_map(|n| n.min(time::LAST))],
        ) -> PartName {
            PartName { sequence, first, last, term, time, size, predecessor, link }
        }
    }

    prop_compose! {
        fn pieces()([number, applied, size, predecessor, link] in prop::array::uniform5(number())) -> PieceName {
            PieceName { number, applied, size, predecessor, link }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_written_is_read(generation in generations(), part in parts(), piece in pieces()) {
            prop_assert_eq!(GenerationName::parse(&generation.to_string()), Some(generation));
            prop_assert_eq!(PartName::parse(&part.to_string()), Some(part));
            let name = piece.to_string();
            prop_assert!(name.len() <= MAX_LENGTH && PartName::parse(&name).is_none());
            prop_assert_eq!(PieceName::parse(&name), Some(piece));
        }

        #[test]
        fn whatever_is_read_is_written_so(
            generation in generations(), part in parts(), piece in pieces(), at in any::<prop::sample::Index>(),
            with in "[0-9a-fA-FTZ+. -]{0,2}", cut in 0..2usize,
        ) {
            let altered = |name: String| {
                let at = at.index(name.len());
                format!("{}{with}{}", &name[..at], &name[at + cut..])
            };
            let name = altered(generation.to_string());
            prop_assert!(GenerationName::parse(&name).is_none_or(|read| read.to_string() == name), "{}", name);
            let name = altered(part.to_string());
            prop_assert!(PartName::parse(&name).is_none_or(|read| read.to_string() == name), "{}", name);
            let name = altered(piece.to_string());
            prop_assert!(PieceName::parse(&name).is_none_or(|read| read.to_string() == name), "{}", name);
        }
    }

    #[test]
    fn other_names_are_not_taken_for_ours() {
        let bad = [
            "",
            ".part",
            "00000003-65-c8-2-20260131T235959Z-4711-0000000000000005-abcdef0123456789",
            "3-65-c8-2-20260131T235959Z-4711-0000000000000005-abcdef0123456789.part",
            "00000003-065-c8-2-20260131T235959Z-4711-0000000000000005-abcdef0123456789.part",
            "00000003-65-C8-2-20260131T235959Z-4711-0000000000000005-abcdef0123456789.part",
            "00000003-65-c8-2-20261331T235959Z-4711-0000000000000005-abcdef0123456789.part",
            "00000003-65-c8-2-2026013éT235959Z-4711-0000000000000005-abcdef0123456789.part",
            "00000003-65-c8-2-20260131T235959Z-+711-0000000000000005-abcdef0123456789.part",
            "00000003-65-c8-2-20260131T235959Z--0000000000000005-abcdef0123456789.part",
            "000000003-65-c8-2-20260131T235959Z-4711-0000000000000005-abcdef0123456789.part",
            "00000003-65-c8-2-20260131T235959Z-4711-0000000000000005-abcdef0123456789-1.part",
        ];
        for name in bad {
            assert_eq!(PartName::parse(name), None, "{name}");
        }
        let bad = [
            "member",
            "00000007-a-b-c",
            "0000007-000000000000000a-ffffffffffffffff-0000beef",
            "000000007-000000000000000a-ffffffffffffffff-0000beef",
            "00000007-000000000000000a-ffffffffffffffff",
            "00000007-000000000000000a-ffffffffffffffff-1",
            "00000007-000000000000000a-ffffffffffffffff-0000BEEF",
            "00000007-000000000000000a-ffffffffffffffff-0000beef-1",
        ];
        for name in bad {
            assert_eq!(GenerationName::parse(name), None, "{name}");
        }
    }
}
