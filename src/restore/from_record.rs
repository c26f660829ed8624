//! What a recovery record names, brought and proven to be that: for everyone who was not there.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::plan::own_of;
use super::source::{self, Origin, Source};
use super::{fetch, legacy, open};
use crate::archive::lineage::Record;
use crate::archive::part::Part;
use crate::archive::{chain, recovery_records, unpack};
use crate::etcd::proto::LogPosition;
use crate::etcd::rewrite;
use crate::etcd::v3::base::Base as V3Base;
use crate::exit::{Exit, OrFault, fault};
use crate::remote::Remote;
use crate::settings::Settings;
use crate::sys::room::Scratch;
use crate::sys::time;

/// Brings the source of a recovery from the remote into `scratch`.
///
/// # Errors
/// [`Exit::NotFound`] if it was a disk, or is not there any more; [`Exit::Corrupt`] if it is not what the record says;
/// [`Exit::Remote`].
pub fn source(remote: &dyn Remote, record: &Record, scratch: &Scratch) -> Result<Source> {
    let folder = &record.machine_id;
    let source = open::from_folder(remote, folder, &|objects| {
        if record.generation > 0 {
            let wanted = (record.generation, record.source_hash.as_str());
            return fetch::recorded(remote, folder, objects, wanted, scratch).map(open::opened);
        }
        if chain::is_original(objects) {
            return legacy::bring(remote, folder, objects, scratch);
        }
        let what = format!("the source of recovery {} was a disk and is not in the archive", record.token);
        Err(fault(
            Exit::NotFound,
            what,
            "on the founding member: sudo /opt/bin/etcd2-backup export --recovery-file FILE > PART; here: \
             sudo /opt/bin/etcd2-backup restore --recovery-file FILE --source-file PART",
        ))
    })?;
    agreed(source, record)
}

/// The source of a recovery out of a file that [`super::export`] wrote, unpacked into `scratch`.
///
/// # Errors
/// [`Exit::Corrupt`] if it is damaged or not what the record says.
pub fn source_in(file: &Path, record: &Record, scratch: &Scratch) -> Result<Source> {
    let part = Part::read_unnamed(file).or_fault(
        Exit::Corrupt,
        format!("reading {}", file.display()),
        "copy it again; on the founding member, this writes it: sudo /opt/bin/etcd2-backup export \
         --recovery-file FILE > PART",
    )?;
    scratch.empty()?;
    let noted = part.head.v3_data.then(|| "its export says so".to_owned());
    let (dir, contents) = unpack::unpack(&[part], &scratch.dir().join("data"), scratch.leave())?;
    let source = source::read(dir, contents, Origin::File);
    agreed(Source { v3_data: source.v3_data.clone().or(noted), ..source }, record)
}

/// Reads a record from a file.
///
/// # Errors
/// It cannot be read, is none ([`Exit::Corrupt`]), was altered or is of a newer format ([`Exit::Refused`]).
pub fn load(file: &Path) -> Result<Record> {
    let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let none = || format!("{} is not a recovery record", file.display());
    let hint = "give the record that `restore --json` printed on the founding member; the remote has it too, as MACHINE_ID/recovery/TOKEN";
    let Version { version, token } = serde_json::from_slice(&bytes).or_fault(Exit::Corrupt, none(), hint)?;
    if version != Record::VERSION {
        let what = format!("the record of recovery {token} is of version {version}");
        return Err(fault(Exit::Refused, what, "use the etcd2-backup that wrote it, or a newer one"));
    }
    let record: Record = serde_json::from_slice(&bytes).or_fault(Exit::Corrupt, none(), hint)?;
    if record.is_derived() {
        return Ok(record);
    }
    let what = format!("the IDs in the record of recovery {token} do not match its contents");
    Err(fault(Exit::Refused, what, "it was altered: copy it from the founding member again"))
}

/// What a record of any version has.
#[derive(Deserialize)]
struct Version {
    version: u32,
    token: String,
}

/// The recovery that this node takes part in: the one with this token or, with an empty one, the only one that names it.
///
/// # Errors
/// [`Exit::NotFound`], [`Exit::Refused`] if there are several; the remote could not be asked.
pub fn find(settings: &Settings, remote: &dyn Remote, token: &str) -> Result<Record> {
    if !token.is_empty() {
        return recovery_records::of_token(remote, token);
    }
    settings.etcd.own_peer_urls()?;
    let mut all = recovery_records::newest(remote)?;
    all.retain(|r| r.members.len() > 1 && own_of(settings, r).is_ok());
    if all.len() == 1
        && let Some(record) = all.pop()
    {
        return Ok(record);
    }
    if all.is_empty() {
        let hint = "begin it on the founding member: sudo /opt/bin/etcd2-backup restore --initial-cluster \
                    NAME=URL,NAME=URL";
        return Err(fault(Exit::NotFound, "no recovery record in the remote names this node", hint));
    }
    let list: Vec<String> = all
        .iter()
        .map(|r| format!("{} of {} (cluster {:x})", r.token, time::rfc3339(r.time), r.cluster_id))
        .collect();
    let what = format!("several recoveries name this node: {}", list.join(", "));
    Err(fault(
        Exit::Refused,
        what,
        "name the same one on all nodes: sudo /opt/bin/etcd2-backup restore --recovery TOKEN",
    ))
}

/// The source, if it is the very data that the record names.
fn agreed(source: Source, record: &Record) -> Result<Source> {
    let point = LogPosition { index: record.index, term: record.term };
    let cluster = source.contents.metadata.cluster_id;
    if source.hash == record.source_hash
        && cluster == record.source_cluster_id
        && source.contents.at(point.index) == Some(point)
        && rewrite::appended_term(&source.contents) == record.appended_term
        && source.contents.v3.as_ref().map(V3Base::applied) == record.v3.map(|v3| v3.applied)
    {
        return Ok(Source { point, ..source });
    }
    let what = format!(
        "{} is not what recovery {} was made from (cluster {:x}, index {} of term {})",
        source.origin.describe(),
        record.token,
        record.source_cluster_id,
        point.index,
        point.term
    );
    Err(fault(Exit::Corrupt, what, "was the record edited, or does the data belong to another one?"))
}
