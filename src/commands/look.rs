//! `look`: at the etcd that runs: which log it has open, and what it was given. The backup's unit does that before each backup,
//! with the rights that a backup does not have.

use anyhow::Result;

use super::args;
use crate::exit::{Exit, OrFault, fault};
use crate::node::running::look::{self, Looked};
use crate::node::running::note::{self, Seen};
use crate::settings;
use crate::sys::root::Root;
use crate::sys::{privilege, systemd};

pub(super) fn run(root: &Root, options: &args::Look) -> Result<Exit> {
    if !root.is_live() {
        let what = format!("{} is a directory tree, in which nothing runs", root.join("/").display());
        return Err(fault(Exit::Usage, what, "run it on a node: sudo /opt/bin/etcd2-backup look"));
    }
    let said = at_etcd(root)?;
    if !options.quiet {
        log::info!("{said}");
    }
    Ok(Exit::Done)
}

/// Looks where this may and something runs, for a verb that goes on in any case.
pub(super) fn before(root: &Root) {
    if !root.is_live() || !privilege::is_root() {
        return;
    }
    if let Err(e) = at_etcd(root) {
        log::warn!("could not determine which WAL the running etcd has open: {e:#}");
    }
}

/// What was seen, for people; noted for the backup that follows.
fn at_etcd(root: &Root) -> Result<String> {
    let (unit, environment) = settings::etcd(root)?;
    let looked =
        systemd::is_active(&unit).and_then(|is_active| look::look(root, &unit, is_active, &environment));
    // What was seen before does not count any more.
    if let Err(e) = &looked {
        note::save(root, &format!("could not determine which WAL etcd has open: {e:#}"), Seen::Unasked)?;
    }
    let Looked { said, seen } = looked.or_fault(
        Exit::Failed,
        format!("looking at the etcd of {unit}"),
        "run it as root: sudo /opt/bin/etcd2-backup look",
    )?;
    note::save(root, &said, seen)?;
    Ok(said)
}
