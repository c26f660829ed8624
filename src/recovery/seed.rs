//! The data that a joining member begins with, so that its leader need not send it a snapshot: what the founding member was
//! restored from, as the recovery record says.
//!
//! Only a member's ID is missing in it, which the cluster gives: all that grows with the store is written, proven and synced
//! before the cluster is changed.
//!
//! A seed holds nothing but entries that the founding member has at the same indexes. Entries that the restore appended are
//! not in its source, and what is behind the record's index is not taken.

use std::fs;

use anyhow::{Context, Result, bail, ensure};

use super::fetch::{self, Wanted};
use super::source::{self, Source};
use super::{build, record};
use crate::archive::chain;
use crate::archive::lineage::Record;
use crate::archive::recorded;
use crate::cluster::find::Cluster;
use crate::cluster::preflight::NEEDED_BYTES;
use crate::cluster::{Membership, api};
use crate::etcd::datadir::{Contents, Family};
use crate::etcd::proto::{HardState, LogPosition};
use crate::etcd::rewrite::{Purpose, Rewrite};
use crate::member_dir::exchange;
use crate::member_dir::places::Places;
use crate::paths::Root;
use crate::remote::Remote;
use crate::remote::rclone::Rclone;
use crate::settings::Settings;
use crate::sys::fs as files;
use crate::sys::room::{Leave, Scratch};

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
pub fn look(root: &Root, settings: &Settings, cluster: &Cluster, members: &Membership) -> Option<Seed> {
    let committed = cluster.leader_status(members).ok().map(|status| status.commit);
    let remote = Rclone::new(settings, root);
    match Seed::find(settings, &remote, cluster.id, committed, api::family(&cluster.http, &cluster.via).ok())
    {
        Ok(seed) => {
            let (from, last) = (seed.source.origin.describe(), seed.rewrite.up_to.unwrap_or_default());
            log::info!(
                "the member will begin with what the founding member was restored from: {from}, up to index {last}"
            );
            Some(seed)
        }
        Err(e) => {
            log::info!("the member will begin empty, and the leader send it everything: {e:#}");
            // What was brought before that was found out is of no use.
            clear(settings).unwrap_or_else(|e| log::warn!("something of it is left: {e:#}"));
            None
        }
    }
}

/// Removes what there is of a seed that is in nobody's hands: of a run that was killed, or of what was of no use.
///
/// # Errors
/// It cannot be removed.
pub fn clear(settings: &Settings) -> Result<()> {
    exchange::clear(&Places::of(settings)?)?;
    source::incoming(settings, Leave::Reserve).map(drop)
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
        let record =
            recorded::of_cluster(remote, cluster_id)?.context("no recovery record tells of that cluster")?;
        if let Some(committed) = committed.filter(|c| c.saturating_sub(record.index) > MOST_KEPT) {
            bail!("it is at index {committed}, too far behind {}, where it was restored", record.index);
        }
        files::create_dirs(&settings.restore_dir, 0o700)?;
        let incoming = source::incoming(settings, Leave::Reserve)?;
        let (source, last) = source_of(remote, &record, &incoming)?;
        let family = family.unwrap_or(source.contents.family);
        let rewrite = Rewrite { cluster_id, purpose: Purpose::Seed, up_to: Some(last), family };
        let places = Places::of(settings)?;
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
            fs::rename(exchange::staging(place), place)
                .and_then(|()| files::sync_dir(&files::parent(place)))
                .with_context(|| format!("putting the seed into {}", place.display()))?;
        }
        Ok(())
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if let Err(e) = exchange::clear(&self.places) {
            log::warn!("of what a new member begins with, something is left: {e:#}");
        }
    }
}

/// The data, and the last entry of it that is taken.
fn source_of(remote: &dyn Remote, record: &Record, incoming: &Scratch) -> Result<(Source, u64)> {
    let folder = &record.machine_id;
    let objects = remote.list(folder)?;
    if record.generation > 0 || chain::is_original(&objects) {
        return Ok((record::source(remote, record, incoming)?, record.index));
    }
    // A disk was restored. What that machine backed up before is a part of it, if nothing came in between.
    let of_the_cluster = chain::generations(&objects)
        .iter()
        .rfind(|g| g.name.cluster_id == record.source_cluster_id)
        .map(|g| g.name.number)
        .context("it was restored from a disk that was never backed up")?;
    let wanted = Wanted { generation: Some(of_the_cluster), accept_older: true, point: None };
    let source = source::opened(fetch::fetch(remote, folder, &objects, wanted, incoming)?)?;
    ensure!(
        source.contents.metadata.cluster_id == record.source_cluster_id,
        "the backup is another cluster's"
    );
    let end = LogPosition { index: record.index, term: record.term };
    let last = common(&source.contents, end).with_context(|| {
        let at = source.contents.last();
        format!(
            "the backup (index {} of term {}) may differ from the disk that was restored",
            at.index, at.term
        )
    })?;
    Ok((source, last))
}

/// Up to which index some member's data is certain to be that of another one, of which only the last entry is known.
///
/// Raft: two logs that have an entry of the same index and term are the same up to it. With one that ends in the same term
/// they are the same as that term's leader's. What was committed in no later term than the end's, its leader has, too.
fn common(contents: &Contents, end: LogPosition) -> Option<u64> {
    let (state, last) = (contents.log.hard_state, contents.last());
    let seen = HardState { term: state.term.max(last.term), ..state };
    let term_at = |index| contents.at(index).map(|at| at.term);
    agreeing(end, last.index, seen, term_at).filter(|index| *index > 0 && *index >= contents.base_index())
}

/// The same of a log that ends at `last` and of what its member has seen.
fn agreeing(
    end: LogPosition,
    last: u64,
    seen: HardState,
    term_at: impl Fn(u64) -> Option<u64>,
) -> Option<u64> {
    let both = end.index.min(last);
    match term_at(both) {
        Some(term) if term == end.term => Some(both),
        _ => (seen.term <= end.term).then_some(both.min(seen.commit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_must_be_the_same_is_taken() {
        // The backup: entries to 10 in term 2, to 20 in term 4.
        let term_at = |index: u64| (1..=20).contains(&index).then_some(if index <= 10 { 2 } else { 4 });
        for ((index, term), (seen, commit), expected) in [
            // The disk went on in the same term; or is shorter.
            ((50, 4), (4, 15), Some(20)),
            ((15, 4), (4, 12), Some(15)),
            ((15, 4), (9, 0), Some(15)),
            // It went on in later terms: the uncommitted may have been replaced there.
            ((50, 5), (4, 15), Some(15)),
            ((50, 5), (5, 20), Some(20)),
            ((12, 5), (4, 20), Some(12)),
            // It ends in an earlier term, or the backup has seen a later one.
            ((50, 3), (4, 15), None),
            ((15, 3), (4, 15), None),
            ((50, 5), (6, 20), None),
            ((8, 2), (4, 15), Some(8)),
        ] {
            let (end, seen) = (LogPosition { index, term }, HardState { term: seen, vote: 0, commit });
            assert_eq!(agreeing(end, 20, seen, term_at), expected, "{end:?} {seen:?}");
        }
    }
}
