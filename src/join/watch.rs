//! From the start of etcd until the new member has caught up, or is given up.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Join;
use crate::cluster::catch_up::{self, Who};
use crate::cluster::membership::{self, Admission};
use crate::cluster::{Member, Membership};
use crate::etcd::datadir::DataDir;
use crate::etcd::in_use;
use crate::exit::{Exit, because, fault};
use crate::node::fence::By;
use crate::sys::systemd;

/// As for a trial, but for what a container's engine may take at a first start.
const OPENED_WITHIN: Duration = Duration::from_secs(60);

impl Join {
    /// Waits until the member has caught up, then tidies up.
    pub fn watch(&self, id: u64, started: Instant) -> Result<Exit> {
        // Not from the start of the join, which may have waited for its turn.
        let watched = Instant::now();
        let look = |_: &Membership| self.is_the_one_that_runs(id, watched);
        if let Err(error) = catch_up::wait_and(&self.cluster, Who::Member(id), self.wait, look) {
            return Err(self.give_up(id, error));
        }
        self.node.record(self.cluster.id, id)?;
        log::info!(
            "member {id:x} ({}) has caught up with cluster {:x} after {} ms",
            self.node.settings.etcd.name,
            self.cluster.id,
            started.elapsed().as_millis()
        );
        Ok(Exit::Done)
    }

    /// What runs here has to have our log open, and to be that member; else it is stopped and fenced.
    fn is_the_one_that_runs(&self, id: u64, watched: Instant) -> Result<()> {
        if !self.node.root.is_live() {
            return Ok(());
        }
        let dir =
            DataDir::open(&self.node.settings.etcd.data_dir, self.node.settings.etcd.wal_dir.as_deref())?;
        let what = if in_use::is_held(&dir.wal)? {
            let other = self.node.settings.etcd.client_urls.iter().find_map(|url| self.answers_as(url));
            match other.filter(|ids| *ids != (self.cluster.id, id)) {
                None => return Ok(()),
                Some((cluster, member)) => format!(
                    "answers as member {member:x} of cluster {cluster:x}, not as {id:x} of {:x}",
                    self.cluster.id
                ),
            }
        } else if watched.elapsed() >= OPENED_WITHIN && systemd::is_active(&self.node.settings.etcd.unit)? {
            format!(
                "runs, but has not opened the WAL in {} within {} s",
                dir.wal.display(),
                OPENED_WITHIN.as_secs()
            )
        } else {
            return Ok(());
        };
        let unit = &self.node.settings.etcd.unit;
        self.node.raise_fence(By::Join)?;
        systemd::stop(unit)?;
        let hint = format!(
            "where does it keep its data? systemctl cat {unit}; fix that, then run join again, which \
             removes the fence: sudo systemctl start etcd2-join.service"
        );
        Err(fault(Exit::Settings, format!("{unit} {what}: it was stopped and is fenced"), hint))
    }

    /// The member did not catch up in time. One that never started is taken out of the cluster again where that is
    /// safe; one that did only needs more time.
    fn give_up(&self, id: u64, error: anyhow::Error) -> anyhow::Error {
        let Ok(members) = self.cluster.members() else { return error };
        let matched =
            self.cluster.leader_status(&members).ok().and_then(|s| Some(s.progress_of(id)?.matched));
        let others = members.members.iter().filter(|m| m.id != id && m.has_started()).count();
        let has_started = members.by_id(id).is_some_and(Member::has_started);
        if has_started || matched.is_some_and(|m| m > 0) || !self.node.root.is_live() {
            return error;
        }
        let journal = format!("look at `journalctl -u {}`", self.node.settings.etcd.unit);
        if others < 2 {
            let what = format!(
                "{} did not start as member {id:x}, and the cluster has no quorum without it",
                self.node.settings.etcd.unit
            );
            let hint = format!(
                "{journal}, fix the cause and run join again; or restore the cluster on the founding \
                 member: stop etcd there, run `sudo /opt/bin/etcd2-backup restore --source local`, \
                 start etcd"
            );
            return because(error, Exit::Cluster, what, hint);
        }
        match self.withdraw(id, matched) {
            Ok(()) => {
                let what = format!(
                    "{} did not start as member {id:x}, which was removed again; etcd is fenced here",
                    self.node.settings.etcd.unit
                );
                let hint = format!(
                    "{journal}, fix the cause and run join again: sudo systemctl start etcd2-join.service"
                );
                because(error, Exit::Cluster, what, hint)
            }
            Err(e) => error.context(format!("removing member {id:x} again: {e:#}")),
        }
    }

    /// Fences and stops etcd first: a removal that is carried out under a starting member kills it.
    fn withdraw(&self, id: u64, matched: Option<u64>) -> Result<()> {
        if matched != Some(0) {
            anyhow::bail!(
                "the leader does not confirm that it never started, so it stays in the member list"
            );
        }
        self.node.raise_fence(By::Join)?;
        systemd::stop(&self.node.settings.etcd.unit)?;
        // It may have started since that was asked, and now it does so no more.
        let members = self.cluster.members()?;
        let matched = self.cluster.leader_status(&members)?.progress_of(id).map(|p| p.matched);
        if members.by_id(id).is_some_and(Member::has_started) || matched != Some(0) {
            anyhow::bail!("it started after all, so it stays in the member list; run join again");
        }
        match membership::remove(&self.cluster, id)? {
            Admission::Done(_) => Ok(()),
            Admission::Refused(why) | Admission::Unknown(why) => anyhow::bail!(why),
        }
    }
}
