//! Whether a restore may be done: on this node as it is now, and with this data. Nothing was changed when it may not.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::installed;
use super::living_cluster::{self, New};
use super::options::RestoreOptions;
use super::recovery::Recovery;
use super::source::Source;
use crate::etcd::in_use::Trace;
use crate::etcd::store::StoredMember;
use crate::node::locked::Locked;
use crate::node::member_dir::places::Places;
use crate::node::running::version::Version;
use crate::node::{Node, guards};
use crate::sys::{fs as files, time};

/// A backup takes seconds.
const PLAN_PATIENCE: Duration = Duration::from_secs(60);

/// A node on which a restore may be done.
#[derive(Debug)]
pub struct Begun {
    /// The node, locked; no half of an earlier exchange is left on it.
    pub node: Locked,
    /// Where the data is to be.
    pub places: Places,
    /// What etcd's log looked like, once etcd was seen not to run.
    pub before: Trace,
}

/// Sees to it that a node may be restored.
///
/// # Errors
/// [`Exit::Refused`](crate::exit::Exit::Refused), with what to do about it.
pub fn begin(node: Node, asked: &RestoreOptions) -> Result<Begun> {
    asked.unless_plan(guards::refuse_other_place(&node, asked.force))?;
    asked.unless_plan(guards::refuse_bootstrap(&node.settings))?;
    files::create_dirs(&node.settings.restore_dir, 0o700)?;
    // The timer may be on while a plan is made.
    let node = node.lock(if asked.only_plan { PLAN_PATIENCE } else { Duration::ZERO })?;
    asked.unless_plan(guards::refuse_while_running(&node))?;
    if !(asked.force || asked.as_founder || asked.follows()) {
        asked.unless_plan(guards::refuse_unless_founder(&node.settings))?;
    }
    let places = Places::of(&node.settings.etcd)?;
    places.refuse_unmovable()?;
    node.take_back(asked.only_plan)?;
    let before = Trace::of(&node.settings.etcd.effective_wal_dir())?;
    Ok(Begun { node, places, before })
}

/// Sees to it that the data is all that the member had, and that what it is of is not in use, nor of the future, nor of a later
/// version than `etcd`, the one on this node if that is known; `present` are its members. With `force` nothing of
/// that is asked.
///
/// # Errors
/// [`Exit::Refused`](crate::exit::Exit::Refused); [`Exit::Settings`](crate::exit::Exit::Settings) if our certificates keep us
/// from asking.
pub fn with(
    source: &Source,
    present: &BTreeMap<u64, StoredMember>,
    (node, etcd): (&Node, Option<Version>),
    asked: &RestoreOptions,
    recovery: &Recovery<'_>,
) -> Result<()> {
    if asked.force {
        return Ok(());
    }
    let peer_urls = asked.peer_urls(node.settings.etcd.own_peer_urls()?);
    let (cluster_id, instead_of) = match recovery {
        Recovery::Begins { .. } => (None, Some(source.contents.metadata.cluster_id).filter(|_| !asked.clone)),
        // Who takes part in a recovery goes by what its founding member decided.
        Recovery::Began { record, .. } => (Some(record.cluster_id), None),
    };
    let new = New { cluster_id, peer_urls: &peer_urls, instead_of };
    if matches!(recovery, Recovery::Begins { .. }) {
        asked.unless_plan(source.refuse_without_v3())?;
    }
    asked.unless_plan(installed::refuse_if_older(etcd, &source.contents))?;
    asked.unless_plan(guards::refuse_clock_behind(source.synced(), time::now()))?;
    asked.unless_plan(living_cluster::refuse_if_cluster_answers(&node.settings, present, new))
}
