//! A cluster that still answers is healed, not restored.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::archive::lineage::Record;
use crate::cluster::access::Access;
use crate::cluster::find::Cluster;
use crate::cluster::{api, local};
use crate::etcd::store::StoredMember;
use crate::exit::{Exit, fault};
use crate::identity;
use crate::paths::Root;
use crate::settings::{Settings, urls};

/// Asking must not hold up a recovery: dead machines do not even refuse.
const LIMIT: Duration = Duration::from_secs(4);
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// The cluster that is being made, for [`refuse_if_cluster_answers`].
#[derive(Debug, Clone, Copy)]
pub struct New<'a> {
    /// Its ID, if that is known already.
    pub cluster_id: Option<u64>,
    /// The peer URLs of all its members.
    pub peer_urls: &'a [String],
    /// The cluster whose data it is made of, if that must not live on beside it.
    pub instead_of: Option<u64>,
}

/// Refuses when a peer URL of the new cluster belongs to a cluster that has a quorum, or when the one whose data it takes has
/// one. All members that the source knows are asked at once.
///
/// # Errors
/// [`Exit::Refused`].
pub fn refuse_if_cluster_answers(
    settings: &Settings,
    members: &BTreeMap<u64, StoredMember>,
    new: New<'_>,
) -> Result<()> {
    let own = settings.own_peer_urls()?;
    let is_own = |url: &String| own.iter().any(|o| urls::same_place(o, url));
    let others: Vec<&String> =
        members.values().flat_map(|m| &m.peer_urls).filter(|url| !is_own(url)).collect();
    let access = Access::anonymous(settings).limited(LIMIT, CONNECT_LIMIT);
    let living: Vec<Living> = thread::scope(|scope| {
        let ask = |url| living(&access, url, new.peer_urls);
        let asked: Vec<_> = others.iter().map(|url| scope.spawn(move || ask(url))).collect();
        asked.into_iter().filter_map(|a| a.join().ok().flatten()).collect()
    });
    let mut living = living.iter().filter(|l| Some(l.cluster_id) != new.cluster_id);
    if let Some(Living { cluster_id, url, .. }) = living.clone().find(|l| l.has_our_url) {
        return Err(fault(
            Exit::Refused,
            format!("this node is a member of cluster {cluster_id:x}, which has a quorum (asked at {url})"),
            "heal it: start etcd here, or remove this member there and run etcd2-join.service; --force restores anyway",
        ));
    }
    match living.find(|l| Some(l.cluster_id) == new.instead_of) {
        None => Ok(()),
        Some(Living { cluster_id, url, .. }) => Err(fault(
            Exit::Refused,
            format!(
                "the data is of cluster {cluster_id:x}, which lives elsewhere and has a quorum (asked at {url})"
            ),
            "two clusters would go on from one point, each with writes of its own: stop the other one to move it here, or \
             make a copy on purpose with --clone",
        )),
    }
}

/// Refuses when a member that is to be written now has run before: a voter that acknowledged entries and comes back without
/// them panics its cluster, or makes it forget them.
///
/// # Errors
/// [`Exit::Refused`].
pub fn refuse_if_member_ran(root: &Root, settings: &Settings, record: &Record, id: u64) -> Result<()> {
    let cluster_id = record.cluster_id;
    let hint = "get it in with etcd2-join.service; or begin another recovery on the founding member";
    let refused = |how: &str| {
        let what = format!("this node was member {id:x} of cluster {cluster_id:x} already, {how}");
        Err(fault(Exit::Refused, what, hint))
    };
    let stamped = identity::load(root).ok().flatten().is_some_and(|i| i.cluster_id == cluster_id);
    if stamped || local::ids_set_aside(settings)?.iter().any(|ids| ids.0 == cluster_id) {
        return refused("and its data is not in its place any more");
    }
    let access = Access::anonymous(settings).limited(LIMIT, CONNECT_LIMIT);
    let others: Vec<String> =
        record.members.iter().filter(|m| m.id != id).flat_map(|m| m.peer_urls.clone()).collect();
    let Ok(cluster) = Cluster::find(&access, &others) else { return Ok(()) };
    let Some(members) = cluster.members().ok().filter(|_| cluster.id == cluster_id) else { return Ok(()) };
    let Some(own) = members.by_id(id) else { return refused("and was removed from it") };
    let progress = cluster.leader_status(&members).ok().and_then(|mut s| s.progress.remove(&id));
    // Once started, it has published its name. Just now there may be no leader to ask.
    if own.has_started() || progress.is_some_and(|p| p.matched > 0) {
        return refused("as the others know");
    }
    Ok(())
}

/// A cluster with a quorum.
#[derive(Debug)]
struct Living {
    cluster_id: u64,
    /// Who said so.
    url: String,
    /// Whether one of its members has a peer URL of the new cluster.
    has_our_url: bool,
}

/// The cluster behind a peer URL, if it is healthy.
fn living(access: &Access, peer_url: &str, ours: &[String]) -> Option<Living> {
    let membership = api::members_by_peer(&access.peers, peer_url).ok()?;
    let clients = membership.members.iter().flat_map(|m| &m.client_urls);
    let url = clients.into_iter().find(|url| api::is_healthy(&access.clients, url))?.clone();
    let has_our_url = membership.by_peer_urls(ours).is_some();
    Some(Living { cluster_id: membership.cluster_id, url, has_our_url })
}
