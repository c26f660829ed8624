//! The command line: what a verb is called, which options it has and what they mean, once for parsing and help.
//!
//! A new verb is a variant of [`Verb`], a struct in `options.rs` if it has any, and an entry in `VERBS`; an option, or the arguments
//! it takes, is a field and a line in that entry. A type that options did not have before gets an `impl Value`.
#![allow(missing_docs, reason = "the tables say what each verb, option and choice means")]

use std::io::Write as _;
use std::path::PathBuf;

mod help;
mod option;
mod options;
mod parse;
#[cfg(test)]
mod tests;
mod value;

use option::{Does, Opt, VerbTable, flag, into, valued, verb};
pub use options::*;
pub use parse::{Parsed, UsageError, parse};

use crate::exit::{Exit, fault};

/// A whole command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Cli {
    /// The tree to work on; `/` is the running node.
    pub root: PathBuf,
    /// Whether to say more.
    pub verbose: bool,
    /// What to do.
    pub verb: Verb,
}

/// One verb, one file in `commands/`.
#[derive(Debug, PartialEq, Eq)]
pub enum Verb {
    Install(Install),
    Uninstall(Uninstall),
    SetFounder(SetFounder),
    Backup,
    Doctor,
    Status(Status),
    Restore(Restore),
    Join(Join),
    Recover(Recover),
    Export(Export),
    Migrate(Migrate),
    List(List),
    Sources(Sources),
    Verify(Verify),
    Rehearse(Rehearse),
    Inspect(Inspect),
    Prune(Prune),
    Clean(Clean),
    Look(Look),
    Guard,
    Report,
    StandBy,
    Await(Await),
}

/// The program's name, as it is on a node.
const PROGRAM: &str = "etcd2-backup";
const ABOUT: &str = "Back up etcd's v2 store to any rclone remote, and bring a dead cluster back";

/// What every verb knows, before it or behind it.
static GLOBALS: &[Opt] = &[
    valued(
        "root",
        "DIR",
        "Work on the tree DIR instead of the running node; systemd is not asked",
        into!(root),
    )
    .default("/"),
    flag("verbose", "Say more", into!(verbose)).short('v'),
    flag("help", "Print this help", Does::Help).short('h'),
    flag("version", "Print version, commit and target", Does::Version).short('V'),
];

const SOURCES: &[(&str, &str)] = &[
    ("archive", "the newest restore point in the remote"),
    ("local", "the data directory of this node"),
    ("auto", "the local one if it is whole, of the same cluster and not older; else the archive"),
];

/// Every verb, in the order of the help.
static VERBS: &[VerbTable] = &[
    verb("install", "Make this node what the unpacked tarball says", || Verb::Install(Install::default()))
        .options(&[
            flag(
                "check",
                "Only compare the node with what was installed: every checksum, mode and owner",
                into!(Install.check),
            ),
            flag("dry-run", "Only show what would be done to which file", into!(Install.dry_run)),
            flag("enable-timer", "Enable and start etcd2-backup.timer too", into!(Install.enable_timer)),
            flag(
                "force",
                "Install on a system that is not CoreOS, Flatcar or Fedora CoreOS; replace files that were edited \
                 since they were placed, each kept as NAME.edited",
                into!(Install.force),
            ),
            valued(
                "from",
                "DIR",
                "The folder the tarball was unpacked to [default: where this program is]",
                into!(Install.from),
            ),
            flag("json", "Say what is done or found as JSON on stdout", into!(Install.json)),
            flag(
                "remove-source",
                "Remove the unpacked files and the tarball afterwards: they hold secrets",
                into!(Install.remove_source),
            ),
        ]),
    verb("uninstall", "Remove what was installed; data stays, replaced files are gone", || {
        Verb::Uninstall(Uninstall::default())
    })
    .options(&[
        flag("dry-run", "Only show what would be done to which file", into!(Uninstall.dry_run)),
        flag("force", "Remove files too that were edited since they were placed", into!(Uninstall.force)),
        flag("json", "Say what is done as JSON on stdout", into!(Uninstall.json)),
    ]),
    verb("set-founder", "Name another founding member on this node", || {
        Verb::SetFounder(SetFounder::default())
    })
    .arguments(valued("url", "URL", "The founding member's advertised peer URLs", into!(SetFounder.urls)))
    .options(&[flag("reset", "Go back to the founding member of the tarball", into!(SetFounder.reset))]),
    verb("backup", "Send what changed since the last backup to the remote", || Verb::Backup),
    verb("doctor", "Try what a backup needs: remote, etcd's log, founder, clock, room", || Verb::Doctor),
    verb("status", "Say what would be lost if this node's disk died now, and why", || {
        Verb::Status(Status::default())
    })
    .options(&[
        valued("max-age", "TIME", "Warn when writes older than this were not sent", into!(Status.max_age))
            .default("10m"),
        flag("json", "Print JSON", into!(Status.json)),
    ]),
    verb("restore", "Restore this node as the founding member of a new cluster", || {
        Verb::Restore(Restore::default())
    })
    .options(&[
        valued(
            "source",
            "SOURCE",
            "Where the data comes from [default: ETCD2_BACKUP_SOURCE, else archive]",
            into!(Restore.source),
        )
        .choices(SOURCES),
        valued("generation", "N", "Restore this generation instead of the newest", into!(Restore.generation)),
        valued(
            "at",
            "MOMENT",
            "Restore the state at this time: 2026-11-22T13:09:13Z, '2026-11-22 13:09:13' (UTC too), or --at=-10min",
            into!(Restore.at),
        ),
        valued("raft-index", "N", "Restore the state at this index of raft's log", into!(Restore.raft_index)),
        valued("from", "MACHINE_ID", "Restore from another machine's backup", into!(Restore.from)),
        flag(
            "accept-older",
            "Take the newest undamaged point when the newest one is damaged",
            into!(Restore.accept_older),
        ),
        flag(
            "clone",
            "Make a copy of a cluster that lives elsewhere and goes on there",
            into!(Restore.clone),
        ),
        flag("as-founder", "Restore although this node is not the founding member", into!(Restore.as_founder)),
        flag(
            "force",
            "Restore although this node is not the founding member, its cluster answers, its clock is behind, or etcd last \
             ran with its data elsewhere",
            into!(Restore.force),
        ),
        flag("plan", "Show what would be restored, and change nothing", into!(Restore.plan)),
        valued(
            "for-etcd",
            "MAJOR",
            "Write for this major version of etcd [default: that of the source]",
            into!(Restore.for_etcd),
        )
        .choices(Major::CHOICES),
        valued(
            "initial-cluster",
            "LIST",
            "Make a new cluster of all these members, NAME=URL,NAME=URL; the others restore with --recovery",
            into!(Restore.initial_cluster),
        ),
        valued(
            "recovery",
            "[TOKEN]",
            "Take part in a recovery that the founding member began with --initial-cluster",
            into!(Restore.recovery),
        ),
        valued("recovery-file", "FILE", "The same, with its record from a file", into!(Restore.recovery_file)),
        valued(
            "source-file",
            "FILE",
            "Its data is in this file, which export wrote, and not in the remote",
            into!(Restore.source_file),
        ),
        flag("json", "Print the recovery record (with --plan: what it would say)", into!(Restore.json)),
        flag(
            "undo",
            "Put the data back that the last restore set aside, and set aside what is there now",
            into!(Restore.undo),
        ),
    ]),
    verb("join", "Join this node to the cluster of the founding member", || Verb::Join(Join::default()))
        .options(&[
            flag("force", "Join although etcd last ran with its data elsewhere", into!(Join.force)),
            flag(
                "no-start",
                "Prepare everything but let somebody else start etcd; run join again to watch it catch up",
                into!(Join.no_start),
            ),
            flag(
                "plain",
                "Begin with an empty data directory: the leader sends everything, and nothing is fetched from the remote",
                into!(Join.plain),
            ),
            valued(
                "wait",
                "TIME",
                "Give up when the member has not caught up after this time",
                into!(Join.wait),
            )
            .default("10m"),
        ]),
    verb("recover", "Recover the whole cluster, from this machine, by ssh", || {
        Verb::Recover(Recover::default())
    })
    .arguments(valued("node", "NODE", "Every node of the cluster, as ssh knows it: core@e1", into!(Recover.nodes)))
    .options(&[
        flag("dry-run", "Only show what would be done", into!(Recover.dry_run)),
        flag("yes", "Do not ask", into!(Recover.yes)),
        valued(
            "founder",
            "NODE",
            "Who makes the new cluster [default: who has the freshest data]",
            into!(Recover.founder),
        ),
        valued("source", "NODE", "Take the disk or the backup of this node, and no other", into!(Recover.source)),
        valued("at", "MOMENT", "Go back, all nodes, to this moment: 2026-11-22T13:09:13Z, -10min", into!(Recover.at)),
        valued("raft-index", "N", "Go back to the state right behind this entry of the log", into!(Recover.raft_index)),
        valued("generation", "N", "Take this generation of the folder", into!(Recover.generation)),
        valued("from", "MACHINE_ID", "Take the backup of this machine", into!(Recover.from)),
        flag(
            "one-by-one",
            "Restore the founding member, then join the others one after the other",
            into!(Recover.one_by_one),
        ),
        valued("ssh", "COMMAND", "How nodes are reached, with arguments", into!(Recover.ssh)).default("ssh"),
        valued("wait", "TIME", "Give up when a member does not serve after this time", into!(Recover.wait))
            .default("10m"),
    ]),
    verb("export", "Write what a recovery took from this node's disk to stdout", || {
        Verb::Export(Export::default())
    })
    .options(&[valued(
        "recovery-file",
        "FILE",
        "The recovery record, as restore --json prints it",
        into!(Export.recovery_file),
    )]),
    verb("migrate", "Copy another machine's backup to this machine's folder", || {
        Verb::Migrate(Migrate::default())
    })
    .argument(valued("from", "MACHINE_ID", "The other machine", into!(Migrate.from)))
    .options(&[flag("dry-run", "Only say what would be copied", into!(Migrate.dry_run))]),
    verb("list", "Show the restore points in the remote", || Verb::List(List::default())).options(&[
        flag("all", "Of every machine that backs up to the endpoint", into!(List.all)),
        valued("from", "MACHINE_ID", "Of another machine", into!(List.from)),
        flag("points", "Show each point, not only the newest of each generation", into!(List.points)),
        flag("json", "Print JSON, always with each point", into!(List.json)),
    ]),
    verb("sources", "Find the freshest data, on this disk and in the remote", || {
        Verb::Sources(Sources::default())
    })
    .options(&[flag("json", "Print JSON", into!(Sources.json))]),
    verb("verify", "Read the archive again, and check that it could be restored", || {
        Verb::Verify(Verify::default())
    })
    .options(&[
        valued("from", "MACHINE_ID", "The archive of another machine", into!(Verify.from)),
        valued("generation", "N", "Only this generation", into!(Verify.generation)),
        flag("newest", "Only the newest generation", into!(Verify.newest)),
        valued(
            "share",
            "1/N",
            "Only the next of N shares: N runs in a row read every byte",
            into!(Verify.share),
        ),
        flag("json", "Print JSON", into!(Verify.json)),
    ]),
    verb("rehearse", "Restore the newest point beside the data, start etcd, compare", || {
        Verb::Rehearse(Rehearse::default())
    })
    .options(&[
        valued("etcd", "PATH", "etcd's program [default: that of etcd's unit]", into!(Rehearse.etcd)),
        valued("wait", "TIME", "Give up when etcd is not healthy after this time", into!(Rehearse.wait))
            .default("2m"),
        flag("force", "Go on although etcd last ran with its data elsewhere", into!(Rehearse.force)),
        flag("json", "Print JSON", into!(Rehearse.json)),
    ]),
    verb("inspect", "Show what a data directory, an archive or a file of them holds", || {
        Verb::Inspect(Inspect::default())
    })
    .argument(valued(
        "path",
        "PATH",
        "A data directory, a machine's folder of the archive, or a .wal, .snap or .part file",
        into!(Inspect.path),
    ))
    .options(&[
        valued("wal-dir", "DIR", "Where the log is, if not in the data directory", into!(Inspect.wal_dir)),
        flag("json", "Print JSON; a line each for entries and keys", into!(Inspect.json)),
        valued(
            "entries",
            "[FROM..TO]",
            "List the log's entries, with values, instead: all, or those of these indexes",
            into!(Inspect.entries),
        ),
        flag("keys", "List the snapshot's keys, with values, instead", into!(Inspect.keys)),
    ]),
    verb("prune", "Remove from the remote the generations that no rule keeps", || {
        Verb::Prune(Prune::default())
    })
    .options(&[
        flag(
            "accept",
            "Accept the clusters that are there, and that the store shrank: nothing is removed before",
            into!(Prune.accept),
        ),
        flag("dry-run", "Only say what would be removed, and why the rest stays", into!(Prune.dry_run)),
        flag("json", "Say it as JSON", into!(Prune.json)),
    ]),
    verb("clean", "List or remove the old directories that were kept", || {
        Verb::Clean(Clean::default())
    })
    .options(&[
        valued("older-than", "TIME", "Only those that are older, like 30d", into!(Clean.older_than)),
        flag("yes", "Remove them", into!(Clean.yes)),
    ]),
    verb("look", "Say which log the running etcd has open, and note it", || Verb::Look(Look::default()))
        .options(&[flag("quiet", "Only note it", into!(Look.quiet))]),
    verb("guard", "Refuse to start etcd on an empty data directory (run by etcd's unit)", || Verb::Guard)
        .hidden(),
    verb("report", "Say as JSON what this node has (run by recover)", || Verb::Report).hidden(),
    verb("stand-by", "Stop etcd and the backups, and fence etcd (run by recover)", || Verb::StandBy).hidden(),
    verb("await", "Wait until this member serves (run by recover)", || Verb::Await(Await::default()))
        .hidden()
        .options(&[
            valued("cluster", "ID", "The cluster's ID, decimal", into!(Await.cluster)),
            valued("index", "N", "What it must have applied", into!(Await.index)),
            valued("wait", "TIME", "Give up after this time", into!(Await.wait)).default("10m"),
        ]),
];

/// Name, version, commit and target, as `cargo xtask build` knows them.
pub fn version() -> String {
    let commit = option_env!("ETCD2_BACKUP_COMMIT").unwrap_or("unknown");
    let target = option_env!("ETCD2_BACKUP_TARGET").unwrap_or(std::env::consts::ARCH);
    format!("{PROGRAM} {} (commit {commit}, {target})", env!("CARGO_PKG_VERSION"))
}

/// Two options of which one is one too many.
pub fn both(one: &str, other: &str) -> anyhow::Error {
    fault(Exit::Usage, format!("{one} and {other} exclude each other"), "leave one of them out")
}

/// Prints to stdout what was asked for. Who closed it does not want to read it.
pub fn print(text: &str) -> Exit {
    let _ = std::io::stdout().write_all(text.as_bytes());
    Exit::Done
}
