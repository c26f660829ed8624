//! The exchange of directories under the fence, and one that was interrupted.

use std::path::PathBuf;

use anyhow::Result;

use crate::exit::{Exit, fault};
use crate::fence;
use crate::member_dir::exchange::{self, Exchange};
use crate::paths::Root;
use crate::settings::Settings;

/// What the fence says of who put it up: the verbs that exchange directories.
pub const RESTORE: &str = "restore";
/// The other one.
pub const UNDO: &str = "restore --undo";

/// Exchanges the directories; gives where the old ones are now. Where nothing came of it, the fence is as it was before
/// (`fenced`).
///
/// # Errors
/// A rename failed.
pub fn carry_out(
    root: &Root,
    settings: &Settings,
    exchange: &Exchange,
    fenced: bool,
) -> Result<Vec<PathBuf>> {
    let mut kept = exchange.carry_out().or_else(|e| {
        if !fenced && !exchange::is_interrupted(&settings.backup_dir)? {
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
    // Behind another verb's fence the directories are not where the journal left them any more.
    let mine = fence::is_up_for(root, RESTORE)? || fence::is_up_for(root, UNDO)?;
    if !mine || !exchange::is_interrupted(&settings.backup_dir)? {
        return Ok(false);
    }
    if only_plan {
        let what = "an earlier restore was interrupted while it exchanged directories, and etcd is fenced";
        return Err(fault(Exit::Refused, what, "run restore without --plan: it takes that back first"));
    }
    exchange::take_back(&settings.backup_dir)?;
    log::info!("an earlier restore was interrupted while it exchanged directories: that was taken back");
    Ok(true)
}
