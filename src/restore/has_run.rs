//! Whether a recovered cluster has run, as far as it can be told while none of its members answers. A voter that acknowledged
//! entries and is written once more has forgotten them: with another one that lacks them it is a quorum.
//!
//! The entries that the restore appended are in the new cluster's logs before anybody runs, and so in the founding member's first
//! backup. Behind them only a leader that a quorum elected writes, and its term is a later one.

use std::time::Duration;

use anyhow::Result;

use crate::archive::catalog;
use crate::archive::lineage::Record;
use crate::archive::names::PartName;
use crate::exit::{Exit, because, exit_of, fault};
use crate::remote::{Remote, Seen};
use crate::sys::terminal::table::age;

/// Refuses if a backup of the cluster, in any folder, has what only a quorum of it can have written; if that could not be looked
/// up; or if so much time has passed that there may be one without a backup. `may_be_away`: where all else comes from files the
/// remote may not be there, and a recovery that has just begun goes on without it.
///
/// # Errors
/// [`Exit::Refused`], [`Exit::Remote`].
pub fn refuse_if_cluster_ran(
    remote: &dyn Remote,
    record: &Record,
    now: u64,
    may_be_away: bool,
) -> Result<()> {
    let (cluster_id, since) = (record.cluster_id, now.saturating_sub(record.time));
    let recent = since <= Record::RECENT;
    let hint = "start etcd on the other nodes, then join this one: sudo systemctl start \
                etcd2-join.service; or begin another recovery on the founding member. If this node \
                certainly never ran as a member of that cluster, add --force";
    match latest(remote, cluster_id) {
        Ok(Some((folder, part))) if part.term > record.appended_term => {
            let what = format!(
                "cluster {cluster_id:x} has run: a backup in {folder} has an entry of term {}, but the \
                 restore wrote up to term {}; a member that is written now would forget what it acknowledged",
                part.term, record.appended_term
            );
            Err(fault(Exit::Refused, what, hint))
        }
        Ok(_) if recent => Ok(()),
        Ok(_) => {
            let begun = age(Duration::from_secs(since));
            let what = format!(
                "no member of cluster {cluster_id:x} answers, and its recovery was begun {begun}: it may \
                 have run since, and a member \
                 that is written now would forget what it acknowledged"
            );
            Err(fault(Exit::Refused, what, hint))
        }
        Err(e) if recent && may_be_away => {
            log::warn!("could not check in the remote whether cluster {cluster_id:x} has run: {e:#}");
            Ok(())
        }
        Err(e) => {
            let what = format!("could not check in the remote whether cluster {cluster_id:x} has run");
            let exit = exit_of(&e);
            Err(because(e, exit, what, "wait for the remote; or, if it certainly never ran, add --force"))
        }
    }
}

/// With --force it is only told.
///
/// # Errors
/// What was found, unless it is forced.
pub fn unless_forced(force: bool, looked: Result<()>) -> Result<()> {
    match looked {
        Err(e) if force => {
            log::warn!("{e:#}");
            Ok(())
        }
        looked => looked,
    }
}

/// The whole part of the latest term that any folder has of a cluster, by names alone.
///
/// # Errors
/// The remote could not be asked.
fn latest(remote: &dyn Remote, cluster_id: u64) -> Result<Option<(String, PartName)>> {
    let only = [catalog::parts_of(cluster_id)];
    let mut found: Option<(String, PartName)> = None;
    remote.walk("", &only, &mut |seen| match seen {
        Seen::Start => found = None,
        Seen::Object(path, size) => {
            let Some((folder, part)) = catalog::part_of(path, size, cluster_id) else { return };
            if found.as_ref().is_none_or(|(_, other)| part.end() > other.end()) {
                found = Some((folder.to_owned(), part));
            }
        }
    })?;
    Ok(found)
}
