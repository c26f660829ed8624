//! `stand-by`: what `recover` runs on each node before anything is changed: nothing of etcd's data moves any more.

use std::time::Duration;

use anyhow::Result;

use crate::exit::Exit;
use crate::fleet::gather;
use crate::node::fence::{self, By};
use crate::node::{Node, guards};
use crate::settings::our_units::{BACKUP, BASE, REHEARSE, TIMER, VERIFY};
use crate::sys::root::Root;
use crate::sys::{systemd, terminal};

/// A recovery whose caller was killed still ends on the node.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) fn run(root: &Root) -> Result<Exit> {
    // What the settings go by is seen only while etcd runs.
    super::look::before(root);
    let node = Node::open(root)?;
    let stopped = || -> Result<()> {
        if root.is_live() {
            // The timer's own ones stop with it.
            for unit in [TIMER, BACKUP, BASE, VERIFY, REHEARSE, &node.settings.etcd.unit] {
                systemd::stop(unit)?;
            }
        }
        // What was started by hand goes on.
        guards::refuse_while_running(&node)
    };
    // One that another verb put up says what that has to take back.
    match fence::is_up(root)? {
        true => stopped()?,
        false => drop(fence::raise_if(root, By::Recover, stopped)?),
    }
    let node = node.lock(PATIENCE)?;
    node.take_back(false)?;
    node.raise_fence(By::Recover)?;
    // One that is damaged, or cannot be read, is told of by `report`, which is asked again where it had something before.
    let disk = gather::disk(&node.settings).unwrap_or_default();
    Ok(terminal::print(&serde_json::to_string(&disk)?))
}
