//! Where the data of a restore comes from: a restore point of the archive, or the disk of this node.

use std::thread;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::fetch::{self, Fetched, Wanted};
use super::point::{Place, Point};
use super::{legacy, other_history};
use crate::archive::chain;
use crate::archive::lineage::Parent;
use crate::etcd::datadir::{Contents, DataDir};
use crate::etcd::proto::{LogPosition, Metadata};
use crate::etcd::wal::{self, Reading};
use crate::etcd::{clock, in_use};
use crate::exit::{Exit, OrFault, exit_of, fault};
use crate::remote::{Object, Remote};
use crate::settings::Settings;
use crate::settings::source::Choice;
use crate::sys::digest::to_hex;
use crate::sys::room::{Leave, Scratch};
use crate::sys::{folder, look, time};

/// Data that was read through and is whole.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where its files are.
    pub dir: DataDir,
    /// What is in them.
    pub contents: Contents,
    /// Where they came from.
    pub origin: Origin,
    /// SHA-256 that stands for exactly this data, 64 hex digits.
    pub hash: String,
    /// The last entry that is restored: the last one there is, or an earlier one that was asked for.
    pub point: LogPosition,
    /// Bytes that were brought from the remote.
    pub bytes: u64,
    /// What its cluster continues, if that is known.
    pub parent: Option<Parent>,
    /// What was given up on the way, and why.
    pub given_up: Vec<String>,
    /// Where data of the v3 store was seen, if any: it does not come back.
    pub v3_data: Option<String>,
}

/// Where data came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The data directory of this node.
    Local,
    /// A part of a generation, captured at this time (seconds since 1970).
    Archive {
        /// The generation.
        generation: u64,
        /// The part.
        part: u64,
        /// When the part was captured.
        time: u64,
    },
    /// A file that another node's disk was written to.
    File,
    /// A folder of this name as the scripts before this program wrote it: `member/snap`, `member/wal`.
    Original(String),
}

impl Origin {
    /// For people.
    pub fn describe(&self) -> String {
        match self {
            Self::Local => "this node's own data directory".into(),
            Self::Archive { generation, part, time } => {
                format!(
                    "the archive, generation {generation}, part {part}, captured {}",
                    time::rfc3339(*time)
                )
            }
            Self::File => "the file that was given".into(),
            Self::Original(folder) => {
                format!("the remote, in the layout of etcd2-backup-coreos, folder {folder}")
            }
        }
    }

    /// The folder it was found in, if that need not be the machine's.
    pub fn folder(&self) -> Option<&str> {
        if let Self::Original(folder) = self { Some(folder) } else { None }
    }

    /// The generation's number; 0 for what has none.
    pub fn generation(&self) -> u64 {
        match self {
            Self::Archive { generation, .. } => *generation,
            _ => 0,
        }
    }
}

impl Source {
    /// The leader's clock in its newest SYNC, in seconds since 1970.
    pub fn synced(&self) -> Option<u64> {
        self.contents.log.synced()
    }

    /// How many bytes of log are behind the base.
    pub fn log_size(&self) -> u64 {
        self.contents.tail.extents.iter().map(|e| e.to - e.from.offset).sum()
    }

    /// Says it if not all of the member's data comes back.
    pub fn warn_of_v3_data(&self) {
        if let Some(seen) = &self.v3_data {
            log::warn!("the member held data of the v3 store, and only the v2 store is restored: {seen}");
        }
    }
}

/// Where this node brings what it needs from the remote. The folder goes with the value: whatever is made of it, it lives
/// as long.
///
/// # Errors
/// What an earlier attempt left there cannot be removed.
pub fn incoming(settings: &Settings, leave: Leave) -> Result<Scratch> {
    look::if_there(folder::refuse_if_replaceable(&settings.restore_dir, &settings.data_dir))?;
    Scratch::new(settings.restore_dir.join("incoming"), leave)
}

/// Reads the source that was asked for; what is brought for it lies in `scratch`.
///
/// # Errors
/// It is not there, damaged, or (for `auto`) neither is usable.
pub fn open(
    settings: &Settings,
    (remote, scratch): (&dyn Remote, &Scratch),
    source: Choice,
    folder: &str,
    wanted: Wanted,
) -> Result<Source> {
    match source {
        Choice::Local => local(settings),
        Choice::Archive => {
            // The disk is read while the remote is waited for.
            let (source, own) = thread::scope(|scope| {
                let own = scope.spawn(|| local(settings));
                (archive(settings, (remote, scratch), folder, wanted), own.join())
            });
            let source = source?;
            match own {
                Ok(Ok(own)) => say_what_local_has(&own, &source),
                Ok(Err(e)) if look::is_unread(&e) => {
                    log::warn!("whether this node's own data is newer is not known: {e:#}");
                }
                // There is none, or it is damaged.
                _ => {}
            }
            Ok(source)
        }
        Choice::Auto => auto(settings, (remote, scratch), wanted),
    }
}

/// Nothing is fresher than a surviving disk: the local data if it is whole, of the same cluster and not older.
fn auto(settings: &Settings, from: (&dyn Remote, &Scratch), wanted: Wanted) -> Result<Source> {
    let own = match local(settings) {
        Ok(own) => own,
        Err(e) if look::is_unread(&e) => {
            let hint = "it may be the newest: make it readable; or restore --source archive takes the archive in any case";
            return Err(e).or_fault(Exit::Failed, "reading the local data", hint);
        }
        Err(e) => {
            log::info!("the local data cannot be used: {e:#}");
            return archive(settings, from, &settings.machine_id, wanted);
        }
    };
    match archive(settings, from, &settings.machine_id, wanted) {
        // There is none, or it is damaged. One that could not be asked may be newer.
        Err(e) if matches!(exit_of(&e), Exit::NotFound | Exit::Corrupt) => {
            log::warn!("the archive cannot be used, the local data can: {e:#}");
            Ok(own)
        }
        Err(e) => {
            let exit = exit_of(&e);
            let hint = "wait for the remote; or restore --source local takes the local data in any case";
            Err(e).or_fault(exit, "comparing the local data, which can be used, with the archive", hint)
        }
        Ok(remote) if same_cluster(&own, &remote) && raft_order(&own) >= raft_order(&remote) => Ok(own),
        Ok(remote) => {
            log::info!("the archive is used: the local data is older or of another cluster");
            Ok(remote)
        }
    }
}

fn same_cluster(a: &Source, b: &Source) -> bool {
    a.contents.metadata.cluster_id == b.contents.metadata.cluster_id
}

/// Raft's own rule for which log is newer: term first.
fn raft_order(source: &Source) -> (u64, u64) {
    let LogPosition { index, term } = source.contents.last();
    (term, index)
}

/// The node's own data directory.
///
/// # Errors
/// There is none, or it is damaged.
pub fn local(settings: &Settings) -> Result<Source> {
    let dir = DataDir::open(&settings.data_dir, settings.wal_dir.as_deref())?;
    // A plan is made while etcd runs, too.
    let contents = dir.scan(in_use::reading(&dir.wal)?)?;
    let parent = Parent::of(&settings.backup_dir, contents.metadata.cluster_id)?;
    Ok(Source { parent, ..read(dir, contents, Origin::Local) })
}

/// Says what a restore from the archive would leave behind on this disk. It is kept aside in any case.
fn say_what_local_has(own: &Source, archive: &Source) {
    let (ours, point) = (own.contents.last(), archive.point);
    if !same_cluster(own, archive) || raft_order(own) <= (point.term, point.index) {
        return;
    }
    let more = ours.index.saturating_sub(point.index);
    if point == archive.contents.last() {
        log::warn!(
            "this node's own data directory is whole and {more} entries newer; restore --source local keeps them"
        );
    } else {
        log::info!("this node's own data directory is whole and goes {more} entries further than the point");
    }
}

fn archive(
    settings: &Settings,
    (remote, scratch): (&dyn Remote, &Scratch),
    folder: &str,
    wanted: Wanted,
) -> Result<Source> {
    let objects = remote.list(folder)?;
    if objects.is_empty() {
        let before =
            if wanted == Wanted::default() { legacy::before(remote, folder, scratch)? } else { None };
        return before.ok_or_else(|| nothing_there(settings, remote, folder));
    }
    if wanted.generation.is_none() && chain::is_original(&objects) {
        if wanted.point.is_some() {
            let what = "etcd2-backup-coreos kept one state only: there is no other point to go back to";
            return Err(fault(Exit::NotFound, what, "restore without --at or --raft-index takes that one"));
        }
        return legacy::either(remote, folder, &objects, scratch);
    }
    if let Some(point) = wanted.point {
        return past((remote, scratch), folder, &objects, wanted, point);
    }
    opened(fetch::fetch(remote, folder, &objects, wanted, scratch)?)
}

/// A point in the past.
fn past(
    (remote, scratch): (&dyn Remote, &Scratch),
    folder: &str,
    objects: &[Object],
    wanted: Wanted,
    point: Point,
) -> Result<Source> {
    let all = chain::generations(objects);
    let related = fetch::related(remote, folder, &all, wanted)?;
    for place in Place::of(point, &related)? {
        if let Some(source) = at_place((remote, scratch), folder, point, &place)? {
            // Who names the generation means its entry.
            if wanted.generation.is_none() {
                other_history::tell(&source, point, place.generation, &related)?;
            }
            return Ok(source);
        }
    }
    Err(fault(
        Exit::NotFound,
        "the point is nowhere in the archive",
        "list --points has those that are there",
    ))
}

/// The point, if it lies in this place.
fn at_place(
    (remote, scratch): (&dyn Remote, &Scratch),
    folder: &str,
    point: Point,
    place: &Place<'_>,
) -> Result<Option<Source>> {
    let mut count = place.better;
    loop {
        let source = opened(fetch::exactly(remote, folder, place, count, scratch)?)?;
        let Some((index, why)) = index_of(point, place, &source)? else { return Ok(None) };
        // What is not known to be committed, a new leader may have overwritten in a later part.
        if index > source.contents.log.hard_state.commit && count < place.generation.parts.len() {
            count = place.generation.parts.len();
            continue;
        }
        if !why.is_empty() {
            log::info!("the last entry before that time has the index {index}, {why}");
        }
        let point = source.contents.at(index).context("the point is not in its generation")?;
        return Ok(Some(Source { point, ..source }));
    }
}

/// The index of a point, and how it was found.
fn index_of(point: Point, place: &Place<'_>, source: &Source) -> Result<Option<(u64, &'static str)>> {
    match point {
        Point::Index(index) => Ok(Some((index, ""))),
        Point::At(moment) => {
            let start = source.contents.start;
            place.index(clock::around(&source.dir.wal, start, place.floor(), moment)?)
        }
    }
}

/// Parts that were brought, read through.
///
/// # Errors
/// They are not a source that can be restored.
pub fn opened(fetched: Fetched) -> Result<Source> {
    let dir = DataDir::open(&fetched.data_dir, None)?;
    let contents = Contents { family: fetched.family, ..dir.scan(Reading::Still)? };
    let last = contents.last();
    if (last.index, last.term) != (fetched.part.last, fetched.part.term) {
        let what =
            format!("the restore point ends at index {}, its name says {}", last.index, fetched.part.last);
        return Err(fault(Exit::Corrupt, what, "restore another generation with --generation N"));
    }
    let part = fetched.part;
    let origin = Origin::Archive { generation: fetched.generation, part: part.sequence, time: part.time };
    // The archive has no snap/db that would say it.
    let noted = fetched.v3_data.then(|| "the backup says so".to_owned());
    let v3_data = contents.v3_data().or(noted);
    let (hash, given_up) = (fetched.checksum, fetched.given_up);
    let (bytes, parent) = (fetched.bytes, fetched.parent);
    Ok(Source { dir, contents, origin, hash, point: last, bytes, parent, given_up, v3_data })
}

fn nothing_there(settings: &Settings, remote: &dyn Remote, folder: &str) -> anyhow::Error {
    let whose = if folder == settings.machine_id { "this machine" } else { "that machine" };
    let what = format!("there is no backup of {whose} in {}", settings.folder_of(folder));
    let hint = match remote.folders() {
        Ok(folders) if folders.is_empty() => {
            "the endpoint holds no machine's backup at all: is RCLONE_ENDPOINT right?".into()
        }
        Ok(folders) => format!(
            "machines with a folder there: {}; restore --from MACHINE_ID takes another one's",
            folders.join(", ")
        ),
        Err(e) => format!("the endpoint could not be listed either: {e:#}"),
    };
    fault(Exit::NotFound, what, hint)
}

/// A source that no checksum came with.
pub(super) fn read(dir: DataDir, contents: Contents, origin: Origin) -> Source {
    let (hash, v3_data, point) = (hash(&contents), contents.v3_data(), contents.last());
    Source { dir, contents, origin, hash, point, bytes: 0, parent: None, given_up: Vec::new(), v3_data }
}

/// What stands for data that no checksum came with.
pub(super) fn hash(contents: &Contents) -> String {
    fingerprint(contents.metadata, contents.last(), contents.tail.end)
}

/// Whose it is, where it ends, and the log's own rolling CRC there.
pub(super) fn fingerprint(m: Metadata, last: LogPosition, end: wal::Place) -> String {
    let text =
        format!("{:x} {:x} {} {} {end} {:08x}", m.cluster_id, m.member_id, last.index, last.term, end.crc);
    to_hex(&Sha256::digest(text))
}
