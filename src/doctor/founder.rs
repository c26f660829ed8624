//! Whether the founding member that the site names is one of the cluster: a recovery begins with it.

use anyhow::Result;

use super::Check;
use crate::cluster::access::Access;
use crate::cluster::{Membership, api};
use crate::exit::{Exit, OrFault, fault};
use crate::settings::Settings;

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
    let mut last = fault(Exit::Settings, "nothing says where clients reach etcd here", "");
    for url in &settings.client_urls {
        match api::members(&access.clients, url) {
            Ok(members) => return Ok(members),
            Err(e) => last = e.context(format!("asking {url}")),
        }
    }
    Err(last).or_fault(Exit::Cluster, "etcd here does not tell its members", "")
}

fn judge(founder: &[String], members: Result<Membership>) -> Check {
    let shown = founder.join(",");
    match members {
        Err(e) => Check::noted(
            NAME,
            format!("whether {shown} is a member could not be asked: {e:#}"),
            "run it again while etcd runs here",
        ),
        Ok(cluster) => match cluster.by_peer_urls(founder) {
            Some(member) => Check::good(
                NAME,
                format!("{shown} is {} of cluster {:x}", member.label(), cluster.cluster_id),
            ),
            None => {
                let all: Vec<String> = cluster.members.iter().flat_map(|m| m.peer_urls.clone()).collect();
                let what = format!("{shown} is none of the members' peer URLs: {}", all.join(", "));
                let hint = "no recovery could begin: name one of them on every node, sudo etcd2-backup set-founder URL, and \
                    in the site";
                Check::failed(NAME, &fault(Exit::Settings, what, hint))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;
    use crate::cluster::Member;

    #[test]
    fn the_founder_has_to_be_a_member_where_that_can_be_asked() {
        let member = |url: &str| Member {
            id: 1,
            name: "e1".into(),
            peer_urls: vec!["http://other:1".into(), url.into()],
            client_urls: Vec::new(),
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
            (Err(anyhow::anyhow!("no certificate")), Outcome::Noted, "could not be asked: no certificate"),
        ] {
            let check = judge(&founder, members);
            assert_eq!(check.outcome, want, "{check:?}");
            assert!(check.says.contains(words), "{check:?}");
        }
    }
}
