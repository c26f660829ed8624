//! `prune`: remove from the remote the generations that no rule keeps. A backup does the same after each new one.

use anyhow::Result;
use serde_json::{Value, json};

use super::args;
use crate::archive::catalog;
use crate::archive::retention::accepted::Accepted;
use crate::archive::retention::{self, Plan, Verdict, apply};
use crate::exit::{Exit, fault};
use crate::node::Node;
use crate::remote::Remote as _;
use crate::remote::rclone::Rclone;
use crate::sys::root::Root;
use crate::sys::terminal;

pub(super) fn run(root: &Root, options: &args::Prune) -> Result<Exit> {
    let settings = Node::open(root)?.settings;
    let remote = Rclone::new(&settings.remote);
    let lock = if options.dry_run { None } else { settings.try_lock()? };
    if lock.is_none() && !options.dry_run {
        let what = "a backup, restore or join is in progress";
        return Err(fault(Exit::Refused, what, "run it again when that has finished"));
    }
    let objects = remote.list(&settings.machine_id)?;
    let entries = catalog::of(&remote, &settings.machine_id, &objects)?;
    let mut accepted = Accepted::load(&settings.backup_dir, &settings.folder());
    if options.accept {
        accepted = retention::accept(&entries);
        if !options.dry_run {
            accepted.save(&settings.backup_dir, &settings.folder())?;
        }
    }
    let plan = apply::plan(&settings, (&objects, &entries), &accepted)?;
    if options.json {
        terminal::print(&json(&plan, options.dry_run));
    } else {
        terminal::tell(&text(&plan, options.dry_run));
    }
    if !plan.doubts.is_empty() {
        return Err(fault(
            Exit::Paused,
            format!("nothing is removed: {}", plan.doubts.join("; ")),
            apply::ACCEPT,
        ));
    }
    if !options.dry_run {
        apply::remove(&remote, &settings.machine_id, (&objects, &entries), &plan)?;
    }
    Ok(Exit::Done)
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
    format!("{value}\n")
}
