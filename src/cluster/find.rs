//! The founder's cluster: found through the founder's URL, asked at one of its client URLs, measured at its leader.

use anyhow::{Context, Result};

use super::access::Access;
use super::api::{self, RaftStatus};
use super::{Member, Membership};
use crate::exit::{Exit, because, exit_of, fault, hint_of, next_step};
use crate::settings::urls;
use crate::sys::http::{Client, is_unasked};

/// A cluster that answers.
#[derive(Debug)]
pub struct Cluster {
    /// How it is asked at its client URLs.
    pub http: Client,
    /// Its ID.
    pub id: u64,
    /// The client URL it is asked at.
    pub via: String,
    /// Whether its members' loopback URLs lead to them from here: only if it was reached through one.
    loopback: bool,
    /// How `via` is asked if it is a peer URL after all, as no client is served yet.
    as_peer: Option<Client>,
}

impl Cluster {
    /// Finds the cluster of a founding member. Each URL is tried as the peer URL it should be, then as a client URL, as
    /// in the original's examples.
    ///
    /// # Errors
    /// [`Exit::Cluster`]: no URL leads to a member that answers clients. [`Exit::Settings`]: it could not be asked with our
    /// certificates.
    pub fn find(access: &Access, founder_urls: &[String]) -> Result<Self> {
        let mut errors = Vec::new();
        for url in founder_urls {
            // A peer URL is not tried as the other one: by gRPC its port would answer, too, and clients are served elsewhere.
            let asked = match api::members_by_peer(&access.peers, url) {
                Ok(seen) => Self::by_peer_url(access, url, &seen),
                Err(e) => Self::by_client_url(&access.clients, url).map_err(|other| worse(e, other)),
            };
            match asked {
                Ok(cluster) => return Ok(cluster),
                Err(e) => errors.push(e),
            }
        }
        // What is wrong here has to be put right here.
        if let Some(at) = errors.iter().position(|e| is_unasked(e) && hint_of(e).is_some()) {
            return Err(could_not_be_asked(errors.swap_remove(at)));
        }
        // Who could not be asked may be there all the same, which the error tells by its cause.
        let cause = errors.iter().position(is_unasked).map(|at| errors.remove(at));
        let mut what = "the founding member does not answer".to_owned();
        for (at, e) in errors.iter().enumerate() {
            what += &format!("{} {e:#}", if at == 0 { ":" } else { ";" });
        }
        let hint = "start etcd on the founding member (after etcd2-restore.service there), or correct \
                    ETCD_RESTORE_MASTER_ADV_PEER_URLS in 30-etcd2-backup-restore.conf";
        Err(match cause {
            Some(cause) => because(cause, Exit::Cluster, what, hint),
            None => fault(Exit::Cluster, what, hint),
        })
    }

    fn by_peer_url(access: &Access, url: &str, seen: &Membership) -> Result<Self> {
        let http = &access.clients;
        let loopback = urls::is_loopback(url);
        // The founder first: it is the one that is surely up.
        let own = |m: &&Member| m.peer_urls.iter().any(|u| urls::same_place(u, url));
        let (first, others): (Vec<&Member>, Vec<&Member>) = seen.members.iter().partition(own);
        let mut last = anyhow::anyhow!(
            "{url} lists no member with a client URL that can be reached from here: check \
             ETCD_ADVERTISE_CLIENT_URLS there"
        );
        for candidate in first.into_iter().chain(others).flat_map(|m| usable(m, loopback)) {
            match api::members(http, &candidate) {
                Ok(m) if m.cluster_id == seen.cluster_id => {
                    return Ok(Self {
                        http: http.clone(),
                        id: m.cluster_id,
                        via: candidate,
                        loopback,
                        as_peer: None,
                    });
                }
                Ok(m) => {
                    last = anyhow::anyhow!("{candidate} belongs to another cluster ({:x})", m.cluster_id);
                }
                Err(e) => {
                    let listed = seen.members.iter().any(|m| m.client_urls.contains(&candidate));
                    let changed = format!(
                        "its member does not advertise {candidate} to clients, but a URL that only works \
                         on its own machine: set ETCD_ADVERTISE_CLIENT_URLS there"
                    );
                    last = worse(if listed { e } else { e.context(changed) }, last);
                }
            }
        }
        Err(last)
    }

    fn by_client_url(http: &Client, url: &str) -> Result<Self> {
        let id = api::members(http, url)?.cluster_id;
        let loopback = urls::is_loopback(url);
        Ok(Self { http: http.clone(), id, via: url.to_owned(), loopback, as_peer: None })
    }

    /// The cluster of a founding member that serves no clients, since it lacks the one with these URLs to have a quorum:
    /// etcd 3.x after a restart. It tells peers who its members are, and that is enough to start.
    pub fn that_waits_for(own_urls: &[String], access: &Access, founder_urls: &[String]) -> Option<Self> {
        founder_urls.iter().find_map(|url| {
            let seen = api::members_by_peer(&access.peers, url).ok()?;
            seen.by_peer_urls(own_urls).filter(|m| !m.has_started())?;
            let loopback = urls::is_loopback(url);
            let (http, as_peer) = (access.clients.clone(), Some(access.peers.clone()));
            Some(Self { http, id: seen.cluster_id, via: url.clone(), loopback, as_peer })
        })
    }

    /// Its members now.
    ///
    /// # Errors
    /// It no longer answers, or answers as another cluster.
    pub fn members(&self) -> Result<Membership> {
        let now = match &self.as_peer {
            Some(http) => api::members_by_peer(http, &self.via)?,
            None => api::members(&self.http, &self.via)?,
        };
        if now.cluster_id != self.id {
            return Err(fault(
                Exit::Cluster,
                format!("{} was in cluster {:x} and is now in {:x}", self.via, self.id, now.cluster_id),
                "was the founding member restored again in the meantime? Run join again: sudo systemctl \
                 start etcd2-join.service",
            ));
        }
        Ok(now)
    }

    /// Raft's status at the leader, which alone knows how far the others are.
    ///
    /// # Errors
    /// There is no leader, or it does not answer.
    pub fn leader_status(&self, members: &Membership) -> Result<RaftStatus> {
        let (_, leader) = match self.as_peer {
            None => api::self_and_leader(&self.http, &self.via)?,
            Some(_) => members
                .members
                .iter()
                .flat_map(|m| usable(m, self.loopback))
                .find_map(|url| api::self_and_leader(&self.http, &url).ok())
                .context("the cluster serves no clients yet")?,
        };
        let leader = leader.context("the cluster has no leader")?;
        let member = members.by_id(leader).context("the leader is not in the member list")?;
        let mut last =
            anyhow::anyhow!("the leader {} has no client URL that can be reached from here", member.label());
        for url in usable(member, self.loopback) {
            match api::raft_status(&self.http, &url) {
                Ok(status)
                    if status.lead == leader
                        && status.progress.as_ref().is_none_or(|all| !all.is_empty()) =>
                {
                    return Ok(status);
                }
                Ok(_) => last = anyhow::anyhow!("{} is no longer the leader", member.label()),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// How far a member's own store is, asked at the first of its client URLs that answers.
    ///
    /// # Errors
    /// None answers.
    pub fn applied(&self, member: &Member) -> Result<api::Applied> {
        let mut last = anyhow::anyhow!("no client URL that can be reached from here");
        for url in usable(member, self.loopback) {
            match api::applied(&self.http, &url) {
                Ok(applied) => return Ok(applied),
                Err(e) => last = e,
            }
        }
        Err(last)
    }
}

/// The first one, unless only the other one is that we could not ask.
fn worse(one: anyhow::Error, other: anyhow::Error) -> anyhow::Error {
    if is_unasked(&one) || !is_unasked(&other) { one } else { other }
}

fn could_not_be_asked(error: anyhow::Error) -> anyhow::Error {
    let exit = exit_of(&error);
    let certificates = match exit {
        Exit::Settings => {
            "; peers are asked with the certificate in ETCD_PEER_CERT_FILE, clients with the one in \
             ETCDCTL_CERT_FILE, or else ETCD_CERT_FILE"
        }
        _ => "",
    };
    let hint = format!("{}{certificates}", next_step(&error));
    because(error, exit, "could not query the founding member", hint)
}

/// A member's client URLs as they can lead to it from here. One that leads every machine to itself (it advertises `localhost`,
/// or where it listens, `0.0.0.0`) is tried at the host of its peer URL.
pub fn usable(member: &Member, loopback: bool) -> impl Iterator<Item = String> {
    let peer = member.peer_urls.iter().find(|url| !urls::is_loopback(url));
    member.client_urls.iter().filter_map(move |url| match loopback || !urls::is_loopback(url) {
        true => Some(url.clone()),
        false => urls::with_host_of(url, peer?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_urls_lead_only_who_came_by_one() {
        let urls = [
            "http://127.0.0.1:2379",
            "http://localhost:2379",
            "http://0.0.0.0:2379",
            "http://[::1]:2379",
            "https://e1:1",
        ];
        let client_urls = urls.map(str::to_owned).to_vec();
        let mut member =
            Member { id: 1, name: "e1".into(), peer_urls: vec![], client_urls, ..Member::default() };
        assert_eq!(usable(&member, false).collect::<Vec<_>>(), ["https://e1:1"]);
        assert_eq!(usable(&member, true).count(), urls.len());
        // Who advertises where it listens is there all the same.
        member.peer_urls = vec!["http://127.0.0.1:2380".into(), "http://10.9.0.2:2380".into()];
        let at_its_host = usable(&member, false).collect::<Vec<_>>();
        assert_eq!(at_its_host[..2], ["http://10.9.0.2:2379", "http://10.9.0.2:2379"]);
        assert_eq!(at_its_host[4], "https://e1:1");
    }
}
