//! A node's report of itself. What cannot be found out is a doubt in it, not an error: the others may know enough.

use std::path::Path;

use anyhow::{Context, Result};

use super::report::{About, Doubt, Found, PROTOCOL, Report};
use crate::archive::catalog::by_folder;
use crate::archive::chain::{self, Generation};
use crate::archive::lineage::{Parent, Record, RecordedMember};
use crate::archive::recovery_records;
use crate::cluster::access::Access;
use crate::cluster::api;
use crate::etcd::datadir::DataDir;
use crate::etcd::in_use;
use crate::etcd::store::StoredMember;
use crate::exit::{Exit, exit_of};
use crate::node::Node;
use crate::remote::{Object, Remote};
use crate::settings::Settings;
use crate::sys::http::is_unasked;
use crate::sys::{look, systemd, time};

/// Looks at this node.
///
/// # Errors
/// It has no name or no peer URL, or systemd cannot be asked.
pub fn report(node: &Node, remote: &dyn Remote, timer: &str, program: String) -> Result<Report> {
    let settings = &node.settings;
    let live = node.root.is_live();
    let running = live && systemd::is_active(&settings.etcd.unit)?;
    let mut doubts = Doubts::default();
    // Where systemd says that it does not run, nothing keeps it from being recovered.
    let healthy = match healthy(settings) {
        Err(e) if live && !running => {
            log::warn!("etcd is not running here, and could not be asked: {e:#}");
            false
        }
        healthy => doubts.usable(About::Health, healthy),
    };
    let mut disk = doubts.usable(About::Disk, disk(settings));
    // One listing shows this machine's backup and everybody's records.
    let folders = match own_and_records(remote, &settings.machine_id) {
        Ok(objects) => by_folder(objects),
        Err(e) => {
            // This machine's may be all that it is allowed to see.
            doubts.note(About::Others, &e);
            let own = doubts.usable(About::Archive, remote.list(&settings.machine_id));
            vec![(settings.machine_id.to_string(), own)]
        }
    };
    let mut archive = doubts.usable(About::Archive, archive(settings, &folders));
    let mut all = folders.iter().map(|(name, objects)| (name.as_str(), &objects[..]));
    let mut records = staged(settings, &mut doubts);
    let found = doubts.usable(About::Records, recovery_records::in_folders(remote, &mut all));
    if let Some(why) = found.doubt() {
        doubts.note(About::Records, &anyhow::anyhow!(why));
    }
    records.extend(found.records);
    for found in disk.iter_mut().chain(&mut archive) {
        let noted = doubts.usable(About::Records, Parent::of(&settings.backup_dir, found.cluster_id));
        found.parents =
            noted.into_iter().chain(recovery_records::continued(&records, found.cluster_id)).collect();
    }
    let of_disk = |record: &Record| disk.as_ref().is_some_and(|disk| disk.cluster_id == record.cluster_id);
    Ok(Report {
        protocol: PROTOCOL,
        program,
        time: time::now(),
        machine_id: settings.machine_id.to_string(),
        name: settings.etcd.own_name()?.to_owned(),
        peer_urls: settings.etcd.own_peer_urls()?.to_vec(),
        founder_urls: settings.founder_urls.clone(),
        endpoint: settings.remote.endpoint.clone(),
        etcd_unit: settings.etcd.unit.to_string(),
        restore_dir: node.root.strip(&settings.restore_dir).display().to_string(),
        timer: live && systemd::is_enabled(timer)?,
        running,
        healthy,
        record: records.into_iter().find(of_disk),
        disk,
        archive,
        doubts: doubts.0,
        bootstrap: settings.etcd.bootstrap.clone(),
    })
}

/// What this machine's folder holds, and where everybody's recovery records are.
fn own_and_records(remote: &dyn Remote, own: &str) -> Result<Vec<Object>> {
    let only = [format!("/{own}/**"), recovery_records::PATTERN.to_owned()];
    remote.list_only("", &only, &|path| is_of(path, own) || recovery_records::is_record(path))
}

fn is_of(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// What could not be found out.
#[derive(Default)]
struct Doubts(Vec<Doubt>);

impl Doubts {
    /// What was found, or nothing and a doubt.
    fn usable<T: Default>(&mut self, about: About, found: Result<T>) -> T {
        found.unwrap_or_else(|e| {
            self.note(about, &e);
            T::default()
        })
    }

    fn note(&mut self, about: About, error: &anyhow::Error) {
        let exit = exit_of(error);
        let by_exit = matches!(exit, Exit::Remote | Exit::Settings | Exit::NoSpace);
        let unasked = by_exit || look::is_unread(error) || is_unasked(error);
        self.0.push(Doubt { about, why: format!("{error:#}"), code: exit as u8, unasked });
    }
}

/// Whether etcd on this node takes part in a quorum.
fn healthy(settings: &Settings) -> Result<bool> {
    let http = Access::anonymous(settings).clients;
    let mut unknown = None;
    for url in &settings.etcd.client_urls {
        match api::is_healthy(&http, url) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(e) => unknown = unknown.or(Some(e)),
        }
    }
    unknown.map_or(Ok(false), Err)
}

/// What the disk of this node holds; what its cluster continues is left out.
///
/// # Errors
/// It is damaged, or cannot be read.
pub fn disk(settings: &Settings) -> Result<Option<Found>> {
    let dir = match DataDir::open(&settings.etcd.data_dir, settings.etcd.wal_dir.as_deref()) {
        Err(e) if exit_of(&e) == Exit::NotFound => return Ok(None),
        dir => dir?,
    };
    let contents = dir.scan(in_use::reading(&dir.wal)?)?;
    let (ids, last) = (contents.metadata, contents.last());
    let member = |(id, member): (u64, StoredMember)| RecordedMember {
        id,
        name: member.name,
        peer_urls: member.peer_urls,
    };
    Ok(Some(Found {
        members: contents.members()?.into_iter().map(member).collect(),
        cluster_id: ids.cluster_id,
        member_id: ids.member_id,
        generation: 0,
        index: last.index,
        term: last.term,
        parents: Vec::new(),
        v3: contents.v3_data().is_some(),
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
    let newest = all.iter().rev().find_map(|generation| Some((generation, generation.last()?)));
    Ok(newest.map(|(Generation { name, pieces, .. }, part)| Found {
        cluster_id: name.cluster_id,
        member_id: name.member_id,
        generation: name.number,
        index: part.last,
        term: part.term,
        parents: Vec::new(),
        members: Vec::new(),
        v3: !pieces.is_empty(),
    }))
}

/// Records that wait for the next backup.
fn staged(settings: &Settings, doubts: &mut Doubts) -> Vec<Record> {
    let folder = look::list_if_there(&settings.backup_dir.join("spool/recovery"));
    let files = doubts.usable(About::Records, folder).unwrap_or_default();
    files.iter().filter_map(|file| doubts.usable(About::Records, record(&file.path()))).collect()
}

/// One that was sent meanwhile is in the remote.
fn record(file: &Path) -> Result<Option<Record>> {
    let Some(bytes) = look::read_if_there(file)? else { return Ok(None) };
    let record: Record =
        serde_json::from_slice(&bytes).with_context(|| format!("reading {}", file.display()))?;
    Ok(Some(record).filter(Record::is_derived))
}
