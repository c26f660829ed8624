//! Adding and removing a member, where a lost answer says nothing: only the member list tells what happened.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Change;
use super::access::denied;
use super::api;
use super::catch_up::Waiting;
use super::find::Cluster;
use super::v3::calls;

/// etcd 3.4 refuses a change with 500 for about 5 s after the last one; a request without quorum takes 7 s to fail.
const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(1);

/// How asking for a change ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is done, under this ID.
    Done(u64),
    /// It is not done and will not be.
    Refused(String),
    /// It may still be done.
    Unknown(String),
}

/// Sees to it that etcd's authentication lets us change members, where it is on.
///
/// # Errors
/// It does not, or nobody answers.
pub fn allowed(cluster: &Cluster) -> Result<()> {
    match api::may_change(&cluster.http, &cluster.via)? {
        true => Ok(()),
        false => Err(denied(&cluster.via, cluster.http.login.as_ref())),
    }
}

/// Adds a member. Asking again is safe: two members never get the same peer URL.
///
/// # Errors
/// The member list cannot be read.
pub fn add(cluster: &Cluster, peer_urls: &[String]) -> Result<Admission> {
    let listed = || cluster.members().map(|m| m.by_peer_urls(peer_urls).map(|m| m.id));
    until_done(|| api::add(&cluster.http, &cluster.via, peer_urls), listed)
}

/// Removes a member that others than the asked one keep a quorum without.
///
/// # Errors
/// The member list cannot be read.
pub fn remove(cluster: &Cluster, id: u64) -> Result<Admission> {
    let gone = || cluster.members().map(|m| m.by_id(id).is_none().then_some(id));
    until_done(|| api::remove(&cluster.http, &cluster.via, id), gone)
}

/// Adds a member without a vote: it gets all entries, and counts for no quorum until it is promoted. etcd 3.4 and newer.
///
/// # Errors
/// As [`add`].
pub fn add_learner(cluster: &Cluster, peer_urls: &[String]) -> Result<Admission> {
    let listed = || cluster.members().map(|m| m.by_peer_urls(peer_urls).map(|m| m.id));
    until_done(|| calls::add(&cluster.http, &cluster.via, peer_urls, true), listed)
}

/// Gives a learner its vote, as soon as it has nearly all entries.
///
/// # Errors
/// The member list cannot be read.
pub fn promote(cluster: &Cluster, id: u64) -> Result<Admission> {
    // The list of the v2 API does not say who votes.
    let votes = || {
        let members = calls::members(&cluster.http, &cluster.via, false)?;
        Ok(members.by_id(id).filter(|m| !m.is_learner).map(|m| m.id))
    };
    until_done(|| calls::promote(&cluster.http, &cluster.via, id), votes)
}

fn until_done(
    ask: impl Fn() -> Result<Change>,
    result: impl Fn() -> Result<Option<u64>>,
) -> Result<Admission> {
    let deadline = Instant::now() + LIMIT;
    let mut waiting = Waiting::default();
    loop {
        let answer = ask()?;
        if let Change::Done(Some(id)) = answer {
            return Ok(Admission::Done(id));
        }
        // An answer that was lost, or a "no" because an earlier request of ours came through after all.
        let look = result();
        match (answer, look) {
            (_, Ok(Some(id))) => return Ok(Admission::Done(id)),
            (Change::No(why), _) => return Ok(Admission::Refused(why)),
            (Change::Unknown(why), look) if Instant::now() >= deadline => {
                let unread = look.err().map(|e| format!("; {e:#}")).unwrap_or_default();
                return Ok(Admission::Unknown(format!("{why}{unread}")));
            }
            (Change::Done(_), _) if Instant::now() >= deadline => {
                return Ok(Admission::Unknown(
                    "the cluster reported success, but its member list does not show the change".into(),
                ));
            }
            (Change::Unknown(why), _) => {
                waiting.say(&format!("the cluster does not accept the membership change yet: {why}"));
            }
            (Change::Done(_), _) => {}
        }
        std::thread::sleep(PAUSE);
    }
}
