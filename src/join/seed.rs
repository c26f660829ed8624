//! The data that a joining member begins with, so that its leader need not send it a snapshot: what the founding member was
//! restored from, as the recovery record says.
//!
//! Only a member's ID is missing in it, which the cluster gives: all that grows with the store is written, proven and synced
//! before the cluster is changed.
//!
//! A seed holds nothing but entries that the founding member has at the same indexes. Entries that the restore appended are
//! not in its source, and what is behind the record's index is not taken. Only bytes are taken that have the hash in the record
//! that made the cluster: whoever else can write to the remote cannot make a member serve other values than its peers.

use anyhow::{Context, Result, bail, ensure};

use crate::archive::lineage::Record;
use crate::archive::recovery_records;
use crate::cluster::find::Cluster;
use crate::cluster::{Membership, api};
use crate::etcd::datadir::Family;
use crate::etcd::rewrite::{Purpose, Rewrite};
use crate::etcd::v3::base::Base as V3Base;
use crate::join::preflight::NEEDED_BYTES;
use crate::node::Node;
use crate::node::member_dir::places::Places;
use crate::node::member_dir::{exchange, workshop};
use crate::remote::Remote;
use crate::remote::rclone::Rclone;
use crate::restore::source::Source;
use crate::restore::{build, fetch, from_record, open};
use crate::settings::Settings;
use crate::sys::room::{Leave, Scratch};
use crate::sys::{folder, fs as files};

/// A leader has no more entries in memory: 100,000 until its next snapshot, and 5,000 behind the last one.
const MOST_KEPT: u64 = 105_000;

/// What a joining member can begin with. Dropped, it takes back what was not put in its place.
#[derive(Debug)]
pub struct Seed {
    source: Source,
    rewrite: Rewrite,
    places: Places,
    incoming: Scratch,
}

/// Looks for a seed. Whatever is in the way, the leader can send everything.
pub fn look(node: &Node, cluster: &Cluster, members: &Membership) -> Option<Seed> {
    let settings = &node.settings;
    let committed = cluster.leader_status(members).ok().map(|status| status.commit);
    let remote = Rclone::new(&settings.remote);
    match Seed::find(settings, &remote, cluster.id, committed, api::family(&cluster.http, &cluster.via).ok())
    {
        Ok(seed) => {
            let (from, last) = (seed.source.origin.describe(), seed.rewrite.up_to.unwrap_or_default());
            log::info!(
                "the member will be seeded from what the founding member was restored from: {from}, up to \
                 index {last}"
            );
            Some(seed)
        }
        Err(e) => {
            log::info!("the member will start empty, and the leader will send it everything: {e:#}");
            // What was brought before that was found out is of no use.
            clear(settings).unwrap_or_else(|e| log::warn!("could not remove leftover seed files: {e:#}"));
            None
        }
    }
}

/// Removes what there is of a seed that is in nobody's hands: of a run that was killed, or of what was of no use.
///
/// # Errors
/// It cannot be removed.
pub fn clear(settings: &Settings) -> Result<()> {
    exchange::clear(&Places::of(&settings.etcd)?)?;
    open::incoming(settings, Leave::Reserve).map(drop)
}

impl Seed {
    /// Looks for one for a cluster, brings it, proves it, and writes all of it but the log beside the member's data.
    /// `committed` is how far the cluster is, `family` which etcd it runs; both as far as that is known.
    ///
    /// # Errors
    /// Why there is none.
    fn find(
        settings: &Settings,
        remote: &dyn Remote,
        cluster_id: u64,
        committed: Option<u64>,
        family: Option<Family>,
    ) -> Result<Self> {
        let record = recovery_records::of_cluster(remote, cluster_id)?
            .context("there is no recovery record of that cluster")?;
        if let Some(committed) = committed.filter(|c| c.saturating_sub(record.index) > MOST_KEPT) {
            bail!("it is at index {committed}, too far after {}, where it was restored", record.index);
        }
        files::create_dirs(&settings.restore_dir, 0o700)?;
        let incoming = open::incoming(settings, Leave::Reserve)?;
        let (source, last) = source_of(remote, &record, &incoming)?;
        let family = family.unwrap_or(source.contents.family);
        let rewrite = Rewrite { cluster_id, purpose: Purpose::Seed, up_to: Some(last), family, bump: None };
        let places = Places::of(&settings.etcd)?;
        let seed = Self { source, rewrite, places, incoming };
        // What etcd then needs of its own must still be there.
        build::begin(settings, &seed.source, &seed.rewrite, &seed.places, Leave::Bytes(NEEDED_BYTES))?;
        // Of what was brought only the log is read again.
        if seed.source.dir.snap.starts_with(seed.incoming.dir()) {
            files::remove_dir_if_there(&seed.source.dir.snap)?;
        }
        Ok(seed)
    }

    /// Makes it the data of this member, still beside where that will be.
    ///
    /// # Errors
    /// It cannot be written, or is not what was planned.
    pub fn finish(&self, settings: &Settings, member_id: u64) -> Result<()> {
        build::finish(settings, &self.source, &self.rewrite, member_id, &self.places)
    }

    /// Puts it where the member's data is to be; nothing must be there. The log goes last: without one nobody takes the rest
    /// for a member's data.
    ///
    /// # Errors
    /// A rename failed.
    pub fn place(&self) -> Result<()> {
        for place in self.places.data() {
            folder::rename(&workshop::new_dir(place), place)
                .and_then(|()| folder::sync_above(place))
                .with_context(|| format!("putting the seed into {}", place.display()))?;
        }
        Ok(())
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if let Err(e) = exchange::clear(&self.places) {
            log::warn!("could not remove leftover seed files: {e:#}");
        }
    }
}

/// The data, and the last entry of it that is taken. The record, whose hash decides what is taken, is the one that the cluster's
/// ID follows from.
fn source_of(remote: &dyn Remote, record: &Record, incoming: &Scratch) -> Result<(Source, u64)> {
    let Some(part) = record.backed_up.as_ref().filter(|_| record.generation == 0) else {
        return Ok((from_record::source(remote, record, incoming)?, record.index));
    };
    // A disk was restored. What that machine had backed up of it by then is a part of it.
    let folder = &record.machine_id;
    let wanted = (part.generation, part.checksum.as_str());
    let source = open::from_folder(remote, folder, &|objects| {
        fetch::recorded(remote, folder, objects, wanted, incoming).map(open::opened)
    })?;
    ensure!(source.v3_data.is_none(), "the backup leaves out what the member had in the v3 store");
    let last = part.index.min(record.index);
    // Members that begin with other v3 stores than their leader would serve other values, and nobody would notice.
    match (record.v3, source.contents.v3.as_ref().map(V3Base::applied)) {
        (None, None) => {}
        (Some(_), Some(applied)) => ensure!(applied <= last, "the v3 store in its backup is newer"),
        (Some(_), None) => {
            bail!("it was restored from a disk with a v3 store, which its backup does not have")
        }
        (None, Some(_)) => bail!("the v3 store in its backup was given up"),
    }
    ensure!(
        source.hash == part.checksum && source.contents.metadata.cluster_id == record.source_cluster_id,
        "the backup is not the one that the record names"
    );
    Ok((source, last))
}
