//! The command line: the commands, their options and what values these take. All of clap is here.
//!
//! A new command is a variant of [`Command`], a struct if it has options, and a file in `commands/`. The help, the man pages
//! and the completions are made of the doc comments.
#![allow(missing_docs, reason = "a command is documented where the list of them is, in `Command`")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser};

mod refused;
#[cfg(test)]
mod tests;
mod values;

use crate::etcd::datadir::Family;
use crate::inspect::entries::IndexRange;
use crate::settings::names::MachineId;
use crate::settings::source::Choice;
pub use values::InitialCluster;
use values::{duration, family, machine_id, moment, number, share, source, ssh, token};

/// Back up etcd (v2 and v3) to any rclone remote, and bring a dead cluster back
#[derive(Debug, PartialEq, Eq, Parser)]
#[command(
    name = "etcd2-backup",
    bin_name = "etcd2-backup",
    version,
    propagate_version = true,
    no_binary_name = true,
    subcommand_required = true,
    arg_required_else_help = false,
    term_width = 80
)]
pub struct Args {
    /// Work on the directory tree DIR instead of the running node; systemd is not asked
    #[arg(long, value_name = "DIR", default_value = "/", global = true, display_order = 100)]
    pub root: PathBuf,
    /// Log more
    #[arg(short, long, global = true, display_order = 100)]
    pub verbose: bool,
    #[command(subcommand)]
    pub command: Command,
}

/// One command, one file in `commands/`; in the order of the help.
#[derive(Debug, PartialEq, Eq, clap::Subcommand)]
pub enum Command {
    /// Install the unpacked tarball on this node
    Install(Install),
    /// Remove what was installed; the data stays
    Uninstall(Uninstall),
    /// Set the founding member on this node
    SetFounder(SetFounder),
    /// Send what changed since the last backup to the remote
    Backup,
    /// Bring a new base of the v3 store to the remote, if it is due
    Base(Base),
    /// Check what a backup needs: remote, log, founder, clock, disk
    Doctor,
    /// Show what would be lost if this node's disk died now, and why
    Status(Status),
    /// Restore this node as the founding member of a new cluster
    Restore(Restore),
    /// Put back the data that the last restore moved aside
    Undo(Undo),
    /// Join this node to the cluster of the founding member
    Join(Join),
    /// Recover the whole cluster, from this machine, by ssh
    Recover(Recover),
    /// Copy another machine's backup to this machine's directory
    Migrate(Migrate),
    /// Show the restore points in the remote
    List(List),
    /// Find the freshest data, on this disk and in the remote
    Sources(Sources),
    /// Read the archive back, and check that it can be restored
    Verify(Verify),
    /// Restore the newest backup beside the data, start etcd, compare
    Rehearse(Rehearse),
    /// Show what a data directory, an archive or a file of them holds
    Inspect(Inspect),
    /// Remove the generations that no rule keeps from the remote
    Prune(Prune),
    /// List or remove the old data that restores and joins kept
    Clean(Clean),
    /// Write what a recovery took from this node's disk to stdout (run by recover)
    #[command(hide = true)]
    Export(Export),
    /// Note which log the running etcd has open (run by etcd2-backup.service)
    #[command(hide = true)]
    Look(Look),
    /// Refuse to start etcd on an empty data directory (run by etcd's unit)
    #[command(hide = true)]
    Guard,
    /// Print what this node has, as JSON (run by recover)
    #[command(hide = true)]
    Report,
    /// Stop etcd and the backups, and fence etcd (run by recover)
    #[command(hide = true)]
    StandBy,
    /// Wait until this member serves (run by recover)
    #[command(hide = true)]
    Await(Await),
}

#[derive(Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Base {
    /// Also if none is due
    #[arg(long)]
    pub now: bool,
}

#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Install {
    /// Only compare the node with what was installed: every checksum, mode and owner
    #[arg(long)]
    pub check: bool,
    /// Only show what would be done to which file
    #[arg(long)]
    pub dry_run: bool,
    /// Enable and start etcd2-backup.timer too
    #[arg(long)]
    pub enable_timer: bool,
    /// Install on any system, whatever it lacks; replace files that were edited since they were placed, each kept as
    /// NAME.edited
    #[arg(long)]
    pub force: bool,
    /// The directory the tarball was unpacked to [default: where this program is]
    #[arg(long, value_name = "DIR")]
    pub from: Option<PathBuf>,
    /// Print what is done or found as JSON
    #[arg(long)]
    pub json: bool,
    /// Remove the unpacked files and the tarball afterwards: they hold secrets
    #[arg(long)]
    pub remove_source: bool,
}

#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Uninstall {
    /// Only show what would be done to which file
    #[arg(long)]
    pub dry_run: bool,
    /// Also remove files that were edited since they were placed
    #[arg(long)]
    pub force: bool,
    /// Print what is done as JSON
    #[arg(long)]
    pub json: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct SetFounder {
    /// The founding member's advertised peer URLs
    #[arg(value_name = "URL")]
    pub urls: Vec<String>,
    /// Go back to the founding member of the tarball
    #[arg(long)]
    pub reset: bool,
}

#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Status {
    /// With --all: every node of the cluster, as ssh knows it: core@e1
    #[arg(value_name = "NODE")]
    pub nodes: Vec<String>,
    /// Ask all these nodes by ssh, and print one line for each
    #[arg(long)]
    pub all: bool,
    /// With --all: the command that reaches a node, with its arguments
    #[arg(long, value_name = "COMMAND", default_value = "ssh", value_parser = ssh)]
    pub ssh: String,
    /// Warn about writes older than this that are not in the remote
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub max_age: Duration,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Restore {
    /// Where the data comes from [default: ETCD2_BACKUP_SOURCE, else archive]
    #[arg(long, value_parser = source())]
    pub source: Option<Choice>,
    /// Restore this generation instead of the newest
    #[arg(long, value_name = "N", value_parser = number)]
    pub generation: Option<u64>,
    /// Restore the state at this time: 2026-11-22T13:09:13Z, '2026-11-22 13:09:13' (UTC too), or -10min
    // In nanoseconds since 1970.
    #[arg(long, value_name = "MOMENT", allow_hyphen_values = true, value_parser = moment)]
    pub at: Option<u64>,
    /// Restore the state at this index of the Raft log
    #[arg(long, value_name = "N", value_parser = number)]
    pub raft_index: Option<u64>,
    /// Restore from another machine's backup
    #[arg(long, value_name = "MACHINE_ID", value_parser = machine_id)]
    pub from: Option<MachineId>,
    /// Take the newest intact restore point if the newest one is corrupt
    #[arg(long)]
    pub accept_older: bool,
    /// Copy a cluster that lives elsewhere and keeps running there
    #[arg(long)]
    pub clone: bool,
    /// Restore even if this node is not the founding member
    #[arg(long)]
    pub as_founder: bool,
    /// Restore even if this node is not the founding member, its cluster answers, its clock is slow, or etcd last
    /// ran with its data elsewhere
    #[arg(long)]
    pub force: bool,
    /// Show what would be restored, and change nothing
    #[arg(long)]
    pub plan: bool,
    /// Write for this major version of etcd [default: that of the source]
    #[arg(long, value_name = "MAJOR", value_parser = family())]
    pub for_etcd: Option<Family>,
    /// Move the revision of the v3 store beyond every one that a client can have seen, and compact there [default where
    /// the keys are Kubernetes's]
    #[arg(long, conflicts_with = "no_bump")]
    pub bump: bool,
    /// Keep the revision of the v3 store: clients that watch may miss changes
    #[arg(long)]
    pub no_bump: bool,
    /// Print the recovery record (with --plan: what it would say)
    #[arg(long)]
    pub json: bool,
    /// With --plan --json: print what would refuse it apart from the record, and not to people (run by recover)
    #[arg(long, hide = true)]
    pub refusals: bool,
    /// Make a new cluster of all these members, NAME=URL,NAME=URL; the others restore with --recovery
    #[arg(long, value_name = "LIST", hide = true)]
    pub initial_cluster: Option<InitialCluster>,
    /// Take part in a recovery that the founding member began with --initial-cluster; without TOKEN, in the only one
    #[arg(long, value_name = "TOKEN", hide = true, num_args = 0..=1, default_missing_value = "", value_parser = token)]
    pub recovery: Option<String>,
    /// The same, with its record from a file
    #[arg(long, value_name = "FILE", hide = true)]
    pub recovery_file: Option<PathBuf>,
    /// Its data is in this file, which export wrote, and not in the remote
    #[arg(long, value_name = "FILE", hide = true)]
    pub source_file: Option<PathBuf>,
    /// The old name of the command undo, for existing scripts
    #[arg(long, hide = true)]
    pub undo: bool,
}

#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Undo {
    /// Undo even if this node is not the founding member or its cluster answers
    #[arg(long)]
    pub force: bool,
    /// Show what would be put back and what given up, and change nothing
    #[arg(long)]
    pub plan: bool,
}

#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Join {
    /// Join even if etcd last ran with its data elsewhere
    #[arg(long)]
    pub force: bool,
    /// Prepare everything, but do not start etcd; run join again to watch it catch up
    #[arg(long)]
    pub no_start: bool,
    /// Start with an empty data directory: the leader sends everything, and nothing is downloaded from the remote
    #[arg(long)]
    pub plain: bool,
    /// Give up when the member has not caught up after this time
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub wait: Duration,
}

#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Recover {
    /// Every node of the cluster, as ssh knows it: core@e1
    #[arg(value_name = "NODE")]
    pub nodes: Vec<String>,
    /// Only show what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    pub yes: bool,
    /// The node that makes the new cluster [default: the one with the freshest data]
    #[arg(long, value_name = "NODE")]
    pub founder: Option<String>,
    /// Use only the disk or the backup of this node
    #[arg(long, value_name = "NODE")]
    pub source: Option<String>,
    /// Take the whole cluster back to this moment: 2026-11-22T13:09:13Z, or -10min
    // In nanoseconds since 1970.
    #[arg(long, value_name = "MOMENT", allow_hyphen_values = true, value_parser = moment)]
    pub at: Option<u64>,
    /// Take the whole cluster back to the state right after this log entry
    #[arg(long, value_name = "N", value_parser = number)]
    pub raft_index: Option<u64>,
    /// Take this generation of the machine's backup
    #[arg(long, value_name = "N", value_parser = number)]
    pub generation: Option<u64>,
    /// Take the backup of this machine
    #[arg(long, value_name = "MACHINE_ID", value_parser = machine_id)]
    pub from: Option<MachineId>,
    /// Restore the founding member, then join the others one after the other
    #[arg(long)]
    pub one_by_one: bool,
    /// Move the v3 store's revision beyond all that clients have seen [default where the keys are Kubernetes's]
    #[arg(long, conflicts_with = "no_bump")]
    pub bump: bool,
    /// Keep the v3 store's revision
    #[arg(long)]
    pub no_bump: bool,
    /// The command that reaches a node, with its arguments
    #[arg(long, value_name = "COMMAND", default_value = "ssh", value_parser = ssh)]
    pub ssh: String,
    /// Give up when a member does not serve after this time
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub wait: Duration,
}

#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Migrate {
    /// The machine whose backup is copied
    #[arg(value_name = "MACHINE_ID", value_parser = machine_id)]
    pub from: MachineId,
    /// Only show what would be copied
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct List {
    /// List every machine that backs up to the endpoint
    #[arg(long)]
    pub all: bool,
    /// List another machine
    #[arg(long, value_name = "MACHINE_ID", value_parser = machine_id)]
    pub from: Option<MachineId>,
    /// Show each restore point, not only the newest of each generation
    #[arg(long)]
    pub points: bool,
    /// Print JSON, always with each restore point
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Sources {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Verify {
    /// Verify the archive of another machine
    #[arg(long, value_name = "MACHINE_ID", value_parser = machine_id)]
    pub from: Option<MachineId>,
    /// Verify only this generation
    #[arg(long, value_name = "N", value_parser = number)]
    pub generation: Option<u64>,
    /// Verify only the newest generation
    #[arg(long)]
    pub newest: bool,
    /// Verify only the next of N shares: N runs in a row read every byte
    // The N.
    #[arg(long, value_name = "1/N", value_parser = share)]
    pub share: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Rehearse {
    /// Where the data comes from; local only while etcd is stopped, if it has data in the v3 store [default: archive]
    #[arg(long, value_parser = source())]
    pub source: Option<Choice>,
    /// etcd's program [default: that of etcd's unit]
    #[arg(long, value_name = "PATH")]
    pub etcd: Option<PathBuf>,
    /// Give up when etcd is not healthy after this time
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration)]
    pub wait: Duration,
    /// Rehearse even if etcd last ran with its data elsewhere
    #[arg(long)]
    pub force: bool,
    /// For the timer: where no rehearsal can run, record why and succeed
    #[arg(long)]
    pub scheduled: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Inspect {
    /// A data directory, a machine's directory of the archive, or a .wal, .snap, .part or .db file
    pub path: PathBuf,
    /// Where the log is, if not in the data directory
    #[arg(long, value_name = "DIR")]
    pub wal_dir: Option<PathBuf>,
    /// Print JSON; one line for each entry or key
    #[arg(long)]
    pub json: bool,
    /// List the log's entries instead: all, or those of these indexes
    // What follows may be the path: see `joined`.
    #[arg(long, value_name = "FROM..TO", num_args = 0..=1, require_equals = true, default_missing_value = "0..")]
    pub entries: Option<IndexRange>,
    /// List the keys of the snapshot and of the v3 store instead
    #[arg(long)]
    pub keys: bool,
    /// In these lists, show values of the v3 store too; those of the v2 store are always shown
    #[arg(long)]
    pub values: bool,
}

#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Prune {
    /// Confirm an unexpected cluster or a shrunken store; until then nothing is pruned
    #[arg(long)]
    pub accept: bool,
    /// Only show what would be removed, and why the rest stays
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Clean {
    /// Only what is older than this, like 30d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub older_than: Option<Duration>,
    /// Remove what is listed
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Export {
    /// The recovery record, as restore --json prints it
    #[arg(long, value_name = "FILE")]
    pub recovery_file: Option<PathBuf>,
}

#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Look {
    /// Only note it
    #[arg(long)]
    pub quiet: bool,
}

#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Await {
    /// The cluster's ID, decimal
    #[arg(long, value_name = "ID", default_value = "0", hide_default_value = true, value_parser = number)]
    pub cluster: u64,
    /// What it must have applied
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true, value_parser = number)]
    pub index: u64,
    /// Give up after this time
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub wait: Duration,
}

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// To run a command.
    Run(Args),
    /// To print this text.
    Help(String),
    /// To print [`version`].
    Version,
}

/// Parses the arguments after the program's name.
///
/// # Errors
/// [`crate::exit::Exit::Usage`]: what is unknown, repeated, missing or too much.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Parsed> {
    let arguments = joined(arguments);
    Args::try_parse_from(&arguments).map(Parsed::Run).or_else(|e| match e.kind() {
        ErrorKind::DisplayHelp => Ok(Parsed::Help(help_of(&e))),
        ErrorKind::DisplayVersion => Ok(Parsed::Version),
        _ => Err(refused::fault_of(&e, &arguments)),
    })
}

/// The help, without blanks at the ends of lines.
fn help_of(error: &clap::Error) -> String {
    error.render().to_string().lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// The arguments, `--entries` and a range that follows it made one: without a `=`, clap would take any next argument for the
/// range, or none.
fn joined(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments = arguments.into_iter().peekable();
    let mut all: Vec<OsString> = Vec::new();
    while let Some(mut argument) = arguments.next() {
        let is_range = |next: &OsString| next.to_str().is_some_and(|next| next.parse::<IndexRange>().is_ok());
        // Clap's own `help` takes names of commands only.
        if all.first().is_some_and(|first| first == "help") && argument.as_encoded_bytes().starts_with(b"-") {
            continue;
        }
        if argument == "--entries"
            && let Some(range) = arguments.next_if(is_range)
        {
            argument.push("=");
            argument.push(range);
        }
        all.push(argument);
    }
    all
}

/// The definition of the command line, for what is generated from it.
pub fn command() -> clap::Command {
    Args::command()
}

/// Name, version, commit and target, as `cargo xtask build` knows them.
pub fn version() -> String {
    let commit = option_env!("ETCD2_BACKUP_COMMIT").unwrap_or("unknown");
    let target = option_env!("ETCD2_BACKUP_TARGET").unwrap_or(std::env::consts::ARCH);
    format!("etcd2-backup {} (commit {commit}, {target})", env!("CARGO_PKG_VERSION"))
}
