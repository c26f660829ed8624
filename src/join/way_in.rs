//! Through whom a node comes into its cluster: the founding member, or, where that does not answer or is this very node, any
//! member that does. Of a cluster that was not named by its founding member it has to be known that it is this node's.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cluster::access::Access;
use crate::cluster::find::Cluster;
use crate::cluster::{api, catch_up};
use crate::etcd::datadir::DataDir;
use crate::etcd::wal::Reading;
use crate::exit::{Exit, fault};
use crate::node::{Node, past_members};
use crate::settings::urls;
use crate::sys::http::is_unasked;

/// How long the others may take to elect a leader: twice the longest that etcd allows by default settings, and some.
const ELECTION: Duration = Duration::from_secs(5);

/// Finds the cluster.
///
/// # Errors
/// No member of it answers, or could be asked; [`Exit::Refused`] where this node is the founding member, and no cluster of its
/// own lives without it.
pub fn find(node: &Node) -> Result<Cluster> {
    let settings = &node.settings;
    let access = Access::of(settings)?;
    let (own, founder) = (settings.etcd.own_peer_urls()?, settings.founder()?);
    if settings.is_founder() {
        let others = others(node, own, founder);
        return match living(node, &access, &others)? {
            Some(cluster) => {
                log::info!(
                    "this node is configured as the founding member, but its cluster runs without it: \
                     joining through {}",
                    cluster.via
                );
                Ok(cluster)
            }
            None => Err(nobody_lives(own, &others)),
        };
    }
    Cluster::find(&access, founder).or_else(|e| {
        // It may have a quorum that we could not ask for.
        if is_unasked(&e) {
            return Err(e);
        }
        // Only now: it takes reading the whole log.
        let others = others(node, own, founder);
        if let Some(cluster) = living(node, &access, &others)? {
            log::info!(
                "the founding member does not answer, but {} of its cluster does: joining through it",
                cluster.via
            );
            return Ok(cluster);
        }
        let waiting = Cluster::that_waits_for(own, &access, founder);
        waiting.inspect(|_| log::info!("the cluster has no quorum until this node has started")).ok_or(e)
    })
}

/// The peer URLs of other members, as far as this node knows them: by its log, by what was noted of it, and by what etcd is given
/// for a first start.
fn others(node: &Node, own: &[String], founder: &[String]) -> Vec<String> {
    let settings = &node.settings;
    // A log that is damaged or gone says nothing, and neither does a note.
    let logged = DataDir::open(&settings.etcd.data_dir, settings.etcd.wal_dir.as_deref())
        .and_then(|dir| dir.scan(Reading::Still))
        .and_then(|contents| contents.members());
    let logged = logged.unwrap_or_default().into_values().flat_map(|member| member.peer_urls);
    let mut all: Vec<String> = Vec::new();
    let noted = node.stamp().map(|known| known.peers.clone()).unwrap_or_default();
    for url in logged.chain(noted).chain(settings.etcd.initial_cluster.clone()) {
        let is_known = |known: &[String]| known.iter().any(|other| urls::same_place(other, &url));
        if !is_known(own) && !is_known(founder) && !is_known(&all) {
            all.push(url);
        }
    }
    all
}

/// This node's cluster, if one of these members is in it and it has a quorum.
///
/// # Errors
/// It could not be asked.
fn living(node: &Node, access: &Access, others: &[String]) -> Result<Option<Cluster>> {
    if others.is_empty() {
        return Ok(None);
    }
    let cluster = match Cluster::find(access, others) {
        Err(e) if is_unasked(&e) => return Err(e),
        Err(e) => {
            log::info!("no other member answers: {e:#}");
            return Ok(None);
        }
        Ok(cluster) => cluster,
    };
    let members = cluster.members()?;
    let listed = [node.settings.etcd.own_peer_urls()?, node.settings.founder()?];
    let lists_us = listed.iter().any(|urls| members.by_peer_urls(urls).is_some());
    let known = node.stamp()?.identity.as_ref();
    let was = [known.map(|i| i.cluster_id), past_members::local_ids(&node.settings.etcd)?.map(|ids| ids.0)];
    if !lists_us && !was.contains(&Some(cluster.id)) {
        log::warn!(
            "{} is in cluster {:x}, which lists neither this node nor the founding member and is not known \
             here",
            cluster.via,
            cluster.id
        );
        return Ok(None);
    }
    // Whom this node led may still be electing another leader.
    let deadline = Instant::now() + ELECTION;
    while !api::is_healthy(&cluster.http, &cluster.via)? {
        if Instant::now() >= deadline {
            log::info!("{} answers, but has no quorum", cluster.via);
            return Ok(None);
        }
        thread::sleep(catch_up::POLL);
    }
    Ok(Some(cluster))
}

fn nobody_lives(own: &[String], others: &[String]) -> anyhow::Error {
    let asked = match others {
        [] => "and this node knows no other member".to_owned(),
        others => format!("and its cluster does not run without it (asked at {})", others.join(", ")),
    };
    fault(
        Exit::Refused,
        format!("this node is the founding member ({}), {asked}", own.join(",")),
        "if the cluster is lost, restore it: sudo systemctl start etcd2-restore.service; if it is running, \
         name a member that serves: sudo /opt/bin/etcd2-backup set-founder http://HOST:2380, then join again",
    )
}
