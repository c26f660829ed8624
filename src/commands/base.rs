//! `base`: bring the v3 store to the remote, if it is due.

use anyhow::Result;

use super::args;
use crate::backup::base::bring::{Bringing, Came, say_due};
use crate::backup::no_member::no_member;
use crate::etcd::datadir::DataDir;
use crate::exit::{Exit, exit_of};
use crate::node::running::place;
use crate::node::{Node, fence};
use crate::remote::rclone::Rclone;
use crate::sys::root::Root;
use crate::sys::time;

pub(super) fn run(root: &Root, options: &args::Base) -> Result<Exit> {
    let mut node = Node::open(root)?;
    let doubt = place::settle(&mut node)?;
    if fence::is_up(&node.root)? {
        log::info!("nothing done: a recovery is in progress");
        return Ok(Exit::Done);
    }
    let settings = &node.settings;
    let dir = match DataDir::open(&settings.etcd.data_dir, settings.etcd.wal_dir.as_deref()) {
        Err(e) if exit_of(&e) == Exit::NotFound => return no_member(&node, e),
        dir => dir?,
    };
    let remote = Rclone::beside(&settings.remote, "base");
    let bringing = Bringing { settings, dir: &dir, doubt: doubt.as_ref(), looked: time::now() };
    let came = match bringing.bring(&remote, options.now) {
        Err(e) if settings.v2_only && exit_of(&e) == Exit::Refused => {
            log::warn!("only the v2 store of this member is backed up: {e:#}");
            return Ok(Exit::Done);
        }
        came => came?,
    };
    match came {
        Came::NotDue => {
            say_due(settings, None)?;
            log::info!("no base of the v3 store is due");
        }
        Came::Waits => {
            say_due(settings, None)?;
            log::info!("a base of the v3 store waits for the next backup");
        }
        Came::Elsewhere => log::info!("nothing done: another process is bringing a base"),
    }
    Ok(Exit::Done)
}
