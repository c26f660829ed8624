//! Where a restore takes its data from, if nobody says it (`ETCD2_BACKUP_SOURCE`).

use std::collections::BTreeMap;

use anyhow::Result;

use super::values::{OURS, get};
use crate::exit::{Exit, fault};

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

pub(super) fn parse(ours: &BTreeMap<String, String>) -> Result<Choice> {
    let Some(name) = get(ours, "ETCD2_BACKUP_SOURCE") else { return Ok(Choice::default()) };
    Choice::named(name).ok_or_else(|| {
        let hint = format!("write archive, local or auto in {OURS}");
        fault(Exit::Settings, format!("ETCD2_BACKUP_SOURCE={name:?} is not known"), hint)
    })
}
