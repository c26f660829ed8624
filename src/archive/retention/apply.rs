//! Removing what no rule keeps.

use anyhow::Result;

use crate::archive::catalog::{self, Entry};
use crate::archive::retention::accepted::Accepted;
use crate::archive::retention::{self, Plan};
use crate::archive::verified::Verified;
use crate::exit::next_step;
use crate::remote::{Object, Remote};
use crate::settings::Settings;
use crate::sys::time;

/// What somebody types who has seen that all is as it should be.
pub const ACCEPT: &str =
    "check the data (list, restore --plan); if it is right: sudo /opt/bin/etcd2-backup prune --accept";

/// What a backup removes by itself, which must not fail for it. Its lock is held.
pub fn by_itself(settings: &Settings, remote: &dyn Remote) {
    if settings.prune
        && let Err(e) = try_by_itself(settings, remote)
    {
        log::warn!("cannot prune older generations: {e:#}");
        log::warn!("hint: {}; or set prune = false below [retention] in the site", next_step(&e));
    }
}

fn try_by_itself(settings: &Settings, remote: &dyn Remote) -> Result<()> {
    let objects = remote.list(&settings.machine_id)?;
    let entries = catalog::of(remote, &settings.machine_id, &objects)?;
    let accepted = Accepted::load(&settings.backup_dir, &settings.folder());
    let plan = plan(settings, (&objects, &entries), &accepted)?;
    for doubt in &plan.doubts {
        log::warn!("older generations are kept until you confirm: {doubt}");
    }
    if !plan.doubts.is_empty() {
        log::warn!("hint: {ACCEPT}");
    }
    remove(remote, &settings.machine_id, (&objects, &entries), &plan)
}

/// What the rules of this node keep and do not keep now of its folder, as it was listed.
///
/// # Errors
/// What was verified cannot be read, or is lost.
pub fn plan(
    settings: &Settings,
    (objects, entries): (&[Object], &[Entry]),
    accepted: &Accepted,
) -> Result<Plan> {
    let verified = Verified::load(&settings.backup_dir, &settings.folder())?;
    verified.refuse_if_lost(&settings.backup_dir)?;
    let mut plan = retention::plan(entries, &settings.keep, time::now(), accepted, &verified);
    plan.verdicts.extend(retention::abandoned(objects, entries));
    plan.verdicts.sort_by_key(|verdict| verdict.name);
    Ok(plan)
}

/// Bases first: what is interrupted leaves generations without one, which nobody can take for whole, and which the next
/// run removes.
///
/// # Errors
/// The remote does not do it.
pub fn remove(
    remote: &dyn Remote,
    folder: &str,
    (listed, entries): (&[Object], &[Entry]),
    plan: &Plan,
) -> Result<()> {
    let objects = retention::objects(listed, entries, plan);
    if objects.bases.is_empty() && objects.others.is_empty() {
        return Ok(());
    }
    remote.remove(folder, &objects.bases)?;
    remote.remove(folder, &objects.others)?;
    for verdict in plan.verdicts.iter().filter(|v| !v.keep) {
        log::info!("generation {} was removed: {}", verdict.name.number, verdict.reason);
    }
    if let Err(e) = remote.remove_empty_folders(folder) {
        log::debug!("could not remove empty directories: {e:#}");
    }
    Ok(())
}
