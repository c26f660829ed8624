//! `install`: check everything, then make the node what the unpacked tarball says, or leave it as it was.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{args, refuse_edited, tell};
use crate::exit::{Exit, OrFault, fault};
use crate::install::payload::{self, Payload};
use crate::install::plan::{Action, Plan};
use crate::install::record::{Entry, Record};
use crate::install::{needs, post_install, transaction};
use crate::node::fence;
use crate::paths::FENCE;
use crate::remote::version;
use crate::settings::our_units::{DOCTOR, TIMER};
use crate::sys::root::Root;
use crate::sys::terminal::table::count;
use crate::sys::{fs, look, systemd, terminal};

/// What the tarball is called, and its checksum.
const TARBALL: [&str; 2] = ["etcd2-backup.tgz", "etcd2-backup.tgz.sha256"];

/// Somebody waits for the end of the installation.
const DOCTOR_LIMIT: Duration = Duration::from_secs(30);

pub(super) fn run(root: &Root, options: &args::Install) -> Result<Exit> {
    if options.check {
        return check(root, options.json);
    }
    if !look::is_dir(&root.join("/"))? {
        let what = format!("{} is not a directory", root.join("/").display());
        return Err(fault(
            Exit::NotFound,
            what,
            "name an existing directory tree to install into with --root",
        ));
    }
    if options.enable_timer && !root.is_live() {
        let what = "--enable-timer needs the running system, but this is a directory tree";
        let hint = format!("leave it out; on the node: sudo systemctl enable --now {TIMER}");
        return Err(fault(Exit::Refused, what, hint));
    }
    let from = folder(options)?;
    let payload = Payload::verify(&from)?;
    refuse_what_misses_something(root, &payload, options.force)?;
    check_rclone(root, &payload)?;
    let lock = if options.dry_run { None } else { Some(transaction::begin(root)?) };
    if transaction::is_interrupted(root)? {
        let what = "an installation was interrupted here and left a mix of old and new files";
        return Err(fault(Exit::Refused, what, "install without --dry-run: it rolls that back first"));
    }
    let plan = Plan::install(root, &payload, &Record::load(root)?.unwrap_or_default())?;
    refuse_behind_the_fence(root, &plan)?;
    if options.dry_run {
        tell(&plan, options.json, true)?;
        return refuse_edited(&plan, options.force).map(|()| Exit::Done);
    }
    refuse_edited(&plan, options.force)?;
    transaction::apply(root, &plan)?;
    tell(&plan, options.json, false)?;
    for target in plan.edited() {
        log::warn!("{target} was edited: the edited version is now {target}{}", transaction::KEPT);
    }
    post_install::settle(root, &plan)?;
    drop(lock);
    if options.enable_timer {
        systemd::enable_now(TIMER).or_fault(
            Exit::Failed,
            "everything is installed, but the timer was not enabled and started",
            format!("run: sudo systemctl enable --now {TIMER}"),
        )?;
        log::info!("{TIMER} is enabled and started");
        try_what_a_backup_needs();
    } else if root.is_live() && systemd::is_active(TIMER)? {
        // One that an older version placed does not know yet what it wants.
        systemd::start_no_block(TIMER)?;
        try_what_a_backup_needs();
    }
    super::look::before(root);
    if plan.record.files.iter().any(Entry::is_founders) {
        log::info!(
            "keeping the founding member that set-founder chose; to go back to the tarball's: sudo \
             /opt/bin/etcd2-backup set-founder --reset"
        );
    }
    tell_next(root, &from, payload.etcd_unit(), options);
    if options.remove_source {
        remove_source(&payload, &from)?;
    }
    Ok(Exit::Done)
}

/// Refuses a node on which this cannot work, with all that it misses, unless `force` is given.
fn refuse_what_misses_something(root: &Root, payload: &Payload, force: bool) -> Result<()> {
    let missing = needs::missing(root, payload.runner())?;
    for each in &missing {
        if force {
            log::warn!("{}: installing anyway because of --force", each.what);
        } else if missing.len() > 1 {
            log::error!("{}", each.what);
            log::info!("hint: {}", each.hint);
        }
    }
    match missing.as_slice() {
        [] => Ok(()),
        _ if force => Ok(()),
        [one] => {
            let hint = format!("{}; to install anyway, add --force", one.hint);
            Err(fault(Exit::Refused, one.what.clone(), hint))
        }
        all => {
            let what = format!("nothing was installed, for these {} reasons", all.len());
            Err(fault(Exit::Refused, what, "do what each hint says; to install anyway, add --force"))
        }
    }
}

/// What is installed stays so, whatever is found.
fn try_what_a_backup_needs() {
    match systemd::start(DOCTOR, DOCTOR_LIMIT) {
        Ok(()) => {
            log::info!("{DOCTOR}: everything that a backup needs is there; details: journalctl -u {DOCTOR}");
        }
        Err(e) => {
            log::warn!("everything is installed, but backups may fail: {e:#}");
            log::warn!(
                "hint: journalctl -u {DOCTOR} shows what was found; to check again: sudo systemctl start \
                 {DOCTOR}"
            );
        }
    }
}

/// Refuses an rclone that is too old or does not run here, where that can be told: a container is asked at its first run.
fn check_rclone(root: &Root, payload: &Payload) -> Result<()> {
    let program = match payload.runner() {
        "bundled" => payload.path(payload::RCLONE),
        "host" => PathBuf::from("rclone"),
        _ => return Ok(()),
    };
    // What is installed into a tree runs elsewhere.
    if !root.is_live() {
        return Ok(());
    }
    // Where it does not say, that was told, and it is to be installed all the same.
    if let Some(said) = version::ask(&program)? {
        log::info!("rclone {said} (runner {})", payload.runner());
    }
    Ok(())
}

/// The folder the tarball was unpacked to: where this program lies, if nothing else is said.
fn folder(options: &args::Install) -> Result<PathBuf> {
    let from = match &options.from {
        Some(from) => from.clone(),
        None => fs::parent(&std::env::current_exe().context("looking up the path of this program")?),
    };
    std::path::absolute(&from).with_context(|| format!("looking up {}", from.display()))
}

/// With another unit of etcd's, the fence moves there: while it is up, nothing would stop the old one.
fn refuse_behind_the_fence(root: &Root, plan: &Plan) -> Result<()> {
    let moves =
        |s: &crate::install::plan::Step| s.action == Action::Remove && s.target.ends_with(payload::FENCE);
    if fence::is_up(root)? && plan.steps.iter().any(moves) {
        let what = format!("{FENCE} was written for another etcd unit than the one in these settings");
        return Err(fault(Exit::Refused, what, "finish the recovery first: the file names the command"));
    }
    Ok(())
}

/// Compares the node with what was placed on it.
fn check(root: &Root, json: bool) -> Result<Exit> {
    let again = "install again: this restores missing files and reports edited ones";
    let record = super::installed(root)?;
    if transaction::is_interrupted(root)? {
        return Err(fault(Exit::Corrupt, "an installation was interrupted here", again));
    }
    let differences = record.differences(root)?;
    if json {
        terminal::print(&record.checked_json(&differences));
    }
    if differences.is_empty() {
        let (program, commit) = (&record.program, &record.commit);
        let files = count(record.files.len(), "file is", "files are");
        log::info!("{files} as etcd2-backup {program} (commit {commit}) installed them");
        return Ok(Exit::Done);
    }
    let all: Vec<String> = differences.iter().map(|d| format!("{} {}", d.target, d.problem)).collect();
    Err(fault(Exit::Corrupt, format!("changed since the installation: {}", all.join(", ")), again))
}

/// Removes the unpacked files, the tarball beside them, and their folder if nothing else is in it.
fn remove_source(payload: &Payload, from: &Path) -> Result<()> {
    let remove = || -> Result<()> {
        for file in payload.files().chain(TARBALL.map(|name| from.join(name))) {
            fs::remove_if_there(&file)?;
        }
        fs::sync_dir(from)?;
        // Others of the operator's may be in it.
        let _ = std::fs::remove_dir(from);
        Ok(())
    };
    remove().or_fault(
        Exit::Failed,
        "everything is installed, but the unpacked files could not be removed",
        format!("they hold secrets: remove {}", from.display()),
    )?;
    log::info!("removed the unpacked files in {}", from.display());
    Ok(())
}

fn tell_next(root: &Root, from: &Path, etcd_unit: &str, options: &args::Install) {
    // What could not be asked is told to be done: it does no harm where it is.
    let left = post_install::left_for_timer(root).unwrap_or_else(|_| vec!["enable", "start"]);
    let unread = "systemd was not reloaded, since this is not the running system";
    match (root.is_live(), left.is_empty()) {
        (true, true) if options.enable_timer => {}
        (true, true) => log::info!("{TIMER} is enabled and runs, as before"),
        (true, false) => log::info!("next, to enable backups on this node:"),
        (false, true) => log::info!("{unread}; {TIMER} is enabled, as before"),
        (false, false) => log::info!("{unread}; on the node, to enable backups:"),
    }
    left.iter().for_each(|verb| log::info!("  sudo systemctl {verb} {TIMER}"));
    log::info!("to recover a cluster that lost its quorum, with {etcd_unit} stopped on all nodes:");
    log::info!("  sudo systemctl start etcd2-restore.service && sudo systemctl start {etcd_unit}");
    log::info!(
        "    on the founding member; then on the others, one at a time (this starts {etcd_unit} too):"
    );
    log::info!("  sudo systemctl start etcd2-join.service");
    if options.remove_source {
        return;
    }
    log::info!(
        "the unpacked files and the tarball contain the rclone secrets; once you no longer need them:"
    );
    let secret = [payload::RCLONE_CONF, TARBALL[0]].map(|name| from.join(name));
    let secret: Vec<String> = secret
        .iter()
        .filter(|p| look::is_there(p).unwrap_or(true))
        .map(|p| p.display().to_string())
        .collect();
    log::info!("  rm {}", secret.join(" "));
}
