//! Member directories written offline: what `--force-new-cluster` does inside a running etcd, without giving up
//! acknowledged entries behind the persisted commit index, and without renumbering any entry.
//!
//! One WAL segment: CRC, metadata with the new IDs, the record of snapshot {0,0}, all entries behind the base unchanged,
//! then, for a new cluster, appended membership entries: **Add** the new members, **Remove** the old ones, **Update**
//! members that needed a placeholder URL, in this order (3.4 panics when no voter is left; a URL that a present member
//! has is refused). Then a hard state that commits all of it, and the record of the base. Appending keeps the store's
//! indexes of every key. Members of one cluster have the same log and differ in the metadata.
//!
//! A seed is for a member that joins the cluster restored from the same source: the leader sends it what comes behind.
//! Nothing is appended to it, since the founder has other entries at those indexes. With an empty data directory the
//! leader would send it everything.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::boltdb;
use super::datadir::{Contents, DataDir, Family};
use super::frame::{FrameWriter, Kind};
use super::members::MemberJson;
use super::proto::{ConfChange, ConfChangeKind, Entry, EntryKind, HardState, LogPosition, Metadata};
use super::store::StoredMember;
use super::wal::{self, Reading, SegmentName};
use crate::exit::{Exit, fault};
use crate::sys::fs::{create_dirs, create_private};

/// Mode of etcd's folders.
const DIR_MODE: u32 = 0o700;
/// One buffer a member, and memory is scarce.
const BUFFER_BYTES: usize = 128 << 10;

/// A member of the new cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMember {
    /// Any number but 0 that no old member has.
    pub id: u64,
    /// Its advertised peer URLs.
    pub peer_urls: Vec<String>,
}

/// What member directories are written for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// A new cluster of these members, and of no other.
    Found(Vec<NewMember>),
    /// Members that join: a running cluster has them in its list, and was restored from the same source.
    Seed,
}

/// How a source's data is rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// The ID of the cluster that the new directories are of.
    pub cluster_id: u64,
    /// What they are for.
    pub purpose: Purpose,
    /// The last entry to take over; `None`: all there are, those behind the commit index too.
    pub up_to: Option<u64>,
    /// Which etcd will start on them.
    pub family: Family,
}

/// A member directory to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// Whose it will be.
    pub member_id: u64,
    /// Where it will be; it must not exist.
    pub path: &'a Path,
}

/// The one segment of a new log.
type NewLog = FrameWriter<BufWriter<File>>;
/// A membership entry to append: what happens, to whom, and its peer URLs.
type Appended = (ConfChangeKind, u64, Vec<String>);

/// Writes member directories (`snap/`, `wal/`), reading the source's log once for all of them. Nothing is synced yet.
///
/// # Errors
/// [`Exit::Refused`] if the last entry wanted is not behind the source's snapshot, else: the source cannot be read again
/// as it was scanned, or a target cannot be written.
pub fn write_member_dirs(
    source: &DataDir,
    contents: &Contents,
    rewrite: &Rewrite,
    targets: &[Target<'_>],
) -> Result<()> {
    rewrite.last_index(contents)?;
    let mut logs = Vec::new();
    for target in targets {
        write_snapshot(contents, rewrite.family, target.path)?;
        let path = segment(target.path);
        let file = create_private(&path).with_context(|| format!("creating {}", path.display()))?;
        logs.push(FrameWriter::new(BufWriter::with_capacity(BUFFER_BYTES, file), 0));
    }
    write_logs(source, contents, rewrite, targets, &mut logs).context("writing the new log")?;
    for (log, target) in logs.into_iter().zip(targets) {
        let file = log.into_inner().into_inner().map_err(io::IntoInnerError::into_error);
        begin_sync(&file.with_context(|| format!("writing {}", segment(target.path).display()))?);
    }
    Ok(())
}

/// Reads a new member directory back as any other.
///
/// # Errors
/// It cannot be read, or is not what `rewrite` says.
pub fn prove(contents: &Contents, rewrite: &Rewrite, target: Target<'_>) -> Result<()> {
    let dir = DataDir { snap: target.path.join("snap"), wal: target.path.join("wal") };
    let found = dir.scan(Reading::Still)?;
    let last = rewrite.last_index(contents)? + rewrite.appended(contents)?.len() as u64;
    let metadata = Metadata { member_id: target.member_id, cluster_id: rewrite.cluster_id };
    let expected: Vec<u64> = match &rewrite.purpose {
        Purpose::Found(members) => {
            let sorted: std::collections::BTreeSet<u64> = members.iter().map(|m| m.id).collect();
            sorted.into_iter().collect()
        }
        Purpose::Seed => contents.members_at(last)?.into_keys().collect(),
    };
    let members: Vec<u64> = found.members()?.into_keys().collect();
    let whole = found.base_index() == contents.base_index()
        && (found.last().index, found.log.hard_state.commit) == (last, last)
        && found.log.entries >= last - found.base_index()
        && found.torn().is_none()
        && found.metadata == metadata
        && members == expected;
    if whole {
        return Ok(());
    }
    Err(fault(
        Exit::Failed,
        "the new member directory does not read back as planned",
        "please report this as a bug",
    ))
}

/// Lets the disk begin with what is written while it is read back; otherwise all of it waits for the sync. This is how one
/// tells the kernel: that nobody will want these pages. Those that are not on the disk yet stay.
fn begin_sync(file: &File) {
    // A hint, nothing depends on it.
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}

fn segment(target: &Path) -> std::path::PathBuf {
    SegmentName { sequence: 0, index: 0 }.path(&target.join("wal"))
}

fn write_snapshot(contents: &Contents, family: Family, target: &Path) -> Result<()> {
    let snap = target.join("snap");
    create_dirs(&snap, DIR_MODE)?;
    create_dirs(&target.join("wal"), DIR_MODE)?;
    let Some(base) = &contents.base else { return Ok(()) };
    let copy = snap.join(base.name.to_string());
    let copied = || -> io::Result<()> {
        let mut file = create_private(&copy)?;
        io::copy(&mut File::open(&base.path)?, &mut file)?;
        begin_sync(&file);
        Ok(())
    };
    copied().with_context(|| format!("copying {}", base.path.display()))?;
    if family == Family::Three {
        let mut db = create_private(&snap.join("db")).context("creating snap/db")?;
        db.write_all(&boltdb::stub(base.metadata.position.index)).context("writing snap/db")?;
    }
    Ok(())
}

fn write_logs(
    source: &DataDir,
    contents: &Contents,
    rewrite: &Rewrite,
    targets: &[Target<'_>],
    logs: &mut [NewLog],
) -> Result<()> {
    let base = contents.base.as_ref().map_or_else(LogPosition::default, |b| b.metadata.position);
    let wanted = rewrite.last_index(contents)?;
    for (log, target) in logs.iter_mut().zip(targets) {
        log.crc_record()?;
        let metadata = Metadata { member_id: target.member_id, cluster_id: rewrite.cluster_id };
        log.record(Kind::Metadata, &metadata.encode())?;
    }
    write_all(logs, Kind::Snapshot, &LogPosition::default().encode())?;

    let mut last = base;
    wal::walk(&source.wal, contents.start, Reading::Still, &mut |_, record| {
        // Of the log only the entries are kept; hard states and snapshot records are written new below.
        if record.kind == Kind::Entry {
            let entry = Entry::decode(record.data)?;
            if (base.index + 1..=wanted).contains(&entry.index) {
                write_all(logs, Kind::Entry, record.data)?;
                last = LogPosition { index: entry.index, term: entry.term };
            }
        }
        Ok(())
    })?;
    ensure!(last.index == wanted, "the source ends at index {} now, not at {wanted}", last.index);

    let mut state = HardState { term: last.term, vote: 0, commit: wanted };
    if let Purpose::Found(_) = rewrite.purpose {
        // Above every term that an old member may have voted in.
        state.term = contents.log.hard_state.term.max(contents.last().term).max(base.term);
    }
    for (kind, member_id, urls) in rewrite.appended(contents)? {
        state.commit += 1;
        write_all(logs, Kind::Entry, &change(kind, member_id, urls, state)?)?;
    }
    write_all(logs, Kind::HardState, &state.encode())?;
    if base.index > 0 {
        write_all(logs, Kind::Snapshot, &base.encode())?;
    }
    Ok(())
}

fn write_all(logs: &mut [NewLog], kind: Kind, data: &[u8]) -> io::Result<()> {
    logs.iter_mut().try_for_each(|log| log.record(kind, data))
}

/// A membership entry, at the index and in the term of `state`.
fn change(
    kind: ConfChangeKind,
    member_id: u64,
    peer_urls: Vec<String>,
    state: HardState,
) -> io::Result<Vec<u8>> {
    let context = match kind {
        ConfChangeKind::Remove => Vec::new(),
        _ => serde_json::to_vec(&MemberJson { id: member_id, peer_urls, name: String::new() })?,
    };
    let HardState { term, commit: index, .. } = state;
    let change = ConfChange { kind, member_id, context: &context }.encode(index);
    Ok(Entry { kind: EntryKind::ConfChange, term, index, data: &change }.encode())
}

impl Rewrite {
    /// The index of the last entry that is taken over from the source.
    fn last_index(&self, contents: &Contents) -> Result<u64> {
        let (first, last) = (contents.base_index(), contents.last().index);
        let wanted = self.up_to.unwrap_or(last);
        if (first..=last).contains(&wanted) {
            return Ok(wanted);
        }
        Err(fault(
            Exit::Refused,
            format!("index {wanted} is wanted, the source has {first} to {last}"),
            "take an index between these, or another source",
        ))
    }

    /// The membership entries to append, in order.
    fn appended(&self, contents: &Contents) -> Result<Vec<Appended>> {
        match &self.purpose {
            Purpose::Found(new) => Ok(membership(&contents.members_at(self.last_index(contents)?)?, new)),
            Purpose::Seed => Ok(Vec::new()),
        }
    }
}

/// The membership entries that make `new` out of `present`, in order. Pure.
fn membership(present: &BTreeMap<u64, StoredMember>, new: &[NewMember]) -> Vec<Appended> {
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
