//! A node becomes a member of a living cluster.
//!
//! - [`way_in`]: through whom it comes in · [`situation`]: what is there, here and in the cluster · [`plan`]: what to do then
//! - [`turn`]: one node after the other · [`preflight`]: can a member start on this node? · [`seed`]: what it begins with
//! - [`enter`]: from the fence to an entry in the cluster · [`trial`]: does etcd here start on the log that it is given?
//! - [`watch`]: until it has caught up
//!
//! Everything that can fail comes before the cluster is asked. From then on the fence keeps etcd from starting until the
//! node is ready; whenever this is interrupted, running it again goes on where it was.
//!
//! The member begins with a log that was written here, so that nothing of how etcd is started decides what it joins: a seed,
//! where there is one (what the founding member was restored from), else one with nothing in it but the member's IDs.

use std::time::Duration;

use crate::cluster::find::Cluster;
use crate::etcd::in_use::Trace;
use crate::node::locked::Locked;

pub mod enter;
pub mod plan;
pub mod preflight;
pub mod seed;
pub mod situation;
pub mod trial;
pub mod turn;
pub mod watch;
pub mod way_in;

/// What every step needs.
#[derive(Debug)]
pub struct Join {
    /// The node.
    pub node: Locked,
    /// The cluster that it joins.
    pub cluster: Cluster,
    /// What etcd's log looked like before anything was asked.
    pub before: Trace,
    /// Whether it begins with nothing, though there may be a seed.
    pub plain: bool,
    /// How long to wait for others, and for this member to catch up.
    pub wait: Duration,
}

impl Join {
    /// How somebody starts etcd who does not want it started by us.
    pub fn how_to_start(&self) -> String {
        match self.node.root.is_live() {
            true => format!("sudo systemctl start {}", self.node.settings.etcd.unit),
            false => "start etcd as usual".to_owned(),
        }
    }
}
