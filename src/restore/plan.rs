//! What a restore is going to make: a new cluster out of a source, and this node as its member.

use anyhow::Result;

use super::source::{Origin, Source};
use crate::archive::ids;
use crate::archive::lineage::{BackedUp, Record, RecordedMember, RecordedV3};
use crate::backup::state::State;
use crate::etcd::datadir::Family;
use crate::etcd::rewrite::{self, NewMember, Purpose, Rewrite};
use crate::etcd::v3::alarms::AlarmKind;
use crate::etcd::v3::base::Base as V3Base;
use crate::etcd::v3::bump::{self, Bump};
use crate::exit::{Exit, fault};
use crate::node::member_dir::aside;
use crate::node::member_dir::places::Places;
use crate::settings::Settings;
use crate::sys::terminal::table::{bytes, count};
use crate::sys::{look, time};

/// What a restore is going to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What everyone who has to know of the recovery reads.
    pub record: Record,
    /// This node in the new cluster.
    pub own: RecordedMember,
    /// How the source's data is rewritten.
    pub rewrite: Rewrite,
}

/// Names of members and their peer URLs.
pub type Members = [(String, Vec<String>)];

impl Plan {
    /// Makes one, of these members or of this node alone; `present` are the members that the source has, `family` says which
    /// etcd is to run if not the source's.
    ///
    /// # Errors
    /// [`Exit::Refused`] if this node is none of the members, or the revision would have to move too far; its URLs are not known, or
    /// there are no random bytes.
    pub fn make(
        settings: &Settings,
        source: &Source,
        folder: &str,
        (members, present): (Option<&Members>, &[u64]),
        (family, bump): (Option<Family>, Option<bool>),
    ) -> Result<Self> {
        let alone = [(settings.etcd.name.clone(), settings.etcd.own_peer_urls()?.to_vec())];
        let record = Record {
            version: Record::VERSION,
            token: String::new(),
            time: time::now(),
            source: source.origin.describe(),
            machine_id: source.origin.folder().unwrap_or(folder).to_owned(),
            generation: source.origin.generation(),
            source_cluster_id: source.contents.metadata.cluster_id,
            index: source.point.index,
            term: source.point.term,
            source_hash: source.hash.clone(),
            appended_term: rewrite::appended_term(&source.contents),
            backed_up: backed_up(settings, source),
            v3: source.contents.v3.as_ref().map(|v3| recorded(v3, source, bump)).transpose()?,
            cluster_id: 0,
            members: Vec::new(),
        };
        let record = loop {
            let record =
                Record { token: ids::token()?, ..record.clone() }.with_ids(members.unwrap_or(&alone));
            // That never comes about; but an ID of the source's must not come back.
            if !record.members.iter().any(|m| present.contains(&m.id)) {
                break record;
            }
        };
        Self::of(settings, source, record, family)
    }

    /// Makes that of a recovery that was begun elsewhere, from its very source.
    ///
    /// # Errors
    /// [`Exit::Refused`] if this node is none of its members.
    pub fn follow(
        settings: &Settings,
        source: &Source,
        record: &Record,
        family: Option<Family>,
    ) -> Result<Self> {
        Self::of(settings, source, record.clone(), family)
    }

    fn of(settings: &Settings, source: &Source, record: Record, family: Option<Family>) -> Result<Self> {
        let own = own_of(settings, &record)?.clone();
        let new = |m: &RecordedMember| NewMember { id: m.id, peer_urls: m.peer_urls.clone() };
        let rewrite = Rewrite {
            cluster_id: record.cluster_id,
            purpose: Purpose::Found(record.members.iter().map(new).collect()),
            up_to: Some(record.index),
            family: family.unwrap_or(source.contents.family),
            bump: record.v3.as_ref().and_then(|v3| v3.bump),
        };
        Ok(Self { record, own, rewrite })
    }

    /// Tells what becomes of the v3 store.
    fn say_v3(&self, source: &Source) {
        let Some(v3) = &source.contents.v3 else { return };
        let points = match source.origin {
            Origin::Local | Origin::File => "; a disk gives its newest state, older points need a backup",
            Origin::Archive { .. } | Origin::Original(_) => "",
        };
        log::info!(
            "the v3 store: {} at revision {}, with {} of the WAL after it{points}",
            bytes(v3.size),
            v3.state.revision,
            count(self.record.index.saturating_sub(v3.applied()), "entry", "entries"),
        );
        for (member, kind) in v3.state.alarms.0.iter().chain(&source.contents.log.alarms) {
            let next = match kind {
                AlarmKind::NoSpace => ": then compact and defragment it, or raise --quota-backend-bytes",
                _ => "",
            };
            log::warn!("the alarm {kind} of member {member:x} is disarmed{next}");
        }
        match self.rewrite.bump {
            Some(bump) => log::info!("{bump}"),
            None => {
                log::info!(
                    "its revision goes back with its keys: restart every client that watches, or add --bump"
                );
            }
        }
    }

    /// Tells it, before anything is changed.
    ///
    /// # Errors
    /// It could not be asked what is there.
    pub fn say(&self, source: &Source, places: &Places) -> Result<()> {
        let (contents, last) = (&source.contents, source.point);
        log::info!("source: {}", source.origin.describe());
        log::info!(
            "data of cluster {:x}, up to index {} of term {} ({} after {})",
            contents.metadata.cluster_id,
            last.index,
            last.term,
            count(last.index - contents.base_index(), "entry", "entries"),
            contents
                .base
                .as_ref()
                .map_or("no snapshot".into(), |b| format!("the snapshot at {}", b.name.index)),
        );
        if let Some(reason) = contents.torn() {
            log::warn!("the last write of the WAL was torn ({reason}); everything before it is restored");
        }
        if contents.is_of_learner()? {
            log::warn!(
                "this is the data of a learner, member {:x}, which has no vote and may lag behind its cluster: prefer a voter's \
                 disk if one is left whose index is higher",
                contents.metadata.member_id
            );
        }
        source.warn_of_v3_data();
        self.say_v3(source);
        let (own, members) = (&self.own, &self.record.members);
        let count = if members.len() == 1 {
            "one member,".into()
        } else {
            format!("{} members, here", members.len())
        };
        let (cluster_id, urls) = (self.rewrite.cluster_id, own.peer_urls.join(","));
        log::info!("becomes cluster {cluster_id:x} with {count} {:x} at {urls}", own.id);
        let suffix = aside::suffix("restore", places)?;
        for present in places.all() {
            if look::is_there(present)? {
                let kept = aside::with_suffix(present, &suffix);
                log::info!("{} is kept as {}", present.display(), kept.display());
            }
        }
        Ok(())
    }
}

/// What everyone has to know of a v3 store that is restored up to the source's point.
///
/// # Errors
/// [`Exit::Refused`] if the revision would have to move too far.
fn recorded(v3: &V3Base, source: &Source, bump: Option<bool>) -> Result<RecordedV3> {
    let applied = v3.applied();
    // A store that was still empty when its base was taken holds what the log brings.
    if !bump.unwrap_or(v3.state.kubernetes || source.contents.log.kubernetes) {
        return Ok(RecordedV3 { applied, bump: None });
    }
    // Whatever is restored: what came after it was seen by clients, too.
    let entries = source.newest.max(source.point.index).saturating_sub(applied);
    let bump = Bump::beyond(v3.state.revision, entries, bump::LOST);
    if bump.writes > bump::MOST {
        let what = format!(
            "the cluster came to index {} since this state: to move the revision beyond what clients have seen of it takes {} \
             writes, which no etcd starts on",
            source.newest, bump.writes
        );
        let hint = "restore a newer state; or add --no-bump, and restart every client that watches when etcd runs again";
        return Err(fault(Exit::Refused, what, hint));
    }
    Ok(RecordedV3 { applied, bump: Some(bump) })
}

/// This node among the members of a recovery: the one with its name and peer URLs.
///
/// # Errors
/// [`Exit::Refused`] if there is none.
pub fn own_of<'a>(settings: &Settings, record: &'a Record) -> Result<&'a RecordedMember> {
    let sorted = |urls: &[String]| {
        let mut urls = urls.to_vec();
        urls.sort_unstable();
        urls
    };
    let urls = sorted(settings.etcd.own_peer_urls()?);
    let own = record.members.iter().find(|m| m.name == settings.etcd.name && sorted(&m.peer_urls) == urls);
    own.ok_or_else(|| {
        let list: Vec<String> =
            record.members.iter().map(|m| format!("{}={}", m.name, m.peer_urls.join("+"))).collect();
        let what = format!(
            "this node ({}={}) is not one of the new cluster's members: {}",
            settings.etcd.name,
            urls.join("+"),
            list.join(", ")
        );
        fault(Exit::Refused, what, "the list must have its ETCD_NAME and all its advertised peer URLs")
    })
}

/// What the archive is known to have of a disk: the last part that this node took of this very log.
fn backed_up(settings: &Settings, source: &Source) -> Option<BackedUp> {
    let state =
        State::load(&settings.backup_dir).ok().flatten().filter(|_| source.origin == Origin::Local)?;
    let same = state.metadata() == source.contents.metadata && state.given_up.is_none();
    let had = source.contents.at(state.last.index) == Some(state.last);
    let State { generation, content, last, .. } = state;
    (same && had && last.index <= source.point.index).then_some(BackedUp {
        generation,
        checksum: content,
        index: last.index,
    })
}
