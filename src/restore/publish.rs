//! What a recovery leaves behind: a note for this node's next backup, and a record in the remote for everyone.

use anyhow::{Result, ensure};

use crate::archive::lineage::{Parent, Record};
use crate::backup::spool::{Spool, Staged};
use crate::remote::Remote;
use crate::settings::Settings;
use crate::sys::fs as files;

/// What the next backup must know of the recovery, and the record for everyone else. Killed before the exchange, the
/// note is for a cluster that never was; killed behind it, the next recovery from this disk finds what it continues.
///
/// # Errors
/// They cannot be written.
pub fn note(settings: &Settings, record: &Record) -> Result<Staged> {
    let parent = Parent {
        for_cluster: record.cluster_id,
        cluster_id: record.source_cluster_id,
        // Numbers count in one folder.
        generation: if record.machine_id == settings.machine_id { record.generation } else { 0 },
        index: record.index,
        token: record.token.clone(),
        before: Vec::new(),
        instead_of: Vec::new(),
    };
    parent.save(&settings.backup_dir)?;
    let json = serde_json::to_vec_pretty(record)?;
    Spool::open(&settings.backup_dir)?.stage("recovery", &record.token, &json)
}

/// Sends the recovery record, and looks whether it arrived: the joining members are told by it what they join. It waits in the spool for the next backup when the remote is not there.
pub fn publish(settings: &Settings, remote: &dyn Remote, record: &Record) {
    let sent = Spool::open(&settings.backup_dir).and_then(|spool| {
        let folder = format!("{}/recovery", settings.machine_id);
        remote.put(&spool.dir().join("recovery"), &folder)?;
        let there = remote.list(&folder)?;
        ensure!(there.iter().any(|o| o.path == record.token), "rclone uploaded it, but it is not there");
        files::remove_dir_if_there(&spool.dir().join("recovery"))
    });
    if let Err(e) = sent {
        log::warn!("the recovery record {} will be uploaded with the next backup: {e:#}", record.token);
    }
}
