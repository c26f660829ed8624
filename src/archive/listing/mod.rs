//! The restore points of machines, as values. Their JSON is public: docs/points.md.
//!
//! - [`text`]: the same for people

use anyhow::Result;
use serde::Serialize;

use crate::archive::catalog::{self, Entry, Folder};
use crate::archive::names::GenerationName;
use crate::archive::verified::{Seen, Verified};
use crate::archive::{chain, lineage};
use crate::etcd::datadir::Family;
use crate::remote::{Object, Remote};
use crate::sys::time;

pub mod text;

/// What lies below the endpoint, as far as it was asked for.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// Version of these fields, 1.
    pub format: u32,
    /// By their IDs.
    pub machines: Vec<Machine>,
}

/// A machine's folder.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The folder's name: systemd's machine ID.
    pub machine_id: String,
    /// How it is laid out.
    pub layout: Layout,
    /// All objects in it.
    pub objects: usize,
    /// Their bytes.
    pub bytes: u64,
    /// It holds histories of which none continues the other: a restore asks which one is meant.
    pub unrelated: bool,
    /// Oldest first.
    pub generations: Vec<Row>,
}

/// Who wrote a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// This program.
    Generations,
    /// etcd2-backup-coreos, the program before this one: one state, the newest.
    Original,
    /// Nobody known.
    Other,
}

/// A generation.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What `restore --generation` takes.
    pub generation: u64,
    /// The same, by the name that it had first.
    pub number: u64,
    /// In hex.
    pub cluster_id: String,
    /// In hex.
    pub member_id: String,
    /// The member's name, as its settings had it; null if the base cannot be read.
    pub member_name: Option<String>,
    /// Which etcd wrote it, `2` or `3`.
    pub etcd: Option<Family>,
    /// Whether the chain is whole, as far as names and sizes say it.
    pub whole: bool,
    /// Objects that do not count: an upload that was cut off, or what lies behind a gap.
    pub absent: usize,
    /// Bytes of the points.
    pub bytes: u64,
    /// The lowest index that can be restored.
    pub first_index: Option<u64>,
    /// It begins with the v3 store.
    pub v3: bool,
    /// The history that it continues, if it is a restored cluster's.
    pub continues: Option<Continues>,
    /// The newest part that this node has read again and found whole with all before it, see `verify`.
    pub verified: Option<Read>,
    /// The first one that it found to be damaged.
    pub damaged: Option<Read>,
    /// Oldest first.
    pub points: Vec<Point>,
    #[serde(skip)]
    name: GenerationName,
}

/// A part that was read again.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Read {
    /// Its place in the generation.
    pub part: u64,
    /// When, UTC.
    pub time: String,
}

impl Machine {
    /// Adds what this node knows of the folder from reading it again.
    pub fn add_verified(&mut self, known: &Verified) {
        let read = |seen: Seen| Read { part: seen.part, time: time::rfc3339(seen.time) };
        for row in &mut self.generations {
            row.verified = known.newest_of(row.name).map(read);
            row.damaged = known.damaged.get(&row.name.to_string()).copied().map(read);
        }
    }
}

/// Where a restored cluster came from.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Continues {
    /// In hex.
    pub cluster_id: String,
    /// Null: from a disk, or from another folder's.
    pub generation: Option<u64>,
    /// The last index that was restored.
    pub index: u64,
}

/// A restore point: what a part adds.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Point {
    /// The part's place in the generation.
    pub part: u64,
    /// When it was captured, UTC.
    pub time: String,
    /// The last entry with it.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// Size of its objects.
    pub bytes: u64,
}

/// One machine's folder; `None` if there is no backup in it.
///
/// # Errors
/// The remote could not be asked.
pub fn one(remote: &dyn Remote, machine_id: &str) -> Result<Option<Machine>> {
    let objects = remote.list(machine_id)?;
    let machine = machine(machine_id, &objects, catalog::of(remote, machine_id, &objects)?);
    Ok(Some(machine).filter(|m| m.layout != Layout::Other))
}

/// Every folder below the endpoint, by one listing and one call for all bases.
///
/// # Errors
/// The remote could not be asked.
pub fn all(remote: &dyn Remote) -> Result<Vec<Machine>> {
    let folders = catalog::all(remote)?.into_iter();
    Ok(folders.map(|Folder { name, objects, entries }| machine(&name, &objects, entries)).collect())
}

fn machine(machine_id: &str, objects: &[Object], entries: Vec<Entry>) -> Machine {
    let layout = match entries.is_empty() {
        false => Layout::Generations,
        true if chain::is_original(objects) => Layout::Original,
        true => Layout::Other,
    };
    Machine {
        machine_id: machine_id.to_owned(),
        layout,
        objects: objects.len(),
        bytes: objects.iter().map(|o| o.size).fold(0, u64::saturating_add),
        unrelated: is_unrelated(&entries),
        generations: entries.into_iter().map(row).collect(),
    }
}

/// Whether a folder holds unrelated histories, as a restore sees it.
pub fn is_unrelated(entries: &[Entry]) -> bool {
    let Some(newest) = entries.last() else { return false };
    let cluster = newest.generation.name.cluster_id;
    let own = entries.iter().rev().filter(|e| e.generation.name.cluster_id == cluster);
    let parent = own.filter_map(|e| e.base.as_ref()?.parent.as_ref()).next();
    let (all, committed) = catalog::judged(entries);
    lineage::check(&all, &newest.generation, parent, &committed).is_err()
}

fn row(Entry { generation, base, .. }: Entry) -> Row {
    let name = generation.name;
    let parent = base.as_ref().and_then(|head| head.parent.as_ref());
    Row {
        generation: name.number,
        number: name.number,
        cluster_id: hex(name.cluster_id),
        member_id: hex(name.member_id),
        member_name: base.as_ref().map(|head| head.member_name.clone()),
        etcd: base.as_ref().map(|head| head.family),
        whole: !generation.is_broken(),
        absent: generation.beyond.len(),
        bytes: generation.parts.iter().map(|p| generation.bytes_of(p)).sum(),
        first_index: generation.lowest(),
        v3: !generation.pieces.is_empty(),
        continues: parent.map(|p| Continues {
            cluster_id: hex(p.cluster_id),
            generation: (p.generation > 0).then_some(p.generation),
            index: p.index,
        }),
        verified: None,
        damaged: None,
        name,
        points: generation
            .parts
            .iter()
            .map(|p| Point {
                part: p.sequence,
                time: time::rfc3339(p.time),
                index: p.last,
                term: p.term,
                bytes: generation.bytes_of(p),
            })
            .collect(),
    }
}

/// As etcd prints an ID.
fn hex(id: u64) -> String {
    format!("{id:x}")
}
