//! One file per verb: what happens, in order. The mechanisms are elsewhere.

use anyhow::Result;

use crate::cli::{self, Cli, Verb};
use crate::exit::{Exit, fault};
use crate::install::plan::{Action, Plan};
use crate::install::record::Record;
use crate::install::transaction;
use crate::sys::root::Root;

mod await_member;
pub mod backup;
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

/// Runs the verb of a command line.
///
/// # Errors
/// Whatever the verb says; [`crate::exit`] tells code and hint.
pub fn run(cli: &Cli) -> Result<Exit> {
    let root = Root::new(&cli.root);
    match &cli.verb {
        Verb::Install(options) => install::run(&root, options),
        Verb::Uninstall(options) => uninstall::run(&root, options),
        Verb::SetFounder(options) => set_founder::run(&root, options),
        Verb::Backup => backup::run(&root),
        Verb::Doctor => doctor::run(&root),
        Verb::Status(options) => status::run(&root, options),
        Verb::Restore(options) => restore::run(&root, options),
        Verb::Recover(options) => recover::run(options),
        Verb::Export(options) => export::run(&root, options),
        Verb::Join(options) => join::run(&root, options),
        Verb::Migrate(options) => migrate::run(&root, options),
        Verb::List(options) => list::run(&root, options, cli.verbose),
        Verb::Sources(options) => sources::run(&root, options),
        Verb::Verify(options) => verify::run(&root, options),
        Verb::Rehearse(options) => rehearse::run(&root, options),
        Verb::Inspect(options) => inspect::run(options),
        Verb::Prune(options) => prune::run(&root, options),
        Verb::Clean(options) => clean::run(&root, options),
        Verb::Look(options) => look::run(&root, options),
        Verb::Guard => guard::run(&root),
        Verb::Report => report::run(&root),
        Verb::StandBy => stand_by::run(&root),
        Verb::Await(options) => await_member::run(&root, options),
    }
}

/// What was installed on this node.
fn installed(root: &Root) -> Result<Record> {
    Record::load(root)?.ok_or_else(|| {
        let what = "there is no record of an installation on this node";
        fault(Exit::NotFound, what, "run etcd2-backup-install: it also records what is there already")
    })
}

/// Nothing that somebody edited on the node is replaced without being asked for.
fn refuse_edited(plan: &Plan, force: bool) -> Result<()> {
    let edited = plan.edited();
    if edited.is_empty() || force {
        return Ok(());
    }
    let what = format!("edited since they were placed: {}", edited.join(", "));
    let hint = format!(
        "put your changes into a drop-in of another name, which installing never touches; or give --force to replace \
         the edited files, each kept as NAME{}",
        transaction::KEPT
    );
    Err(fault(Exit::Refused, what, hint))
}

/// Says what a plan does to each file, before it is carried out or after; for a program on stdout.
fn tell(plan: &Plan, json: bool, dry_run: bool) -> Result<()> {
    if json {
        cli::print(&plan.json());
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
            (true, _) => " (edited since it was placed)".to_owned(),
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
        if placed { format!("{new} placed, {replaced} replaced, {same} the same") } else { String::new() };
    match (dry_run, placed) {
        (true, _) => log::info!("this would be: {counts}{removed}; nothing was changed"),
        (false, true) => log::info!("installed: {counts}{removed}"),
        (false, false) => log::info!("uninstalled: {removed}"),
    }
    Ok(())
}
