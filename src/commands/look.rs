//! `look`: at the etcd that runs: which log it has open, and what it was given. The backup's unit does that before each backup,
//! with the rights that a backup does not have.

use anyhow::Result;

use crate::cli;
use crate::exit::{Exit, OrFault, fault};
use crate::paths::{LOOKED, Root};
use crate::running::look::{self, Looked};
use crate::settings;
use crate::sys::fs::write_atomic;
use crate::sys::{privilege, systemd};

pub(super) fn run(root: &Root, options: &cli::Look) -> Result<Exit> {
    if !root.is_live() {
        let what = format!("nothing runs in the tree {}", root.join("/").display());
        return Err(fault(Exit::Usage, what, "look at a running node: sudo etcd2-backup look"));
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
        log::warn!("which log the running etcd has open is not known: {e:#}");
    }
}

/// What was seen, for people; noted for the backup that follows.
fn at_etcd(root: &Root) -> Result<String> {
    let (unit, environment) = settings::etcd(root)?;
    let said = match systemd::is_active(&unit)? {
        false => format!("{unit} does not run"),
        true => {
            let looked = look::look(root, &unit, &environment);
            match looked.or_fault(
                Exit::Failed,
                format!("looking at the etcd of {unit}"),
                "run it as root: sudo etcd2-backup look",
            )? {
                Looked::Member(wal_dir) => format!("{unit} writes to the log in {}", wal_dir.display()),
                Looked::Nothing(why) => why,
            }
        }
    };
    write_atomic(&root.join(LOOKED), said.as_bytes(), 0o644)?;
    Ok(said)
}
