//! From the fence to a node on which etcd starts as a new member of the cluster.

use std::time::Instant;

use anyhow::Result;

use super::Join;
use crate::cluster::api;
use crate::cluster::membership::{self, Admission};
use crate::etcd::proto::Metadata;
use crate::join::plan::Entrance;
use crate::join::seed::Seed;
use crate::node::fence::By;
use crate::node::locked::Fenced;
use crate::node::member_dir::aside::{self, Aside};
use crate::node::member_dir::empty_log;
use crate::node::{guards, past_members};

impl Join {
    /// From the fence to a node on which etcd starts as a new member.
    ///
    /// # Errors
    /// etcd here does not start on what it is given, or the cluster did not take the member, or did not say so.
    pub fn enter(&self, way: Entrance, seed: Option<Box<Seed>>) -> Result<u64> {
        let fenced = self.node.fenced(By::Join, &self.before)?;
        if empty_log::is_nobodys(&self.node.settings.etcd)? {
            empty_log::take_away(&self.node.settings.etcd)?;
        }
        let other = past_members::local_ids(&self.node.settings.etcd)
            .ok()
            .flatten()
            .filter(|ids| ids.0 != self.cluster.id);
        if let Some((cluster, member)) = other {
            log::info!(
                "the local data belongs to member {member:x} of cluster {cluster:x} and cannot be used here"
            );
        }
        let old = fenced.set_aside("join")?;
        if let Err(e) = self.refuse_if_held(&old).and_then(|()| self.trial()) {
            undo(&old, fenced)?;
            return Err(e);
        }
        let id = match self.become_member(way)? {
            Admission::Done(id) => id,
            Admission::Refused(why) => {
                undo(&old, fenced)?;
                return Err(api::not_changed("the cluster did not accept this node as a member", &why));
            }
            Admission::Unknown(why) => {
                self.say_kept(&old);
                let what = "the cluster did not say whether it accepted this node as a member; etcd stays \
                            fenced here";
                return Err(api::not_changed(what, &why));
            }
        };
        log::info!("this node is member {id:x}");
        self.say_kept(&old);
        self.node.forget()?;
        if !seed.is_some_and(|seed| self.begins_with(&seed, id)) {
            empty_log::place(
                &self.node.settings.etcd,
                Metadata { member_id: id, cluster_id: self.cluster.id },
            )?;
        }
        Ok(id)
    }

    /// Whether the member begins with the seed.
    fn begins_with(&self, seed: &Seed, id: u64) -> bool {
        match seed.finish(&self.node.settings, id).and_then(|()| seed.place()) {
            Ok(()) => true,
            Err(e) => {
                log::warn!("the member starts empty after all, and the leader sends it everything: {e:#}");
                false
            }
        }
    }

    /// A directory that was set aside may be a log, or have one in it.
    fn refuse_if_held(&self, old: &[Aside]) -> Result<()> {
        let mut logs = old.iter().flat_map(|Aside { now, .. }| [now.clone(), now.join("wal")]);
        logs.try_for_each(|log| guards::refuse_if_old_log_is_held(&self.node.settings, &log))
    }

    fn say_kept(&self, old: &[Aside]) {
        for old in old {
            log::info!("the old data is kept as {}", old.now.display());
        }
    }

    fn become_member(&self, way: Entrance) -> Result<Admission> {
        match way {
            Entrance::Reuse(id) => {
                log::info!("member {id:x} was added for this node and never started: joining as that member");
                return Ok(Admission::Done(id));
            }
            Entrance::Replace(id) => {
                log::info!("member {id:x} is this node's, but its data is gone: removing that member first");
                match membership::remove(&self.cluster, id)? {
                    Admission::Done(_) => {}
                    other => return Ok(other),
                }
            }
            Entrance::Add => {}
        }
        let deadline = Instant::now() + self.wait;
        let own_urls = self.node.settings.etcd.own_peer_urls()?;
        loop {
            match membership::add(&self.cluster, own_urls)? {
                // Another node was added at the same moment; until it has started there may be no quorum.
                Admission::Unknown(_) if Instant::now() < deadline && self.somebody_is_half_in() => {}
                other => return Ok(other),
            }
        }
    }

    fn somebody_is_half_in(&self) -> bool {
        self.cluster.members().is_ok_and(|m| m.members.iter().any(|m| !m.has_started()))
    }
}

/// Nothing was changed in the cluster: the node becomes what it was.
fn undo(old: &[Aside], fenced: Fenced<'_>) -> Result<()> {
    aside::put_back(old)?;
    fenced.as_before()
}
