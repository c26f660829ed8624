//! The v3 store of a restored etcd, compared with the db that it began with: by HashKV, etcd's own sum over every key with all its
//! revisions.
//!
//! It is asked for as of the db's newest revision, so what the log did after it does not matter, but for a compaction beyond
//! that revision: then there is nothing to compare any more.

use std::io::{Read, Seek};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cluster::v3::calls;
use crate::etcd::bolt::Db;
use crate::etcd::v3::base::Base;
use crate::etcd::v3::mvcc;
use crate::sys::http::Client;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComparedV3 {
    /// The db's newest revision, as of which it was compared.
    pub revision: u64,
    /// etcd's sum, as of that revision; `None` where the log goes on with a compaction beyond it.
    pub hash: Option<u32>,
    /// The sum over the db.
    pub expected: u32,
}

impl ComparedV3 {
    /// Compares the etcd at a URL with a db.
    ///
    /// # Errors
    /// Either cannot be asked or read.
    pub fn of(client: &Client, url: &str, base: &Base) -> Result<Self> {
        let revision = base.state.revision;
        let asked = i64::try_from(revision).context("the revision is no number of etcd's")?;
        let hash = match calls::hash_kv(client, url, asked) {
            // The log went on with a compaction.
            Err(e) if format!("{e:#}").contains("compacted") => None,
            answer => Some(answer.context("asking the restored etcd for the sum over its v3 keys")?),
        };
        let compacted = hash.as_ref().and_then(|hash| u64::try_from(hash.compact_revision).ok());
        let expected = expected(base, compacted.filter(|at| *at > 0))?;
        Ok(Self { revision, hash: hash.map(|hash| hash.hash), expected })
    }

    /// What differs, for people.
    pub fn difference(&self) -> Option<String> {
        let hash = self.hash.filter(|hash| *hash != self.expected)?;
        let Self { revision, expected, .. } = self;
        Some(format!("the v3 store at revision {revision} has the HashKV {hash}, not {expected}"))
    }
}

fn expected(base: &Base, compacted: Option<u64>) -> Result<u32> {
    let file = base.file()?;
    sum(file, compacted).with_context(|| format!("reading {}", base.path.display()))
}

fn sum(file: impl Read + Seek, compacted: Option<u64>) -> Result<u32> {
    mvcc::hash_kv(&mut Db::open(file)?, compacted)
}
