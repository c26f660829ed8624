//! The restored member directory, written offline: what `--force-new-cluster` does inside a running etcd, without
//! giving up acknowledged entries behind the persisted commit index, and without renumbering any entry.
//!
//! One WAL segment: CRC, metadata with the new IDs, the record of snapshot {0,0}, all entries behind the base unchanged,
//! then appended membership entries: **Add** the new members, **Remove** the old ones, **Update** members that needed a
//! placeholder URL, in this order (3.4 panics when no voter is left; a URL that a present member has is refused). Then a
//! hard state that commits all of it, and the record of the base. Appending keeps the store's indexes of every key.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};

use super::boltdb;
use super::datadir::{Contents, DataDir, Family};
use super::frame::{FrameWriter, Kind};
use super::members::MemberJson;
use super::proto::{ConfChange, ConfChangeKind, Entry, EntryKind, HardState, LogPosition, Metadata};
use super::store::StoredMember;
use super::wal::{self, Reading, SegmentName};
use crate::sys::fs::{create_dirs, create_private};

/// Mode of etcd's folders.
const DIR_MODE: u32 = 0o700;

/// A member of the new cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMember {
    /// Any number but 0 that no old member has.
    pub id: u64,
    /// Its advertised peer URLs.
    pub peer_urls: Vec<String>,
}

/// The cluster a data directory is rewritten for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// The new cluster's ID.
    pub cluster_id: u64,
    /// Its members.
    pub members: Vec<NewMember>,
    /// Which of them the directory is for.
    pub own_id: u64,
    /// Which etcd will start on it.
    pub family: Family,
}

/// Writes a member directory (`snap/`, `wal/`) at `target`, which must not exist. Nothing is synced yet.
///
/// # Errors
/// The source cannot be read again as it was scanned, or the target cannot be written.
pub fn write_member_dir(
    source: &DataDir,
    contents: &Contents,
    rewrite: &Rewrite,
    target: &Path,
) -> Result<()> {
    let (snap, wal_dir) = (target.join("snap"), target.join("wal"));
    create_dirs(&snap, DIR_MODE)?;
    create_dirs(&wal_dir, DIR_MODE)?;
    if let Some(base) = &contents.base {
        let copy = snap.join(base.name.to_string());
        let copied = || io::copy(&mut File::open(&base.path)?, &mut create_private(&copy)?);
        copied().with_context(|| format!("copying {}", base.path.display()))?;
        if rewrite.family == Family::Three {
            let mut db = create_private(&snap.join("db")).context("creating snap/db")?;
            db.write_all(&boltdb::stub(base.metadata.position.index)).context("writing snap/db")?;
        }
    }
    let path = SegmentName { sequence: 0, index: 0 }.path(&wal_dir);
    let file = create_private(&path).with_context(|| format!("creating {}", path.display()))?;
    let mut writer = FrameWriter::new(BufWriter::with_capacity(256 << 10, file), 0);
    write_log(source, contents, rewrite, &mut writer)
        .with_context(|| format!("writing {}", path.display()))?;
    writer.into_inner().flush().with_context(|| format!("writing {}", path.display()))?;
    Ok(())
}

fn write_log(
    source: &DataDir,
    contents: &Contents,
    rewrite: &Rewrite,
    writer: &mut FrameWriter<impl Write>,
) -> Result<()> {
    let base = contents.base.as_ref().map_or_else(LogPosition::default, |b| b.metadata.position);
    let last = contents.last();
    writer.crc_record()?;
    let metadata = Metadata { member_id: rewrite.own_id, cluster_id: rewrite.cluster_id };
    writer.record(Kind::Metadata, &metadata.encode())?;
    writer.record(Kind::Snapshot, &LogPosition::default().encode())?;

    wal::walk(&source.wal, contents.start, Reading::Still, &mut |_, record| {
        // Of the log only the entries are kept; hard states and snapshot records are written new below.
        if record.kind == Kind::Entry && Entry::decode(record.data)?.index > base.index {
            writer.record(Kind::Entry, record.data)?;
        }
        Ok(())
    })?;

    let term = contents.log.hard_state.term.max(last.term).max(base.term);
    let mut index = last.index;
    for (kind, member_id, urls) in membership(&contents.members()?, &rewrite.members) {
        index += 1;
        append_change(writer, kind, member_id, urls, index, term)?;
    }
    writer.record(Kind::HardState, &HardState { term, vote: 0, commit: index }.encode())?;
    if base.index > 0 {
        writer.record(Kind::Snapshot, &base.encode())?;
    }
    Ok(())
}

fn append_change(
    writer: &mut FrameWriter<impl Write>,
    kind: ConfChangeKind,
    member_id: u64,
    peer_urls: Vec<String>,
    index: u64,
    term: u64,
) -> io::Result<()> {
    let context = match kind {
        ConfChangeKind::Remove => Vec::new(),
        _ => serde_json::to_vec(&MemberJson { id: member_id, peer_urls, name: String::new() })?,
    };
    let change = ConfChange { kind, member_id, context: &context }.encode(index);
    let entry = Entry { kind: EntryKind::ConfChange, term, index, data: &change };
    writer.record(Kind::Entry, &entry.encode())
}

/// The membership entries to append, in order. Pure.
fn membership(
    present: &BTreeMap<u64, StoredMember>,
    new: &[NewMember],
) -> Vec<(ConfChangeKind, u64, Vec<String>)> {
    let taken = |url: &String| present.values().any(|m| m.peer_urls.contains(url));
    let (mut adds, mut updates) = (Vec::new(), Vec::new());
    for member in new {
        let urls = if member.peer_urls.iter().any(taken) {
            updates.push((ConfChangeKind::Update, member.id, member.peer_urls.clone()));
            // Never used: the Update follows before anybody listens. Unique, and a valid URL.
            vec![format!("http://placeholder-{:x}.invalid:2380", member.id)]
        } else {
            member.peer_urls.clone()
        };
        adds.push((ConfChangeKind::Add, member.id, urls));
    }
    let stays = |id: &u64| new.iter().any(|m| m.id == *id);
    let removes = present.keys().filter(|id| !stays(id)).map(|&id| (ConfChangeKind::Remove, id, Vec::new()));
    adds.into_iter().chain(removes).chain(updates).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(url: &str) -> StoredMember {
        StoredMember { name: String::new(), peer_urls: vec![url.into()] }
    }

    #[test]
    fn add_comes_before_remove_and_a_taken_url_gets_a_placeholder() {
        let present = BTreeMap::from([(1, stored("http://a:1")), (2, stored("http://b:2"))]);
        let new = |url: &str| [NewMember { id: 9, peer_urls: vec![url.into()] }];
        let kinds =
            |list: &[(ConfChangeKind, u64, Vec<String>)]| list.iter().map(|c| (c.0, c.1)).collect::<Vec<_>>();
        use ConfChangeKind::{Add, Remove, Update};

        let moved = membership(&present, &new("http://c:3"));
        assert_eq!(kinds(&moved), [(Add, 9), (Remove, 1), (Remove, 2)]);
        assert_eq!(moved[0].2, ["http://c:3"]);

        let same = membership(&present, &new("http://a:1"));
        assert_eq!(kinds(&same), [(Add, 9), (Remove, 1), (Remove, 2), (Update, 9)]);
        assert_eq!(
            (same[0].2[0].as_str(), same[3].2[0].as_str()),
            ("http://placeholder-9.invalid:2380", "http://a:1")
        );
    }
}
