//! The new member directory, written and proven beside the old one.

use std::path::Path;

use anyhow::Result;

use super::source::Source;
use crate::etcd::rewrite::{self, Rewrite, Target};
use crate::node::member_dir::places::Places;
use crate::node::member_dir::workshop::Workshop;
use crate::node::member_dir::{exchange, owner};
use crate::settings::Settings;
use crate::sys::fs as files;
use crate::sys::room::{self, Leave};
use crate::sys::terminal::live;

/// Writes the new member directory beside the old one, reads it back, gives it to etcd's user and syncs it. The same for a
/// separate WAL directory.
///
/// # Errors
/// [`Exit::NoSpace`](crate::exit::Exit::NoSpace), or it cannot be written or is not what was planned.
pub fn build(
    settings: &Settings,
    source: &Source,
    rewrite: &Rewrite,
    member_id: u64,
    places: &Places,
) -> Result<()> {
    // etcd is down on this node.
    write_base(settings, source, rewrite, places, Leave::Nothing)?;
    finish(settings, source, rewrite, member_id, places)
}

/// Does of [`build`] what can be done before it is known whose the directory will be. It takes the longer the more the store
/// holds, while [`finish`] depends on the log alone.
///
/// # Errors
/// As [`build`].
pub fn begin(
    settings: &Settings,
    source: &Source,
    rewrite: &Rewrite,
    places: &Places,
    leave: Leave,
) -> Result<()> {
    write_base(settings, source, rewrite, places, leave)?;
    Workshop::open(&places.member)?.hand_over_only("snap", owner::ready(&settings.etcd)?)
}

fn write_base(
    settings: &Settings,
    source: &Source,
    rewrite: &Rewrite,
    places: &Places,
    leave: Leave,
) -> Result<()> {
    rewrite.last_index(&source.contents)?;
    owner::ready(&settings.etcd)?;
    exchange::clear(places)?;
    check_room(source, places, leave)?;
    let workshop = Workshop::make(&places.member)?;
    let log = places.wal.as_deref().map(Workshop::make).transpose()?;
    if let Some(log) = &log {
        // It is written where every log is, which for this time leads to another file system.
        workshop.link_log(log)?;
    }
    let staging = workshop.way();
    let step = live::step("writing the new data");
    rewrite::write_base(&source.contents, rewrite.family, &staging)?;
    step.rename("reading the new data back".to_owned());
    rewrite::prove_base(&source.contents, &staging)
}

/// Ends what [`begin`] began.
///
/// # Errors
/// As [`build`].
pub fn finish(
    settings: &Settings,
    source: &Source,
    rewrite: &Rewrite,
    member_id: u64,
    places: &Places,
) -> Result<()> {
    let owner = owner::ready(&settings.etcd)?;
    let workshop = Workshop::open(&places.member)?;
    let log = places.wal.as_deref().map(Workshop::open).transpose()?;
    if let Some(log) = &log {
        workshop.link_log(log)?;
    }
    let target = Target { member_id, path: &workshop.way() };
    let step = live::step("writing the new WAL");
    rewrite::write_log(&source.dir, &source.contents, rewrite, target)?;
    step.rename("reading the new WAL back".to_owned());
    rewrite::prove_log(&source.contents, rewrite, target)?;
    if let Some(log) = &log {
        workshop.unlink_log()?;
        log.hand_over(owner)?;
    }
    step.rename("syncing the new data".to_owned());
    workshop.hand_over(owner)
}

/// Whether [`build`] finds room. A log apart may lie on the same file system.
///
/// # Errors
/// [`Exit::NoSpace`](crate::exit::Exit::NoSpace) if not.
fn check_room(source: &Source, places: &Places, leave: Leave) -> Result<()> {
    let (base, log) = (source.contents.base_size()?, source.log_size());
    let beside = |place: &Path| files::parent(place);
    let (member, wal) = (beside(&places.member), beside(places.wal.as_ref().unwrap_or(&places.member)));
    room::check_all(&[(&member, base), (&wal, log)], leave, "the restored data")
}
