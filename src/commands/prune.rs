//! `prune`: remove from the remote the generations that no rule keeps. A backup does the same after each new one.

use anyhow::Result;
use serde_json::{Value, json};

use super::args;
use crate::archive::catalog::{self, Entry};
use crate::archive::retention::accepted::Accepted;
use crate::archive::retention::{self, Plan, Verdict};
use crate::archive::verified::Verified;
use crate::exit::{Exit, fault, hint_of};
use crate::paths::Root;
use crate::remote::Remote;
use crate::remote::rclone::Rclone;
use crate::settings::Settings;
use crate::sys::terminal;
use crate::sys::time;

const ACCEPT: &str =
    "look at the data (list, restore --plan); if it is as it should be: etcd2-backup prune --accept";

pub(super) fn run(root: &Root, options: &args::Prune) -> Result<Exit> {
    let settings = Settings::load(root)?;
    let remote = Rclone::new(&settings, root);
    let lock = if options.dry_run { None } else { settings.try_lock()? };
    if lock.is_none() && !options.dry_run {
        let what = "a backup, restore or join is in progress";
        return Err(fault(Exit::Refused, what, "run it again when that has ended"));
    }
    let entries = catalog::read(&remote, &settings.machine_id)?;
    let mut accepted = Accepted::load(&settings.backup_dir, &settings.folder());
    if options.accept {
        accepted = retention::accept(&entries);
        if !options.dry_run {
            accepted.save(&settings.backup_dir, &settings.folder())?;
        }
    }
    let plan = plan(&settings, &entries, &accepted)?;
    terminal::print(&if options.json { json(&plan, options.dry_run) } else { text(&plan, options.dry_run) });
    if !plan.doubts.is_empty() {
        return Err(fault(Exit::Paused, format!("nothing is removed: {}", plan.doubts.join("; ")), ACCEPT));
    }
    if !options.dry_run {
        remove(&remote, &settings.machine_id, &entries, &plan)?;
    }
    Ok(Exit::Done)
}

/// The same for a backup, which it must not fail. Its lock is held.
pub(super) fn by_itself(settings: &Settings, remote: &dyn Remote) {
    if settings.prune
        && let Err(e) = try_by_itself(settings, remote)
    {
        log::warn!("older generations cannot be removed: {e:#}");
        if let Some(hint) = hint_of(&e) {
            log::warn!("hint: {hint}; or set prune = false below [retention] in the site");
        }
    }
}

fn try_by_itself(settings: &Settings, remote: &dyn Remote) -> Result<()> {
    let entries = catalog::read(remote, &settings.machine_id)?;
    let accepted = Accepted::load(&settings.backup_dir, &settings.folder());
    let plan = plan(settings, &entries, &accepted)?;
    for doubt in &plan.doubts {
        log::warn!("older generations stay until somebody has looked: {doubt}");
    }
    if !plan.doubts.is_empty() {
        log::warn!("hint: {ACCEPT}");
    }
    remove(remote, &settings.machine_id, &entries, &plan)
}

fn plan(settings: &Settings, entries: &[Entry], accepted: &Accepted) -> Result<Plan> {
    let verified = Verified::load(&settings.backup_dir, &settings.folder())?;
    verified.refuse_if_lost(&settings.backup_dir)?;
    Ok(retention::plan(entries, &settings.keep, time::now(), accepted, &verified))
}

/// Bases first: what is interrupted leaves generations without one, which nobody can take for whole, and which the next
/// run removes.
fn remove(remote: &dyn Remote, folder: &str, entries: &[Entry], plan: &Plan) -> Result<()> {
    let objects = retention::objects(entries, plan);
    if objects.bases.is_empty() && objects.others.is_empty() {
        return Ok(());
    }
    remote.remove(folder, &objects.bases)?;
    remote.remove(folder, &objects.others)?;
    for verdict in plan.verdicts.iter().filter(|v| !v.keep) {
        log::info!("generation {} was removed: {}", verdict.name.number, verdict.reason);
    }
    if let Err(e) = remote.remove_empty_folders(folder) {
        log::debug!("empty folders are left: {e:#}");
    }
    Ok(())
}

fn text(plan: &Plan, dry_run: bool) -> String {
    let paused = !plan.doubts.is_empty();
    let line = |verdict: &Verdict| {
        let word = match (verdict.keep, dry_run || paused) {
            (true, _) => "keep  ",
            (false, true) => "would remove",
            (false, false) => "remove",
        };
        format!("{word}  {}  {}\n", verdict.name, verdict.reason)
    };
    plan.verdicts.iter().map(line).collect()
}

fn json(plan: &Plan, dry_run: bool) -> String {
    let one = |verdict: &Verdict| -> Value {
        json!({
            "generation": verdict.name.number,
            "name": verdict.name.to_string(),
            "keep": verdict.keep,
            "reason": verdict.reason,
        })
    };
    let generations: Vec<Value> = plan.verdicts.iter().map(one).collect();
    let value = json!({
        "format": 1, "dry_run": dry_run, "paused": plan.doubts, "generations": generations,
    });
    format!("{value:#}\n")
}
