//! `uninstall`: the inverse of `install`. It takes away what the record lists and nothing else: no data, no backups.

use anyhow::Result;

use super::{args, installed, tell};
use crate::exit::{Exit, exit_of, fault};
use crate::install::plan::{Action, Plan};
use crate::install::{post_install, transaction};
use crate::node::fence;
use crate::paths::FENCE;
use crate::settings::our_units;
use crate::sys::root::Root;
use crate::sys::systemd;
use crate::sys::terminal::question::{self, Answer};

pub(super) fn run(root: &Root, options: &args::Uninstall) -> Result<Exit> {
    let _lock = if options.dry_run { None } else { Some(transaction::begin(root)?) };
    let record = match installed(root) {
        Err(e) if exit_of(&e) == Exit::NotFound && !options.dry_run => {
            transaction::remove_empty_folder(root)?;
            return Err(e);
        }
        record => record?,
    };
    refuse_in_a_recovery(root)?;
    let plan = Plan::uninstall(root, &record, options.force)?;
    if options.dry_run {
        tell(&plan, options.json, true)?;
        return Ok(Exit::Done);
    }
    if !options.yes && !is_confirmed(&plan)? {
        let hint = "nothing was removed; add --yes to uninstall without this question";
        return Err(fault(Exit::Refused, "not confirmed: stopping here", hint));
    }
    // A timer that fires now would start a program that is gone.
    let running = if root.is_live() { stop_timers()? } else { Vec::new() };
    if let Err(e) = transaction::apply(root, &plan) {
        for timer in running {
            if let Err(e) = systemd::start_no_block(timer) {
                log::warn!("{timer} was stopped and could not be started again: {e:#}");
            }
        }
        return Err(e);
    }
    tell(&plan, options.json, false)?;
    for step in plan.steps.iter().filter(|s| s.action == Action::Keep) {
        log::warn!("{} was edited and is kept; --force removes it too", step.target);
    }
    post_install::settle(root, &plan)?;
    log::info!("etcd's data, the backups, the member's identity file and the remote are untouched");
    Ok(Exit::Done)
}

/// Asks whoever sits at the terminal. A script that uninstalls knows what it does.
fn is_confirmed(plan: &Plan) -> Result<bool> {
    let removed = plan.count(Action::Remove);
    let meaning =
        format!("this removes {removed} files and stops the backups of this node; --dry-run lists them");
    Ok(question::go_on(&meaning)? != Answer::No)
}

/// Stops our timers, and gives those that ran.
fn stop_timers() -> Result<Vec<&'static str>> {
    let mut running = Vec::new();
    for timer in our_units::timers() {
        if systemd::is_active(timer)? {
            running.push(timer);
        }
    }
    running.iter().try_for_each(|timer| systemd::stop(timer)).map(|()| running)
}

fn refuse_in_a_recovery(root: &Root) -> Result<()> {
    if fence::is_up(root)? {
        let what = format!(
            "a recovery is not finished: {FENCE} keeps etcd from starting, and to finish it takes the \
             installed files"
        );
        return Err(fault(Exit::Refused, what, "finish it first: the file names the command"));
    }
    if root.is_live() {
        for service in our_units::services() {
            if systemd::is_active(service)? {
                let hint = format!("wait until it has finished, or stop it: sudo systemctl stop {service}");
                return Err(fault(Exit::Refused, format!("{service} is running"), hint));
            }
        }
    }
    Ok(())
}
