//! `status`: what would be lost if this node's disk died now, and why.

use std::io::stdout;

use anyhow::Result;

use super::args;
use crate::archive::lineage::Parent;
use crate::archive::verified::Verified;
use crate::backup::no_member::no_member;
use crate::backup::skipped::Skipped;
use crate::backup::state::State;
use crate::backup::status::{self, Facts, New};
use crate::backup::{capture, outcome};
use crate::cluster::own;
use crate::etcd::datadir::DataDir;
use crate::exit::{Exit, exit_of};
use crate::node::running::note;
use crate::node::running::place::{self, Doubt};
use crate::node::{Node, fence};
use crate::remote::rclone::Rclone;
use crate::settings::Settings;
use crate::settings::our_units::TIMER;
use crate::sys::root::Root;
use crate::sys::terminal::output::Output;
use crate::sys::terminal::table::width;
use crate::sys::{systemd, time};

pub(super) fn run(root: &Root, options: &args::Status) -> Result<Exit> {
    super::look::before(root);
    let mut node = Node::open(root)?;
    let doubt = place::settle(&mut node)?;
    let settings = &node.settings;
    let dir = match DataDir::open(&settings.etcd.data_dir, settings.etcd.wal_dir.as_deref()) {
        Err(e) if exit_of(&e) == Exit::NotFound => return no_member(&node, e),
        dir => dir?,
    };
    let facts = facts(&node, options, &dir, doubt)?;
    let judgement = status::judge(&facts);
    let mut out = Output::new(options.json);
    let said = match options.json {
        true => out.json(&status::json(&facts, &judgement)),
        false => out.text(&status::text(&facts, &judgement, width(&stdout()))),
    };
    if out.finish()? {
        said?;
    }
    Ok(if judgement.warnings.is_empty() { Exit::Done } else { Exit::Warned })
}

fn facts(node: &Node, options: &args::Status, dir: &DataDir, doubt: Option<Doubt>) -> Result<Facts> {
    let Node { root, settings, .. } = node;
    let folder = settings.folder();
    // Before the log: a backup that ends in between has sent no more than is read now.
    let state = State::load(&settings.backup_dir)?.filter(|s| s.folder == folder);
    let in_recovery = fence::is_up(root)?;
    // Before the log too, which then has what etcd had applied.
    let (etcd, new) = own::read_as_far(
        || own::ask(settings, dir),
        || new(dir, state.as_ref()),
        |new| (new.metadata, new.last),
    )?;
    let verified = Verified::load(&settings.backup_dir, &folder)?.generations.values().map(|s| s.time).max();
    Ok(Facts {
        now: time::now(),
        max_age: options.max_age,
        has_parent: Parent::of(&settings.backup_dir, new.metadata.cluster_id)?.is_some(),
        etcd,
        open: note::open(root, &dir.wal),
        doubt: doubt.map(|doubt| doubt.what),
        in_recovery,
        timer: if root.is_live() { Some(systemd::is_active(TIMER)?) } else { None },
        verified,
        rehearsed: outcome::rehearsed(&settings.backup_dir),
        rehearse_skipped: Skipped::load(&settings.backup_dir).map(|skipped| skipped.why),
        moved: is_moved(settings, state.as_ref())?,
        folder,
        state,
        new,
    })
}

/// Whether the next backup has to look first whether what was sent is where it goes. Of an encrypted rclone.conf that is not
/// known; variables and program are those of the unit, not of who asks.
fn is_moved(settings: &Settings, state: Option<&State>) -> Result<bool> {
    let Some(seen) = state.and_then(|s| s.seen.as_ref()) else { return Ok(false) };
    Ok(Rclone::new(&settings.remote).route(Some(&seen.route))?.settings != seen.route.settings)
}

/// What the next backup would send.
fn new(dir: &DataDir, state: Option<&State>) -> Result<New> {
    let capture = match (capture::next(dir, state)?.new, state) {
        (Some(capture), _) => capture,
        (None, Some(state)) => return Ok(New::nothing_behind(state)),
        // Cannot be: without a state all is new.
        (None, None) => capture::anew(dir, "")?,
    };
    Ok(New {
        metadata: capture.metadata,
        last: capture.last(),
        writes: capture.log.writes,
        sync_time: capture.log.sync_time,
        family: capture.family,
        begins: capture.begins,
    })
}
