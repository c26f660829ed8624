//! The exchange of directories under the fence, and one that was interrupted.

use std::path::PathBuf;

use anyhow::Result;

use super::guards;
use crate::etcd::in_use::Trace;
use crate::exit::{Exit, fault};
use crate::node::fence;
use crate::node::member_dir::exchange::{self, Exchange};
use crate::settings::Settings;
use crate::sys::root::Root;

/// What the fence says of who put it up: the verbs that exchange directories.
pub const RESTORE: &str = "restore";
/// The other one.
pub const UNDO: &str = "undo";
/// What it was called until it became a command of its own; a node may have been fenced by a program of then.
const UNDO_BEFORE: &str = "restore --undo";

/// Puts the fence up for `who` and exchanges the directories behind it; gives where the old ones are now. Where nothing came of
/// it, the fence is as it was before. `before` is what etcd's log looked like when it was seen not to run.
///
/// # Errors
/// [`Exit::Refused`] if etcd was started since; or a rename failed.
pub fn carry_out(
    root: &Root,
    settings: &Settings,
    exchange: &Exchange,
    (who, before): (&str, &Trace),
) -> Result<Vec<PathBuf>> {
    let fenced = fence::is_up(root)?;
    guards::fence_off(root, settings, who, before).or_else(|e| exchange.forget().and(Err(e)))?;
    let exchanged = exchange.carry_out(|old_log| guards::refuse_if_old_log_is_held(settings, old_log));
    let mut kept = exchanged.or_else(|e| {
        if !fenced && !exchange::is_interrupted(&settings.backup_dir)? {
            fence::lower(root)?;
        }
        Err(e.context("exchanging the directories"))
    })?;
    kept.extend(exchange.set_others_aside()?);
    Ok(kept)
}

/// Whether it is an undo that keeps etcd from starting.
///
/// # Errors
/// It could not be asked.
pub fn is_fenced_by_undo(root: &Root) -> Result<bool> {
    Ok(fence::is_up_for(root, UNDO)? || fence::is_up_for(root, UNDO_BEFORE)?)
}

/// Takes an exchange that was interrupted back, and says whether there was one: nothing may be read of directories of which
/// one is old and one is new.
///
/// # Errors
/// [`Exit::Refused`] where nothing may be changed (`only_plan`); it could not be asked, or cannot be taken back.
pub fn take_back(root: &Root, settings: &Settings, only_plan: bool) -> Result<bool> {
    // Behind another verb's fence the directories are not where the journal left them any more.
    let mine = fence::is_up_for(root, RESTORE)? || is_fenced_by_undo(root)?;
    if !mine || !exchange::is_interrupted(&settings.backup_dir)? {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undo_is_known_by_its_fence_of_any_version() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        for (who, expected) in [("undo", true), ("restore --undo", true), ("restore", false), ("join", false)]
        {
            fence::raise(&root, who).unwrap();
            assert_eq!(is_fenced_by_undo(&root).unwrap(), expected, "{who}");
        }
    }
}
