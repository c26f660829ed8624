//! A node's report of itself. What cannot be found out is a doubt in it, not an error: the others may know enough.

use std::fs;

use anyhow::Result;

use super::report::{Found, Report};
use crate::archive::catalog::by_folder;
use crate::archive::lineage::{Parent, Record};
use crate::archive::{chain, recorded};
use crate::cluster::access::Access;
use crate::cluster::api;
use crate::etcd::datadir::DataDir;
use crate::exit::{Exit, exit_of};
use crate::member_dir::exchange;
use crate::paths::Root;
use crate::remote::{Object, Remote};
use crate::settings::Settings;
use crate::sys::{systemd, time};

/// Looks at this node.
///
/// # Errors
/// It has no name or no peer URL, or systemd cannot be asked.
pub fn report(
    root: &Root,
    settings: &Settings,
    remote: &dyn Remote,
    timer: &str,
    program: String,
) -> Result<Report> {
    let live = root.is_live();
    let running = live && systemd::is_active(&settings.etcd_unit)?;
    let http = Access::anonymous(settings).clients;
    let mut doubts = Vec::new();
    let mut disk = usable(&mut doubts, "the disk", disk(settings));
    // One listing shows this machine's backup and everybody's records.
    let folders = match remote.list("") {
        Ok(objects) => by_folder(objects),
        Err(e) => {
            // This machine's may be all that it is allowed to see.
            doubts.push(format!("the other machines' backups: {e:#}"));
            let own = usable(&mut doubts, "the archive", remote.list(&settings.machine_id));
            vec![(settings.machine_id.clone(), own)]
        }
    };
    let mut archive = usable(&mut doubts, "the archive", archive(settings, &folders));
    let mut all = folders.iter().map(|(name, objects)| (name.as_str(), &objects[..]));
    let mut records = staged(settings);
    records.extend(usable(&mut doubts, "the recovery records", recorded::in_folders(remote, &mut all)));
    for found in disk.iter_mut().chain(&mut archive) {
        found.parents = parents(settings, &records, found.cluster_id);
    }
    let of_disk = |record: &Record| disk.as_ref().is_some_and(|disk| disk.cluster_id == record.cluster_id);
    Ok(Report {
        program,
        time: time::now(),
        machine_id: settings.machine_id.clone(),
        name: settings.own_name()?.to_owned(),
        peer_urls: settings.own_peer_urls()?.to_vec(),
        founder_urls: settings.founder_urls.clone(),
        endpoint: settings.endpoint.clone(),
        etcd_unit: settings.etcd_unit.clone(),
        restore_dir: root.strip(&settings.restore_dir).display().to_string(),
        timer: live && systemd::is_enabled(timer)?,
        running,
        healthy: settings.client_urls.iter().any(|url| api::is_healthy(&http, url)),
        record: records.into_iter().find(of_disk),
        disk,
        archive,
        doubts,
    })
}

fn usable<T: Default>(doubts: &mut Vec<String>, what: &str, found: Result<T>) -> T {
    found.unwrap_or_else(|e| {
        doubts.push(format!("{what}: {e:#}"));
        T::default()
    })
}

/// What the disk of this node holds; what its cluster continues is left out.
///
/// # Errors
/// It is damaged.
pub fn disk(settings: &Settings) -> Result<Option<Found>> {
    let dir = match DataDir::open(&settings.data_dir, settings.wal_dir.as_deref()) {
        Err(e) if exit_of(&e) == Exit::NotFound => return Ok(None),
        dir => dir?,
    };
    let contents = dir.scan(exchange::reading(&dir.wal)?)?;
    let (ids, last) = (contents.metadata, contents.last());
    Ok(Some(Found {
        cluster_id: ids.cluster_id,
        member_id: ids.member_id,
        generation: 0,
        index: last.index,
        term: last.term,
        parents: Vec::new(),
    }))
}

fn archive(settings: &Settings, folders: &[(String, Vec<Object>)]) -> Result<Option<Found>> {
    let Some((_, objects)) = folders.iter().find(|(name, _)| *name == settings.machine_id) else {
        return Ok(None);
    };
    if chain::is_original(objects) {
        anyhow::bail!("a backup of etcd2-backup-coreos does not say how new it is: restore it by hand");
    }
    let all = chain::generations(objects);
    let newest = all.iter().rev().find_map(|generation| Some((generation.name, generation.last()?)));
    Ok(newest.map(|(name, part)| Found {
        cluster_id: name.cluster_id,
        member_id: name.member_id,
        generation: name.number,
        index: part.last,
        term: part.term,
        parents: Vec::new(),
    }))
}

/// Records that wait for the next backup.
fn staged(settings: &Settings) -> Vec<Record> {
    let files = fs::read_dir(settings.backup_dir.join("spool/recovery")).into_iter().flatten().flatten();
    files.filter_map(|file| serde_json::from_slice(&fs::read(file.path()).ok()?).ok()).collect()
}

fn parents(settings: &Settings, records: &[Record], cluster_id: u64) -> Vec<Parent> {
    let noted = Parent::of(&settings.backup_dir, cluster_id).ok().flatten();
    noted.into_iter().chain(recorded::continued(records, cluster_id)).collect()
}
