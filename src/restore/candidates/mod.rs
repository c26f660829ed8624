//! All data that a recovery could begin with, as far as it can be seen from this node, and which of it is the freshest. The
//! JSON is public: docs/points.md.
//!
//! - [`find`]: this disk and every folder below the endpoint · [`rank`]: by raft's rule, inside one lineage; pure
//! - [`text`]: the same for people · [`fresher`]: what a recovery is told that takes something else

pub mod find;
pub mod fresher;
pub mod rank;
pub mod text;

use serde::{Serialize, Serializer};

use crate::etcd::proto::LogPosition;

/// Data that a recovery could begin with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    /// What it is.
    pub kind: Kind,
    /// A directory of this node, or a machine's folder below the endpoint.
    pub place: String,
    /// The generation, of an archive.
    pub generation: Option<u64>,
    /// In hex; null: it cannot be known without reading all of it.
    #[serde(serialize_with = "hex")]
    pub cluster_id: Option<u64>,
    /// In hex.
    #[serde(serialize_with = "hex")]
    pub member_id: Option<u64>,
    /// The member's name.
    pub member_name: Option<String>,
    /// Where its peers reached it.
    pub peer_urls: Vec<String>,
    /// The term of its last entry.
    pub term: Option<u64>,
    /// The index of its last entry.
    pub index: Option<u64>,
    /// UTC: the capture of its newest part, or the leader's clock in the newest SYNC of a disk.
    pub time: Option<String>,
    /// How long ago that was, in seconds.
    pub age: Option<u64>,
    /// Sources with the same number are of one history.
    pub lineage: Option<usize>,
    /// What it is worth beside the others.
    pub standing: Standing,
    /// How many entries the freshest one of its cluster has more.
    pub behind: Option<u64>,
    /// Why it cannot be read, or not to its end.
    pub trouble: Option<String>,
    /// What takes it, behind the program's name; null: nothing does as it lies there.
    pub command: Option<String>,
    /// It lacks what its member had in the v3 store.
    #[serde(skip)]
    pub lacks_v3: bool,
    /// It is in the place that this node's data, or its backups, have now.
    #[serde(skip)]
    pub present: bool,
}

impl Source {
    /// One of which nothing is known yet.
    pub fn nameless(kind: Kind, place: String) -> Self {
        Self {
            kind,
            place,
            generation: None,
            cluster_id: None,
            member_id: None,
            member_name: None,
            peer_urls: Vec::new(),
            term: None,
            index: None,
            time: None,
            age: None,
            lineage: None,
            standing: Standing::Unknown,
            behind: None,
            trouble: None,
            command: None,
            lacks_v3: false,
            present: false,
        }
    }

    /// Its cluster, and how far it goes; what is compared inside one cluster.
    fn end(&self) -> Option<(u64, LogPosition)> {
        Some((self.cluster_id?, LogPosition { index: self.index?, term: self.term? }))
    }
}

/// What a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// This node's data directory.
    DataDir,
    /// One that a restore or join set aside on this node.
    Kept,
    /// Generations in the remote.
    Archive,
    /// A folder of etcd2-backup-coreos: it says nothing of itself.
    Original,
}

/// What a source is worth beside the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Nothing of its lineage goes further.
    Freshest,
    /// As far as the freshest one.
    Equal,
    /// Less far than another one of its cluster.
    Older,
    /// Its cluster was recovered, or given up for another one.
    Superseded,
    /// Its lineage has more than one end: only somebody who knows what happened can choose.
    Unclear,
    /// It could not be looked at.
    Unknown,
}

/// As etcd prints an ID.
fn hex<S: Serializer>(id: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => to.serialize_str(&format!("{id:x}")),
        None => to.serialize_none(),
    }
}
