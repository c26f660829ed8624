//! The new member directory, written and proven beside the old one.

use anyhow::Result;

use super::plan::Plan;
use super::source::Source;
use crate::etcd::rewrite::{self, Target};
use crate::exit::{Exit, fault};
use crate::member_dir::{exchange, owner};
use crate::settings::Settings;
use crate::sys::fs as files;

/// Writes the new member directory beside the old one, reads it back, gives it to etcd's user and syncs it.
///
/// # Errors
/// [`Exit::NoSpace`], or it cannot be written or is not what was planned.
pub fn build(settings: &Settings, source: &Source, plan: &Plan) -> Result<()> {
    let data_dir = &settings.data_dir;
    let owner = owner::ready(settings)?;
    let need = source.contents.base_size()? + source.contents.tail.extents.iter().map(|e| e.to).sum::<u64>();
    let free = files::free_bytes(data_dir)?;
    if free < need {
        let what = format!("{} has {free} bytes free, the restored data needs {need}", data_dir.display());
        return Err(fault(Exit::NoSpace, what, "make room; nothing was changed"));
    }
    let staging = exchange::staging(data_dir);
    files::remove_dir_if_there(&staging)?;
    let target = Target { member_id: plan.own.id, path: &staging };
    rewrite::write_member_dirs(&source.dir, &source.contents, &plan.rewrite, &[target])?;
    rewrite::prove(&source.contents, &plan.rewrite, target)?;
    files::hand_over_and_sync(&staging, Some(owner))
}
