//! Whether each point of a generation could be restored, told by reading its parts one after the other in constant
//! memory: what [`unpack`](super::unpack) would find, and what a restore then needs.

use anyhow::{Result, bail};

use super::part::Part;
use super::unpack::{before, read_part};
use crate::etcd::replay::Replay;
use crate::etcd::wal::Extent;
use crate::exit::{Exit, OrFault};

/// The running sum over the parts of a generation. Parts may be left out: what follows is checked for itself.
#[derive(Debug, Default)]
pub struct Check {
    /// The last part that was found to be whole: its place in the generation, its link, the log's last extent.
    before: Option<(u64, String, Option<Extent>)>,
    /// What was read since begins with the generation's base.
    is_whole: bool,
    read: Replay,
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
            (self.is_whole, self.read) = (false, Replay::default());
        }
        let what = format!("checking part {} of generation {}", part.head.sequence, part.head.generation);
        checked.or_fault(Exit::Corrupt, what, "no restore point from this part on can be used")
    }

    fn content(&mut self, part: &Part, last: Option<(u64, String, Option<Extent>)>) -> Result<()> {
        let head = &part.head;
        let mut at = None;
        match last {
            // One that holds what several did has the place of the last of them.
            Some((_, link, extent)) if head.predecessor == link => at = extent,
            Some((sequence, ..)) if sequence.checked_add(1) == Some(head.sequence) => {
                bail!("it does not continue the part before it");
            }
            _ => (self.is_whole, self.read) = (head.sequence == 0, before(head)),
        }
        read_part(part, &mut at, &mut self.read)?;
        if self.is_whole {
            self.read.is_continuous()?;
        }
        self.read.ends_at(head.last)?;
        self.before = Some((head.sequence, part.link.clone(), at));
        Ok(())
    }

    /// Checks what a restore of the last part needs beside its content.
    ///
    /// # Errors
    /// [`Exit::Corrupt`] if the member list cannot be read.
    pub fn end(self) -> Result<()> {
        if !self.is_whole || self.before.is_none() {
            return Ok(());
        }
        self.read.members().map(drop).or_fault(
            Exit::Corrupt,
            "reading the member list",
            "the generation cannot be restored",
        )
    }
}

#[cfg(test)]
mod tests {
    use std::mem;
    use std::path::Path;

    use crc32c::crc32c_append;
    use proptest::prelude::*;

    use super::*;
    use crate::archive::part::{self, Head, tests as parts};
    use crate::etcd::frame::{FrameReader, FrameWriter, Kind};
    use crate::etcd::proto::{Entry, EntryKind, HardState, LogPosition, Metadata};
    use crate::etcd::wal::{Place, SegmentName};
    use crate::exit::exit_of;

    const SEGMENT: SegmentName = SegmentName { sequence: 0, index: 0 };

    /// A part of these entries, all of term 2, behind `before`: its link and the end of its log.
    fn written(
        dir: &Path,
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
        (Part::open(&path, head.generation_name(), written.name).unwrap(), (written.link, Some(extent)))
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
        let gap = "the entries after index 0 are missing";
        assert_eq!(checked(&[1, 2], &[4, 5], |_| {}), [None, None, some(gap)]);
        assert_eq!(checked(&[3, 4], &[5], |_| {}), [some(gap), None, None]);
        let other = "it does not continue the part before it";
        assert_eq!(checked(&[1, 2], &[3], |h| h.predecessor = "00".repeat(32)), [None, None, some(other)]);
    }

    /// What may come next in the log of a member.
    #[derive(Debug, Clone)]
    enum Step {
        Entries(usize),
        /// A new leader, which takes back so many entries that are not committed.
        Leader(usize),
        Commit(u64),
        /// A snapshot of so many entries ago: it takes long to write a large one.
        Snapshot(u64),
        Cut,
        Part,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (1..4usize).prop_map(Step::Entries),
            1 => (0..4usize).prop_map(Step::Leader),
            2 => (1..5u64).prop_map(Step::Commit),
            2 => (0..12u64).prop_map(Step::Snapshot),
            1 => Just(Step::Cut),
            4 => Just(Step::Part),
        ];
        prop::collection::vec(step, 1..40)
    }

    /// A log that is written record by record, and sent in parts.
    struct Made<'a> {
        dir: &'a Path,
        /// The terms of its entries, from index 1 on.
        terms: Vec<u64>,
        state: HardState,
        /// Hard state and last entry of the part before.
        before: (HardState, LogPosition),
        place: Place,
        /// Of the next part.
        bytes: Vec<u8>,
        log: Vec<Extent>,
        parts: Vec<Part>,
    }

    impl Made<'_> {
        fn of(dir: &Path, steps: &[Step]) -> Vec<Part> {
            let before = (HardState::default(), LogPosition::default());
            let (terms, state) = (Vec::new(), HardState { term: 1, ..before.0 });
            let (bytes, log, parts) = (Vec::new(), Vec::new(), Vec::new());
            let place = Place::start_of(SEGMENT);
            let mut made = Made { dir, terms, state, before, place, bytes, log, parts };
            made.segment();
            made.record(Kind::Snapshot, &LogPosition::default().encode());
            steps.iter().for_each(|step| made.step(step));
            made.part();
            made.parts
        }

        fn step(&mut self, step: &Step) {
            match *step {
                Step::Entries(count) => (0..count).for_each(|_| self.entry()),
                Step::Leader(back) => {
                    let kept = self.terms.len().saturating_sub(back).max(self.state.commit as usize);
                    self.terms.truncate(kept);
                    self.state.term += 1;
                    self.hard_state();
                    self.entry();
                }
                Step::Commit(more) => {
                    self.state.commit = (self.state.commit + more).min(self.terms.len() as u64);
                    self.hard_state();
                }
                Step::Snapshot(ago) => {
                    let index = self.state.commit.saturating_sub(ago);
                    self.record(Kind::Snapshot, &self.at(index).encode());
                }
                Step::Cut => {
                    let sequence = self.place.segment.sequence + 1;
                    let segment = SegmentName { sequence, index: self.terms.len() as u64 + 1 };
                    self.place = Place { segment, offset: 0, ..self.place };
                    self.segment();
                }
                Step::Part => self.part(),
            }
        }

        fn at(&self, index: u64) -> LogPosition {
            let term = (index as usize).checked_sub(1).map_or(0, |at| self.terms[at]);
            LogPosition { index, term }
        }

        fn last(&self) -> LogPosition {
            self.at(self.terms.len() as u64)
        }

        fn segment(&mut self) {
            self.record(Kind::Crc, &[]);
            self.record(Kind::Metadata, &Metadata { member_id: 0xa, cluster_id: 0xc }.encode());
            self.hard_state();
        }

        fn hard_state(&mut self) {
            self.record(Kind::HardState, &self.state.encode());
        }

        fn entry(&mut self) {
            self.terms.push(self.state.term);
            let LogPosition { index, term } = self.last();
            self.record(Kind::Entry, &Entry { kind: EntryKind::Normal, term, index, data: &[] }.encode());
        }

        fn record(&mut self, kind: Kind, data: &[u8]) {
            let Place { segment, offset, crc } = self.place;
            let mut frame = FrameWriter::new(Vec::new(), crc);
            if kind == Kind::Crc { frame.crc_record() } else { frame.record(kind, data) }.unwrap();
            self.bytes.extend(frame.into_inner());
            if self.log.last().is_none_or(|extent| extent.from.segment != segment) {
                self.log.push(Extent { from: self.place, to: offset, crc });
            }
            let before: u64 = self.log.iter().rev().skip(1).map(|e| e.to - e.from.offset).sum();
            let extent = self.log.last_mut().unwrap();
            extent.to = extent.from.offset + self.bytes.len() as u64 - before;
            extent.crc = crc32c_append(crc, data);
            (self.place.offset, self.place.crc) = (extent.to, extent.crc);
        }

        fn part(&mut self) {
            if self.bytes.is_empty() {
                return;
            }
            let predecessor = self.parts.last().map_or(String::new(), |part| part.link.clone());
            let head = Head {
                first: self.before.1.index + 1,
                last: self.last(),
                start_state: self.before.0,
                log: mem::take(&mut self.log),
                ..parts::head(self.parts.len() as u64, &predecessor)
            };
            let bytes = mem::take(&mut self.bytes);
            let written = part::write(self.dir, &head, |out| Ok(out.write_all(&bytes)?)).unwrap();
            let path = self.dir.join(written.name.to_string());
            self.parts.push(Part::open(&path, head.generation_name(), written.name).unwrap());
            self.before = (self.state, self.last());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// A share has any of them.
        #[test]
        fn parts_that_are_whole_one_behind_the_other_are_whole_in_any_choice(steps in steps(), chosen in any::<u64>()) {
            let dir = tempfile::tempdir().unwrap();
            let all = Made::of(dir.path(), &steps);
            let found = |parts: &mut dyn Iterator<Item = &Part>| -> Result<()> {
                let mut check = Check::default();
                for part in parts {
                    check.part(part)?;
                }
                check.end()
            };
            let choices = [u64::MAX, chosen].into_iter().chain((0..all.len()).map(|at| 1 << (at % 64)));
            for choice in choices {
                let has = |(at, _): &(usize, &Part)| choice >> (at % 64) & 1 == 1;
                let found = found(&mut all.iter().enumerate().filter(has).map(|(_, part)| part));
                prop_assert!(found.is_ok(), "{:x} of {} parts: {:?}", choice, all.len(), found);
            }
        }
    }
}
