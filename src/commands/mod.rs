//! One file per command: what happens, in order. The mechanisms are elsewhere.

use anyhow::Result;

use args::{Args, Command};

use crate::exit::{Exit, fault};
use crate::install::plan::{Action, Plan};
use crate::install::record::Record;
use crate::install::transaction;
use crate::sys::root::Root;
use crate::sys::{privilege, terminal};

pub mod args;
mod await_member;
pub mod backup;
mod base;
mod clean;
mod doctor;
mod export;
mod guard;
mod inspect;
mod install;
mod join;
mod list;
mod look;
mod migrate;
mod prune;
mod recover;
mod rehearse;
mod report;
mod restore;
mod set_founder;
mod sources;
mod stand_by;
mod status;
mod undo;
mod uninstall;
mod verify;

/// Runs the command of a command line.
///
/// # Errors
/// Whatever the command says; [`crate::exit`] tells code and hint.
pub fn run(args: &Args) -> Result<Exit> {
    let root = Root::new(&args.root);
    if needs_root(&args.command) {
        privilege::become_root(&root)?;
    }
    match &args.command {
        Command::Install(options) => install::run(&root, options),
        Command::Uninstall(options) => uninstall::run(&root, options),
        Command::SetFounder(options) => set_founder::run(&root, options),
        Command::Backup => backup::run(&root),
        Command::Base(options) => base::run(&root, options),
        Command::Doctor => doctor::run(&root),
        Command::Status(options) => status::run(&root, options),
        Command::Restore(options) => restore::run(&root, options),
        Command::Undo(options) => undo::run(&root, options),
        Command::Recover(options) => recover::run(options),
        Command::Export(options) => export::run(&root, options),
        Command::Join(options) => join::run(&root, options),
        Command::Migrate(options) => migrate::run(&root, options),
        Command::List(options) => list::run(&root, options, args.verbose),
        Command::Sources(options) => sources::run(&root, options),
        Command::Verify(options) => verify::run(&root, options),
        Command::Rehearse(options) => rehearse::run(&root, options),
        Command::Inspect(options) => inspect::run(options),
        Command::Prune(options) => prune::run(&root, options),
        Command::Clean(options) => clean::run(&root, options),
        Command::Look(options) => look::run(&root, options),
        Command::Guard => guard::run(&root),
        Command::Report => report::run(&root),
        Command::StandBy => stand_by::run(&root),
        Command::Await(options) => await_member::run(&root, options),
    }
}

/// Whether a command may only be run by root on the running node: it reads rclone.conf, or changes something.
fn needs_root(command: &Command) -> bool {
    match command {
        // They do what they may, and say what they may not.
        Command::Status(_) | Command::Inspect(_) | Command::Look(_) => false,
        // etcd's unit runs it, as etcd's user.
        Command::Guard => false,
        // It runs on a workstation, and what it runs on the nodes becomes root there.
        Command::Recover(_) => false,
        Command::Install(_)
        | Command::Uninstall(_)
        | Command::SetFounder(_)
        | Command::Backup
        | Command::Base(_)
        | Command::Doctor
        | Command::Restore(_)
        | Command::Undo(_)
        | Command::Export(_)
        | Command::Join(_)
        | Command::Migrate(_)
        | Command::List(_)
        | Command::Sources(_)
        | Command::Verify(_)
        | Command::Rehearse(_)
        | Command::Prune(_)
        | Command::Clean(_)
        | Command::Report
        | Command::StandBy
        | Command::Await(_) => true,
    }
}

/// Two options of which one is one too many.
fn both(one: &str, other: &str) -> anyhow::Error {
    fault(Exit::Usage, format!("{one} and {other} exclude each other"), "leave one of them out")
}

/// What was installed on this node.
fn installed(root: &Root) -> Result<Record> {
    Record::load(root)?.ok_or_else(|| {
        let what = "there is no record of an installation on this node";
        fault(
            Exit::NotFound,
            what,
            "install the unpacked tarball, which also records what is already there: sudo \
             ./etcd2-backup-install",
        )
    })
}

/// Nothing that somebody edited on the node is replaced without being asked for.
fn refuse_edited(plan: &Plan, force: bool) -> Result<()> {
    let edited = plan.edited();
    if edited.is_empty() || force {
        return Ok(());
    }
    let what = format!("edited since the installation: {}", edited.join(", "));
    let hint = format!(
        "move your changes to a drop-in with another name, which the installer never touches; or add \
         --force to replace the edited files, each kept as NAME{}",
        transaction::KEPT
    );
    Err(fault(Exit::Refused, what, hint))
}

/// Says what a plan does to each file, before it is carried out or after; for a program on stdout.
fn tell(plan: &Plan, json: bool, dry_run: bool) -> Result<()> {
    if json {
        terminal::print(&plan.json());
        return Ok(());
    }
    for step in &plan.steps {
        let word = match (step.action, dry_run) {
            (Action::Create, true) => "create  ",
            (Action::Create, false) => "placed  ",
            (Action::Replace, true) => "replace ",
            (Action::Replace, false) => "replaced",
            (Action::Same, _) => "same    ",
            (Action::Remove, true) => "remove  ",
            (Action::Remove, false) => "removed ",
            (Action::Keep, _) => "kept    ",
        };
        let why = match (step.edited, step.why) {
            (true, _) => " (edited since the installation)".to_owned(),
            (false, "") => String::new(),
            (false, why) => format!(" ({why})"),
        };
        log::info!("{word} {}{why}", step.target);
    }
    let [new, replaced, same, removed] =
        [Action::Create, Action::Replace, Action::Same, Action::Remove].map(|action| plan.count(action));
    let placed = plan.steps.iter().any(|s| s.wanted.is_some());
    let removed = match (removed, placed) {
        (0, true) => String::new(),
        (n, true) => format!(", {n} removed"),
        (n, false) => format!("{n} removed"),
    };
    let counts =
        if placed { format!("{new} placed, {replaced} replaced, {same} unchanged") } else { String::new() };
    match (dry_run, placed) {
        (true, _) => log::info!("dry run: {counts}{removed}; nothing was changed"),
        (false, true) => log::info!("installed: {counts}{removed}"),
        (false, false) => log::info!("uninstalled: {removed}"),
    }
    Ok(())
}
