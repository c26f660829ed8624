//! What a node says of itself to whoever recovers all of them, one JSON object. Both ends are this program in one version, so
//! the fields are no public format.

use serde::{Deserialize, Serialize};

use crate::archive::lineage::{Parent, Record};

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Version, commit and target of its program.
    pub program: String,
    /// Its clock, in seconds since 1970.
    pub time: u64,
    /// systemd's machine ID.
    pub machine_id: String,
    /// The member's name.
    pub name: String,
    /// The member's advertised peer URLs.
    pub peer_urls: Vec<String>,
    /// The founding member's peer URLs, as this node has them.
    pub founder_urls: Vec<String>,
    /// Where all machines' backups lie.
    pub endpoint: String,
    /// etcd's unit.
    pub etcd_unit: String,
    /// `ETCD_RESTORE_DIR`.
    pub restore_dir: String,
    /// Whether backups are made at every boot.
    pub timer: bool,
    /// Whether etcd's unit is active.
    pub running: bool,
    /// Whether this member takes part in a quorum; not if that is a doubt.
    pub healthy: bool,
    /// What its disk holds.
    pub disk: Option<Found>,
    /// The newest restore point in its folder of the remote.
    pub archive: Option<Found>,
    /// What is not known, and why.
    pub doubts: Vec<Doubt>,
    /// The record of the recovery that made the cluster of its disk.
    pub record: Option<Record>,
}

impl Report {
    /// Why a question could not be asked, if so.
    pub fn unasked(&self, about: About) -> Option<&Doubt> {
        self.doubts.iter().find(|doubt| doubt.about == about && doubt.unasked)
    }
}

/// A question that has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// Which one.
    pub about: About,
    /// Why: for people.
    pub why: String,
    /// The exit code of whoever asks nothing else.
    pub code: u8,
    /// It could not be asked: the answer may be anything. Else it was asked, and what it is about is of no use.
    pub unasked: bool,
}

/// What a doubt is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum About {
    /// Whether etcd has a quorum.
    Health,
    /// What is on the disk.
    Disk,
    /// What this machine has in the remote.
    Archive,
    /// What others have there.
    Others,
    /// What recoveries were begun, and what continues what.
    Records,
}

impl About {
    /// For people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Health => "whether etcd has a quorum",
            Self::Disk => "the disk",
            Self::Archive => "the archive",
            Self::Others => "the other machines' backups",
            Self::Records => "the recovery records",
        }
    }
}

/// Data one could recover from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its cluster.
    pub cluster_id: u64,
    /// Whose it is.
    pub member_id: u64,
    /// The generation; 0 for a disk.
    pub generation: u64,
    /// Its last entry.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// What its cluster continues, and what was given up for it, as far as that is known.
    pub parents: Vec<Parent>,
}

/// What a member that serves says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serving {
    /// How many members it knows.
    pub members: usize,
    /// The last entry it has applied.
    pub index: u64,
    /// How many keys it has; none if it keeps that behind its authentication.
    pub keys: Option<u64>,
}
