//! What there is: the data directory and those that were set aside, read through; and every folder below the endpoint, by a
//! listing, the heads of all bases and the recovery records.

use std::path::Path;

use anyhow::Result;

use super::rank::Known;
use super::{Kind, Source};
use crate::archive::catalog::{self, Entry, Folder};
use crate::archive::chain::{self, Generation};
use crate::archive::lineage::Parent;
use crate::archive::{history, listing, recovery_records};
use crate::etcd::datadir::{self, DataDir};
use crate::etcd::in_use;
use crate::etcd::wal::Reading;
use crate::exit::{Exit, exit_of};
use crate::node::member_dir::places::Places;
use crate::node::member_dir::{aside, kept};
use crate::remote::Remote;
use crate::settings::Settings;
use crate::settings::names::is_machine_id;
use crate::sys::time;

/// What is on this node's disk.
///
/// # Errors
/// The folder of the data directory cannot be listed.
pub fn on_disk(settings: &Settings, now: u64) -> Result<Vec<Source>> {
    let mut all = Vec::new();
    match DataDir::open(&settings.etcd.data_dir, settings.etcd.wal_dir.as_deref()) {
        Err(e) if exit_of(&e) == Exit::NotFound => (),
        Err(e) => return Err(e),
        Ok(dir) => {
            let found =
                of_dir(&dir, in_use::reading(&dir.wal)?, (Kind::DataDir, &settings.etcd.data_dir), now);
            let own_name = Some(settings.etcd.name.clone()).filter(|name| !name.is_empty());
            let member_name = found.member_name.clone().or(own_name);
            let command = found.index.map(|_| "restore --source local".to_owned());
            all.push(Source { member_name, command, present: true, ..found });
        }
    }
    let places = Places::of(&settings.etcd)?;
    let kept = kept::list(&places)?;
    let undone = kept.iter().rfind(|kept| kept.why == "restore").map(|kept| kept.suffix.clone());
    for kept in kept.iter().rev().filter(|kept| kept.is_whole(&places)) {
        let at = |place| aside::with_suffix(place, &kept.suffix);
        let member = at(&places.member);
        let wal = places.wal.as_ref().map_or_else(|| member.join("wal"), |wal| at(wal));
        let dir = DataDir { snap: member.join("snap"), wal };
        let found = of_dir(&dir, Reading::Still, (Kind::Kept, &member), now);
        let is_undone = found.index.is_some() && undone.as_ref() == Some(&kept.suffix);
        all.push(Source { command: is_undone.then(|| "undo".to_owned()), ..found });
    }
    Ok(all)
}

fn of_dir(dir: &DataDir, reading: Reading, (kind, place): (Kind, &Path), now: u64) -> Source {
    let mut found = Source::nameless(kind, place.display().to_string());
    let contents = match dir.scan(reading) {
        Ok(contents) => contents,
        Err(e) => {
            let ids = datadir::ids(&dir.wal).ok();
            found.cluster_id = ids.map(|ids| ids.cluster_id);
            found.member_id = ids.map(|ids| ids.member_id);
            return Source { trouble: Some(format!("{e:#}")), ..found };
        }
    };
    let own = contents.members().ok().and_then(|mut all| all.remove(&contents.metadata.member_id));
    if let Some(own) = own {
        found.member_name = Some(own.name).filter(|name| !name.is_empty());
        found.peer_urls = own.peer_urls;
    }
    let synced = contents.log.synced();
    Source {
        cluster_id: Some(contents.metadata.cluster_id),
        member_id: Some(contents.metadata.member_id),
        term: Some(contents.last().term),
        index: Some(contents.last().index),
        time: synced.map(time::rfc3339),
        age: synced.map(|at| now.saturating_sub(at)),
        ..found
    }
}

/// What is in the remote, and what is known of it; `known` has what this node noted of its own recoveries.
///
/// # Errors
/// The remote could not be asked.
pub fn in_remote(remote: &dyn Remote, own: &str, now: u64, known: &mut Known) -> Result<Vec<Source>> {
    let mut folders = catalog::all(remote)?;
    known.records = recovery_records::in_folders(
        remote,
        &mut folders.iter().map(|folder| (folder.name.as_str(), &folder.objects[..])),
    )?
    .told()
    .records;
    // Of equal ones this machine's own is the first, and taken.
    folders.sort_by_key(|folder| folder.name != own);
    for folder in &folders {
        let links = folder.entries.iter().filter_map(|entry| link(entry, folder.name == own));
        known.parents.extend(links);
        let doubtful = doubtful(folder);
        known.doubtful.extend(doubtful.iter().map(|g| g.name.cluster_id));
    }
    let recorded = recovery_records::parents(&known.records);
    known.parents.extend(recorded);
    Ok(folders.iter().flat_map(|folder| of_folder(folder, folder.name == own, now)).collect())
}

/// What a base says that its own cluster continues. In another machine's folder anybody may say so: there the recovery record
/// tells it, and the base only what was given up for it.
fn link(entry: &Entry, own: bool) -> Option<Parent> {
    let of = entry.generation.name.cluster_id;
    let parent = entry.base.as_ref()?.parent.clone().filter(|parent| parent.for_cluster == of)?;
    Some(if own { parent } else { Parent { cluster_id: of, before: Vec::new(), ..parent } })
}

/// What this node noted of its recoveries.
pub fn noted(settings: &Settings) -> Known {
    let parents = Parent::notes(&settings.backup_dir).unwrap_or_else(|e| {
        log::warn!("could not determine what this node was restored from: {e:#}");
        Vec::new()
    });
    Known { parents, ..Known::default() }
}

fn doubtful(folder: &Folder) -> Vec<Generation> {
    let (all, committed) = catalog::judged(&folder.entries);
    history::doubtful(&all, &committed).into_iter().cloned().collect()
}

/// Of each cluster the generation that goes furthest, and each that does not go on from it.
fn of_folder(folder: &Folder, own: bool, now: u64) -> Vec<Source> {
    if folder.entries.is_empty() && chain::is_original(&folder.objects) && is_machine_id(&folder.name) {
        let found = Source::nameless(Kind::Original, folder.name.clone());
        return vec![Source { command: command(&folder.name, own, None, false), present: own, ..found }];
    }
    let unrelated = listing::is_unrelated(&folder.entries);
    let newest = folder.entries.last().map(|entry| entry.generation.name);
    let doubtful = doubtful(folder);
    let end = |entry: &Entry| Some((entry.generation.last()?.term, entry.generation.last()?.last));
    let is_doubtful = |entry: &&Entry| doubtful.contains(&entry.generation);
    let is_taken = |entry: &&Entry| {
        let name = entry.generation.name;
        // However high the terms of another history are.
        let same =
            |other: &&Entry| other.generation.name.cluster_id == name.cluster_id && !is_doubtful(other);
        let further = |other: &Entry| (end(other), other.generation.name) > (end(entry), name);
        is_doubtful(entry) || !folder.entries.iter().filter(same).any(further)
    };
    let of_entry = |entry: &Entry| {
        let (generation, base) = (&entry.generation, entry.base.as_ref());
        let (name, last) = (generation.name, generation.last()?);
        let numbered = (unrelated || newest != Some(name)).then_some(name.number);
        let broken = generation.is_broken();
        let lacks_v3 = generation.pieces.is_empty() && base.is_some_and(|base| base.v3_data);
        let broken_behind = broken.then(|| format!("broken after part {}", last.sequence));
        Some(Source {
            generation: Some(name.number),
            cluster_id: Some(name.cluster_id),
            member_id: Some(name.member_id),
            member_name: base.map(|base| base.member_name.clone()),
            peer_urls: base.map(|base| base.peer_urls.clone()).unwrap_or_default(),
            term: Some(last.term),
            index: Some(last.last),
            time: Some(time::rfc3339(last.time)),
            age: Some(now.saturating_sub(last.time)),
            trouble: broken_behind
                .or_else(|| lacks_v3.then(|| "without the v3 store that its member had".to_owned())),
            lacks_v3,
            command: command(&folder.name, own, numbered, broken),
            present: own,
            ..Source::nameless(Kind::Archive, folder.name.clone())
        })
    };
    folder.entries.iter().filter(is_taken).filter_map(of_entry).collect()
}

/// The command that restores it; none for a folder that `restore --from` does not take.
pub(super) fn command(folder: &str, own: bool, generation: Option<u64>, broken: bool) -> Option<String> {
    let mut command = "restore".to_owned();
    if !own {
        command += &format!(" --from {}", Some(folder).filter(|name| is_machine_id(name))?);
    }
    if let Some(number) = generation {
        command += &format!(" --generation {number}");
    }
    if broken {
        command += " --accept-older";
    }
    Some(command)
}
