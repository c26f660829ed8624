//! The options of each verb, and the types that their values have.

use std::path::PathBuf;
use std::time::Duration;

use crate::settings::source::Choice;

/// The options of `status`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub max_age: Duration,
    pub json: bool,
}

/// The options of `restore`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Restore {
    pub source: Option<Choice>,
    pub generation: Option<u64>,
    pub at: Option<Moment>,
    pub raft_index: Option<u64>,
    pub from: Option<MachineId>,
    pub accept_older: bool,
    pub as_founder: bool,
    pub clone: bool,
    pub force: bool,
    pub plan: bool,
    pub for_etcd: Option<Major>,
    pub initial_cluster: Option<InitialCluster>,
    pub recovery: Option<Token>,
    pub recovery_file: Option<PathBuf>,
    pub source_file: Option<PathBuf>,
    pub json: bool,
    pub undo: bool,
}

impl Restore {
    /// The peer URLs of the cluster that it makes, those of the node itself first.
    pub fn peer_urls(&self, own: &[String]) -> Vec<String> {
        let members = self.initial_cluster.iter().flat_map(|list| &list.0);
        own.iter().chain(members.flat_map(|(_, urls)| urls)).cloned().collect()
    }

    /// Whether it takes part in a recovery that was begun elsewhere.
    pub fn follows(&self) -> bool {
        self.recovery.is_some() || self.recovery_file.is_some()
    }
}

/// The options of `join`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Join {
    pub force: bool,
    pub no_start: bool,
    pub plain: bool,
    pub wait: Duration,
}

/// The options of `look`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Look {
    pub quiet: bool,
}

/// The options of `export`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Export {
    pub recovery_file: Option<PathBuf>,
}

/// The nodes and the options of `recover`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recover {
    pub nodes: Vec<String>,
    pub dry_run: bool,
    pub yes: bool,
    pub founder: Option<NodeName>,
    pub source: Option<NodeName>,
    pub at: Option<Moment>,
    pub raft_index: Option<u64>,
    pub generation: Option<u64>,
    pub from: Option<MachineId>,
    pub one_by_one: bool,
    pub ssh: Ssh,
    pub wait: Duration,
}

/// One of the nodes that were named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeName(pub String);

/// A program and its first arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ssh(pub Vec<String>);

/// The options of `await`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Await {
    pub cluster: u64,
    pub index: u64,
    pub wait: Duration,
}

/// Name and peer URLs of each member, as etcd's `--initial-cluster` has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialCluster(pub Vec<(String, Vec<String>)>);

/// Which recovery, 32 hex digits; empty for the only one there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token(pub String);

/// The options of `install`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Install {
    pub check: bool,
    pub dry_run: bool,
    pub enable_timer: bool,
    pub force: bool,
    pub from: Option<PathBuf>,
    pub json: bool,
    pub remove_source: bool,
}

/// The options of `uninstall`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Uninstall {
    pub dry_run: bool,
    pub force: bool,
    pub json: bool,
}

/// The options of `set-founder`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SetFounder {
    pub urls: Vec<String>,
    pub reset: bool,
}

/// A time in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub u64);

/// A major version of etcd, as far as its files differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Major {
    Two,
    Three,
}

impl Major {
    pub(super) const CHOICES: &[(&str, &str)] = &[("2", "2.0 to 2.3"), ("3", "3.0 to 3.5")];
}

/// The argument and the options of `migrate`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Migrate {
    pub from: Option<MachineId>,
    pub dry_run: bool,
}

/// The options of `list`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct List {
    pub all: bool,
    pub from: Option<MachineId>,
    pub points: bool,
    pub json: bool,
}

/// The options of `sources`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sources {
    pub json: bool,
}

/// The options of `verify`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verify {
    pub from: Option<MachineId>,
    pub generation: Option<u64>,
    pub newest: bool,
    pub share: Option<Share>,
    pub json: bool,
}

/// The options of `rehearse`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rehearse {
    pub etcd: Option<PathBuf>,
    pub wait: Duration,
    pub force: bool,
    pub json: bool,
}

/// One of so many shares of the archive; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(pub u64);

/// The name of a machine's folder below the endpoint: what systemd calls its machine ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineId(pub String);

/// The argument and the options of `inspect`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Inspect {
    pub path: PathBuf,
    pub wal_dir: Option<PathBuf>,
    pub json: bool,
    pub entries: Option<IndexRange>,
    pub keys: bool,
}

/// The options of `prune`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Prune {
    pub accept: bool,
    pub dry_run: bool,
    pub json: bool,
}

/// The options of `clean`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Clean {
    pub older_than: Option<Duration>,
    pub yes: bool,
}

/// Indexes from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexRange {
    pub first: u64,
    pub last: u64,
}
