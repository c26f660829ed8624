//! The gate in place of a sleep: goes on when members have caught up, says whom it waits for, gives up in time.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::api::{Applied, RaftStatus};
use super::find::Cluster;
use super::{Member, Membership};
use crate::exit::{Exit, fault};
use crate::sys::terminal::live::{self, Step};
use crate::sys::terminal::progress::Unit;

/// How often is looked.
pub const POLL: Duration = Duration::from_millis(250);

/// Whom to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Every member that has started, but the one with this ID (0 for none).
    StartedBut(u64),
    /// This one, which may not have started yet.
    Member(u64),
}

/// Why a member has not caught up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lag {
    /// For this reason.
    Because(&'static str),
    /// It has so many of so many entries.
    Received(u64, u64),
    /// It has applied so many of so many.
    Applied(u64, u64),
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Because(why) => f.write_str(why),
            Self::Received(done, goal) => write!(f, "has {done} of {goal} entries"),
            Self::Applied(done, goal) => write!(f, "has applied {done} of {goal} entries"),
        }
    }
}

/// Why a member has not caught up with `goal`; `None` if it has. Pure.
pub fn behind(member: &Member, status: &RaftStatus, goal: u64, applied: Option<&Applied>) -> Option<Lag> {
    // The leader keeps no useful state about itself. What no leader tells is left to what the member has applied.
    if let Some(known) = status.progress.as_ref().filter(|_| member.id != status.lead) {
        let Some(progress) = known.get(&member.id) else {
            return Some(Lag::Because("the leader does not know it yet"));
        };
        if progress.matched == 0 {
            return Some(Lag::Because("has not started"));
        }
        if progress.matched < goal {
            return Some(Lag::Received(progress.matched, goal));
        }
        if !progress.replicating {
            return Some(Lag::Because("is not receiving entries from the leader"));
        }
    }
    if !member.has_started() {
        return Some(Lag::Because("has not published its name and client URLs"));
    }
    match applied {
        Some(Applied::Index(index)) if *index < goal => Some(Lag::Applied(*index, goal)),
        Some(Applied::Index(_) | Applied::Healthy(true)) => None,
        Some(Applied::Healthy(false)) => Some(Lag::Because("is not healthy")),
        None => Some(Lag::Because("does not answer clients")),
    }
}

/// Waits until everybody meant has caught up with what is committed when the wait begins.
///
/// # Errors
/// [`Exit::Cluster`] if that is not so within `limit`; the message says who is behind, and why.
pub fn wait(cluster: &Cluster, who: Who, limit: Duration) -> Result<()> {
    wait_and(cluster, who, limit, |_| Ok(()))
}

/// The same, with a look at the member list each time.
///
/// # Errors
/// As [`wait`], and what the look says.
pub fn wait_and(
    cluster: &Cluster,
    who: Who,
    limit: Duration,
    look: impl Fn(&Membership) -> Result<()>,
) -> Result<()> {
    let deadline = Instant::now() + limit;
    let mut goal = None;
    let mut waiting = Waiting::default();
    loop {
        let members = cluster.members();
        if let Ok(members) = &members {
            look(members)?;
        }
        let (reason, lag) = match members.and_then(|m| check(cluster, &m, who, &mut goal)) {
            Ok(None) => return Ok(()),
            Ok(Some((who, lag))) => (format!("{who} {lag}"), Some((who, lag))),
            Err(e) => (format!("{e:#}"), None),
        };
        if Instant::now() >= deadline {
            return Err(fault(
                Exit::Cluster,
                format!("not caught up within {}: {reason}", humantime::format_duration(limit)),
                "check etcd's journal on that node, or allow more time with --wait",
            ));
        }
        match lag {
            Some((who, Lag::Received(done, goal))) => waiting.count(&who, "receive", &reason, (done, goal)),
            Some((who, Lag::Applied(done, goal))) => waiting.count(&who, "apply", &reason, (done, goal)),
            _ => waiting.say(&reason),
        }
        std::thread::sleep(POLL);
    }
}

/// Why it is waited: said once, and shown as long as that lasts.
#[derive(Debug, Default)]
pub struct Waiting {
    said: Option<(String, Step)>,
}

impl Waiting {
    /// It is waited for this. Numbers at the end may change unsaid.
    pub fn say(&mut self, reason: &str) {
        let kind = reason.trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ');
        self.shown(format!("waiting: {kind}"), reason);
    }

    /// It is waited until `who` has done that with all entries. How many they are may change unsaid.
    fn count(&mut self, who: &str, does: &str, reason: &str, (done, goal): (u64, u64)) {
        let step = self.shown(format!("waiting for {who} to {does}"), reason);
        step.of(Unit::Of("entries"), Some(goal));
        step.done(done);
    }

    fn shown(&mut self, what: String, reason: &str) -> &Step {
        if self.said.as_ref().is_some_and(|(before, _)| *before != what) {
            self.said = None;
        }
        let (_, step) = self.said.get_or_insert_with(|| {
            log::info!("waiting: {reason}");
            (what.clone(), live::step(what))
        });
        step
    }
}

/// One look: why to go on waiting, or `None`.
fn check(
    cluster: &Cluster,
    members: &Membership,
    who: Who,
    goal: &mut Option<u64>,
) -> Result<Option<(String, Lag)>> {
    let status = cluster.leader_status(members)?;
    let goal = *goal.get_or_insert(status.commit);
    for member in meant(members, &status, who) {
        let applied = if member.has_started() { cluster.applied(member).ok() } else { None };
        if let Some(lag) = behind(member, &status, goal, applied.as_ref()) {
            return Ok(Some((member.label(), lag)));
        }
    }
    match who {
        Who::Member(id) if members.by_id(id).is_none() => {
            Ok(Some((format!("{id:x}"), Lag::Because("is not in the member list"))))
        }
        _ => Ok(None),
    }
}

/// A member that has acknowledged something has started, even if it has not published its name.
fn meant<'a>(members: &'a Membership, status: &'a RaftStatus, who: Who) -> impl Iterator<Item = &'a Member> {
    let acknowledged = |id: &u64| status.progress_of(*id).is_some_and(|p| p.matched > 0);
    members.members.iter().filter(move |m| match who {
        Who::StartedBut(id) => m.id != id && (m.has_started() || acknowledged(&m.id)),
        Who::Member(id) => m.id == id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::api::Progress;

    fn member(id: u64, name: &str) -> Member {
        Member { id, name: name.into(), peer_urls: vec![], ..Member::default() }
    }

    fn status(progress: &[(u64, u64, bool)]) -> RaftStatus {
        let entry = |&(id, matched, replicating): &(u64, u64, bool)| (id, Progress { matched, replicating });
        RaftStatus { commit: 100, lead: 1, progress: Some(progress.iter().map(entry).collect()) }
    }

    #[test]
    fn caught_up_needs_all_of_it() {
        use Applied::{Healthy, Index};
        type Case<'a> = (u64, &'a str, &'a [(u64, u64, bool)], Option<Applied>, Option<&'a str>);
        let cases: &[Case<'_>] = &[
            (2, "e2", &[(2, 100, true)], Some(Index(100)), None),
            (2, "e2", &[(2, 120, true)], Some(Healthy(true)), None),
            (2, "e2", &[], Some(Index(100)), Some("the leader does not know it yet")),
            (2, "e2", &[(2, 0, false)], None, Some("has not started")),
            (2, "e2", &[(2, 99, true)], Some(Index(99)), Some("has 99 of 100 entries")),
            (2, "e2", &[(2, 100, false)], Some(Index(100)), Some("is not receiving entries from the leader")),
            (2, "", &[(2, 100, true)], None, Some("has not published its name and client URLs")),
            (2, "e2", &[(2, 100, true)], Some(Index(99)), Some("has applied 99 of 100 entries")),
            (2, "e2", &[(2, 100, true)], Some(Healthy(false)), Some("is not healthy")),
            (2, "e2", &[(2, 100, true)], None, Some("does not answer clients")),
            // The leader: only its own store counts.
            (1, "e1", &[(1, 0, false)], Some(Index(100)), None),
            (1, "e1", &[(1, 100, true)], Some(Index(98)), Some("has applied 98 of 100 entries")),
        ];
        for (id, name, progress, applied, expected) in cases {
            let got = behind(&member(*id, name), &status(progress), 100, applied.as_ref());
            let got = got.map(|lag| lag.to_string());
            assert_eq!(got.as_deref(), *expected, "{id} {name:?} {progress:?} {applied:?}");
        }
        // A leader that does not tell who has what: then what the member says of itself.
        let untold = RaftStatus { progress: None, ..status(&[]) };
        for (name, applied, expected) in [
            ("e2", Some(Index(100)), None),
            ("e2", Some(Index(99)), Some(Lag::Applied(99, 100))),
            ("", Some(Index(100)), Some(Lag::Because("has not published its name and client URLs"))),
        ] {
            assert_eq!(behind(&member(2, name), &untold, 100, applied.as_ref()), expected);
        }
    }

    #[test]
    fn who_is_meant() {
        let members =
            Membership { cluster_id: 1, members: vec![member(1, "e1"), member(2, ""), member(3, "")] };
        let status = status(&[(1, 9, true), (2, 9, true), (3, 0, false)]);
        let ids = |who| meant(&members, &status, who).map(|m| m.id).collect::<Vec<_>>();
        assert_eq!(ids(Who::StartedBut(0)), [1, 2]);
        assert_eq!(ids(Who::StartedBut(2)), [1]);
        assert_eq!(ids(Who::Member(3)), [3]);
    }
}
