//! A generation's parts: which ones, brought from the remote, checked, and made into a data directory.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::point::{Place, Point};
use crate::archive::chain::{self, Generation};
use crate::archive::lineage::{self, Parent};
use crate::archive::names::PartName;
use crate::archive::part::{self, Head, Mark, Part};
use crate::archive::pieces::Pieces;
use crate::archive::{catalog, unpack};
use crate::etcd::datadir::{Contents, DataDir};
use crate::exit::{Exit, OrFault, exit_of, fault};
use crate::remote::{Object, Proof, Remote};
use crate::sys::fs::{remove_dir_if_there, remove_if_there};
use crate::sys::room::Scratch;
use crate::sys::terminal::live;
use crate::sys::terminal::progress::Unit;

/// For where something of a generation is damaged.
const HINT_OLDER: &str =
    "for the newest intact restore point: sudo /opt/bin/etcd2-backup restore --accept-older";

/// What the operator asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// This generation instead of the newest.
    pub generation: Option<u64>,
    /// The newest undamaged point, when the newest is damaged.
    pub accept_older: bool,
    /// Not the newest point, but this one; no other takes its place.
    pub point: Option<Point>,
}

/// A restore point that was brought and proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Where its files are.
    pub dir: DataDir,
    /// What is in them.
    pub contents: Contents,
    /// The generation.
    pub generation: u64,
    /// The newest part used.
    pub part: PartName,
    /// What stands for the content of its parts, 64 hex digits: [`Part::content`].
    pub content: String,
    /// What was seen of the log and when, beside the parts' own times.
    pub marks: Vec<Mark>,
    /// Bytes of the parts that make it up.
    pub bytes: u64,
    /// What its cluster continues, if its base says so.
    pub parent: Option<Parent>,
    /// What was given up, and why.
    pub given_up: Vec<String>,
    /// The member held data of the v3 store, by what its parts say: from this index on, 0 for before all of them.
    pub v3_data: Option<u64>,
}

/// Brings a restore point of `folder` into `scratch`, which is emptied first.
///
/// # Errors
/// [`Exit::NotFound`] without a restore point, [`Exit::Corrupt`] when the newest is damaged and older ones were not
/// accepted, [`Exit::Refused`] for unrelated histories, [`Exit::Remote`].
pub fn fetch(
    remote: &dyn Remote,
    folder: &str,
    objects: &[Object],
    wanted: Wanted,
    scratch: &Scratch,
) -> Result<Fetched> {
    let all = chain::generations(objects);
    let mut given_up = Vec::new();
    let mut candidates: Vec<&Generation> = match wanted.generation {
        Some(number) => all.iter().filter(|g| g.name.number == number).collect(),
        None => all.iter().collect(),
    };
    let Some(&newest) = candidates.last() else { return Err(nothing(&all, wanted)) };
    candidates.retain(|g| g.name.cluster_id == newest.name.cluster_id);
    if wanted.generation.is_none() {
        let parent = if lineage::is_mixed(&all) { parent(remote, folder, &candidates)? } else { None };
        let committed = catalog::committed(remote, folder, &all)?;
        lineage::check(&all, newest, parent.as_ref(), &committed)?;
    }

    while let Some(generation) = candidates.pop() {
        if let Some(why) = incomplete(generation) {
            give_up(wanted, &mut given_up, why)?;
        }
        let mut count = generation.parts.len();
        while count > 0 {
            let opened = match bring(remote, folder, generation, &generation.parts[..count], scratch) {
                Ok(opened) => opened,
                Err(Damaged { at, error }) => {
                    give_up_if_corrupt(wanted, &mut given_up, error)?;
                    count = at;
                    continue;
                }
            };
            match unpacked(&opened, scratch) {
                Ok(data) => {
                    return Ok(fetched(data, generation, &opened, &generation.parts[..count], given_up));
                }
                Err(error) => give_up_if_corrupt(wanted, &mut given_up, error)?,
            }
            count -= 1;
        }
    }
    let what = format!("no intact restore point is left in {folder}: {}", given_up.join("; "));
    Err(fault(
        Exit::Corrupt,
        what,
        "another member's backup or surviving disk may have one; on that node: sudo /opt/bin/etcd2-backup \
         restore --source local",
    ))
}

/// The generations of a folder that lead to the newest, oldest first; or only the one that is wanted.
///
/// # Errors
/// As [`fetch`].
pub fn related<'a>(
    remote: &dyn Remote,
    folder: &str,
    all: &'a [Generation],
    wanted: Wanted,
) -> Result<Vec<&'a Generation>> {
    let asked: Vec<&Generation> =
        all.iter().filter(|g| wanted.generation.is_none_or(|number| g.name.number == number)).collect();
    let Some(&newest) = asked.last() else { return Err(nothing(all, wanted)) };
    if wanted.generation.is_some() {
        return Ok(asked);
    }
    let mut parents: Vec<Parent> = Vec::new();
    if lineage::is_mixed(all) {
        let bases: Vec<_> = all.iter().rev().filter_map(|g| catalog::Wanted::base(g, "")).collect();
        let heads = catalog::heads(remote, folder, &bases)?.into_iter().flatten();
        parents.extend(heads.filter_map(|head| head.parent));
    }
    let parent = parents.iter().find(|p| p.for_cluster == newest.name.cluster_id);
    lineage::check(all, newest, parent, &catalog::committed(remote, folder, all)?)?;
    let clusters = lineage::ancestry(newest.name.cluster_id, &parents);
    Ok(asked.into_iter().filter(|g| clusters.contains(&g.name.cluster_id)).collect())
}

/// Brings the first `count` parts of the generation that a point lies in, or fewer if a damaged one is not needed for it.
///
/// # Errors
/// [`Exit::Corrupt`] when one that is needed is damaged, with what can be restored instead; [`Exit::Remote`].
pub fn exactly(
    remote: &dyn Remote,
    folder: &str,
    place: &Place<'_>,
    count: usize,
    scratch: &Scratch,
) -> Result<Fetched> {
    let parts = &place.generation.parts[..count];
    let (at, error) = match bring(remote, folder, place.generation, parts, scratch) {
        Ok(opened) => match unpacked(&opened, scratch) {
            Ok(data) => return Ok(fetched(data, place.generation, &opened, parts, Vec::new())),
            // It does not say which part is the one.
            Err(error) => (count - 1, error),
        },
        Err(Damaged { at, error }) => (at, error),
    };
    if exit_of(&error) != Exit::Corrupt {
        return Err(error);
    }
    if at >= place.needed {
        log::warn!("{error:#}: the restore point lies before it");
        return exactly(remote, folder, place, at, scratch);
    }
    let number = place.generation.name.number;
    let hint = match parts[..at].last() {
        Some(p) => {
            let time = crate::sys::time::rfc3339(p.time);
            let index = p.last;
            format!(
                "before it, up to {time}: sudo /opt/bin/etcd2-backup restore --generation {number} \
                 --raft-index {index}"
            )
        }
        None => "to list the restore points of other generations: sudo /opt/bin/etcd2-backup list \
                 --points"
            .to_owned(),
    };
    Err(fault(Exit::Corrupt, format!("that restore point cannot be used: {error:#}"), hint))
}

/// Brings exactly what a recovery was made of: a generation up to the part with which its content is this.
///
/// # Errors
/// [`Exit::NotFound`] if it is not in the folder any more, [`Exit::Corrupt`] if it is damaged; [`Exit::Remote`].
pub fn recorded(
    remote: &dyn Remote,
    folder: &str,
    objects: &[Object],
    (number, content): (u64, &str),
    scratch: &Scratch,
) -> Result<Fetched> {
    let all = chain::generations(objects);
    let mut damage = None;
    for generation in all.iter().filter(|g| g.name.number == number) {
        // Parts of format 1 say it in their names.
        let named = generation.parts.iter().position(|p| p.link == part::prefix(content));
        let mut parts = &generation.parts[..named.map_or(generation.parts.len(), |at| at + 1)];
        while !parts.is_empty() {
            let opened = match bring(remote, folder, generation, parts, scratch) {
                // It may lie behind all that was used.
                Err(Damaged { at, error }) if named.is_none() && exit_of(&error) == Exit::Corrupt => {
                    parts = &parts[..at];
                    damage = Some(error);
                    continue;
                }
                opened => opened.map_err(|damaged| damaged.error)?,
            };
            let Some(count) = (1..=opened.len()).find(|&n| content_of(&opened[..n]) == content) else {
                break;
            };
            let data = unpacked(&opened[..count], scratch)?;
            return Ok(fetched(data, generation, &opened[..count], &parts[..count], Vec::new()));
        }
    }
    if let Some(error) = damage {
        return Err(error);
    }
    let what = format!("the restore point of generation {number} that was used is no longer in {folder}");
    Err(fault(
        Exit::NotFound,
        what,
        "was it pruned? To list what is there: sudo /opt/bin/etcd2-backup list --from MACHINE_ID",
    ))
}

/// What stands for the content of a generation's first parts.
fn content_of(opened: &[Part]) -> String {
    opened.iter().fold(String::new(), |before, part| part.content(&before))
}

/// What a cluster's generations say that they continue, the newest that says anything. A node that lost what it knew of
/// its recovery writes bases without it.
fn parent(remote: &dyn Remote, folder: &str, generations: &[&Generation]) -> Result<Option<Parent>> {
    let bases: Vec<_> = generations.iter().rev().filter_map(|g| catalog::Wanted::base(g, "")).collect();
    Ok(catalog::heads(remote, folder, &bases)?.into_iter().flatten().find_map(|head| head.parent))
}

fn fetched(
    (dir, contents): (DataDir, Contents),
    generation: &Generation,
    opened: &[Part],
    parts: &[PartName],
    given_up: Vec<String>,
) -> Fetched {
    let (last, part) = (&opened[opened.len() - 1], parts[parts.len() - 1]);
    let bytes = parts.iter().map(|part| generation.bytes_of(part)).sum();
    Fetched {
        dir,
        contents,
        generation: last.head.generation,
        part,
        content: content_of(opened),
        marks: opened.iter().flat_map(|p| p.head.marks.iter().copied()).collect(),
        bytes,
        parent: opened[0].head.parent.clone(),
        given_up,
        v3_data: opened.iter().map(|p| &p.head).find(|head| head.v3_data).map(since),
    }
}

/// From where on the v3 store has data of what such a head is of.
fn since(head: &Head) -> u64 {
    if head.sequence == 0 { 0 } else { head.first }
}

fn objects_dir(scratch: &Scratch) -> PathBuf {
    scratch.dir().join("parts")
}

/// Makes a data directory of the parts, which are not needed any more then.
fn unpacked(opened: &[Part], scratch: &Scratch) -> Result<(DataDir, Contents)> {
    let _step = live::step("unpacking the backup");
    let data = unpack::unpack(opened, &scratch.dir().join("data"), scratch.leave())?;
    remove_dir_if_there(&objects_dir(scratch))?;
    Ok(data)
}

/// Why a generation's newest point is not what was once sent. An upload that was killed (only the very last object is
/// not complete) is no damage: that backup never was.
fn incomplete(generation: &Generation) -> Option<String> {
    let name = generation.name;
    for path in &generation.beyond {
        log::warn!("ignoring {path}: it is incomplete, or not linked to the part before it");
    }
    generation.is_broken().then(|| match generation.last() {
        None => format!("the base of generation {} is missing or truncated", name.number),
        Some(last) => format!("generation {} is broken after part {}", name.number, last.sequence),
    })
}

fn give_up(wanted: Wanted, given_up: &mut Vec<String>, why: String) -> Result<()> {
    if !wanted.accept_older {
        let hint = "for the newest intact restore point: sudo /opt/bin/etcd2-backup restore --accept-older; \
                    for a certain one: sudo /opt/bin/etcd2-backup restore --generation N";
        return Err(fault(Exit::Corrupt, why, hint));
    }
    log::warn!("{why}: looking for an older restore point");
    given_up.push(why);
    Ok(())
}

fn give_up_if_corrupt(wanted: Wanted, given_up: &mut Vec<String>, error: anyhow::Error) -> Result<()> {
    if exit_of(&error) == Exit::Corrupt {
        give_up(wanted, given_up, format!("{error:#}"))
    } else {
        Err(error)
    }
}

/// A part that could not be brought, and how many before it could.
struct Damaged {
    at: usize,
    error: anyhow::Error,
}

/// Brings all parts in one call, and opens each.
fn bring(
    remote: &dyn Remote,
    folder: &str,
    generation: &Generation,
    parts: &[PartName],
    scratch: &Scratch,
) -> Result<Vec<Part>, Damaged> {
    let whole = |error| Damaged { at: 0, error };
    scratch.empty().map_err(whole)?;
    let (dir, wanted) = (objects_dir(scratch), generation.objects(parts));
    let pieces = if parts.is_empty() { Vec::new() } else { generation.piece_objects() };
    let get = |wanted: &[Object]| remote.get(folder, wanted, &dir, scratch.leave(), Proof::Own);
    get(&[&wanted[..], &pieces[..]].concat()).map_err(whole)?;
    let step = live::step("checking the backup");
    step.of(Unit::Of("parts"), Some(parts.len() as u64));
    let mut opened = Vec::new();
    for (at, (object, name)) in wanted.iter().zip(parts).enumerate() {
        let path = dir.join(&object.path);
        let part = once_more(object, &path, &get, || Part::open(&path, generation.name, *name));
        opened.push(part.map_err(|error| Damaged { at, error })?);
        step.done(opened.len() as u64);
    }
    if let Some(base) = opened.first_mut().filter(|base| base.head.is_in_pieces()) {
        let mut read = Pieces::default();
        let mut pieces = || -> Result<Vec<PathBuf>> {
            for (name, object) in generation.pieces.iter().zip(&pieces) {
                let path = dir.join(&object.path);
                once_more(object, &path, &get, || read.read(&path, *name, &mut io::sink()))?;
            }
            Ok(pieces.iter().map(|object| dir.join(&object.path)).collect())
        };
        base.pieces = pieces()
            .and_then(|files| {
                let what = format!("the base of generation {} is corrupt", base.head.generation);
                read.are_of(&base.head).or_fault(Exit::Corrupt, what, HINT_OLDER)?;
                Ok(files)
            })
            .map_err(whole)?;
    }
    Ok(opened)
}

/// Opens what was brought, and brings it once more if it is damaged.
fn once_more<T>(
    object: &Object,
    path: &Path,
    get: &dyn Fn(&[Object]) -> Result<()>,
    mut open: impl FnMut() -> Result<T>,
) -> Result<T> {
    let error = match open() {
        Err(error) if exit_of(&error) == Exit::Corrupt => error,
        opened => return opened,
    };
    log::warn!("{error:#}: downloading it again, as it may have been corrupted in transit");
    remove_if_there(path)?;
    match get(std::slice::from_ref(object)) {
        Ok(()) => open(),
        // That says nothing of the object.
        Err(again) if exit_of(&again) == Exit::NoSpace => Err(again),
        Err(again) => {
            log::warn!("the second download failed: {again:#}");
            Err(error)
        }
    }
}

fn nothing(all: &[Generation], wanted: Wanted) -> anyhow::Error {
    let numbers: Vec<String> = all.iter().map(|g| g.name.number.to_string()).collect();
    match wanted.generation {
        Some(number) => {
            let hint = format!(
                "generations there: {}",
                if numbers.is_empty() { "none".into() } else { numbers.join(", ") }
            );
            fault(Exit::NotFound, format!("generation {number} is not in the archive"), hint)
        }
        None => fault(Exit::NotFound, "the archive holds no generation", "is RCLONE_ENDPOINT the right one?"),
    }
}
