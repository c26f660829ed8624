//! From the start of etcd until the new member has caught up, or is given up.

use std::time::Instant;

use anyhow::Result;

use super::Join;
use crate::cluster::admit::{self, Admission};
use crate::cluster::gate::{self, Who};
use crate::cluster::{Member, Membership, drop_in, local};
use crate::exit::{Exit, Fault};
use crate::sys::systemd;
use crate::{fence, identity};

impl Join<'_> {
    /// Waits until the member has caught up, then tidies up.
    pub(super) fn watch(&self, id: u64, started: Instant) -> Result<Exit> {
        let look = |members: &Membership| self.follow(id, members);
        if let Err(error) = gate::wait_and(&self.cluster, Who::Member(id), self.options.wait, look) {
            return Err(self.give_up(id, error));
        }
        self.remove_drop_in()?;
        identity::record(
            self.root,
            &identity::Identity {
                cluster_id: self.cluster.id,
                member_id: id,
                wal_dir: self.root.strip(&self.settings.effective_wal_dir()),
            },
        )?;
        log::info!(
            "member {id:x} ({}) has caught up with cluster {:x} after {} ms",
            self.settings.name,
            self.cluster.id,
            started.elapsed().as_millis()
        );
        Ok(Exit::Done)
    }

    /// etcd starts as a new member with the exact list of members alone. If that changed since it was written down, as
    /// another node came in at the same moment, etcd is started anew with the new one.
    fn follow(&self, id: u64, members: &Membership) -> Result<()> {
        let known = self.written_for.borrow().clone();
        let now = drop_in::urls(members);
        if known.is_empty() || known == now || members.by_id(id).is_none_or(Member::has_started) {
            return Ok(());
        }
        // A log, be it half made, says that it got past that point.
        if !matches!(local::local_ids(&self.settings), Ok(None)) {
            return Ok(());
        }
        let unit = &self.settings.etcd_unit;
        log::info!(
            "the cluster's members changed before {unit} came up: it is started anew with the new list"
        );
        systemd::stop(unit)?;
        self.write_drop_in(members)?;
        systemd::start_no_block(unit)
    }

    /// The member did not catch up in time. One that never started is taken out of the cluster again where that is
    /// safe; one that did only needs more time.
    fn give_up(&self, id: u64, error: anyhow::Error) -> anyhow::Error {
        let Ok(members) = self.cluster.members() else { return error };
        let matched =
            self.cluster.leader_status(&members).ok().and_then(|s| Some(s.progress.get(&id)?.matched));
        let others = members.members.iter().filter(|m| m.id != id && m.has_started()).count();
        let has_started = members.by_id(id).is_some_and(Member::has_started);
        if has_started || matched.is_some_and(|m| m > 0) || !self.root.is_live() {
            return error;
        }
        let journal = format!("look at `journalctl -u {}`", self.settings.etcd_unit);
        if others < 2 {
            return error.context(Fault {
                exit: Exit::Cluster,
                what: format!("{} did not start as member {id:x}, and the cluster has no quorum without it", self.settings.etcd_unit),
                hint: Some(format!(
                    "{journal}, put it right and run join again; or take the cluster back on the founding member: \
                     stop etcd there, `etcd2-backup restore --source local`, start etcd"
                )),
            });
        }
        match self.withdraw(id, matched) {
            Ok(()) => error.context(Fault {
                exit: Exit::Cluster,
                what: format!(
                    "{} did not start as member {id:x}, which was removed again; etcd is fenced here",
                    self.settings.etcd_unit
                ),
                hint: Some(format!("{journal}, put it right and run join again")),
            }),
            Err(e) => error.context(format!("removing member {id:x} again: {e:#}")),
        }
    }

    /// Fences and stops etcd first: a removal that is carried out under a starting member kills it.
    fn withdraw(&self, id: u64, matched: Option<u64>) -> Result<()> {
        if matched != Some(0) {
            anyhow::bail!("the leader does not say that it never started, so its entry is left alone");
        }
        fence::raise(self.root, "join")?;
        systemd::stop(&self.settings.etcd_unit)?;
        match admit::remove(&self.cluster, id)? {
            Admission::Done(_) => self.remove_drop_in(),
            Admission::Refused(why) | Admission::Unknown(why) => anyhow::bail!(why),
        }
    }
}
