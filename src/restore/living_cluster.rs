//! A cluster that still answers is healed, not restored.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::archive::lineage::Record;
use crate::cluster::access::Access;
use crate::cluster::api;
use crate::cluster::find::{self, Cluster};
use crate::etcd::store::StoredMember;
use crate::exit::{Exit, OrFault, because, exit_of, fault, hint_of, next_step};
use crate::node::{Node, past_members};
use crate::paths::IDENTITY;
use crate::settings::{Settings, urls};
use crate::sys::http::{is_unasked, unasked};

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
/// one. All members that the source knows are asked at once. Who is down gives no answer, and no reason to refuse; who could
/// not be asked may be alive.
///
/// # Errors
/// [`Exit::Refused`]; [`Exit::Settings`] if our certificates keep us from asking.
pub fn refuse_if_cluster_answers(
    settings: &Settings,
    members: &BTreeMap<u64, StoredMember>,
    new: New<'_>,
) -> Result<()> {
    let own = settings.etcd.own_peer_urls()?;
    let is_own = |url: &String| own.iter().any(|o| urls::same_place(o, url));
    let others: Vec<&String> =
        members.values().flat_map(|m| &m.peer_urls).filter(|url| !is_own(url)).collect();
    let access = Access::anonymous(settings).limited(LIMIT, CONNECT_LIMIT);
    let answers: Vec<Result<Option<Living>>> = thread::scope(|scope| {
        let ask = |url| living(&access, url, new.peer_urls);
        let asked: Vec<_> = others.iter().map(|url| scope.spawn(move || ask(url))).collect();
        let gone = || Err(unasked("a thread ended early".to_owned()));
        asked.into_iter().map(|a| a.join().unwrap_or_else(|_| gone())).collect()
    });
    let has_us = members.values().any(|m| urls::share_a_place(&m.peer_urls, new.peer_urls));
    judge(answers, new, has_us)
}

/// What the members' answers say of the new cluster; `has_us` if one of its URLs is among theirs.
fn judge(answers: Vec<Result<Option<Living>>>, new: New<'_>, has_us: bool) -> Result<()> {
    let (mut living, mut unknown) = (Vec::new(), None);
    for answer in answers {
        match answer {
            Ok(found) => living.extend(found),
            Err(e) => unknown = unknown.or(Some(e)),
        }
    }
    let mut living = living.iter().filter(|l| Some(l.cluster_id) != new.cluster_id);
    if let Some(Living { cluster_id, url, .. }) = living.clone().find(|l| l.has_our_url) {
        return Err(fault(
            Exit::Refused,
            format!("this node is a member of cluster {cluster_id:x}, which has a quorum (asked at {url})"),
            "repair it: start etcd here; or, if the data here is gone, join this node again, even if it is \
             the founding member: sudo systemctl start etcd2-join.service; --force restores anyway",
        ));
    }
    if let Some(Living { cluster_id, url, .. }) = living.find(|l| Some(l.cluster_id) == new.instead_of) {
        return Err(fault(
            Exit::Refused,
            format!(
                "the data belongs to cluster {cluster_id:x}, which runs elsewhere and has a quorum (asked \
                 at {url})"
            ),
            "two clusters would diverge from one point: stop the other one to move it here, or add --clone \
             to make a copy on purpose",
        ));
    }
    match unknown {
        Some(e) if has_us || new.instead_of.is_some() => Err(not_known(e)),
        // A copy may live beside it, whatever it does.
        Some(e) => {
            log::warn!("{UNKNOWN}: {e:#}");
            Ok(())
        }
        None => Ok(()),
    }
}

const UNKNOWN: &str = "could not determine whether the cluster of this data is still running";

fn not_known(error: anyhow::Error) -> anyhow::Error {
    let exit = if exit_of(&error) == Exit::Settings { Exit::Settings } else { Exit::Refused };
    let first = hint_of(&error).unwrap_or("make that cluster reachable, or stop etcd there");
    let hint = format!(
        "{first}; then run the same command again. If etcd is certainly stopped on all nodes of that \
         cluster, --force skips this check"
    );
    because(error, exit, UNKNOWN, hint)
}

/// Refuses when a member that is to be written now has run before: a voter that acknowledged entries and comes back without
/// them panics its cluster, or makes it forget them. Gives whether the cluster lives, and so said that it has not.
///
/// # Errors
/// [`Exit::Refused`], or it could not be asked.
pub fn refuse_if_member_ran(node: &Node, record: &Record, id: u64) -> Result<bool> {
    let settings = &node.settings;
    let cluster_id = record.cluster_id;
    let hint = "join it: sudo systemctl start etcd2-join.service; or begin another recovery on the \
                founding member";
    let refused = |how: &str| {
        let what = format!("this node was already member {id:x} of cluster {cluster_id:x}, {how}");
        Err::<bool, _>(fault(Exit::Refused, what, hint))
    };
    let known = node.stamp().or_fault(
        Exit::Failed,
        "finding out which member this node was",
        format!(
            "if this node never ran as member {id:x} of cluster {cluster_id:x}, remove it: sudo rm {IDENTITY}"
        ),
    )?;
    let stamped = known.identity.as_ref().is_some_and(|i| i.cluster_id == cluster_id);
    if stamped || past_members::ids_set_aside(&settings.etcd)?.iter().any(|ids| ids.0 == cluster_id) {
        return refused("and its data is no longer in place");
    }
    let access = Access::anonymous(settings).limited(LIMIT, CONNECT_LIMIT);
    let others: Vec<String> =
        record.members.iter().filter(|m| m.id != id).flat_map(|m| m.peer_urls.clone()).collect();
    // Who is down cannot have seen this member run since, or tells it when it is up.
    let unknown = |e: anyhow::Error| {
        let exit = if exit_of(&e) == Exit::Settings { Exit::Settings } else { Exit::Refused };
        let hint = next_step(&e).to_owned();
        because(e, exit, "could not ask the other members whether they have seen this one run", hint)
    };
    let found = unless_unasked(Cluster::find(&access, &others)).map_err(unknown)?;
    let Some(cluster) = found else { return Ok(false) };
    let members = unless_unasked(cluster.members()).map_err(unknown)?.filter(|_| cluster.id == cluster_id);
    let Some(members) = members else { return Ok(false) };
    let Some(own) = members.by_id(id) else { return refused("and was removed from it") };
    let status = unless_unasked(cluster.leader_status(&members)).map_err(unknown)?;
    // A leader that keeps it to itself may have seen it run.
    if status.as_ref().is_some_and(|s| s.progress.is_none()) {
        return Err(unknown(unasked("the leader does not tell what it knows of its members".to_owned())));
    }
    let progress = status.and_then(|s| s.progress_of(id).cloned());
    // Once started, it has published its name. Just now there may be no leader to ask.
    if own.has_started() || progress.is_some_and(|p| p.matched > 0) {
        return refused("as the others know");
    }
    Ok(true)
}

/// The answer, if there is one.
fn unless_unasked<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Err(e) if is_unasked(&e) => Err(e),
        answer => Ok(answer.ok()),
    }
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
///
/// # Errors
/// It could not be asked.
fn living(access: &Access, peer_url: &str, ours: &[String]) -> Result<Option<Living>> {
    let members = unless_unasked(api::members_by_peer(&access.peers, peer_url))?;
    let Some(membership) = members else { return Ok(None) };
    let (cluster_id, has_our_url) = (membership.cluster_id, membership.by_peer_urls(ours).is_some());
    let loopback = urls::is_loopback(peer_url);
    let (mut reachable, mut unknown) = (false, None);
    for url in membership.members.iter().flat_map(|m| find::usable(m, loopback)) {
        // One that is only tried at another host than it advertises says nothing by its silence.
        reachable |= membership.members.iter().any(|m| m.client_urls.contains(&url));
        match api::is_healthy(&access.clients, &url) {
            Ok(true) => return Ok(Some(Living { cluster_id, url, has_our_url })),
            Ok(false) => {}
            Err(e) => unknown = unknown.or(Some(e)),
        }
    }
    match unknown {
        Some(e) => Err(e),
        None if reachable || membership.members.iter().all(|m| m.client_urls.is_empty()) => Ok(None),
        None => Err(unasked(format!(
            "{peer_url} answers, but the client URLs of its cluster cannot be reached from here \
             (ETCD_ADVERTISE_CLIENT_URLS)"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [&str; 1] = ["http://e1:2380"];

    fn lives(cluster_id: u64, has_our_url: bool) -> Result<Option<Living>> {
        Ok(Some(Living { cluster_id, url: "http://e2:2379".into(), has_our_url }))
    }

    fn down() -> Result<Option<Living>> {
        Ok(None)
    }

    fn unknown(exit: Exit) -> Result<Option<Living>> {
        let none = unasked("GET https://e2:2380/members: (58)".into());
        Err(if exit == Exit::Failed { none } else { because(none, exit, "w", "h") })
    }

    /// A restore of cluster 7's data, in the place of it or not, by one of its members or not.
    #[test]
    fn who_could_not_be_asked_may_be_alive() {
        let peer_urls = OURS.map(str::to_owned);
        let lived = "which runs elsewhere and has a quorum";
        type Row = (fn() -> Vec<Result<Option<Living>>>, bool, bool, Option<(Exit, &'static str)>);
        let table: [Row; 12] = [
            (|| vec![], true, true, None),
            (|| vec![down(), down()], true, true, None),
            (|| vec![down(), lives(7, false)], true, false, Some((Exit::Refused, lived))),
            (|| vec![down(), lives(7, false)], false, false, None),
            (|| vec![lives(9, false)], true, true, None),
            (|| vec![lives(9, true)], false, true, Some((Exit::Refused, "which has a quorum"))),
            // One that could not be asked is enough, unless another one is known to live.
            (|| vec![down(), unknown(Exit::Settings)], true, false, Some((Exit::Settings, UNKNOWN))),
            (|| vec![unknown(Exit::Failed), down()], true, false, Some((Exit::Refused, UNKNOWN))),
            (|| vec![unknown(Exit::Settings)], false, true, Some((Exit::Settings, UNKNOWN))),
            (|| vec![unknown(Exit::Settings), lives(7, false)], true, false, Some((Exit::Refused, lived))),
            (|| vec![unknown(Exit::Failed), lives(9, false)], true, false, Some((Exit::Refused, UNKNOWN))),
            // A copy elsewhere takes nobody's place.
            (|| vec![unknown(Exit::Settings)], false, false, None),
        ];
        for (at, (answers, instead, has_us, expected)) in table.into_iter().enumerate() {
            let new = New { cluster_id: None, peer_urls: &peer_urls, instead_of: instead.then_some(7) };
            match (judge(answers(), new, has_us), expected) {
                (Ok(()), None) => {}
                (Err(e), Some((exit, words))) => {
                    assert!(exit_of(&e) == exit && format!("{e:#}").contains(words), "{at}: {e:#}");
                    assert_eq!(is_unasked(&e), words == UNKNOWN, "{at}");
                    assert!(hint_of(&e).unwrap().contains("--") || words != UNKNOWN, "{at}");
                }
                (judged, _) => panic!("{at}: {judged:?}"),
            }
        }
    }
}
