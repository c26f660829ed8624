//! The new member directory, written and proven beside the old one.

use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};

use super::plan::Plan;
use super::source::Source;
use crate::etcd::rewrite::{self, Target};
use crate::exit::{Exit, fault};
use crate::member_dir::places::Places;
use crate::member_dir::{exchange, owner};
use crate::settings::Settings;
use crate::sys::fs as files;

/// Writes the new member directory beside the old one, reads it back, gives it to etcd's user and syncs it. The same for a
/// separate WAL directory.
///
/// # Errors
/// [`Exit::NoSpace`], or it cannot be written or is not what was planned.
pub fn build(settings: &Settings, source: &Source, plan: &Plan, places: &Places) -> Result<()> {
    let owner = owner::ready(settings)?;
    let (base, log) = (source.contents.base_size()?, source.log_size());
    let staging = exchange::staging(&places.member);
    exchange::clear(places)?;
    let Some(wal) = &places.wal else {
        refuse_without_room(&staging, base + log)?;
        write(source, plan, &staging)?;
        return files::hand_over_and_sync(&staging, Some(owner));
    };

    let wal_staging = exchange::staging(wal);
    refuse_without_room(&staging, base)?;
    refuse_without_room(&wal_staging, log)?;
    files::create_dirs(&staging, 0o700)?;
    files::create_dirs(&wal_staging, 0o700)?;
    // It is written where every log is, which for this time leads to another file system.
    let link = staging.join("wal");
    symlink(&wal_staging, &link).with_context(|| format!("creating {}", link.display()))?;
    write(source, plan, &staging)?;
    files::remove_if_there(&link)?;
    files::hand_over_and_sync(&wal_staging, Some(owner))?;
    files::hand_over_and_sync(&staging, Some(owner))
}

fn write(source: &Source, plan: &Plan, path: &Path) -> Result<()> {
    let target = Target { member_id: plan.own.id, path };
    rewrite::write_member_dirs(&source.dir, &source.contents, &plan.rewrite, &[target])?;
    rewrite::prove(&source.contents, &plan.rewrite, target)
}

fn refuse_without_room(staging: &Path, need: u64) -> Result<()> {
    let dir = files::parent(staging);
    let free = files::free_bytes(&dir)?;
    if free >= need {
        return Ok(());
    }
    let what = format!("{} has {free} bytes free, the restored data needs {need}", dir.display());
    Err(fault(Exit::NoSpace, what, "make room; nothing was changed"))
}
