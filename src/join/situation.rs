//! What is there before a join: in the cluster, on the disk, in the processes.

use anyhow::Result;

use super::Join;
use crate::cluster::{Membership, api};
use crate::exit::{Exit, OrFault};
use crate::join::plan::{self, Running, Situation, Step};
use crate::join::preflight;
use crate::node::fence::{By, Fence};
use crate::node::member_dir::empty_log;
use crate::node::past_members::{self, Ids};
use crate::paths::IDENTITY;
use crate::sys::http::is_unasked;
use crate::sys::systemd;

impl Join {
    /// Looks at everything, and decides what to do.
    pub(super) fn decide(&self, members: &Membership) -> Result<Step> {
        let own_urls = self.node.settings.etcd.own_peer_urls()?;
        let entry = members.by_peer_urls(own_urls);
        // Without a leader nobody knows; the plan takes that into account.
        let status = self.cluster.leader_status(members);
        let status = match status {
            Err(e) if is_unasked(&e) => return Err(e),
            status => status,
        };
        let matched = entry.and_then(|e| Some(status.as_ref().ok()?.progress_of(e.id)?.matched));
        let local = past_members::local_ids(&self.node.settings.etcd)?;
        let local = if self.end_trial()? { None } else { local };
        plan::decide(&Situation {
            own_name: self.node.settings.etcd.own_name()?,
            own_urls,
            etcd_unit: &self.node.settings.etcd.unit,
            members,
            matched,
            local,
            set_aside: &self.earlier_ids()?,
            running: self.running()?,
            // A trial that was ended here has put it up, too.
            unfinished: Fence::read(&self.node.root)? == Fence::UpBy(By::Join),
        })
    }

    /// Ends a trial that was interrupted, as by a reboot: etcd waits for a cluster that nobody has. Says whether one was.
    fn end_trial(&self) -> Result<bool> {
        if !empty_log::is_nobodys(&self.node.settings.etcd)? {
            return Ok(false);
        }
        let unit = &self.node.settings.etcd.unit;
        if self.node.root.is_live() && systemd::is_active(unit)? {
            log::info!("an earlier join started {unit} for a trial: stopping it first");
            self.node.raise_fence(By::Join)?;
            systemd::stop(unit)?;
        }
        Ok(true)
    }

    /// Whose data this node had, as far as it is there or remembered.
    fn earlier_ids(&self) -> Result<Vec<Ids>> {
        let mut ids = past_members::ids_set_aside(&self.node.settings.etcd)?;
        // One that cannot be read may say that an ID must not be used again.
        let known = self.node.stamp().or_fault(
            Exit::Failed,
            "finding out which member this node was",
            format!("if this node was never a member of this cluster, remove it: sudo rm {IDENTITY}"),
        )?;
        ids.extend(known.identity.as_ref().map(|i| (i.cluster_id, i.member_id)));
        Ok(ids)
    }

    fn running(&self) -> Result<Running> {
        if let Some(ids) = self.node.settings.etcd.client_urls.iter().find_map(|url| self.answers_as(url)) {
            return Ok(Running::As(ids));
        }
        let active = self.node.root.is_live() && systemd::is_active(&self.node.settings.etcd.unit)?;
        let taken = preflight::peer_port_is_taken(self.node.settings.etcd.own_peer_urls()?);
        Ok(if active || taken { Running::Silent } else { Running::No })
    }

    pub(super) fn answers_as(&self, client_url: &str) -> Option<Ids> {
        let cluster = api::members(&self.cluster.http, client_url).ok()?.cluster_id;
        let (member, _) = api::self_and_leader(&self.cluster.http, client_url).ok()?;
        Some((cluster, member))
    }
}
