//! Whose turn it is: nodes that join at the same moment come in one after the other, by themselves.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Join;
use crate::cluster::catch_up::{self, Waiting, Who};
use crate::cluster::{Member, Membership, api, membership};
use crate::exit::{Exit, OrFault};
use crate::join::plan::{self, Step};
use crate::join::preflight;
use crate::join::seed::{self, Seed};

const PAUSE: Duration = Duration::from_secs(1);

/// What to do, with this to begin with.
#[derive(Debug)]
pub struct Ready {
    /// What to do.
    pub step: Step,
    /// What to begin with, if there is something.
    pub seed: Option<Seed>,
}

impl Join<'_> {
    /// Waits until no other node is half in and, where the cluster is to be changed, all have caught up. Then all is at
    /// hand that can be, before anything is touched.
    pub fn ready(&self) -> Result<Ready> {
        let (mut step, mut members) = self.turn()?;
        if !enters(step) {
            return Ok(Ready { step, seed: None });
        }
        seed::clear(&self.settings)?;
        preflight::directories(&self.settings)?;
        let version = api::cluster_version(&self.cluster.http, &self.cluster.via).or_fault(
            Exit::Cluster,
            "asking for the cluster's version",
            "nothing was changed: check etcd on the founding member, then run join again: sudo systemctl \
             start etcd2-join.service",
        )?;
        preflight::program(&self.settings.etcd_command, version.as_deref())?;
        if changes(step) {
            membership::allowed(&self.cluster)?;
        }
        let seed = match self.plain {
            true => None,
            false => seed::look(self.root, &self.settings, &self.cluster, &members),
        };
        // A cluster that lacks only us has no leader to ask, and is not changed either.
        while changes(step) {
            log::info!("waiting until every started member has caught up");
            let gone = if let Step::Replace(id) = step { id } else { 0 };
            catch_up::wait(&self.cluster, Who::StartedBut(gone), self.wait)?;
            // In all that time another node may have been added.
            let before = members;
            (step, members) = self.turn()?;
            if members == before {
                break;
            }
        }
        Ok(Ready { step, seed })
    }

    fn turn(&self) -> Result<(Step, Membership)> {
        let deadline = Instant::now() + self.wait;
        let mut waiting = Waiting::default();
        loop {
            let members = self.cluster.members()?;
            let step = self.decide(&members)?;
            let Step::After(id) = step else { return Ok((step, members)) };
            let other = members.by_id(id).map_or_else(String::new, Member::label);
            waiting.say(&format!("member {other} was added first and has not started"));
            if Instant::now() >= deadline {
                return Err(plan::half_in(&other, id));
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Whether the node is not yet, or not any more, a member that has its data.
fn enters(step: Step) -> bool {
    changes(step) || matches!(step, Step::Reuse(_))
}

/// Whether the cluster's members are changed.
fn changes(step: Step) -> bool {
    matches!(step, Step::Add | Step::Replace(_))
}
