//! What the next part holds: the log's records behind the last part, or a new base when the chain cannot go on.

use std::fmt::Display;
use std::fs::File;
use std::io::{Read as _, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::state::{Checked, LastRecord, State};
use crate::archive::link;
use crate::archive::part::{Head, Written};
use crate::etcd::datadir::{self, Contents, DataDir, Family};
use crate::etcd::frame::{FrameReader, Stop};
use crate::etcd::log::{Log, weight};
use crate::etcd::proto::{HardState, LogPosition, Metadata};
use crate::etcd::snap::{self, Snapshot};
use crate::etcd::v3::base::Base as V3Base;
use crate::etcd::v3::{Db, Seen};
use crate::etcd::wal::{self, Extent, Place, Reading, Unfinished, Walk};
use crate::etcd::{file, in_use};
use crate::exit::{Exit, exit_of, fault};
use crate::settings::EtcdConfig;
use crate::sys::tee::Tee;
use crate::sys::terminal::table::{bytes, count};

/// A restored log is replayed whole at etcd's start: 200,000 entries take about two seconds.
const MAX_ENTRIES: u64 = 200_000;
const MIN_LOG_BYTES: u64 = 64_000_000;
const MAX_PARTS: u64 = 1000;
/// etcd may purge a file between listing and opening it; each try begins at a newer snapshot.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(50);

/// What goes into the next part.
#[derive(Debug)]
pub struct Capture {
    /// Why a new generation begins; `None`: the part continues the chain.
    pub begins: Option<String>,
    /// The base, when a new generation begins with a snapshot.
    pub base: Option<Snapshot>,
    /// Whose data it is.
    pub metadata: Metadata,
    /// Which etcd wrote it.
    pub family: Family,
    /// The hard state before the first record.
    pub start_state: HardState,
    /// First index that may be in it.
    pub first: u64,
    /// What its records add up to.
    pub log: Log,
    /// The bytes.
    pub tail: Walk,
    /// The base and the extents' segments, open: etcd may purge them before the payload is written.
    files: Vec<File>,
    /// Where data of the v3 store was seen, if any: it is not backed up.
    pub v3_data: Option<String>,
    /// The v3 store, where it is exported ([`with_v3`]).
    pub v3: Option<V3Base>,
}

/// What a look at the log found.
#[derive(Debug)]
pub struct Look {
    /// What is new; `None`: nothing.
    pub new: Option<Capture>,
    /// What is to be remembered for the next look: see [`State::unfinished`].
    pub unfinished: Option<Unfinished>,
}

/// Reads what is new.
///
/// # Errors
/// [`Exit::Corrupt`] if the data directory is damaged, or if the log went on behind a record that was seen unfinished;
/// [`Exit::NotFound`] if etcd purged faster than it could be read.
pub fn next(dir: &DataDir, state: Option<&State>) -> Result<Look> {
    let found = |capture: Capture| Look { unfinished: capture.tail.unfinished, new: Some(capture) };
    let why = match state {
        None => "no earlier backup is known on this node".into(),
        Some(state) => match follow(dir, state)? {
            Follow::Nothing(unfinished) => return Ok(Look { new: None, unfinished }),
            Follow::On(capture) => return Ok(found(*capture)),
            Follow::Broken(why) => why,
        },
    };
    begin_behind(dir, state, &why).map(found)
}

/// Begins anew where more is known of the log than that it is there: a record that an earlier look saw unfinished, and that the
/// log went on behind, is damage for a new generation as well. Else a generation that ends would hide it for another cycle.
fn begin_behind(dir: &DataDir, state: Option<&State>, why: &str) -> Result<Capture> {
    let mut tries = 0;
    loop {
        let capture = anew(dir, why)?;
        let Some(unfinished) = passed(&capture.tail, state).filter(|_| is_held(dir)) else {
            return Ok(capture);
        };
        // It may have been repaired, and be written anew at this moment.
        if tries == TRIES {
            return Err(unfinished.damage());
        }
        tries += 1;
        thread::sleep(PAUSE);
    }
}

/// What an earlier look saw unfinished at the end of this walk, if the log went on behind it.
fn passed(walk: &Walk, state: Option<&State>) -> Option<Unfinished> {
    let before = state?.unfinished?;
    walk.unfinished.filter(|now| now.is_passed(before))
}

/// Reads all that a new generation begins with.
///
/// # Errors
/// As [`next`].
pub fn anew(dir: &DataDir, why: &str) -> Result<Capture> {
    for _ in 1..TRIES {
        match begin(dir, why) {
            Err(e) if exit_of(&e) == Exit::NotFound => {}
            capture => return capture,
        }
    }
    begin(dir, why)
}

/// Reads all of a disk that nobody writes, with its v3 store where it has data in it.
///
/// # Errors
/// [`Exit::Corrupt`] if the data directory is damaged, or [`DataDir::scan_both_stores`] finds no v3 store to begin with.
pub fn with_v3(dir: &DataDir, why: &str) -> Result<Capture> {
    of(dir, dir.scan_both_stores(Reading::Still)?, why)
}

/// How the log goes on behind a part.
#[derive(Debug)]
pub enum Follow {
    /// It does not.
    Nothing(Option<Unfinished>),
    /// With this.
    On(Box<Capture>),
    /// It is not the log that the part is of, or has no beginning there any more: why.
    Broken(String),
}

/// Goes on where the last part ended, if everything there is still as it was.
///
/// # Errors
/// As [`next`].
pub fn follow(dir: &DataDir, state: &State) -> Result<Follow> {
    let broken = |why: &str| Ok(Follow::Broken(why.into()));
    if let Some(why) = &state.given_up {
        return broken(why);
    }
    match datadir::segment_ids(&dir.wal, state.place.segment) {
        Ok(Some(ids)) if ids != state.metadata() => {
            return broken("the data directory belongs to another member now");
        }
        // A segment that was just cut may not have its IDs yet; the record before it is checked below.
        Ok(_) => {}
        Err(_) => return broken("the log was purged, or replaced, past the last backup"),
    }
    if let Some(LastRecord { at, end, crc }) = state.last_record {
        // After a power cut etcd may write other bytes at the same offset; a file may have shrunk and grown again.
        let found = wal::record_at(&dir.wal, at, |r| (r.end, r.crc));
        if found.ok() != Some((end, crc)) {
            return broken("the last record that was sent is gone or altered");
        }
    }
    if let Some(why) = too_long(dir, state)? {
        return Ok(Follow::Broken(why));
    }
    let (log, tail) = match read_on(dir, state) {
        Err(e) if exit_of(&e) == Exit::NotFound => return broken("the log was purged past the last backup"),
        read => read?,
    };
    if log.metadata.is_some_and(|m| m != state.metadata()) {
        return broken("the data directory belongs to another member now");
    }
    if log.replaced || !log.continues(state.last.index) {
        return broken("the log has a gap: this member received a snapshot from its leader");
    }
    if tail.extents.is_empty() {
        return Ok(Follow::Nothing(tail.unfinished));
    }
    let files = match open_files(dir, None, &tail) {
        Err(e) if exit_of(&e) == Exit::NotFound => return broken("the log was purged past the last backup"),
        files => files?,
    };
    let v3_data = Seen::new(log.v3_write, &Db::Empty).map(|seen| seen.to_string());
    Ok(Follow::On(Box::new(Capture {
        begins: None,
        base: None,
        metadata: state.metadata(),
        family: if log.padded { Family::Three } else { Family::Two },
        start_state: state.hard_state,
        first: state.last.index + 1,
        log,
        tail,
        files,
        v3_data,
        v3: None,
    })))
}

/// Reads the log from where the last part ended. What does not hold while etcd writes is the end of the log of an etcd that is
/// down: a torn write with more behind it, of sectors that arrived out of order.
fn read_on(dir: &DataDir, state: &State) -> Result<(Log, Walk)> {
    let mut tries = 0;
    loop {
        let (log, read) = read_once(dir, state, Reading::Live);
        let error = match read {
            Ok(walk) => match passed(&walk, Some(state)) {
                None => return Ok((log, walk)),
                // It may have been repaired, and be written anew at this moment.
                Some(_) if tries < TRIES => {
                    tries += 1;
                    thread::sleep(PAUSE);
                    continue;
                }
                Some(unfinished) => unfinished.damage(),
            },
            Err(e) if exit_of(&e) == Exit::Corrupt => e,
            Err(e) => return Err(e),
        };
        if is_held(dir) {
            return Err(error);
        }
        let (log, read) = read_once(dir, state, Reading::Still);
        return Ok((log, read?));
    }
}

fn read_once(dir: &DataDir, state: &State, reading: Reading) -> (Log, Result<Walk>) {
    let mut log = Log::behind(state.last, state.hard_state);
    let walk = wal::walk(&dir.wal, state.place, reading, &mut |segment, record| {
        let at = Place { segment, offset: record.start, crc: record.crc_before };
        log.add(record).map_err(|e| wal::senseless(at, e))
    });
    (log, walk)
}

/// Whether somebody has the log open for writing. Where that cannot be told it is judged as if so: damage that is called so
/// too often is looked at, the other kind is lost.
fn is_held(dir: &DataDir) -> bool {
    in_use::is_held(&dir.wal).unwrap_or_else(|e| {
        log::warn!("cannot tell whether etcd has its log open: {e:#}");
        true
    })
}

/// Whether a new generation pays: its restore replays less, and there is a newer snapshot to begin with.
fn too_long(dir: &DataDir, state: &State) -> Result<Option<String>> {
    // A base of the v3 store is taken beside the backups: they go on until it is there.
    if state.v3_base.is_some() {
        return Ok(None);
    }
    if state.sequence >= MAX_PARTS {
        return Ok(Some(format!("the generation has {} parts", state.sequence + 1)));
    }
    let long = state.entries > MAX_ENTRIES || state.log_bytes > MIN_LOG_BYTES.max(state.base_size);
    let newer =
        || -> Result<bool> { Ok(snap::list(&dir.snap)?.first().is_some_and(|s| s.index > state.base_index)) };
    let entries = || count(state.entries, "entry", "entries");
    let why = || format!("{}, {} of WAL, follow the base", entries(), bytes(state.log_bytes));
    Ok((long && newer()?).then(why))
}

/// Begins with the newest usable snapshot.
fn begin(dir: &DataDir, why: &str) -> Result<Capture> {
    of(dir, dir.scan(Reading::Live)?, why)
}

/// All of what was read of a data directory.
///
/// # Errors
/// [`Exit::NotFound`] if etcd has purged some of it meanwhile; it cannot be opened.
pub fn of(dir: &DataDir, contents: Contents, why: &str) -> Result<Capture> {
    let files = open_files(dir, contents.base.as_ref(), &contents.tail)?;
    if let Db::Unreadable(why) = &contents.db {
        let db = dir.snap.join("db");
        log::warn!("cannot check {} for v3 data: {why}", db.display());
    }
    Ok(Capture {
        v3_data: contents.v3_data(),
        begins: Some(why.into()),
        first: contents.base_index() + 1,
        base: contents.base,
        metadata: contents.metadata,
        family: contents.family,
        start_state: contents.start_state,
        log: contents.log,
        tail: contents.tail,
        v3: contents.v3,
        files,
    })
}

/// Opens what a payload is made of, in its order.
fn open_files(dir: &DataDir, base: Option<&Snapshot>, tail: &Walk) -> Result<Vec<File>> {
    let segments = tail.extents.iter().map(|e| e.from.segment.path(&dir.wal));
    let open = |path: PathBuf| {
        file::open(&path)?.ok_or_else(|| {
            let hint =
                "etcd has just purged it; run the backup again: sudo systemctl start etcd2-backup.service";
            fault(Exit::NotFound, format!("{} is gone", path.display()), hint)
        })
    };
    base.map(|b| b.path.clone()).into_iter().chain(segments).map(open).collect()
}

impl Capture {
    /// The head of a part with all of it, of no generation yet.
    pub fn head(&self, etcd: &EtcdConfig, looked: u64) -> Head {
        Head {
            generation: 0,
            sequence: 0,
            cluster_id: self.metadata.cluster_id,
            member_id: self.metadata.member_id,
            writer: 0,
            member_name: etcd.name.clone(),
            peer_urls: etcd.peer_urls.clone(),
            family: self.family,
            time: looked,
            first: self.first,
            last: self.last(),
            commit: Some(self.commit()),
            start_state: self.start_state,
            predecessor: String::new(),
            marks: Vec::new(),
            parent: None,
            v3_data: self.v3_data.is_some(),
            db: self.v3.as_ref().map(|v3| v3.size),
            snapshot: self.base.as_ref().map(|b| (b.name.to_string(), b.size)),
            log: self.tail.extents.clone(),
        }
    }

    /// The last entry known with this part.
    pub fn last(&self) -> LogPosition {
        self.log.last
    }

    /// The last index that is known to be committed: what is in a snapshot was, too.
    pub fn commit(&self) -> u64 {
        let base = self.base.as_ref().map_or(0, |b| b.metadata.position.index);
        self.log.hard_state.commit.max(base)
    }

    /// Whether all that is new is what a cluster logs when nobody writes: it can wait.
    pub fn is_quiet(&self) -> bool {
        self.begins.is_none() && self.log.writes == 0
    }

    /// Bytes of what was read: the log's, and the base's.
    pub fn read_bytes(&self) -> u64 {
        self.log_bytes() + self.base.as_ref().map_or(0, |base| base.size)
    }

    /// Bytes of the log in it.
    pub fn log_bytes(&self) -> u64 {
        self.tail.extents.iter().map(|e| e.to - e.from.offset).sum()
    }

    /// The last record in it, to be checked before the next part.
    pub fn last_record(&self) -> Option<LastRecord> {
        let extent = self.tail.extents.last()?;
        let (offset, crc) = self.log.last_record?;
        let at = Place { segment: extent.from.segment, offset, crc };
        Some(LastRecord { at, end: extent.to, crc: extent.crc })
    }

    /// The state behind this part, written as `written` with the head `head` and still to be sent to `folder`. The node's clock
    /// said `looked` before the log was read.
    pub fn state_behind(
        &self,
        before: Option<&State>,
        folder: &str,
        head: &Head,
        written: &Written,
        looked: u64,
    ) -> State {
        let sent = before.and_then(|b| b.sent);
        let before = before.filter(|_| self.begins.is_none());
        let base = self.base.as_ref();
        let of = |value: fn(&State) -> u64| before.map_or(0, value);
        State {
            version: State::VERSION,
            folder: folder.into(),
            generation: head.generation,
            writer: head.writer,
            sequence: head.sequence,
            checksum: written.checksum.clone(),
            link: written.link.clone(),
            content: link::content(before.map_or("", |b| &b.content), &written.checksum),
            marks: Vec::new(),
            cluster_id: head.cluster_id,
            member_id: head.member_id,
            base_index: base.map_or(of(|s| s.base_index), |b| b.metadata.position.index),
            base_size: base.map_or(of(|s| s.base_size), |b| b.size),
            v3_base: before.and_then(|b| b.v3_base),
            v3_index: before.and_then(|b| b.v3_index),
            v3_time: before.and_then(|b| b.v3_time),
            log_bytes: of(|s| s.log_bytes) + self.log_bytes(),
            entries: of(|s| s.entries) + self.log.entries,
            place: self.tail.end,
            last_record: self.last_record().or_else(|| before.and_then(|b| b.last_record)),
            last: head.last,
            hard_state: self.log.hard_state,
            time: head.time,
            clock: looked,
            sync_time: self.log.sync_time.or_else(|| before.and_then(|b| b.sync_time)),
            checked: before.map_or_else(
                || Checked { sequence: head.sequence, link: written.link.clone() },
                |b| b.checked.clone(),
            ),
            sent,
            unfinished: self.tail.unfinished,
            pending: Some(format!("{}/{}", head.generation_name(), written.name)),
            seen: before.and_then(|b| b.seen.clone()),
            given_up: None,
        }
    }

    /// Writes the payload: the v3 store's bytes, the snapshot's, then the log's.
    ///
    /// # Errors
    /// A file is not what it was when it was looked at.
    pub fn write_payload(&self, out: &mut dyn Write) -> Result<()> {
        if let Some(v3) = &self.v3 {
            v3.copy_to(out)?;
        }
        let mut files = self.files.iter();
        if let Some(base) = &self.base {
            let file = files.next().context("the base was not opened")?;
            base.copy(file, out).with_context(|| format!("reading {}", base.path.display()))?;
        }
        let mut kinds: u64 = 0;
        for (extent, file) in self.tail.extents.iter().zip(files) {
            let segment = extent.from.segment;
            let copied = copy_extent(file, extent, out).with_context(|| format!("reading {segment}"))?;
            kinds = kinds.wrapping_add(copied.ok_or_else(|| altered(segment))?);
        }
        if kinds == self.log.kinds { Ok(()) } else { Err(altered("the log")) }
    }
}

/// Copies an extent, and reads its records once more as they pass: between the two looks the file may have been written
/// to, or be another one. Gives what they add to [`Log::kinds`]; `None` if they are not what was read before.
fn copy_extent(mut file: &File, extent: &Extent, out: &mut dyn Write) -> Result<Option<u64>> {
    let Extent { from, to, crc } = *extent;
    file.seek(SeekFrom::Start(from.offset))?;
    let input = Tee { input: file.take(to - from.offset), out };
    let (mut reader, mut kinds) = (FrameReader::new(input, from.offset, from.crc), 0_u64);
    loop {
        match &reader.next_record()? {
            Ok(record) => kinds = kinds.wrapping_add(weight(record)),
            Err(stop) => {
                let same = *stop == Stop::Eof && (reader.offset(), reader.crc()) == (to, crc);
                return Ok(same.then_some(kinds));
            }
        }
    }
}

fn altered(what: impl Display) -> anyhow::Error {
    let hint = "nothing was sent. Run the backup again: sudo systemctl start etcd2-backup.service; if this \
                persists, find out what else writes to etcd's files";
    fault(Exit::Corrupt, format!("{what} was altered while it was copied"), hint)
}
