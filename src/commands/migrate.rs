//! `migrate`: copy another machine's folder inside the remote to this machine's, to be restored here.

use std::time::Duration;

use anyhow::Result;

use super::args;
use crate::archive::catalog::{self, Entry};
use crate::archive::lineage::Parent;
use crate::archive::{chain, migration};
use crate::exit::{Exit, OrFault, fault};
use crate::node::Node;
use crate::remote::rclone::Rclone;
use crate::remote::{Object, Remote};
use crate::restore::legacy;
use crate::sys::root::Root;
use crate::sys::terminal::table::{bytes, count};

pub(super) fn run(root: &Root, options: &args::Migrate) -> Result<Exit> {
    let node = Node::open(root)?;
    let (from, to) = (options.from.to_string(), node.settings.machine_id.to_string());
    if from == to {
        return Err(fault(
            Exit::Usage,
            "that is this machine's own prefix",
            "there is nothing to migrate; to restore: sudo systemctl start etcd2-restore.service",
        ));
    }
    let node = node.lock(Duration::ZERO)?;
    let remote = Rclone::for_recovery(&node.settings.remote);
    let objects = remote.list(&from)?;
    if objects.is_empty() {
        let what = format!("there is no backup in {}", node.settings.folder_of(&from));
        return Err(fault(
            Exit::NotFound,
            what,
            "to list every machine that has one: sudo /opt/bin/etcd2-backup list --all",
        ));
    }
    let mut folders = vec![(from.clone(), to.clone(), objects)];
    if chain::is_original(&folders[0].2) {
        let (from, to) = (legacy::before_of(&from), legacy::before_of(&to));
        let objects = remote.list(&from)?;
        folders.push((from, to, objects));
    }
    // All is judged before anything is copied.
    let mut left = Vec::new();
    for (from, to, objects) in &folders {
        left.push(still_left(&remote, (from, objects), to)?);
    }
    for ((from, to, objects), left) in folders.iter().zip(&left) {
        let size: u64 = left.iter().map(|o| o.size).sum();
        log::info!(
            "{from} -> {to}: {}, of which {} must be copied ({})",
            count(objects.len(), "object", "objects"),
            left.len(),
            bytes(size)
        );
        if !options.dry_run {
            copy(&remote, (from, objects), to, left)?;
        }
    }
    if options.dry_run {
        log::info!("nothing was changed");
    } else {
        log::info!(
            "all objects are there, with the same names and sizes; next: sudo systemctl start \
             etcd2-restore.service"
        );
    }
    Ok(Exit::Done)
}

/// What is left to copy, if it may be.
fn still_left(remote: &Rclone, (from, objects): (&str, &[Object]), to: &str) -> Result<Vec<Object>> {
    let there = remote.list(to)?;
    let (mut parents, mut known): (Vec<Parent>, Vec<Entry>) = (Vec::new(), Vec::new());
    for (folder, objects) in [(from, objects), (to, &there[..])] {
        // The newest first: a node that lost what it knew of its recovery writes bases without it.
        let entries = catalog::of(remote, folder, objects)?;
        parents.extend(entries.iter().rev().filter_map(|entry| entry.base.as_ref()?.parent.clone()));
        known.extend(entries);
    }
    migration::left(objects, &there, &parents, &catalog::judged(&known).1)
}

/// Copies what is left, and looks whether it arrived.
fn copy(remote: &Rclone, (from, objects): (&str, &[Object]), to: &str, left: &[Object]) -> Result<()> {
    let paths: Vec<String> = left.iter().map(|o| o.path.clone()).collect();
    let again = "run the same command again: it resumes where it stopped";
    remote.copy(from, to, &paths).or_fault(Exit::Remote, format!("copying {from} to {to}"), again)?;
    let there = remote.list(to)?;
    match objects.iter().find(|object| !there.contains(object)) {
        None => Ok(()),
        Some(object) => Err(fault(Exit::Remote, format!("{} is incomplete in {to}", object.path), again)),
    }
}
