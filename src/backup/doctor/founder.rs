//! Whether the founding member that the site names is one of the cluster: a recovery begins with it.

use anyhow::Result;

use super::Check;
use crate::cluster::access::Access;
use crate::cluster::{Member, Membership, api};
use crate::exit::{Exit, OrFault, fault};
use crate::settings::{Settings, urls};

const NAME: &str = "founder";

/// Asks etcd here for its members.
pub fn check(settings: &Settings) -> Check {
    match settings.founder() {
        Err(e) => Check::failed(NAME, &e),
        Ok(founder) => judge(founder, members(settings)),
    }
}

/// The members, as etcd on this node lists them.
fn members(settings: &Settings) -> Result<Membership> {
    let access = Access::of(settings)?;
    let mut last = fault(Exit::Settings, "no setting says where clients reach etcd on this node", "");
    for url in &settings.etcd.client_urls {
        match api::members(&access.clients, url) {
            Ok(members) => return Ok(members),
            Err(e) => last = e.context(format!("asking {url}")),
        }
    }
    Err(last).or_fault(Exit::Cluster, "cannot get the member list from etcd on this node", "")
}

fn judge(founder: &[String], members: Result<Membership>) -> Check {
    let shown = founder.join(",");
    match members {
        Err(e) => Check::noted(
            NAME,
            format!("could not check whether {shown} is a member: {e:#}"),
            "run this again while etcd is running on this node",
        ),
        Ok(cluster) => match cluster.by_peer_urls(founder) {
            Some(member) => found(&shown, member, &cluster),
            None if let Some(member) = by_client_url(founder, &cluster) => {
                let right = member.peer_urls.join(" ");
                let what =
                    format!("{shown} is a client URL of {}, whose peer URL is {right}", member.label());
                let hint = format!(
                    "on every node: sudo /opt/bin/etcd2-backup set-founder {right}; and write it as founder \
                     in the site"
                );
                Check::failed(NAME, &fault(Exit::Settings, what, hint))
            }
            None => {
                let all: Vec<String> = cluster.members.iter().flat_map(|m| m.peer_urls.clone()).collect();
                let what = format!("{shown} is none of the members' peer URLs: {}", all.join(", "));
                let hint = "no recovery could begin. Name one of them on every node: sudo \
                            /opt/bin/etcd2-backup set-founder URL; and write it as founder in the site";
                Check::failed(NAME, &fault(Exit::Settings, what, hint))
            }
        },
    }
}

/// A founding member that is one of the cluster: can the others reach it by what it advertises?
fn found(shown: &str, member: &Member, cluster: &Membership) -> Check {
    let says = format!("{shown} is {} of cluster {:x}", member.label(), cluster.cluster_id);
    let leads_here = |urls: &[String]| !urls.is_empty() && urls.iter().all(|url| urls::is_loopback(url));
    if cluster.members.len() > 1 && leads_here(&member.peer_urls) {
        let hint = "set initial-advertise-peer-urls of each member to an address that the others reach it at";
        return Check::noted(
            NAME,
            format!("{says}, but on every other node that URL means the node itself"),
            hint,
        );
    }
    if leads_here(&member.client_urls) && !leads_here(&member.peer_urls) {
        let advertised = member.client_urls.join(",");
        let better = urls::with_host_of(&member.client_urls[0], &member.peer_urls[0]).unwrap_or_default();
        let hint = format!("set ETCD_ADVERTISE_CLIENT_URLS there to {better}, and restart etcd there");
        return Check::noted(NAME, format!("{says}, but tells clients to reach it at {advertised}"), hint);
    }
    Check::good(NAME, says)
}

fn by_client_url<'a>(founder: &[String], cluster: &'a Membership) -> Option<&'a Member> {
    cluster.members.iter().find(|member| urls::share_a_place(founder, &member.client_urls))
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    #[test]
    fn the_founder_has_to_be_a_member_where_that_can_be_asked() {
        let member = |url: &str| Member {
            id: 1,
            name: "e1".into(),
            peer_urls: vec!["http://other:1".into(), url.into()],
            ..Member::default()
        };
        let cluster = |url| Ok(Membership { cluster_id: 7, members: vec![member(url)] });
        let founder = ["http://e1:2380".to_owned()];
        for (members, want, words) in [
            (cluster("http://E1:2380"), Outcome::Good, "http://e1:2380 is e1 (1) of cluster 7"),
            (
                cluster("http://e2:2380"),
                Outcome::Failed(Exit::Settings),
                "none of the members' peer URLs: http://other:1",
            ),
            (
                Err(anyhow::anyhow!("no certificate")),
                Outcome::Noted,
                "could not check whether http://e1:2380 is a member: no certificate",
            ),
        ] {
            let check = judge(&founder, members);
            assert_eq!(check.outcome, want, "{check:?}");
            assert!(check.says.contains(words), "{check:?}");
        }
    }

    #[test]
    fn what_the_founder_should_be_is_told_where_the_members_know_it() {
        let member = |peer: &str, client: &str| Member {
            id: 1,
            name: "e1".into(),
            peer_urls: vec![peer.into()],
            client_urls: vec![client.into()],
            ..Member::default()
        };
        for (founder, peer, client, want, words, hint) in [
            (
                "http://e1:2379",
                "http://e1:2380",
                "http://e1:2379",
                Outcome::Failed(Exit::Settings),
                "is a client URL of e1",
                "set-founder http://e1:2380",
            ),
            (
                "http://e1:2380",
                "http://e1:2380",
                "http://0.0.0.0:2379",
                Outcome::Noted,
                "reach it at http://0.0.0.0:2379",
                "to http://e1:2379",
            ),
            (
                "http://e1:2380",
                "http://e1:2380",
                "http://localhost:2379",
                Outcome::Noted,
                "reach it at http://localhost",
                "to http://e1:2379",
            ),
            (
                "http://127.0.0.1:2380",
                "http://127.0.0.1:2380",
                "http://127.0.0.1:2379",
                Outcome::Noted,
                "means the node itself",
                "initial-advertise-peer-urls",
            ),
        ] {
            let other = Member { id: 2, ..member("http://e2:2380", "http://e2:2379") };
            let cluster = Membership { cluster_id: 7, members: vec![member(peer, client), other] };
            let check = judge(&[founder.to_owned()], Ok(cluster));
            assert_eq!(check.outcome, want, "{check:?}");
            assert!(check.says.contains(words) && check.hint.as_ref().unwrap().contains(hint), "{check:?}");
        }
    }
}
