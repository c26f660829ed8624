//! Where the data of a restore comes from: a restore point of the archive, or the disk of this node.

use std::thread;

use anyhow::{Context, Result};

use super::fetch::{self, Fetched, Wanted};
use super::point::{Place, Point};
use super::source::{self, Origin, Source};
use super::{legacy, newest, other_history};
use crate::archive::chain;
use crate::archive::lineage::Parent;
use crate::archive::part::Mark;
use crate::etcd::datadir::{Contents, DataDir};
use crate::etcd::frame::Kind;
use crate::etcd::proto::{Entry, EntryKind, LogPosition};
use crate::etcd::request::Effect;
use crate::etcd::wal::{self, Reading};
use crate::etcd::{clock, in_use};
use crate::exit::{Exit, OrFault, exit_of, fault};
use crate::remote::{Object, Remote};
use crate::settings::Settings;
use crate::settings::source::Choice;
use crate::sys::room::{Leave, Scratch};
use crate::sys::terminal::live;
use crate::sys::terminal::table::count;
use crate::sys::{folder, look};

/// Where this node brings what it needs from the remote. The folder goes with the value: whatever is made of it, it lives
/// as long.
///
/// # Errors
/// What an earlier attempt left there cannot be removed.
pub fn incoming(settings: &Settings, leave: Leave) -> Result<Scratch> {
    look::if_there(folder::refuse_if_replaceable(&settings.restore_dir, &settings.etcd.data_dir))?;
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
        Choice::Local => {
            let _step = live::step("reading the local data");
            whole(settings)
        }
        Choice::Archive => {
            // The disk is read while the remote is waited for.
            let (source, own) = thread::scope(|scope| {
                let own = scope.spawn(|| local(settings));
                (archive(settings, (remote, scratch), folder, wanted), own.join())
            });
            let mut source = source?;
            let said = own.map(|own| {
                own.and_then(|own| {
                    newest::of_disk(&own, &mut source);
                    say_what_local_has(&own, &source)
                })
            });
            match said {
                Ok(Err(e)) if look::is_unread(&e) => {
                    log::warn!("could not determine whether this node's own data is newer: {e:#}");
                }
                // All is said; or there is none, or it is damaged.
                _ => {}
            }
            Ok(source)
        }
        Choice::Auto => auto(settings, (remote, scratch), wanted),
    }
}

/// Nothing is fresher than a surviving disk: the local data if it is whole, of the same cluster and not older.
fn auto(settings: &Settings, from: (&dyn Remote, &Scratch), wanted: Wanted) -> Result<Source> {
    let step = live::step("reading the local data");
    let own = whole(settings);
    drop(step);
    let own = match own {
        Ok(own) => own,
        Err(e) if look::is_unread(&e) => {
            let hint = "it may be the newest: make it readable; or use the archive in any case: sudo \
                        /opt/bin/etcd2-backup restore --source archive";
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
            log::warn!("the archive cannot be used, but the local data can: {e:#}");
            Ok(own)
        }
        Err(e) => {
            let exit = exit_of(&e);
            let hint = "wait for the remote; or use the local data in any case: sudo /opt/bin/etcd2-backup \
                        restore --source local";
            Err(e).or_fault(exit, "comparing the local data, which can be used, with the archive", hint)
        }
        Ok(remote) if same_cluster(&own, &remote) && own.contents.last() >= remote.contents.last() => Ok(own),
        Ok(mut remote) => {
            log::info!("using the archive: the local data is older, or belongs to another cluster");
            newest::of_disk(&own, &mut remote);
            Ok(remote)
        }
    }
}

fn same_cluster(a: &Source, b: &Source) -> bool {
    a.contents.metadata.cluster_id == b.contents.metadata.cluster_id
}

/// The node's own data directory, as far as the log and the v2 store go.
///
/// # Errors
/// There is none, or it is damaged.
pub fn local(settings: &Settings) -> Result<Source> {
    let dir = DataDir::open(&settings.etcd.data_dir, settings.etcd.wal_dir.as_deref())?;
    // A plan is made while etcd runs, too.
    let contents = dir.scan(in_use::reading(&dir.wal)?)?;
    of_this_disk(settings, dir, contents)
}

/// The node's own data directory with both stores, to restore it.
///
/// # Errors
/// As [`local`]; or its v3 store cannot be restored, and nobody said that it may be given up.
fn whole(settings: &Settings) -> Result<Source> {
    let dir = DataDir::open(&settings.etcd.data_dir, settings.etcd.wal_dir.as_deref())?;
    let reading = in_use::reading(&dir.wal)?;
    let contents = match dir.scan_both_stores(reading) {
        Err(e) if settings.v2_only && !look::is_unread(&e) => {
            log::warn!("the v3 store of this disk cannot be restored: {e:#}");
            dir.scan(reading)?
        }
        contents => contents?,
    };
    of_this_disk(settings, dir, contents)
}

fn of_this_disk(settings: &Settings, dir: DataDir, contents: Contents) -> Result<Source> {
    let parent = Parent::of(&settings.backup_dir, contents.metadata.cluster_id)?;
    Ok(Source { parent, ..source::read(dir, contents, Origin::Local) })
}

/// Says what a restore from the archive would leave behind on this disk. It is kept aside in any case.
///
/// # Errors
/// The local log cannot be read.
fn say_what_local_has(own: &Source, archive: &Source) -> Result<()> {
    let (ours, point) = (own.contents.last(), archive.point);
    if !same_cluster(own, archive) || ours <= point {
        return Ok(());
    }
    let more = more(ours, point);
    if !writes_after(own, point)? {
        log::info!("this node's own data directory goes {more} further, without a change of any key");
    } else if point == archive.contents.last() {
        log::warn!(
            "this node's own data directory is intact and {more} newer; to keep them: sudo \
             /opt/bin/etcd2-backup restore --source local"
        );
    } else {
        log::info!("this node's own data directory is intact and goes {more} further than the restore point");
    }
    Ok(())
}

/// How much a newer log has. One that a new leader made shorter has no more entries, but others.
fn more(ours: LogPosition, point: LogPosition) -> String {
    match ours.index.checked_sub(point.index) {
        Some(entries @ 1..) => count(entries, "entry", "entries"),
        _ => format!("a term ({} after {})", ours.term, point.term),
    }
}

/// Whether any entry of this disk after a point may change what a member holds.
fn writes_after(own: &Source, point: LogPosition) -> Result<bool> {
    // A later term at an index that the archive has, too, is another history of it.
    if own.contents.at(point.index) != Some(point) {
        return Ok(true);
    }
    let mut writes = false;
    wal::walk(&own.dir.wal, own.contents.start, Reading::Live, &mut |_, record| {
        if record.kind == Kind::Entry {
            let entry = Entry::decode(record.data)?;
            let effect = || !matches!(Effect::of(entry.data), Effect::Nothing | Effect::Sync(_));
            writes |= entry.index > point.index && (entry.kind != EntryKind::Normal || effect());
        }
        Ok(())
    })?;
    Ok(writes)
}

fn archive(
    settings: &Settings,
    (remote, scratch): (&dyn Remote, &Scratch),
    folder: &str,
    wanted: Wanted,
) -> Result<Source> {
    from_folder(remote, folder, &|objects| {
        if objects.is_empty() {
            let before =
                if wanted == Wanted::default() { legacy::before(remote, folder, scratch)? } else { None };
            return before.ok_or_else(|| nothing_there(settings, remote, folder));
        }
        listed((remote, scratch), folder, objects, wanted)
    })
}

/// What `bring` makes of a folder's objects. If some are gone by the time that they are asked for, it is given those that are there then:
/// what was pruned or merged meanwhile is no loss, as what took its place is there.
///
/// # Errors
/// The remote could not be asked; what `bring` says.
pub fn from_folder(
    remote: &dyn Remote,
    folder: &str,
    bring: &dyn Fn(&[Object]) -> Result<Source>,
) -> Result<Source> {
    let objects = remote.list(folder)?;
    let error = match bring(&objects) {
        Err(e) if matches!(exit_of(&e), Exit::Remote | Exit::Corrupt) => e,
        done => return done,
    };
    match remote.list(folder) {
        Ok(again) if !again.is_empty() && objects.iter().any(|object| !again.contains(object)) => {
            log::info!("{folder} has changed since it was listed ({error:#}); starting over once");
            bring(&again)
        }
        _ => Err(error),
    }
}

/// The same of a folder of which these objects are listed.
fn listed(
    (remote, scratch): (&dyn Remote, &Scratch),
    folder: &str,
    objects: &[Object],
    wanted: Wanted,
) -> Result<Source> {
    if wanted.generation.is_none() && chain::is_original(objects) {
        if wanted.point.is_some() {
            let what = "etcd2-backup-coreos kept one state only: there is no other restore point";
            return Err(fault(Exit::NotFound, what, "leave out --at and --raft-index to restore that one"));
        }
        return legacy::either(remote, folder, objects, scratch);
    }
    if let Some(point) = wanted.point {
        return past((remote, scratch), folder, objects, wanted, point);
    }
    let mut source = opened(fetch::fetch(remote, folder, objects, wanted, scratch)?);
    newest::of_folder(remote, folder, &chain::generations(objects), &mut source)?;
    Ok(source)
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
        if let Some(mut source) = at_place((remote, scratch), folder, point, &place)? {
            // Who names the generation means its entry.
            if wanted.generation.is_none() {
                other_history::tell(&source, point, place.generation, &related)?;
            }
            newest::of_folder(remote, folder, &all, &mut source)?;
            return Ok(source);
        }
    }
    Err(fault(
        Exit::NotFound,
        "that restore point is not in the archive",
        "to list those that are: sudo /opt/bin/etcd2-backup list --points",
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
        let fetched = fetch::exactly(remote, folder, place, count, scratch)?;
        let (marks, noted) = (fetched.marks.clone(), fetched.v3_data);
        let source = opened(fetched);
        let Some((index, why)) = index_of(point, place, &source, &marks)? else { return Ok(None) };
        // What is not known to be committed, a new leader may have overwritten in a later part.
        if index > source.contents.log.hard_state.commit && count < place.generation.parts.len() {
            count = place.generation.parts.len();
            continue;
        }
        if !why.is_empty() {
            log::info!("the last entry before that time has the index {index}, {why}");
            // A v3 store's own log carries no time.
            if let (true, Some(said)) = (source.contents.v3.is_some(), place.exactness(index, &marks)) {
                log::info!("{said}");
            }
        }
        let point = source.contents.at(index).context("the point is not in its generation")?;
        // What was written to the v3 store behind the point is not missing in it.
        let in_log = source.contents.log.v3_write.map(|write| write.index);
        let since = noted.filter(|noted| *noted == 0).or(in_log).or(noted);
        let v3_data = source.v3_data.filter(|_| since.is_none_or(|since| since <= index));
        return Ok(Some(Source { point, v3_data, ..source }));
    }
}

/// The index of a point, and how it was found.
fn index_of(
    point: Point,
    place: &Place<'_>,
    source: &Source,
    marks: &[Mark],
) -> Result<Option<(u64, &'static str)>> {
    match point {
        Point::Index(index) => Ok(Some((index, ""))),
        Point::At(moment) => {
            let start = source.contents.start;
            place.index(clock::around(&source.dir.wal, start, place.floor(), moment)?, marks)
        }
    }
}

/// Parts that were brought and read through, as a source.
pub fn opened(fetched: Fetched) -> Source {
    let Fetched { dir, contents, part, content: hash, bytes, parent, given_up, .. } = fetched;
    let origin = Origin::Archive { generation: fetched.generation, part: part.sequence, time: part.time };
    // The archive has no snap/db that would say it.
    let noted = fetched.v3_data.map(|_| "the backup says so".to_owned());
    let v3_data = contents.v3_data().or(noted).filter(|_| contents.v3.is_none());
    Source { bytes, parent, given_up, v3_data, hash, ..source::read(dir, contents, origin) }
}

fn nothing_there(settings: &Settings, remote: &dyn Remote, folder: &str) -> anyhow::Error {
    let whose = if folder == settings.machine_id { "this machine" } else { "that machine" };
    let what = format!("there is no backup of {whose} in {}", settings.folder_of(folder));
    let hint = match remote.folders() {
        Ok(folders) if folders.is_empty() => {
            "the endpoint holds no machine's backup at all: is RCLONE_ENDPOINT right?".into()
        }
        Ok(folders) => format!(
            "machines with a backup there: {}; to use another one's: sudo /opt/bin/etcd2-backup restore \
             --from MACHINE_ID",
            folders.join(", ")
        ),
        Err(e) => format!("the endpoint could not be listed either: {e:#}"),
    };
    fault(Exit::NotFound, what, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_log_has_more_entries_or_a_later_term() {
        let at = |term, index| LogPosition { term, index };
        for (ours, said) in [
            (at(2, 51), "1 entry"),
            (at(3, 60), "10 entries"),
            (at(3, 50), "a term (3 after 2)"),
            (at(3, 48), "a term (3 after 2)"),
        ] {
            assert_eq!(more(ours, at(2, 50)), said, "{ours:?}");
        }
    }
}
