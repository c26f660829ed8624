//! The new member directory, written and proven beside the old one.

use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};

use super::source::Source;
use crate::etcd::rewrite::{self, Rewrite, Target};
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
pub fn build(
    settings: &Settings,
    source: &Source,
    rewrite: &Rewrite,
    member_id: u64,
    places: &Places,
) -> Result<()> {
    let owner = owner::ready(settings)?;
    let staging = exchange::staging(&places.member);
    exchange::clear(places)?;
    check_room(source, places)?;
    let Some(wal) = &places.wal else {
        write(source, rewrite, member_id, &staging)?;
        return files::hand_over_and_sync(&staging, Some(owner));
    };

    let wal_staging = exchange::staging(wal);
    files::create_dirs(&staging, 0o700)?;
    files::create_dirs(&wal_staging, 0o700)?;
    // It is written where every log is, which for this time leads to another file system.
    let link = staging.join("wal");
    symlink(&wal_staging, &link).with_context(|| format!("creating {}", link.display()))?;
    write(source, rewrite, member_id, &staging)?;
    files::remove_if_there(&link)?;
    files::hand_over_and_sync(&wal_staging, Some(owner))?;
    files::hand_over_and_sync(&staging, Some(owner))
}

/// Whether [`build`] finds room.
///
/// # Errors
/// [`Exit::NoSpace`] if not.
pub fn check_room(source: &Source, places: &Places) -> Result<()> {
    let (base, log) = (source.contents.base_size()?, source.log_size());
    match &places.wal {
        None => refuse_without_room(&places.member, base + log),
        Some(wal) => refuse_without_room(&places.member, base).and_then(|()| refuse_without_room(wal, log)),
    }
}

fn write(source: &Source, rewrite: &Rewrite, member_id: u64, path: &Path) -> Result<()> {
    let target = Target { member_id, path };
    rewrite::write_member_dirs(&source.dir, &source.contents, rewrite, &[target])?;
    rewrite::prove(&source.contents, rewrite, target)
}

fn refuse_without_room(place: &Path, need: u64) -> Result<()> {
    let dir = files::parent(place);
    // Of a separate log nothing may be left but the setting.
    files::create_dirs(&dir, 0o755)?;
    let free = files::free_bytes(&dir)?;
    if free >= need {
        return Ok(());
    }
    let what = format!("{} has {free} bytes free, the restored data needs {need}", dir.display());
    Err(fault(Exit::NoSpace, what, "make room; nothing was changed"))
}
