//! What a restore changes on its node: the new directory beside the old one, then the one in the place of the other.
//!
//! All that needs room comes before the exchange, which happens behind the fence.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::allowed::Begun;
use super::plan::Plan;
use super::source::Source;
use super::{build, publish};
use crate::backup::spool::Staged;
use crate::node::fence::By;
use crate::node::member_dir::exchange::{self, Exchange};
use crate::node::member_dir::workshop;

/// All that is to be put into its place, complete and synced.
#[derive(Debug)]
pub struct Prepared {
    exchange: Exchange,
    record: Staged,
}

/// Writes the new member directory beside the old one, what the next backup must know, and the journal of the exchange.
///
/// # Errors
/// [`Exit::NoSpace`](crate::exit::Exit::NoSpace), or it cannot be written or is not what was planned; nothing of it is left.
pub fn prepare(begun: &Begun, source: &Source, plan: &Plan) -> Result<Prepared> {
    let Begun { node, places, .. } = begun;
    let prepare = || {
        build::build(&node.settings, source, &plan.rewrite, plan.own.id, places)
            .context("writing the new member directory")?;
        let record = publish::note(&node.settings, &plan.record)?;
        let exchange = Exchange::prepare(&node.settings.backup_dir, places, workshop::new_dir)?;
        anyhow::Ok(Prepared { exchange, record })
    };
    let prepared = prepare();
    if prepared.is_err() {
        exchange::clear(places)?;
    }
    prepared.context("the old data is untouched")
}

/// Puts it into its place behind the fence, and lets etcd start; gives where the old directories are now.
///
/// # Errors
/// [`Exit::Refused`](crate::exit::Exit::Refused) if etcd was started since the restore began; or a rename failed. Then either the
/// old data is in its place, or etcd stays fenced.
pub fn put_in_place(begun: &Begun, plan: &Plan, prepared: Prepared) -> Result<Vec<PathBuf>> {
    let Begun { node, places, before } = begun;
    let exchanged = node.exchange(By::Restore, before, &prepared.exchange);
    if exchanged.is_err() && !exchange::is_interrupted(&node.settings.backup_dir)? {
        exchange::clear(places)?;
    }
    let (fenced, kept) = exchanged?;
    exchange::clear(places)?;
    node.record(plan.record.cluster_id, plan.own.id)?;
    prepared.record.add()?;
    fenced.lower()?;
    Ok(kept)
}
