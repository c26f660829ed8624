//! Where a restore takes its data from, if nobody says it (`ETCD2_BACKUP_SOURCE`).

/// Where a restore is told to take its data from.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The newest restore point in the remote.
    #[default]
    Archive,
    /// The data directory of this node.
    Local,
    /// The local one if it is whole, of the same cluster and not older; else the archive.
    Auto,
}

impl Choice {
    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "archive" => Some(Self::Archive),
            "local" => Some(Self::Local),
            "auto" => Some(Self::Auto),
            _ => None,
        }
    }
}
