//! What a restore is going to make: a new cluster out of a source, and this node as its member.

use anyhow::Result;

use super::ids;
use super::source::Source;
use crate::archive::lineage::{Record, RecordedMember};
use crate::etcd::datadir::Family;
use crate::etcd::rewrite::{NewMember, Purpose, Rewrite};
use crate::identity::{self, Identity};
use crate::member_dir::aside;
use crate::member_dir::places::Places;
use crate::paths::Root;
use crate::settings::Settings;
use crate::sys::time;

/// What a restore is going to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Whose data it is.
    pub machine_id: String,
    /// Fresh for each attempt.
    pub token: String,
    /// This node's name.
    pub name: String,
    /// This node in the new cluster.
    pub own: NewMember,
    /// How the source's data is rewritten.
    pub rewrite: Rewrite,
}

impl Plan {
    /// Makes one; `present` are the members that the source has, `family` says which etcd is to run if not the source's.
    ///
    /// # Errors
    /// This node's URLs are not known, or there are no random bytes.
    pub fn make(
        settings: &Settings,
        source: &Source,
        folder: &str,
        present: &[u64],
        family: Option<Family>,
    ) -> Result<Self> {
        let urls = settings.own_peer_urls()?.to_vec();
        let token = ids::token()?;
        let members = [(settings.name.clone(), urls.clone())];
        let (cluster_id, ids) = ids::derive(&source.hash, &members, &token, present);
        let family = family.unwrap_or(source.contents.family);
        let own = NewMember { id: ids[0], peer_urls: urls };
        let purpose = Purpose::Found(vec![own.clone()]);
        let rewrite = Rewrite { cluster_id, purpose, up_to: Some(source.point.index), family };
        Ok(Self { machine_id: folder.to_owned(), token, name: settings.name.clone(), own, rewrite })
    }

    /// Tells it, before anything is changed.
    pub fn say(&self, source: &Source, places: &Places) {
        let (contents, last) = (&source.contents, source.point);
        log::info!("source: {}", source.origin.describe());
        let urls = self.own.peer_urls.join(",");
        log::info!(
            "data of cluster {:x}, up to index {} of term {} ({} entries behind {})",
            contents.metadata.cluster_id,
            last.index,
            last.term,
            last.index - contents.base_index(),
            contents
                .base
                .as_ref()
                .map_or("no snapshot".into(), |b| format!("the snapshot at {}", b.name.index)),
        );
        if let Some(reason) = contents.torn() {
            log::warn!("the log's last write was torn ({reason}); everything before it is restored");
        }
        source.warn_of_v3_data();
        log::info!(
            "becomes cluster {:x} with one member, {:x} at {urls}",
            self.rewrite.cluster_id,
            self.own.id
        );
        let suffix = aside::suffix("restore", places);
        for present in places.all().filter(|place| place.exists()) {
            let kept = aside::with_suffix(present, &suffix);
            log::info!("{} is kept as {}", present.display(), kept.display());
        }
    }

    /// Writes down who this node is now, for the guard.
    ///
    /// # Errors
    /// The stamp cannot be written.
    pub fn identify(&self, root: &Root, settings: &Settings) -> Result<()> {
        let wal_dir = root.strip(&settings.effective_wal_dir());
        let (cluster_id, member_id) = (self.rewrite.cluster_id, self.own.id);
        identity::record(root, &Identity { cluster_id, member_id, wal_dir })
    }

    /// What everyone who has to know of the recovery reads.
    pub fn record(&self, source: &Source) -> Record {
        let (contents, last) = (&source.contents, source.point);
        Record {
            version: 1,
            token: self.token.clone(),
            time: time::now(),
            source: source.origin.describe(),
            machine_id: self.machine_id.clone(),
            generation: source.origin.generation(),
            source_cluster_id: contents.metadata.cluster_id,
            index: last.index,
            term: last.term,
            source_hash: source.hash.clone(),
            cluster_id: self.rewrite.cluster_id,
            members: vec![RecordedMember {
                id: self.own.id,
                name: self.name.clone(),
                peer_urls: self.own.peer_urls.clone(),
            }],
        }
    }
}
