//! Whether each point of a generation could be restored, told by reading its parts one after the other in constant
//! memory: what [`unpack`](super::unpack) and the scan of the unpacked data directory would find.

use std::collections::BTreeMap;
use std::io::Read;
use std::mem;

use anyhow::{Result, ensure};

use super::part::Part;
use super::unpack::{Sink, read_part};
use crate::etcd::frame::Record;
use crate::etcd::log::Log;
use crate::etcd::members;
use crate::etcd::proto::{LogPosition, Metadata};
use crate::etcd::snap::{self, SnapshotName};
use crate::etcd::store::{self, StoredMember};
use crate::etcd::wal::{Extent, SegmentName};
use crate::exit::{Exit, OrFault};

/// The running sum over the parts of a generation. Parts may be left out: what follows is checked for itself.
#[derive(Debug, Default)]
pub struct Check {
    /// The last part that was found to be whole: its sequence, its checksum, the log's last extent.
    before: Option<(u64, String, Option<Extent>)>,
    read: Content,
}

impl Check {
    /// Checks a part's content, and that it continues the one before if that was the last one checked.
    ///
    /// # Errors
    /// [`Exit::Corrupt`] with what is wrong. The next part is checked for itself then.
    pub fn part(&mut self, part: &Part) -> Result<()> {
        let before = self.before.take();
        let checked = self.content(part, before);
        if checked.is_err() {
            self.read = Content::default();
        }
        let what = format!("checking part {} of generation {}", part.head.sequence, part.head.generation);
        checked.or_fault(Exit::Corrupt, what, "no point from it on can be restored")
    }

    fn content(&mut self, part: &Part, before: Option<(u64, String, Option<Extent>)>) -> Result<()> {
        let head = &part.head;
        let before = before.filter(|(sequence, ..)| sequence.checked_add(1) == Some(head.sequence));
        let mut at = None;
        match before {
            Some((_, checksum, extent)) => {
                ensure!(head.predecessor == checksum, "it names another part as the one before it");
                at = extent;
            }
            None => self.read = Content::of(part),
        }
        read_part(part, &mut at, &mut self.read)?;
        self.read.ends_at(head.last)?;
        self.before = Some((head.sequence, part.checksum.clone(), at));
        Ok(())
    }

    /// Checks what a restore of the last part needs beside its content.
    ///
    /// # Errors
    /// [`Exit::Corrupt`] if the member list cannot be read.
    pub fn end(mut self) -> Result<()> {
        if !self.read.whole || self.before.is_none() {
            return Ok(());
        }
        let base = self.read.base.map_or(0, |b| b.index);
        let changes = &self.read.log.changes;
        let behind = &changes[changes.partition_point(|c| c.index <= base)..];
        members::follow(&self.read.voters, mem::take(&mut self.read.stored), behind).map(drop).or_fault(
            Exit::Corrupt,
            "reading the member list",
            "no point of the generation can be restored",
        )
    }
}

/// A snapshot and the records behind it.
#[derive(Debug, Default)]
struct Content {
    /// It begins with the generation's base.
    whole: bool,
    base: Option<LogPosition>,
    voters: Vec<u64>,
    stored: BTreeMap<u64, StoredMember>,
    log: Log,
}

impl Content {
    /// What lies before a part.
    fn of(part: &Part) -> Self {
        let head = &part.head;
        let whole = head.sequence == 0;
        let before = LogPosition { index: head.first.saturating_sub(1), term: 0 };
        let log = if whole { Log::default() } else { Log::behind(before, head.start_state) };
        let metadata = Metadata { member_id: head.member_id, cluster_id: head.cluster_id };
        let log = Log { metadata: Some(metadata), hard_state: head.start_state, ..log };
        Self { whole, log, ..Self::default() }
    }

    /// Whether all of it leads to `last` without a gap, as a restore wants it.
    fn ends_at(&self, last: LogPosition) -> Result<()> {
        let Self { whole, base, log, .. } = self;
        let from = base.map_or(0, |b| b.index);
        if *whole {
            let known = base.is_none_or(|b| log.snapshots.contains(&b));
            ensure!(known, "the log does not know the snapshot at index {from}");
            ensure!(log.continues(from), "entries are missing behind index {from}");
        }
        let end = if log.entries == 0 { base.unwrap_or(log.last) } else { log.last };
        // Without an entry of its own, a part that is read for itself does not know the term.
        let same_term = end.term == last.term || !(*whole || log.entries > 0);
        ensure!(
            end.index == last.index && same_term,
            "it ends at index {} of term {}, not at {} of term {}",
            end.index,
            end.term,
            last.index,
            last.term
        );
        Ok(())
    }
}

impl Sink for Content {
    fn snapshot(&mut self, name: SnapshotName, size: u64, bytes: &mut dyn Read) -> Result<()> {
        let mut stored = BTreeMap::new();
        let outline = snap::read_through(bytes, size, &mut |_, json| {
            stored = store::members(json)?;
            Ok(())
        })?;
        let position = outline.metadata.position;
        ensure!(position == name.position(), "its snapshot holds the state at index {}", position.index);
        (self.base, self.voters, self.stored) = (Some(position), outline.metadata.members, stored);
        Ok(())
    }

    fn record(&mut self, _: SegmentName, record: &Record<'_>) -> Result<()> {
        self.log.add(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::part::{self, Head, tests as parts};
    use crate::etcd::frame::{FrameReader, FrameWriter, Kind};
    use crate::etcd::proto::{Entry, EntryKind, HardState};
    use crate::etcd::wal::Place;
    use crate::exit::exit_of;

    const SEGMENT: SegmentName = SegmentName { sequence: 0, index: 0 };

    /// A part of these entries, all of term 2, behind `before`: its checksum and the end of its log.
    fn written(
        dir: &std::path::Path,
        before: &(String, Option<Extent>),
        indexes: &[u64],
        change: fn(&mut Head),
    ) -> (Part, (String, Option<Extent>)) {
        let from = before.1.map_or(Place::start_of(SEGMENT), |e| Place {
            segment: SEGMENT,
            offset: e.to,
            crc: e.crc,
        });
        let mut log = FrameWriter::new(Vec::new(), from.crc);
        if from.offset == 0 {
            log.crc_record().unwrap();
            let metadata = Metadata { member_id: 0xa, cluster_id: 0xc };
            log.record(Kind::Metadata, &metadata.encode()).unwrap();
        }
        for &index in indexes {
            let entry = Entry { kind: EntryKind::Normal, term: 2, index, data: &[] };
            log.record(Kind::Entry, &entry.encode()).unwrap();
        }
        let bytes = log.into_inner();
        let mut reader = FrameReader::new(&bytes[..], from.offset, from.crc);
        while reader.next_record().unwrap().is_ok() {}
        let crc = reader.crc();
        let extent = Extent { from, to: from.offset + bytes.len() as u64, crc };
        let mut head = parts::head(0, &before.0);
        head.sequence = u64::from(from.offset > 0);
        (head.first, head.last) = (indexes[0], LogPosition { index: indexes[indexes.len() - 1], term: 2 });
        (head.start_state, head.log) = (HardState::default(), vec![extent]);
        change(&mut head);
        let written = part::write(dir, &head, |out| Ok(out.write_all(&bytes)?)).unwrap();
        let path = dir.join(written.name.to_string());
        (Part::open(&path, head.generation_name(), written.name).unwrap(), (written.checksum, Some(extent)))
    }

    /// What becomes of two parts whose checksums are right: alone, the second one, and both.
    fn checked(first: &[u64], second: &[u64], change: fn(&mut Head)) -> [Option<String>; 3] {
        let dir = tempfile::tempdir().unwrap();
        let nothing = |_: &mut Head| {};
        let (base, behind) = written(dir.path(), &(String::new(), None), first, nothing);
        let (next, _) = written(dir.path(), &behind, second, change);
        let error = |result: Result<()>| {
            result.err().map(|e| {
                assert_eq!(exit_of(&e), Exit::Corrupt);
                e.root_cause().to_string()
            })
        };
        let mut both = Check::default();
        let of_base = error(both.part(&base));
        let of_both = error(both.part(&next));
        assert!(both.end().is_ok());
        [of_base, error(Check::default().part(&next)), of_both]
    }

    #[test]
    fn each_part_has_to_lead_to_the_point_of_its_name_and_continue_the_one_before() {
        let whole = [None, None, None];
        assert_eq!(checked(&[1, 2, 3], &[4, 5], |_| {}), whole);
        // A new leader overwrites what was not committed.
        assert_eq!(checked(&[1, 2, 3], &[3, 4], |head| head.first = 4), whole);
        let some = |text: &str| Some(text.to_owned());
        let wrong = "it ends at index 5 of term 2, not at 6 of term 2";
        assert_eq!(checked(&[1, 2], &[3, 4, 5], |h| h.last.index = 6), [None, some(wrong), some(wrong)]);
        let wrong = "it ends at index 5 of term 2, not at 5 of term 3";
        assert_eq!(checked(&[1, 2], &[3, 4, 5], |h| h.last.term = 3), [None, some(wrong), some(wrong)]);
        let gap = "entries are missing behind index 0";
        assert_eq!(checked(&[1, 2], &[4, 5], |_| {}), [None, None, some(gap)]);
        assert_eq!(checked(&[3, 4], &[5], |_| {}), [some(gap), None, None]);
        let other = "it names another part as the one before it";
        assert_eq!(checked(&[1, 2], &[3], |h| h.predecessor = "00".repeat(32)), [None, None, some(other)]);
    }
}
