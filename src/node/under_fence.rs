//! The exchange of directories under the fence, and one that was interrupted.

use std::path::PathBuf;

use anyhow::Result;

use super::fence::{self, By, Fence};
use super::guards;
use super::member_dir::exchange::{self, Exchange};
use crate::etcd::in_use::Trace;
use crate::exit::{Exit, fault};
use crate::settings::Settings;
use crate::sys::root::Root;

/// Puts the fence up for `by` and exchanges the directories behind it; gives where the old ones are now. Where nothing came of
/// it, the fence is as it was before. `before` is what etcd's log looked like when it was seen not to run.
///
/// # Errors
/// [`Exit::Refused`] if etcd was started since; or a rename failed.
pub fn carry_out(
    root: &Root,
    settings: &Settings,
    exchange: &Exchange,
    (by, before): (By, &Trace),
) -> Result<Vec<PathBuf>> {
    let fenced = guards::fence_off(root, settings, by, before);
    let fence = fenced.or_else(|e| exchange.forget().and(Err(e)))?;
    let exchanged = exchange.carry_out(|old_log| guards::refuse_if_old_log_is_held(settings, old_log));
    let mut kept = exchanged.or_else(|e| {
        if !fence.is_up() && !exchange::is_interrupted(&settings.backup_dir)? {
            fence::lower(root)?;
        }
        Err(e.context("exchanging the directories"))
    })?;
    kept.extend(exchange.set_others_aside()?);
    Ok(kept)
}

/// Takes an exchange that was interrupted back, and says whether there was one: nothing may be read of directories of which
/// one is old and one is new.
///
/// # Errors
/// [`Exit::Refused`] where nothing may be changed (`only_plan`); it could not be asked, or cannot be taken back.
pub fn take_back(root: &Root, settings: &Settings, only_plan: bool) -> Result<bool> {
    match Fence::read(root)? {
        Fence::UpBy(By::Restore | By::Undo) => {}
        // Behind another command's fence the directories are not where the journal left them any more.
        Fence::Down | Fence::UpBy(By::Join | By::Recover) | Fence::UpByAnother => return Ok(false),
    }
    if !exchange::is_interrupted(&settings.backup_dir)? {
        return Ok(false);
    }
    if only_plan {
        let what = "an earlier restore was interrupted while it exchanged directories, and etcd is fenced";
        return Err(fault(Exit::Refused, what, "run restore without --plan: it rolls that back first"));
    }
    exchange::take_back(&settings.backup_dir)?;
    log::info!("an earlier restore was interrupted while it exchanged directories: that was rolled back");
    Ok(true)
}
