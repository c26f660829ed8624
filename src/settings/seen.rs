//! How a unit's etcd was set up when it was last seen to run, for as long as the unit says the same.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// What the unit said then, as [`UnitEnvironment::digest`](crate::settings::UnitEnvironment::digest) gives it.
    pub unit: String,
    /// What the configuration file that the unit names said then, as
    /// [`UnitEnvironment::file_digest`](crate::settings::UnitEnvironment::file_digest) gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What etcd was given, by its flags, in this node's paths: `data-dir` always, `wal-dir` if it is a separate one.
    pub settings: BTreeMap<String, String>,
    /// Who owned its log: uid and gid, as this node numbers them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<(u32, u32)>,
}

impl Setup {
    /// Its data directory and its WAL directory.
    pub fn places(&self) -> (PathBuf, PathBuf) {
        let path = |flag: &str| self.settings.get(flag).map(PathBuf::from);
        let data_dir = path("data-dir").unwrap_or_default();
        let wal_dir = path("wal-dir").unwrap_or_else(|| data_dir.join("member/wal"));
        (data_dir, wal_dir)
    }
}
