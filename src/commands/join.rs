//! `join`: makes this node a member of the founding member's cluster, or of its own that lives without that one, and watches
//! until it has caught up.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::args;
use crate::etcd::in_use::Trace;
use crate::exit::Exit;
use crate::join::plan::Step;
use crate::node::member_dir::exchange;
use crate::node::member_dir::places::Places;
use crate::node::{fence, guards};
use crate::settings::Settings;
use crate::sys::root::Root;
use crate::sys::systemd;

use crate::join::turn::Ready;
use crate::join::{Join, way_in};

/// A backup that the timer has just begun is waited for, but not one that a slow remote holds up.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn run(root: &Root, options: &args::Join) -> Result<Exit> {
    let started = Instant::now();
    super::look::before(root);
    let settings = Settings::load(root)?;
    guards::refuse_other_place(root, &settings, options.force)?;
    guards::refuse_bootstrap(&settings)?;
    settings.own_name()?;
    settings.own_peer_urls()?;
    settings.founder()?;
    let _lock = guards::wait_for_lock(&settings, PATIENCE)?;
    let before = Trace::of(&settings.effective_wal_dir())?;
    let cluster = way_in::find(root, &settings)?;
    log::info!("the cluster is {:x}, asked at {}", cluster.id, cluster.via);
    let join = Join { root, settings, cluster, before, plain: options.plain, wait: options.wait };

    let Ready { step, seed } = join.ready()?;
    let id = match step {
        Step::Watch(id) => {
            log::info!("this node already runs as member {id:x} of that cluster");
            return join.watch(id, started);
        }
        Step::Start(id) => {
            log::info!("the data directory belongs to member {id:x} of that cluster: starting it unchanged");
            // Of a run that ended behind its last rename.
            exchange::clear(&Places::of(&join.settings)?)?;
            id
        }
        _ => join.enter(step, seed)?,
    };
    if options.no_start || !root.is_live() {
        fence::lower(root)?;
        log::info!(
            "ready as member {id:x}: {}; then run join again to watch it catch up",
            join.how_to_start()
        );
        return Ok(Exit::Done);
    }
    fence::lower(root)?;
    systemd::start_no_block(&join.settings.etcd_unit)?;
    join.watch(id, started)
}
