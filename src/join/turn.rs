//! Whose turn it is: nodes that join at the same moment come in one after the other, by themselves.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Join;
use crate::cluster::catch_up::{self, Waiting, Who};
use crate::cluster::{Member, Membership, api, membership};
use crate::exit::{Exit, OrFault};
use crate::join::plan::{self, Entrance, Step};
use crate::join::preflight;
use crate::join::seed::{self, Seed};

const PAUSE: Duration = Duration::from_secs(1);

/// What to do, now that it is this node's turn.
#[derive(Debug)]
pub enum Ready {
    /// It runs as this member: watch it catch up.
    Watch(u64),
    /// The data directory is this member's: start etcd on it as it is.
    Start(u64),
    /// It has to enter in this way, and begins with the seed, if there is one.
    Enter(Entrance, Option<Box<Seed>>),
}

impl Join {
    /// Waits until no other node is half in and, where the cluster is to be changed, all have caught up. Then all is at
    /// hand that can be, before anything is touched.
    pub fn ready(&self) -> Result<Ready> {
        let (turn, mut members) = self.turn()?;
        let Ready::Enter(mut way, _) = turn else { return Ok(turn) };
        seed::clear(&self.node.settings)?;
        preflight::directories(&self.node.settings)?;
        let version = api::cluster_version(&self.cluster.http, &self.cluster.via).or_fault(
            Exit::Cluster,
            "asking for the cluster's version",
            "nothing was changed: check etcd on the founding member, then run join again: sudo systemctl \
             start etcd2-join.service",
        )?;
        preflight::program(&self.node.settings.etcd.command, version.as_deref())?;
        if way.changes_members() {
            membership::allowed(&self.cluster)?;
        }
        let seed = match self.plain {
            true => None,
            false => seed::look(&self.node, &self.cluster, &members),
        };
        // A cluster that lacks only us has no leader to ask, and is not changed either.
        while way.changes_members() {
            log::info!("waiting until every started member has caught up");
            let gone = match way {
                Entrance::Replace(id) => id,
                Entrance::Reuse(_) | Entrance::Add => 0,
            };
            catch_up::wait(&self.cluster, Who::StartedBut(gone), self.wait)?;
            // In all that time another node may have been added.
            let (turn, now) = self.turn()?;
            let Ready::Enter(again, _) = turn else { return Ok(turn) };
            way = again;
            if now == members {
                break;
            }
            members = now;
        }
        Ok(Ready::Enter(way, seed.map(Box::new)))
    }

    /// Waits until no other node is half in; nothing is at hand yet.
    fn turn(&self) -> Result<(Ready, Membership)> {
        let deadline = Instant::now() + self.wait;
        let mut waiting = Waiting::default();
        loop {
            let members = self.cluster.members()?;
            let id = match self.decide(&members)? {
                Step::Watch(id) => return Ok((Ready::Watch(id), members)),
                Step::Start(id) => return Ok((Ready::Start(id), members)),
                Step::Reuse(id) => return Ok((Ready::Enter(Entrance::Reuse(id), None), members)),
                Step::Replace(id) => return Ok((Ready::Enter(Entrance::Replace(id), None), members)),
                Step::Add => return Ok((Ready::Enter(Entrance::Add, None), members)),
                Step::After(id) => id,
            };
            let other = members.by_id(id).map_or_else(String::new, Member::label);
            waiting.say(&format!("member {other} was added first and has not started"));
            if Instant::now() >= deadline {
                return Err(plan::half_in(&other, id));
            }
            std::thread::sleep(PAUSE);
        }
    }
}
