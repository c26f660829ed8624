//! A cluster that still answers is healed, not restored.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::cluster::access::Access;
use crate::cluster::api;
use crate::etcd::store::StoredMember;
use crate::exit::{Exit, fault};
use crate::settings::{Settings, urls};

/// Asking must not hold up a recovery: dead machines do not even refuse.
const LIMIT: Duration = Duration::from_secs(4);
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// Refuses when this node's own peer URL belongs to a cluster that has a quorum. All members that the source knows are
/// asked at once.
///
/// # Errors
/// [`Exit::Refused`].
pub fn refuse_if_cluster_answers(settings: &Settings, members: &BTreeMap<u64, StoredMember>) -> Result<()> {
    let own = settings.own_peer_urls()?;
    let is_own = |url: &String| own.iter().any(|o| urls::same_place(o, url));
    let others: Vec<&String> =
        members.values().flat_map(|m| &m.peer_urls).filter(|url| !is_own(url)).collect();
    let access = Access::anonymous(settings).limited(LIMIT, CONNECT_LIMIT);
    let healthy = thread::scope(|scope| {
        let ask = |url| healthy_cluster_with(&access, url, own);
        let asked: Vec<_> = others.iter().map(|url| scope.spawn(move || ask(url))).collect();
        asked.into_iter().find_map(|a| a.join().ok().flatten())
    });
    match healthy {
        None => Ok(()),
        Some((cluster, url)) => Err(fault(
            Exit::Refused,
            format!("this node is a member of cluster {cluster:x}, which has a quorum (asked at {url})"),
            "heal it: start etcd here, or remove this member there and run etcd2-join.service; --force restores anyway",
        )),
    }
}

/// The cluster behind a peer URL, if it knows one of our URLs and is healthy.
fn healthy_cluster_with(access: &Access, peer_url: &str, own: &[String]) -> Option<(u64, String)> {
    let membership = api::members_by_peer(&access.peers, peer_url).ok()?;
    membership.by_peer_urls(own)?;
    let clients = membership.members.iter().flat_map(|m| &m.client_urls);
    let url = clients.into_iter().find(|url| api::is_healthy(&access.clients, url))?;
    Some((membership.cluster_id, url.clone()))
}
