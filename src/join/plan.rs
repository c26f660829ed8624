//! What a node that wants into a cluster has to do: a pure decision over everything that was looked at.
//!
//! Two mistakes must be impossible: a voter that acknowledged entries comes back empty under its old ID (it panics the
//! whole cluster), and an addition or removal that leaves the cluster without a quorum.

use anyhow::Result;

use crate::cluster::{Member, Membership};
use crate::exit::{Exit, fault};
use crate::node::past_members::Ids;
use crate::settings::urls;

/// What was looked at.
#[derive(Debug)]
pub struct Situation<'a> {
    /// This node's name.
    pub own_name: &'a str,
    /// This node's peer URLs.
    pub own_urls: &'a [String],
    /// etcd's unit, for messages.
    pub etcd_unit: &'a str,
    /// The founder's cluster.
    pub members: &'a Membership,
    /// What our entry in the member list has acknowledged; `None` if there is no leader who knows.
    pub matched: Option<u64>,
    /// Whose data lies in the data directory.
    pub local: Option<Ids>,
    /// Whose data was set aside on this disk.
    pub set_aside: &'a [Ids],
    /// What this node runs.
    pub running: Running,
    /// An earlier join of this node did not come to its end.
    pub unfinished: bool,
}

/// What etcd on this node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Running {
    /// Nothing.
    No,
    /// It runs, or something holds its peer port, but it does not answer clients.
    Silent,
    /// It answers, as this member.
    As(Ids),
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It runs as this member: watch it catch up.
    Watch(u64),
    /// The data directory is this member's: start etcd on it as it is.
    Start(u64),
    /// This entry waits for us and was never started: start empty under its ID.
    Reuse(u64),
    /// This entry is ours but its ID is burnt: remove it, then add us anew.
    Replace(u64),
    /// Add us.
    Add,
    /// Wait: this other member was added and has not started. One at a time keeps the quorum.
    After(u64),
}

/// How a node that is no member yet, or not any more, becomes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    /// This entry waits for it: the cluster is not changed.
    Reuse(u64),
    /// This entry is removed, and another one added.
    Replace(u64),
    /// An entry is added.
    Add,
}

impl Entrance {
    /// Whether the cluster's members are changed.
    pub fn changes_members(self) -> bool {
        match self {
            Self::Reuse(_) => false,
            Self::Replace(_) | Self::Add => true,
        }
    }
}

/// Decides.
///
/// # Errors
/// [`Exit::Refused`], with nothing changed and the way out as its hint.
pub fn decide(s: &Situation<'_>) -> Result<Step> {
    let listed = |ids: Ids| s.members.by_id(ids.1).filter(|_| ids.0 == s.members.cluster_id);
    let entry = s.members.by_peer_urls(s.own_urls);
    let ours = |m: &Member| entry.is_some_and(|e| e.id == m.id);
    let local = s.local.and_then(listed);
    match (s.running, local) {
        (Running::As(ids), _) => return watch_running(s, ids, listed(ids).filter(|m| ours(m))),
        (Running::Silent, Some(member)) if ours(member) => return Ok(Step::Watch(member.id)),
        (Running::Silent, _) => {
            return Err(stop_first(s, "runs on this node, or something else holds its peer port"));
        }
        (Running::No, Some(member)) if ours(member) => return Ok(Step::Start(member.id)),
        (Running::No, Some(member)) => {
            return Err(fault(
                Exit::Refused,
                format!(
                    "the data directory is that of member {}, which is listed with other peer URLs ({})",
                    member.label(),
                    member.peer_urls.join(",")
                ),
                format!(
                    "`etcdctl member update {:x} {}`, then start {}",
                    member.id,
                    s.own_urls.join(","),
                    s.etcd_unit
                ),
            ));
        }
        (Running::No, None) => {}
    }
    name_is_free(s, entry)?;
    let unused = entry.is_some_and(|e| never_started(s, e));
    // Who is in the list already helps the quorum by starting, whoever else is half in.
    if let Some(entry) = entry.filter(|e| unused && same_urls(e, s.own_urls)) {
        return Ok(Step::Reuse(entry.id));
    }
    let mut others = s.members.members.iter().filter(|m| entry.is_none_or(|e| e.id != m.id));
    if let Some(other) = others.find(|m| !m.has_started()) {
        return Ok(Step::After(other.id));
    }
    let Some(entry) = entry else { return Ok(Step::Add) };
    if started_others(s, entry.id) >= 2 {
        return Ok(Step::Replace(entry.id));
    }
    if unused {
        return Err(fault(
            Exit::Refused,
            format!(
                "member {:x} was added for this node, but with the URLs {}",
                entry.id,
                entry.peer_urls.join(",")
            ),
            format!("set ETCD_INITIAL_ADVERTISE_PEER_URLS to these in a drop-in of {}", s.etcd_unit),
        ));
    }
    Err(fault(
        Exit::Refused,
        format!(
            "this node is listed as member {}, whose data is gone; with only one other member it cannot be \
             removed",
            entry.label()
        ),
        "on the founding member: stop etcd, run `sudo /opt/bin/etcd2-backup restore --source local`, start \
         etcd; then join here again",
    ))
}

fn watch_running(s: &Situation<'_>, ids: Ids, listed: Option<&Member>) -> Result<Step> {
    match listed {
        Some(member) => Ok(Step::Watch(member.id)),
        None if ids.0 == s.members.cluster_id => Err(stop_first(
            s,
            &format!("answers as member {:x}, which the cluster does not list with this node's URLs", ids.1),
        )),
        None => Err(stop_first(
            s,
            &format!(
                "runs in cluster {:x}, and the founding member is in cluster {:x}",
                ids.0, s.members.cluster_id
            ),
        )),
    }
}

fn stop_first(s: &Situation<'_>, why: &str) -> anyhow::Error {
    fault(
        Exit::Refused,
        format!("{} {why}", s.etcd_unit),
        format!(
            "to join this node, first `sudo systemctl stop {}`; its data is moved aside and kept",
            s.etcd_unit
        ),
    )
}

/// The error when another member is still half in, though it was waited for.
pub fn half_in(other: &str, id: u64) -> anyhow::Error {
    fault(
        Exit::Refused,
        format!("member {other} was added and has not started"),
        format!(
            "finish its join first, or `etcdctl member remove {id:x}`; adding one at a time keeps the quorum"
        ),
    )
}

/// Etcd takes the name for the member's when it starts.
fn name_is_free(s: &Situation<'_>, own: Option<&Member>) -> Result<()> {
    let others = || s.members.members.iter().filter(|m| own.is_none_or(|e| e.id != m.id));
    if let Some(other) = others().find(|m| m.name == s.own_name) {
        return Err(fault(
            Exit::Refused,
            format!("member {} already has this node's name", other.label()),
            format!("give this node an ETCD_NAME of its own in a drop-in of {}", s.etcd_unit),
        ));
    }
    Ok(())
}

/// Whether an entry has just our URLs: etcd starts under it with no others.
fn same_urls(entry: &Member, own: &[String]) -> bool {
    let all_of = |some: &[String], others: &[String]| {
        some.iter().all(|a| others.iter().any(|b| urls::same_place(a, b)))
    };
    all_of(&entry.peer_urls, own) && all_of(own, &entry.peer_urls)
}

/// Whether nobody ever ran under this entry's ID, so that it may start empty.
fn never_started(s: &Situation<'_>, entry: &Member) -> bool {
    let on_this_disk = s.local.into_iter().chain(s.set_aside.iter().copied()).any(|ids| ids.1 == entry.id);
    let acknowledged = match s.matched {
        Some(matched) => matched > 0,
        // The second member's own absence leaves no leader to ask. That our join is unfinished is then the proof.
        None => !s.unfinished,
    };
    !entry.has_started() && !on_this_disk && !acknowledged
}

fn started_others(s: &Situation<'_>, own: u64) -> usize {
    s.members.members.iter().filter(|m| m.id != own && m.has_started()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{exit_of, hint_of};

    const CLUSTER: u64 = 0xc;

    fn member(id: u64, name: &str) -> Member {
        Member { id, name: name.into(), peer_urls: vec![format!("http://e{id}:1")], ..Member::default() }
    }

    /// We are e3; the cluster has these members.
    fn check(members: &[(u64, &str)], change: impl FnOnce(&mut Situation<'_>)) -> Result<Step> {
        let members = members.iter().map(|(id, name)| member(*id, name)).collect();
        let members = Membership { cluster_id: CLUSTER, members };
        let own_urls = ["http://e3:1".to_owned()];
        let mut situation = Situation {
            own_name: "e3",
            own_urls: &own_urls,
            etcd_unit: "etcd2.service",
            members: &members,
            matched: None,
            local: None,
            set_aside: &[],
            running: Running::No,
            unfinished: false,
        };
        change(&mut situation);
        decide(&situation)
    }

    #[test]
    fn every_way_in() {
        let two: &[(u64, &str)] = &[(1, "e1"), (2, "e2")];
        let added: &[(u64, &str)] = &[(1, "e1"), (2, "e2"), (3, "")];
        let full: &[(u64, &str)] = &[(1, "e1"), (2, "e2"), (3, "e3")];
        assert_eq!(check(two, |_| ()).unwrap(), Step::Add);
        assert_eq!(check(&[(1, "e1")], |_| ()).unwrap(), Step::Add);
        // Old data of another cluster, or of a member that was removed, does not keep us out.
        assert_eq!(check(two, |s| s.local = Some((9, 3))).unwrap(), Step::Add);
        assert_eq!(check(two, |s| s.local = Some((CLUSTER, 7))).unwrap(), Step::Add);
        // Our own data is never wiped.
        for members in [added, full] {
            assert_eq!(check(members, |s| s.local = Some((CLUSTER, 3))).unwrap(), Step::Start(3));
        }
        let silent = |s: &mut Situation<'_>| (s.local, s.running) = (Some((CLUSTER, 3)), Running::Silent);
        assert_eq!(check(added, silent).unwrap(), Step::Watch(3));
        assert_eq!(check(full, |s| s.running = Running::As((CLUSTER, 3))).unwrap(), Step::Watch(3));
    }

    #[test]
    fn an_entry_is_reused_only_if_nobody_ever_ran_under_it() {
        let added: &[(u64, &str)] = &[(1, "e1"), (2, "e2"), (3, "")];
        assert_eq!(check(added, |s| s.matched = Some(0)).unwrap(), Step::Reuse(3));
        assert_eq!(check(added, |s| s.unfinished = true).unwrap(), Step::Reuse(3));
        let burnt: [fn(&mut Situation<'_>); 5] = [
            |s| s.matched = Some(1),
            |s| (s.matched, s.unfinished) = (Some(1), true),
            |_| (),
            |s| (s.matched, s.set_aside) = (Some(0), &[(CLUSTER, 3)]),
            |s| (s.matched, s.set_aside) = (Some(0), &[(9, 4), (9, 3)]),
        ];
        for (i, change) in burnt.into_iter().enumerate() {
            assert_eq!(check(added, change).unwrap(), Step::Replace(3), "case {i}");
        }
        let named: &[(u64, &str)] = &[(1, "e1"), (2, "e2"), (3, "e3")];
        assert_eq!(check(named, |s| s.matched = Some(0)).unwrap(), Step::Replace(3));
    }

    #[test]
    fn who_is_half_in_comes_first() {
        let both: &[(u64, &str)] = &[(1, "e1"), (2, ""), (3, "")];
        for members in [&both[..2], both] {
            assert_eq!(check(members, |_| ()).unwrap(), Step::After(2));
        }
        // Two that are both half in would wait for each other.
        assert_eq!(check(both, |s| s.matched = Some(0)).unwrap(), Step::Reuse(3));
        assert_eq!(check(both, |s| s.local = Some((CLUSTER, 3))).unwrap(), Step::Start(3));
    }

    #[test]
    fn an_entry_with_other_urls_is_not_used() {
        let added: &[(u64, &str)] = &[(1, "e1"), (2, "e2"), (3, "")];
        let more: &[String] = vec!["http://e3:2".to_owned(), "http://e3:1".to_owned()].leak();
        let with = |members, own_urls| check(members, |s| (s.own_urls, s.matched) = (own_urls, Some(0)));
        assert_eq!(with(added, &more[1..]).unwrap(), Step::Reuse(3));
        assert_eq!(with(added, more).unwrap(), Step::Replace(3));
        let error = with(&[(1, "e1"), (3, "")], more).unwrap_err();
        assert!(hint_of(&error).unwrap().contains("ETCD_INITIAL_ADVERTISE_PEER_URLS"), "{error}");
    }

    #[test]
    fn with_one_other_member_nothing_is_ever_removed() {
        let pair: &[(u64, &str)] = &[(1, "e1"), (3, "")];
        assert_eq!(check(pair, |s| s.unfinished = true).unwrap(), Step::Reuse(3));
        assert_eq!(check(pair, |s| s.matched = Some(0)).unwrap(), Step::Reuse(3));
        let error = check(pair, |s| s.matched = Some(5)).unwrap_err();
        assert_eq!(exit_of(&error), Exit::Refused);
        assert!(hint_of(&error).unwrap().contains("restore --source local"), "{error}");
    }

    #[test]
    fn refusals_name_the_way_out() {
        let two: &[(u64, &str)] = &[(1, "e1"), (2, "e2")];
        let stop = "systemctl stop etcd2.service";
        let cases: [(Result<Step>, &str); 6] = [
            (check(two, |s| s.running = Running::Silent), stop),
            (check(two, |s| s.running = Running::As((9, 3))), stop),
            (check(two, |s| s.running = Running::As((CLUSTER, 3))), stop),
            (check(&[(1, "e1"), (3, "e3")], |s| s.running = Running::As((CLUSTER, 1))), stop),
            (check(two, |s| s.local = Some((CLUSTER, 2))), "etcdctl member update 2 http://e3:1"),
            (check(&[(1, "e3")], |_| ()), "ETCD_NAME"),
        ];
        for (i, (got, hint)) in cases.into_iter().enumerate() {
            let error = got.unwrap_err();
            assert_eq!(exit_of(&error), Exit::Refused, "case {i}");
            assert!(hint_of(&error).unwrap().contains(hint), "case {i}: {:?}", hint_of(&error));
        }
    }
}
