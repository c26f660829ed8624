//! What a restore says to people: what one might not expect of it beforehand, and what has come of it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::expiry::Outlook;
use super::plan::Plan;
use super::source::{Origin, Source};
use crate::settings::Settings;
use crate::sys::terminal::table::{bytes, count, span};
use crate::sys::time;

/// What a plan says besides what is done: what one might not expect to be missing, and what it costs.
///
/// # Errors
/// The data cannot be read.
pub fn say_outlook(settings: &Settings, source: &Source) -> Result<()> {
    let (contents, now) = (&source.contents, time::now());
    let Outlook { keys, writes, synced } = Outlook::of(&source.dir, contents, source.point.index, now)?;
    let own = contents.metadata.cluster_id;
    if let Some(parent) = source.parent.as_ref().filter(|parent| parent.cluster_id != own) {
        log::info!("its cluster continues cluster {:x} from index {}", parent.cluster_id, parent.index);
    }
    let (what, time) = match (synced, &source.origin) {
        (Some(synced), _) => ("its last SYNC", Some(synced)),
        (None, Origin::Archive { time, .. }) => ("its capture", Some(*time)),
        _ => ("", None),
    };
    if let Some(time) = time {
        log::info!(
            "the restore point is {} old, by {what} at {}",
            span(Duration::from_secs(now.saturating_sub(time))),
            time::rfc3339(time)
        );
    }
    let behind = contents.last().index - source.point.index;
    if behind > 0 {
        let entries = count(behind, "entry", "entries");
        log::warn!("given up: {entries} of this source after the restore point");
    }
    log::info!(
        "expired: {} in the snapshot and at most {} in the WAL after it; etcd drops what expired when it \
         starts",
        count(keys, "key", "keys"),
        count(writes, "write", "writes"),
    );
    let written = contents.base_size()? + source.log_size();
    log::info!(
        "downloaded from the remote: {}; to be written in {}: at most {}",
        bytes(source.bytes),
        settings.etcd.data_dir.display(),
        bytes(written)
    );
    Ok(())
}

/// Says what was restored in `took`, where the old directories are now (`kept`), and what comes next.
pub fn report(settings: &Settings, source: &Source, plan: &Plan, kept: &[PathBuf], took: Duration) {
    let last = source.point;
    log::info!(
        "restored from {} up to index {} in {} ms: member {:x} of cluster {:x}",
        source.origin.describe(),
        last.index,
        took.as_millis(),
        plan.own.id,
        plan.rewrite.cluster_id,
    );
    for path in kept {
        log::info!("the old data is in {}", path.display());
    }
    for given_up in &source.given_up {
        log::warn!("given up: {given_up}");
    }
    source.warn_of_v3_data();
    let (unit, token) = (&settings.etcd.unit, &plan.record.token);
    if plan.record.members.len() == 1 {
        log::info!(
            "next: sudo systemctl start {unit}; then, on each other node: sudo systemctl start \
             etcd2-join.service"
        );
    } else {
        log::info!("next: on each other node `sudo /opt/bin/etcd2-backup restore --recovery {token}`");
        log::info!("then on all of them, together: sudo systemctl start --no-block {unit}");
    }
    log::info!(
        "restart every client that watches etcd: the index went back, and a pending watch would wait forever"
    );
}
