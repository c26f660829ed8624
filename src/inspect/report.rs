//! What the content of a subject adds up to. Its JSON is public: docs/inspect.md.

use serde::Serialize;

use crate::etcd::datadir::Family;

/// What was found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Version of these fields, 1.
    pub format: u32,
    /// `data-dir`, `archive`, `segment`, `snapshot`, `part` or `db`.
    pub kind: &'static str,
    /// Whether it is whole.
    pub state: State,
    /// What is wrong, the first thing of each piece.
    pub faults: Vec<Damage>,
    /// Which etcd wrote it: `2` (2.0 to 2.3) or `3` (3.0 to 3.5).
    pub etcd: Option<Family>,
    /// In hex, as etcd prints it.
    pub cluster_id: Option<String>,
    /// The same.
    pub member_id: Option<String>,
    /// The members when all of the log is applied.
    pub members: Vec<Member>,
    /// The snapshot to begin with.
    pub snapshot: Option<Snapshot>,
    /// Newer snapshots that do not fit, and why.
    pub passed_over: Vec<String>,
    /// The log.
    pub log: Option<LogSummary>,
    /// Where v3 data was seen, if any.
    pub v3_data: Option<String>,
    /// What the db of the v3 store says, if there is one.
    pub v3: Option<V3Summary>,
    /// Of a part: its place in the archive.
    pub part: Option<PartPlace>,
    /// Of an archive: all generations, oldest first. The fields above are those of the last one.
    pub generations: Vec<GenerationSummary>,
}

/// Whether something is whole.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing is wrong.
    #[default]
    Whole,
    /// The last write, or the last upload, did not arrive whole.
    Torn,
    /// Something is damaged or missing.
    Corrupt,
    /// It is of a version that this program does not read, or could not be read.
    Unreadable,
}

/// Something that is wrong.
#[derive(Debug, Serialize)]
pub struct Damage {
    /// Where: `segment@offset`, or a file.
    pub at: Option<String>,
    /// What.
    pub reason: String,
}

/// A member.
#[derive(Debug, Serialize)]
pub struct Member {
    /// In hex.
    pub id: String,
    /// Empty if it has never started.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
}

/// A snapshot.
#[derive(Debug, Serialize)]
pub struct Snapshot {
    /// Its file's name.
    pub file: String,
    /// The last entry in it.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// Size of the file.
    pub bytes: u64,
}

/// A log.
#[derive(Debug, Serialize)]
pub struct LogSummary {
    /// Segments that were read.
    pub segments: usize,
    /// Entries, overwritten ones included.
    pub entries: u64,
    /// First index of the last run of entries without a gap.
    pub first_index: Option<u64>,
    /// The last entry.
    pub last_index: Option<u64>,
    /// Its term.
    pub last_term: Option<u64>,
    /// Raft's term.
    pub term: u64,
    /// The last index known to be committed; acknowledged entries may lie behind it.
    pub commit: u64,
    /// Behind the last whole record, `segment@offset`.
    pub end: String,
    /// What is there: `end`, `zeros` (preallocated), `torn` or `corrupt`.
    pub tail: &'static str,
}

/// A db of the v3 store.
#[derive(Debug, Serialize)]
pub struct V3Summary {
    /// Size of the file.
    pub bytes: u64,
    /// Whether the sha256 at the end of a maintenance snapshot is right; null if there is none.
    pub sum: Option<bool>,
    /// Bolt's transaction.
    pub txid: u64,
    /// Bytes of a page.
    pub page_size: u64,
    /// How many pages there are.
    pub pages: u64,
    /// How many of them are in use.
    pub pages_in_use: u64,
    /// The last entry of the log that the db has.
    pub consistent_index: u64,
    /// That entry's term; null before 3.5.
    pub term: Option<u64>,
    /// The store's revision.
    pub revision: u64,
    /// Up to which revision the history is compacted.
    pub compacted: Option<u64>,
    /// Changes of keys that are kept, deletions included.
    pub revisions: u64,
    /// Of these the deletions.
    pub deletions: u64,
    /// Bytes of their keys and values.
    pub key_bytes: u64,
    /// The alarms that are on.
    pub alarms: Vec<V3Alarm>,
    /// The members, as the db has them.
    pub members: Vec<V3Peer>,
    /// Members that were removed, in hex.
    pub removed: Vec<String>,
    /// The cluster's version.
    pub cluster_version: Option<String>,
    /// The version of the db's layout; null before 3.6.
    pub storage_version: Option<String>,
    /// Authentication is on.
    pub auth_enabled: bool,
    /// How many users there are.
    pub users: u64,
    /// How many roles there are.
    pub roles: u64,
    /// How many leases there are.
    pub leases: u64,
    /// There are keys below `/registry/`: it looks like Kubernetes.
    pub kubernetes: bool,
}

/// An alarm.
#[derive(Debug, Serialize)]
pub struct V3Alarm {
    /// Whose, in hex.
    pub member_id: String,
    /// `NOSPACE` or `CORRUPT`.
    pub alarm: String,
}

/// A member as the db has it.
#[derive(Debug, Serialize)]
pub struct V3Peer {
    /// In hex.
    pub id: String,
    /// Empty if it has never started.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
    /// It has no vote yet.
    pub learner: bool,
}

/// A part's place in the archive.
#[derive(Debug, Serialize)]
pub struct PartPlace {
    /// The generation.
    pub generation: u64,
    /// Its place in it.
    pub sequence: u64,
    /// When it was captured, UTC.
    pub time: String,
    /// The member's name, as its settings had it.
    pub member_name: String,
    /// The member's peer URLs, as its settings had them.
    pub peer_urls: Vec<String>,
}

/// A generation of an archive.
#[derive(Debug, Serialize)]
pub struct GenerationSummary {
    /// Its number.
    pub generation: u64,
    /// The same, by the name that it had first.
    pub number: u64,
    /// In hex.
    pub cluster_id: String,
    /// In hex.
    pub member_id: String,
    /// Whether it is whole.
    pub state: State,
    /// Parts that are whole and follow one another.
    pub parts: usize,
    /// Objects that do not count: an upload that was cut off, or what lies behind a gap.
    pub absent: usize,
    /// Bytes of the parts.
    pub bytes: u64,
    /// When the first part was captured, UTC.
    pub from: Option<String>,
    /// When the last part was captured, UTC.
    pub to: Option<String>,
    /// The last entry.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// The last entry, by the name that it had first.
    pub last_index: u64,
    /// That entry's term, by the name that it had first.
    pub last_term: u64,
}
