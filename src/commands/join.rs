//! `join`: makes this node a member of the founding member's cluster, or of its own that lives without that one, and watches
//! until it has caught up.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::args;
use crate::etcd::in_use::Trace;
use crate::exit::Exit;
use crate::node::member_dir::exchange;
use crate::node::member_dir::places::Places;
use crate::node::{Node, guards};
use crate::sys::root::Root;
use crate::sys::systemd;

use crate::join::turn::Ready;
use crate::join::{Join, way_in};

/// A backup that the timer has just begun is waited for, but not one that a slow remote holds up.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn run(root: &Root, options: &args::Join) -> Result<Exit> {
    let started = Instant::now();
    super::look::before(root);
    let node = Node::open(root)?;
    guards::refuse_other_place(&node, options.force)?;
    guards::refuse_bootstrap(&node.settings)?;
    node.settings.etcd.own_name()?;
    node.settings.etcd.own_peer_urls()?;
    node.settings.founder()?;
    let node = node.lock(PATIENCE)?;
    let before = Trace::of(&node.settings.etcd.effective_wal_dir())?;
    let cluster = way_in::find(&node)?;
    log::info!("the cluster is {:x}, asked at {}", cluster.id, cluster.via);
    let join = Join { node, cluster, before, plain: options.plain, wait: options.wait };

    let id = match join.ready()? {
        Ready::Watch(id) => {
            log::info!("this node already runs as member {id:x} of that cluster");
            return join.watch(id, started);
        }
        Ready::Start(id) => {
            log::info!("the data directory belongs to member {id:x} of that cluster: starting it unchanged");
            // Of a run that ended behind its last rename.
            exchange::clear(&Places::of(&join.node.settings.etcd)?)?;
            id
        }
        Ready::Enter(way, seed) => join.enter(way, seed)?,
    };
    join.node.lower_fence()?;
    if options.no_start || !join.node.root.is_live() {
        log::info!(
            "ready as member {id:x}: {}; then run join again to watch it catch up",
            join.how_to_start()
        );
        return Ok(Exit::Done);
    }
    systemd::start_no_block(&join.node.settings.etcd.unit)?;
    join.watch(id, started)
}
