//! etcd as it is set up on this node.

use std::path::PathBuf;

use anyhow::Result;

use super::names::UnitName;
use crate::exit::{Exit, fault};
use crate::sys::http::Tls;

/// See the module. Paths are inside the [`Root`](crate::sys::root::Root) already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdConfig {
    /// etcd's unit, for example `etcd2.service` (`ETCD2_BACKUP_ETCD_UNIT`).
    pub unit: UnitName,
    /// etcd's data directory (`ETCD_DATA_DIR`).
    pub data_dir: PathBuf,
    /// etcd's WAL directory if it is a separate one (`ETCD_WAL_DIR`).
    pub wal_dir: Option<PathBuf>,
    /// This member's name (`ETCD_NAME`), empty if nothing says it.
    pub name: String,
    /// This member's advertised peer URLs (`ETCD_INITIAL_ADVERTISE_PEER_URLS`), empty if nothing says them.
    pub peer_urls: Vec<String>,
    /// Where this member's clients reach it (`ETCD_ADVERTISE_CLIENT_URLS`), empty if nothing says it.
    pub client_urls: Vec<String>,
    /// What members' peer ports are asked with (`ETCD_PEER_CERT_FILE` and the like).
    pub peer_tls: Tls,
    /// What members' client ports are asked with (`ETCDCTL_CERT_FILE` and the like, else `ETCD_CERT_FILE` …).
    pub client_tls: Tls,
    /// Where `user:password` for etcd's authentication may be.
    pub auth_file: PathBuf,
    /// The peer URLs in etcd's `initial-cluster`, as far as they are any: who was a member when this one was set up.
    pub initial_cluster: Vec<String>,
    /// etcd's program and arguments, variables expanded; empty if no unit was asked.
    pub command: Vec<String>,
    /// What would keep etcd from being the member that its log says, as [`objection`](crate::settings::bootstrap::objection) says it.
    pub bootstrap: Option<String>,
    /// The user etcd runs as (`User=`, or `ETCD_USER` of Flatcar's unit), empty for root or if no unit was asked.
    pub user: String,
    /// Whose etcd's data is, uid and gid, where that is known apart from the user; not within a tree.
    pub owner: Option<(u32, u32)>,
}

impl EtcdConfig {
    /// This member's advertised peer URLs.
    ///
    /// # Errors
    /// Nothing says them.
    pub fn own_peer_urls(&self) -> Result<&[String]> {
        if self.peer_urls.is_empty() {
            return Err(fault(
                Exit::Settings,
                format!("ETCD_INITIAL_ADVERTISE_PEER_URLS is not set for {}", self.unit),
                format!("set it in a drop-in of {}: it says how the other members reach this one", self.unit),
            ));
        }
        Ok(&self.peer_urls)
    }

    /// This member's name.
    ///
    /// # Errors
    /// Nothing says it.
    pub fn own_name(&self) -> Result<&str> {
        let bad = |c: char| c.is_control() || c.is_whitespace() || "=,".contains(c);
        if self.name.is_empty() || self.name.contains(bad) {
            return Err(fault(
                Exit::Settings,
                format!("ETCD_NAME={:?} of {} cannot name a member", self.name, self.unit),
                format!("set ETCD_NAME in a drop-in of {}, without spaces, commas or =", self.unit),
            ));
        }
        Ok(&self.name)
    }

    /// The folder etcd keeps its WAL in.
    pub fn effective_wal_dir(&self) -> PathBuf {
        self.wal_dir.clone().unwrap_or_else(|| self.data_dir.join("member/wal"))
    }
}
