//! When the entries of a log were written, as far as it says so. A leader's clock is in its SYNC entries: 2.x writes one
//! every 500 ms, 3.x only while a key has a TTL.

use std::path::Path;

use anyhow::Result;

use super::frame::Kind;
use super::proto::{Entry, EntryKind, LogPosition};
use super::request::Request;
use super::wal::{self, Place, Reading};

/// A SYNC entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// The leader's clock, nanoseconds since 1970.
    pub time: u64,
}

/// The SYNC entries next to a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ticks {
    /// The last one that is not newer.
    pub before: Option<Tick>,
    /// The first one that is newer.
    pub behind: Option<Tick>,
}

impl Ticks {
    /// Adds an entry and, if it is a SYNC, its time. A new leader's entries overwrite others.
    fn add(&mut self, moment: u64, LogPosition { index, term }: LogPosition, time: Option<u64>) {
        let valid = |tick: &Tick| tick.index < index;
        self.before = self.before.filter(valid);
        self.behind = self.behind.filter(valid);
        match time.map(|time| Tick { index, term, time }) {
            Some(tick) if self.behind.is_none() && tick.time > moment => self.behind = Some(tick),
            Some(tick) if self.behind.is_none() => self.before = Some(tick),
            _ => {}
        }
    }
}

/// Looks for a moment, in nanoseconds since 1970, among a log's entries behind the one at `floor`.
///
/// # Errors
/// The log cannot be read.
pub fn around(wal_dir: &Path, from: Place, floor: u64, moment: u64) -> Result<Ticks> {
    let mut ticks = Ticks::default();
    wal::walk(wal_dir, from, Reading::Still, &mut |_, record| {
        if record.kind == Kind::Entry {
            let entry = Entry::decode(record.data)?;
            if entry.index > floor {
                ticks.add(moment, LogPosition { index: entry.index, term: entry.term }, time(&entry));
            }
        }
        Ok(())
    })?;
    Ok(ticks)
}

/// The clock in a SYNC entry.
fn time(entry: &Entry<'_>) -> Option<u64> {
    if entry.kind != EntryKind::Normal {
        return None;
    }
    let request = Request::decode(entry.data).ok().filter(|r| r.method == "SYNC")?;
    u64::try_from(request.time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::wire::Encoder;

    #[test]
    fn the_ticks_on_both_sides_of_a_moment() {
        let tick = |index, time| Some(Tick { index, term: 2, time });
        type Case<'a> = (&'a [(u64, Option<u64>)], Option<Tick>, Option<Tick>);
        let table: [Case<'_>; 7] = [
            (&[], None, None),
            (&[(1, None), (2, None)], None, None),
            (&[(1, Some(40)), (2, None), (3, Some(50)), (4, None), (5, Some(51))], tick(3, 50), tick(5, 51)),
            (&[(1, Some(51)), (2, Some(49)), (3, Some(60))], None, tick(1, 51)),
            (&[(1, Some(10)), (2, Some(20))], tick(2, 20), None),
            // Overwritten: by an entry of another kind, by a SYNC.
            (&[(1, Some(10)), (2, Some(60)), (2, None), (3, Some(70))], tick(1, 10), tick(3, 70)),
            (&[(1, Some(10)), (2, Some(20)), (3, Some(60)), (2, Some(30))], tick(2, 30), None),
        ];
        for (entries, before, behind) in table {
            let mut ticks = Ticks::default();
            entries.iter().for_each(|&(index, time)| ticks.add(50, LogPosition { index, term: 2 }, time));
            assert_eq!(ticks, Ticks { before, behind }, "{entries:?}");
        }
    }

    #[test]
    fn only_a_sync_has_a_clock() {
        let request = |method: &[u8]| Encoder::default().number(1, 9).bytes(2, method).number(15, 77).done();
        for (data, kind, expected) in [
            (request(b"SYNC"), EntryKind::Normal, Some(77)),
            (request(b"SYNC"), EntryKind::ConfChange, None),
            (request(b"PUT"), EntryKind::Normal, None),
            (Vec::new(), EntryKind::Normal, None),
        ] {
            assert_eq!(time(&Entry { kind, term: 1, index: 1, data: &data }), expected);
        }
    }
}
