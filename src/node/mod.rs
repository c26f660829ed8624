//! This node: what is known of it, what keeps etcd from starting on the wrong data, etcd's directories on its disk, and the etcd
//! that runs.
//!
//! - [`Node`] reads · [`locked`]: [`Locked`](locked::Locked) writes, and [`Fenced`](locked::Fenced) exchanges directories
//! - [`fence`]: the file that keeps etcd's unit from starting · [`identity`]: the stamp that says which member this node was
//! - [`guards`]: what keeps a recovery from doing harm · [`past_members`]: which members this node's disk has been
//! - [`member_dir`]: etcd's directory: its owner, the old one kept, the new one in its place
//! - [`running`]: the etcd that runs: which log it has open, how it was started

use std::path::PathBuf;

use anyhow::{Result, anyhow};

use self::identity::{Identity, Stamp};
use crate::settings::Settings;
use crate::sys::root::Root;

pub mod fence;
pub mod guards;
pub mod identity;
pub mod locked;
pub mod member_dir;
pub mod past_members;
pub mod running;

/// This node, as it was when it was looked at: opened once, and handed on.
#[derive(Debug)]
pub struct Node {
    /// Its tree.
    pub root: Root,
    /// Its settings.
    pub settings: Settings,
    /// What its stamp says.
    stamp: Result<Stamp>,
}

impl Node {
    /// Reads its stamp and, with that, its settings.
    ///
    /// # Errors
    /// As [`Settings::load`]. A stamp that cannot be read is told of by [`Node::stamp`].
    pub fn open(root: &Root) -> Result<Self> {
        let stamp = identity::read(root);
        let seen = again(stamp.as_ref()).map(|stamp| stamp.setup.clone());
        Ok(Self { root: root.clone(), settings: Settings::load(root, seen)?, stamp })
    }

    /// The same with settings that are known.
    pub fn with(root: Root, settings: Settings) -> Self {
        Self { stamp: identity::read(&root), root, settings }
    }

    /// What its stamp says of it.
    ///
    /// # Errors
    /// There is a stamp, but it cannot be read or understood.
    pub fn stamp(&self) -> Result<&Stamp> {
        again(self.stamp.as_ref())
    }

    /// This node as the member that its log says.
    pub fn as_member(&self, cluster_id: u64, member_id: u64) -> Identity {
        let wal_dir = self.wal_dir();
        Identity { cluster_id, member_id, wal_dir }
    }

    /// The folder of etcd's WAL: the path on the node, without the root.
    fn wal_dir(&self) -> PathBuf {
        self.root.strip(&self.settings.etcd.effective_wal_dir())
    }
}

/// An error is told to everyone who asks.
fn again<T>(read: Result<T, &anyhow::Error>) -> Result<T> {
    read.map_err(|e| anyhow!("{e:#}"))
}
