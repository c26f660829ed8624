//! The segments of a log: their names and order, and one walk over all records from a place on.

use std::fs::File;
use std::io::{ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, thread};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::file;
use super::frame::{FrameReader, Record, Stop};
use super::tail::Tail;
use crate::exit::{Exit, Fault, fault};
use crate::sys::look;

/// How often a record that looks corrupt at the end of a growing log is read again before it is believed.
const LIVE_TRIES: u32 = 10;
const LIVE_PAUSE: Duration = Duration::from_millis(20);

/// Name of a segment: sequence number, and the first index that may be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SegmentName {
    /// Grows by one from segment to segment.
    pub sequence: u64,
    /// The last index before the cut, plus one; 0 in the first segment.
    pub index: u64,
}

impl SegmentName {
    /// Reads `%016x-%016x.wal`.
    pub fn parse(name: &str) -> Option<Self> {
        let (sequence, index) = pair(name.strip_suffix(".wal")?)?;
        Some(Self { sequence, index })
    }

    /// Where the segment lies.
    pub fn path(self, wal_dir: &Path) -> PathBuf {
        wal_dir.join(self.to_string())
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}.wal", self.sequence, self.index)
    }
}

/// Two numbers of 16 hex digits with a dash between, as etcd names its files.
pub(super) fn pair(stem: &str) -> Option<(u64, u64)> {
    let (a, b) = stem.split_once('-')?;
    let number = |s: &str| {
        let digits = s.len() == 16 && s.bytes().all(|b| b.is_ascii_hexdigit());
        digits.then(|| u64::from_str_radix(s, 16).ok()).flatten()
    };
    Some((number(a)?, number(b)?))
}

/// A place in the log, between two records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// In this segment,
    pub segment: SegmentName,
    /// at this offset of its file,
    pub offset: u64,
    /// with this rolling CRC before it.
    pub crc: u32,
}

impl Place {
    /// The start of a segment that is read without its predecessor.
    pub fn start_of(segment: SegmentName) -> Self {
        Self { segment, offset: 0, crc: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.segment, self.offset)
    }
}

/// Bytes of one segment that hold whole records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Where they begin.
    pub from: Place,
    /// Offset behind them.
    pub to: u64,
    /// The rolling CRC behind them.
    pub crc: u32,
}

/// The segments in a folder, in order of their sequence numbers.
///
/// # Errors
/// The folder cannot be listed.
pub fn segments(wal_dir: &Path) -> Result<Vec<SegmentName>> {
    let names = look::list(wal_dir)?.into_iter().map(|entry| entry.file_name());
    let mut all: Vec<SegmentName> = names.filter_map(|name| SegmentName::parse(name.to_str()?)).collect();
    all.sort_unstable();
    Ok(all)
}

/// The same; none where there is no such folder.
///
/// # Errors
/// The folder cannot be listed.
pub fn segments_if_there(wal_dir: &Path) -> Result<Vec<SegmentName>> {
    Ok(look::if_there(segments(wal_dir))?.unwrap_or_default())
}

/// Where a walk ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// The bytes read, one extent a segment; those without a new record are left out.
    pub extents: Vec<Extent>,
    /// Behind the last whole record.
    pub end: Place,
    /// What is behind it.
    pub stop: Stop,
    /// What of it has to be looked at again: in a live log, unless that ends there.
    pub unfinished: Option<Unfinished>,
}

/// What was behind the last whole record of a live log and was none. Alone it says nothing: the log may end there, or its
/// next record may be on its way. To be compared with what is there later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfinished {
    /// Where it begins.
    pub at: Place,
    /// Offset behind the last byte of the segment that is not zero.
    pub reach: u64,
    /// More lies behind the record, or what should be one.
    pub more: bool,
}

impl Unfinished {
    /// Whether the log went on although the record at this place, which was seen `before`, did not: then it never will.
    pub fn is_passed(self, before: Self) -> bool {
        self.at == before.at && (self.more || self.reach > before.reach)
    }

    /// That as an error.
    pub fn damage(self) -> anyhow::Error {
        damage(self.at, "the record there was never finished, but the log continues after it")
    }
}

impl Walk {
    /// Of whole records that lie one behind the other in these extents; `None` without one.
    pub fn of(all: impl IntoIterator<Item = Extent>) -> Option<Self> {
        let mut extents = Vec::new();
        all.into_iter().for_each(|extent| extend(&mut extents, extent));
        let end = extents.last().map(|last| Place { offset: last.to, crc: last.crc, ..last.from })?;
        Some(Self { extents, end, stop: Stop::Eof, unfinished: None })
    }

    /// The same walk, had it begun at a place within it.
    #[must_use]
    pub fn behind(mut self, start: Place) -> Self {
        self.extents.retain(|e| e.from.segment >= start.segment);
        if let Some(first) = self.extents.first_mut().filter(|e| e.from.segment == start.segment) {
            first.from = start;
        }
        self.extents.retain(|e| e.from.offset < e.to);
        self
    }
}

/// Whether somebody may be writing the log while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// etcd may be appending, cutting and purging.
    Live,
    /// Nobody writes.
    Still,
}

/// Reads all records from a place to the end of the log, whole records with right CRCs only.
///
/// A torn tail ends the walk: it is in [`Walk::stop`]. On a live log so does a last record that is only being written.
/// Anything else that is not whole is read again a few times there: reading and writing at once may mix old and new.
///
/// # Errors
/// [`Exit::Corrupt`] with `segment@offset` for damage anywhere but in the tail, and on a live log for a tear with more
/// behind it once nothing before it is new: etcd would go on behind it, unread. Whether it does so behind any other tear,
/// [`Walk::unfinished`] tells at the next look. [`Exit::NotFound`] for a segment that
/// is not there (any more), and what `visit` returns.
pub fn walk(
    wal_dir: &Path,
    from: Place,
    reading: Reading,
    visit: &mut dyn FnMut(SegmentName, &Record<'_>) -> Result<()>,
) -> Result<Walk> {
    let (walk, fault) = walk_to_fault(wal_dir, from, reading, visit);
    fault.map_or(Ok(walk), Err)
}

/// The same for a log that may be damaged: the walk as far as it went, with the fault's place as its end, and the fault.
pub fn walk_to_fault(
    wal_dir: &Path,
    from: Place,
    reading: Reading,
    visit: &mut dyn FnMut(SegmentName, &Record<'_>) -> Result<()>,
) -> (Walk, Option<anyhow::Error>) {
    let mut walk = Walk { extents: Vec::new(), end: from, stop: Stop::Eof, unfinished: None };
    let fault = walk_on(&mut walk, wal_dir, reading, visit).err();
    if let (Some(fault), Stop::Eof | Stop::Zeros) = (&fault, &walk.stop) {
        walk.stop = Stop::Corrupt(format!("{fault:#}"));
    }
    (walk, fault)
}

fn walk_on(
    walk: &mut Walk,
    wal_dir: &Path,
    reading: Reading,
    visit: &mut dyn FnMut(SegmentName, &Record<'_>) -> Result<()>,
) -> Result<()> {
    let mut known = segments(wal_dir)?;
    let mut tries = 0;
    loop {
        let from = walk.end;
        walk.unfinished = None;
        walk.stop = read_segment(wal_dir, &mut walk.end, visit)?;
        let at = walk.end;
        if at.offset > from.offset {
            extend(&mut walk.extents, Extent { from, to: at.offset, crc: at.crc });
            tries = 0;
        }
        let next = |all: &[SegmentName]| all.iter().copied().find(|s| s.sequence > at.segment.sequence);
        match (next(&known), &walk.stop) {
            (Some(next), Stop::Eof | Stop::Zeros) => {
                if next.sequence != at.segment.sequence + 1 {
                    return Err(damage(at, &format!("the next segment is {next}: one is missing")));
                }
                walk.end = Place { segment: next, offset: 0, crc: at.crc };
            }
            (Some(_), stop) => return Err(damage(at, &stop.to_string())),
            (None, _) => {
                // etcd may have cut the log since we listed it; what it wrote here before that is still to be read. It
                // purges the oldest first: where the next segment is gone, so is this one when it is opened again.
                known = segments(wal_dir)?;
                if next(&known).is_some() {
                    continue;
                }
                let (reason, torn) = match &walk.stop {
                    Stop::Eof | Stop::Zeros => return Ok(()),
                    Stop::Torn(reason) => (reason.clone(), true),
                    Stop::Corrupt(reason) => (reason.clone(), false),
                };
                let live = reading == Reading::Live;
                if live {
                    let Tail { unfinished, reach } = look(wal_dir, at)?;
                    walk.unfinished = Some(Unfinished { at, reach, more: !unfinished });
                    if unfinished {
                        walk.stop = Stop::Torn(reason);
                        return Ok(());
                    }
                }
                if live && tries < LIVE_TRIES {
                    tries += 1;
                    thread::sleep(LIVE_PAUSE);
                } else if torn && !(live && walk.extents.is_empty()) {
                    return Ok(());
                } else {
                    return Err(damage(at, &reason));
                }
            }
        }
    }
}

fn extend(extents: &mut Vec<Extent>, new: Extent) {
    match extents.last_mut() {
        Some(last) if last.from.segment == new.from.segment => (last.to, last.crc) = (new.to, new.crc),
        _ => extents.push(new),
    }
}

fn damage(at: Place, reason: &str) -> anyhow::Error {
    fault(
        Exit::Corrupt,
        format!("the log is corrupt at {at}: {reason}"),
        "take another member's data or an older backup; nothing after this place can be trusted",
    )
}

fn look(wal_dir: &Path, at: Place) -> Result<Tail> {
    let looked = Tail::look(&open(wal_dir, at)?, at.offset);
    looked.with_context(|| format!("reading {}", at.segment.path(wal_dir).display()))
}

/// The error of a record that was read whole and makes no sense: damage, unless something better is known of it.
pub fn senseless(at: Place, error: anyhow::Error) -> anyhow::Error {
    let known = error.is::<Fault>() || look::is_unread(&error);
    if known { error.context(format!("at {at}")) } else { damage(at, &format!("{error:#}")) }
}

/// Opens a segment at a place.
fn open(wal_dir: &Path, at: Place) -> Result<File> {
    let path = at.segment.path(wal_dir);
    let Some(mut file) = file::open(&path)? else {
        let hint = "etcd purges old segments; start again from the newest snapshot";
        return Err(fault(Exit::NotFound, format!("segment {} is gone", path.display()), hint));
    };
    file.seek(SeekFrom::Start(at.offset)).with_context(|| format!("seeking in {}", path.display()))?;
    Ok(file)
}

/// Reads on from a place, and leaves it behind the last record that was read and visited.
fn read_segment(
    wal_dir: &Path,
    at: &mut Place,
    visit: &mut dyn FnMut(SegmentName, &Record<'_>) -> Result<()>,
) -> Result<Stop> {
    let file = open(wal_dir, *at)?;
    let mut reader = FrameReader::new(&file, at.offset, at.crc);
    loop {
        // The record stays where it was made: moving it costs as much as taking it apart.
        match &reader.next_record() {
            Ok(Ok(record)) => {
                visit(at.segment, record)?;
                (at.offset, at.crc) = (record.end, record.crc);
            }
            Ok(Err(Stop::Zeros)) if lost_its_start(&file, at.offset)? => {
                return Ok(Stop::Torn("zeros where a record should begin".into()));
            }
            Ok(Err(stop)) => return Ok(with_records(stop.clone(), at.offset)),
            Err(e) => {
                let what = format!("reading {}", at.segment.path(wal_dir).display());
                return Err(anyhow::Error::new(look::copied(e)).context(what));
            }
        }
    }
}

/// Whether zeros are not all there is from an offset on, however far away the rest is. What begins there was only written
/// meanwhile.
fn lost_its_start(file: &File, at: u64) -> Result<bool> {
    let Tail { unfinished, .. } = Tail::look(file, at)?;
    let mut length = [0; 8];
    // Behind its end nothing is missing.
    match file.read_exact_at(&mut length, at) {
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| !unfinished && length == [0; 8]).context("reading the log"),
    }
}

/// Why a segment was read up to `end` and no further. One without a record lost those that it was named with: etcd gives a
/// segment its name once they are in it.
pub fn with_records(stop: Stop, end: u64) -> Stop {
    match stop {
        Stop::Eof | Stop::Zeros if end == 0 => Stop::Torn("the segment holds no record".into()),
        stop => stop,
    }
}

/// Reads one record at a place.
///
/// # Errors
/// There is no whole record with the right CRC.
pub fn record_at<T>(wal_dir: &Path, at: Place, look: impl FnOnce(&Record<'_>) -> T) -> Result<T> {
    match FrameReader::new(open(wal_dir, at)?, at.offset, at.crc).next_record()? {
        Ok(record) => Ok(look(&record)),
        Err(stop) => bail!("no record at {at}: {stop}"),
    }
}

#[cfg(test)]
mod tests;
