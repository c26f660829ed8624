//! What the db of the v3 store says, also while etcd writes it.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};

use super::report::{V3Alarm, V3Peer, V3Summary};
use super::subject::open;
use crate::etcd::bolt::{self, Db, sum};
use crate::etcd::v3::state::V3State;
use crate::exit::{Exit, fault};

/// etcd commits ten times a second while it is written to, and a small db is read between two commits.
const TRIES: u32 = 20;

/// Reads a db through.
///
/// # Errors
/// It is no sane db of etcd, cannot be read, or etcd writes it too fast.
pub fn summary(path: &Path) -> Result<V3Summary> {
    for _ in 0..TRIES {
        let (read, same) = between_commits(path, |db| summary_of(db, path))?;
        if same {
            return read;
        }
    }
    Err(written(path))
}

/// Reads something of a db; and whether no transaction was committed meanwhile, else what was read may be anything.
pub(super) fn between_commits<T>(
    path: &Path,
    read: impl FnOnce(&mut Db<File>) -> Result<T>,
) -> Result<(Result<T>, bool)> {
    bolt::between_commits(open(path)?, read)
}

/// What to say of a db that is never the same twice.
pub(super) fn written(path: &Path) -> anyhow::Error {
    let what = format!("etcd wrote to {} while it was read", path.display());
    let hint = "try once more, or inspect a snapshot: etcdctl snapshot save snapshot.db";
    fault(Exit::Failed, what, hint)
}

fn summary_of(db: &mut Db<File>, path: &Path) -> Result<V3Summary> {
    let (state, in_use) = V3State::read_with_pages(db)?;
    let hex = |id: u64| format!("{id:x}");
    let alarm = |(member, kind): &(u64, _)| V3Alarm { member_id: hex(*member), alarm: format!("{kind}") };
    let file = open(path)?;
    let bytes = file.metadata().with_context(|| format!("looking at {}", path.display()))?.len();
    Ok(V3Summary {
        bytes,
        sum: sum::check(&mut &file)?,
        txid: db.txid(),
        page_size: db.page_size(),
        pages: db.page_count(),
        pages_in_use: in_use.len(),
        consistent_index: state.consistent_index,
        term: state.term,
        revision: state.revision,
        compacted: state.compacted,
        revisions: state.revisions,
        deletions: state.deletions,
        key_bytes: state.key_bytes,
        alarms: state.alarms.0.iter().map(alarm).collect(),
        members: state
            .members
            .into_iter()
            .map(|(id, m)| V3Peer {
                id: hex(id),
                name: m.name,
                peer_urls: m.peer_urls,
                learner: m.is_learner,
            })
            .collect(),
        removed: state.removed.into_iter().map(hex).collect(),
        cluster_version: state.cluster_version,
        storage_version: state.storage_version,
        auth_enabled: state.auth_enabled,
        users: state.users,
        roles: state.roles,
        leases: state.leases,
        kubernetes: state.kubernetes,
    })
}
