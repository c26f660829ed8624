//! A subject read through once, and what it adds up to.

use std::io::Read;
use std::path::Path;
use std::time::Duration;
use std::{mem, thread};

use anyhow::Result;

use super::db;
use super::report::{Damage, GenerationSummary, LogSummary, Member, PartPlace, Report, Snapshot, State};
use super::subject::{Archive, Subject, file_name, segment_file, snapshot_file};
use crate::archive::chain::Generation;
use crate::archive::part::{Head, Part};
use crate::archive::unpack::{before, read_part};
use crate::etcd::datadir::{DataDir, Family, Survey};
use crate::etcd::frame::{Record, Stop};
use crate::etcd::proto::{LogPosition, Metadata};
use crate::etcd::replay::{Replay, Sink};
use crate::etcd::snap::SnapshotName;
use crate::etcd::store::StoredMember;
use crate::etcd::v3::{Db, Seen};
use crate::etcd::wal::{Reading, SegmentName};
use crate::exit::{Exit, Fault, OrFault, exit_of, fault};
use crate::sys::{look, time};

/// How often a data directory that is not whole is looked at again.
const LOOKS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);

impl Report {
    /// Reads a subject through. Beside the report there is the first fault as an error, with exit code and hint.
    ///
    /// # Errors
    /// Nothing of it could be read.
    pub fn of(subject: &Subject) -> Result<(Self, Option<anyhow::Error>)> {
        let mut made = Made::default();
        made.report.format = 1;
        match subject {
            Subject::DataDir(dir) => made.data_dir(dir)?,
            Subject::Segment(path) => made.segment(path),
            Subject::Snapshot(path) => made.snapshot(path),
            Subject::Part(path) => made.part(path),
            Subject::Archive(archive) => made.archive(archive),
            Subject::Db(path) => made.db(path),
        }
        Ok((made.report, made.first))
    }
}

/// A report in the making.
#[derive(Default)]
struct Made {
    report: Report,
    first: Option<anyhow::Error>,
}

impl Made {
    /// Notes a fault. What is not an error of ours nor of the operating system is damage.
    fn fault(&mut self, at: Option<String>, error: anyhow::Error) {
        let mut reason = format!("{error:#}");
        if let Some(at) = &at {
            for prefix in [format!("the log is corrupt at {at}: "), format!("at {at}: ")] {
                reason = reason.strip_prefix(&prefix).map_or(reason.clone(), str::to_owned);
            }
        }
        let of_the_system = |e: &std::io::Error| e.raw_os_error().is_some();
        let known = error.downcast_ref::<Fault>().is_some()
            || error.chain().filter_map(|e| e.downcast_ref()).any(of_the_system);
        let error = if known {
            error
        } else {
            let what = at.as_ref().map_or("it is corrupt".to_owned(), |at| format!("{at} is corrupt"));
            Err::<(), _>(error)
                .or_fault(Exit::Corrupt, what, "take another member's data or an older backup")
                .expect_err("an error")
        };
        let state = if exit_of(&error) == Exit::Corrupt { State::Corrupt } else { State::Unreadable };
        if self.first.is_none() {
            self.report.state = state;
            self.first = Some(error);
        }
        self.report.faults.push(Damage { at, reason });
    }

    fn torn(&mut self) {
        if self.report.state == State::Whole {
            self.report.state = State::Torn;
        }
    }

    fn data_dir(&mut self, dir: &DataDir) -> Result<()> {
        self.report.kind = "data-dir";
        let survey = settled(dir)?;
        self.report.etcd = Some(dir.family(&survey.replay.log)?);
        self.report.passed_over = survey.passed_over;
        self.report.v3_data = match (Seen::new(survey.replay.log.v3_write, &survey.db), &survey.db) {
            (Some(seen), _) => Some(seen.to_string()),
            (None, Db::Unreadable(why)) => Some(format!("unknown, snap/db cannot be read: {why}")),
            (None, _) => None,
        };
        let end = survey.walk.end.to_string();
        if let Some(error) = survey.fault {
            self.fault(survey.damaged.then(|| end.clone()), error);
        }
        let db = dir.snap.join("db");
        if look::is_there(&db)? {
            self.db_of(&db);
        }
        let segments = survey.walk.extents.len();
        let mut content = Content { replay: survey.replay, segments, ..Content::default() };
        if let Some(base) = survey.base {
            let path = &base.path;
            if let Err(e) = snapshot_file(path, &mut content) {
                self.fault(Some(file_name(path)), e);
            }
        }
        self.content(content, end, &survey.walk.stop);
        Ok(())
    }

    fn segment(&mut self, path: &Path) {
        self.report.kind = "segment";
        let mut content = Content::default();
        let (offset, read) = segment_file(path, &mut content);
        let end = format!("{}@{offset}", file_name(path));
        let stop = read.unwrap_or_else(|e| {
            let reason = format!("{e:#}");
            self.fault(Some(end.clone()), e);
            Stop::Corrupt(reason)
        });
        if let (Stop::Corrupt(reason), None) = (&stop, &self.first) {
            let what = format!("the log is corrupt at {end}: {reason}");
            self.fault(
                Some(end.clone()),
                fault(Exit::Corrupt, what, "take another member's data or a backup"),
            );
        }
        let three = content.replay.log.padded || stop == Stop::Zeros;
        self.report.etcd = Some(if three { Family::Three } else { Family::Two });
        self.content(content, end, &stop);
    }

    fn db(&mut self, path: &Path) {
        self.report.kind = "db";
        self.report.etcd = Some(Family::Three);
        self.db_of(path);
        if let Some(v3) = &self.report.v3
            && v3.sum == Some(false)
        {
            let what = format!("the sha256 at the end of {} is not that of the db before it", path.display());
            let hint = "take another copy of the snapshot, or an older one";
            self.fault(Some(file_name(path)), fault(Exit::Corrupt, what, hint));
        }
    }

    fn db_of(&mut self, path: &Path) {
        match db::summary(path) {
            Ok(summary) => self.report.v3 = Some(summary),
            Err(e) => self.fault(Some(file_name(path)), e),
        }
    }

    fn snapshot(&mut self, path: &Path) {
        self.report.kind = "snapshot";
        let mut content = Content::default();
        if let Err(e) = snapshot_file(path, &mut content) {
            self.fault(Some(file_name(path)), e);
        }
        content.members(self);
        self.report.snapshot = content.snapshot;
    }

    fn part(&mut self, path: &Path) {
        self.report.kind = "part";
        let name = file_name(path);
        let part = match Part::read_unnamed(path) {
            Ok(part) => part,
            Err(e) => return self.fault(Some(name), e),
        };
        self.report.etcd = Some(part.head.family);
        let Head { generation, sequence, member_name, peer_urls, .. } = part.head.clone();
        let time = time::rfc3339(part.head.time);
        self.report.part = Some(PartPlace { generation, sequence, time, member_name, peer_urls });
        self.v3_data_of(part.head.v3_data);
        let mut content = Content::of(&part.head);
        if let Err(e) = read_part(&part, &mut None, &mut content) {
            self.fault(Some(name), e);
        }
        let end = content.end();
        self.content(content, end, &Stop::Eof);
    }

    fn archive(&mut self, archive: &Archive) {
        self.report.kind = "archive";
        for generation in &archive.generations {
            // Only the newest one is told at length.
            let (before, mut content) = (self.report.faults.len(), None);
            let parts = self.generation(archive, generation, &mut content);
            let state = match self.report.faults.len() > before {
                true => State::Corrupt,
                false if generation.beyond.is_empty() => State::Whole,
                false => State::Torn,
            };
            let summary = summary(generation, parts, state);
            self.report.generations.push(summary);
            if generation.name == archive.newest().name {
                if state == State::Torn {
                    self.torn();
                }
                if let Some(content) = content {
                    let end = content.end();
                    self.content(content, end, &Stop::Eof);
                }
            }
        }
    }

    /// Reads a generation through; gives the number of its whole parts.
    fn generation(
        &mut self,
        archive: &Archive,
        generation: &Generation,
        content: &mut Option<Content>,
    ) -> usize {
        let number = generation.name.number;
        let Some(first) = generation.parts.first() else {
            let what = format!("the base of generation {number} is missing or truncated");
            let hint = "to take the newest restore point before it: sudo /opt/bin/etcd2-backup restore \
                        --accept-older";
            self.fault(Some(generation.name.to_string()), fault(Exit::Corrupt, what, hint));
            return 0;
        };
        let opened = Part::open(&archive.folder.join(generation.path(first)), generation.name, *first);
        let mut reading = opened.as_ref().map_or_else(|_| Content::default(), |p| Content::of(&p.head));
        let (parts, read) = archive.read(generation, usize::MAX, &mut reading);
        if let Err(e) = read {
            self.fault(generation.parts.get(parts).map(|p| generation.path(p)), e);
        } else if generation.is_broken() {
            let what = format!("generation {number} is broken after part {}", parts.saturating_sub(1));
            let hint =
                "to take the newest intact restore point: sudo /opt/bin/etcd2-backup restore --accept-older";
            self.fault(generation.beyond.first().cloned(), fault(Exit::Corrupt, what, hint));
        }
        if generation.name == archive.newest().name
            && let Ok(part) = opened
        {
            self.report.etcd = Some(part.head.family);
            self.v3_data_of(part.head.v3_data);
        }
        *content = Some(reading);
        parts
    }

    fn v3_data_of(&mut self, noted: bool) {
        self.report.v3_data = noted.then(|| "the backup says so".to_owned());
    }

    /// What was read of snapshot and log, and where it ends.
    fn content(&mut self, content: Content, end: String, stop: &Stop) {
        content.members(self);
        let log = &content.replay.log;
        let some = log.entries > 0;
        self.report.log = Some(LogSummary {
            segments: content.segments,
            entries: log.entries,
            first_index: log.run_first.filter(|_| some),
            last_index: some.then_some(log.last.index),
            last_term: some.then_some(log.last.term),
            term: log.hard_state.term,
            commit: log.hard_state.commit,
            end: end.clone(),
            tail: match stop {
                Stop::Eof => "end",
                Stop::Zeros => "zeros",
                Stop::Torn(_) => "torn",
                Stop::Corrupt(_) => "corrupt",
            },
        });
        if let (Stop::Torn(reason), None) = (stop, &self.first) {
            self.torn();
            self.report.faults.push(Damage { at: Some(end), reason: format!("torn write: {reason}") });
        }
        if let Some(Metadata { member_id, cluster_id }) = log.metadata {
            self.report.member_id = Some(hex(member_id));
            self.report.cluster_id = Some(hex(cluster_id));
        }
        let in_log = Seen::new(log.v3_write, &Db::Empty).map(|s| s.to_string());
        self.report.v3_data = self.report.v3_data.take().or(in_log);
        self.report.snapshot = content.snapshot;
    }
}

/// Reads a data directory until it is whole or two looks find the same. The rules for a log that is being written would
/// take some damage for a write on its way, and etcd may or may not be running here.
fn settled(dir: &DataDir) -> Result<Survey> {
    let mut survey = dir.survey(Reading::Still)?;
    for _ in 0..LOOKS {
        if survey.fault.is_none() && matches!(survey.walk.stop, Stop::Eof | Stop::Zeros) {
            break;
        }
        thread::sleep(PAUSE);
        let before = mem::replace(&mut survey, dir.survey(Reading::Still)?);
        if survey.walk == before.walk {
            break;
        }
    }
    Ok(survey)
}

fn summary(generation: &Generation, parts: usize, state: State) -> GenerationSummary {
    let last = generation.last();
    let whole = &generation.parts[..parts];
    let at = |part: Option<&crate::archive::names::PartName>| part.map(|p| time::rfc3339(p.time));
    GenerationSummary {
        generation: generation.name.number,
        number: generation.name.number,
        cluster_id: hex(generation.name.cluster_id),
        member_id: hex(generation.name.member_id),
        state,
        parts,
        absent: generation.parts.len() - parts + generation.beyond.len(),
        bytes: whole.iter().map(|p| p.size).sum(),
        from: at(whole.first()),
        to: at(whole.last()),
        index: last.map_or(0, |p| p.last),
        term: last.map_or(0, |p| p.term),
        last_index: last.map_or(0, |p| p.last),
        last_term: last.map_or(0, |p| p.term),
    }
}

fn hex(id: u64) -> String {
    format!("{id:x}")
}

/// What a report is made of beside what a snapshot and the records behind it add up to.
#[derive(Default)]
struct Content {
    replay: Replay,
    snapshot: Option<Snapshot>,
    /// Segments seen, and the end of the last record in the last one.
    segments: usize,
    end: Option<(SegmentName, u64)>,
}

impl Content {
    /// What follows the head of a part.
    fn of(head: &Head) -> Self {
        Self { replay: before(head), ..Self::default() }
    }

    fn end(&self) -> String {
        self.end.map_or(String::new(), |(segment, offset)| format!("{segment}@{offset}"))
    }

    fn members(&self, made: &mut Made) {
        let from_index_1 = self.replay.log.run_first.is_some_and(|first| first <= 1);
        if self.snapshot.is_none() && !from_index_1 {
            // Who was a member before is not known.
            return;
        }
        match self.replay.members() {
            Ok(all) => {
                let member = |(id, m): (u64, StoredMember)| Member {
                    id: hex(id),
                    name: m.name,
                    peer_urls: m.peer_urls,
                };
                made.report.members = all.into_iter().map(member).collect();
            }
            Err(e) => made.fault(None, e.context("reading the member list")),
        }
    }
}

impl Sink for Content {
    fn snapshot(&mut self, name: Option<SnapshotName>, size: u64, bytes: &mut dyn Read) -> Result<()> {
        self.replay.snapshot(name, size, bytes)?;
        let LogPosition { index, term } = self.replay.base_position();
        let file = SnapshotName { term, index }.to_string();
        self.snapshot = Some(Snapshot { file, index, term, bytes: size });
        Ok(())
    }

    fn record(&mut self, segment: SegmentName, record: &Record<'_>) -> Result<()> {
        self.replay.record(segment, record)?;
        let before = self.end.replace((segment, record.end));
        self.segments += usize::from(before.is_none_or(|(s, _)| s != segment));
        Ok(())
    }
}
