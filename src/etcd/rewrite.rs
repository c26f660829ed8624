//! Member directories written offline: what `--force-new-cluster` does inside a running etcd, without giving up
//! acknowledged entries behind the persisted commit index, and without renumbering any entry.
//!
//! Where the member has data in the v3 store, its `snap/db` comes byte for byte, and the log makes of it what the new cluster is: see
//! [`super::v3::base`].
//!
//! One WAL segment: CRC, metadata with the new IDs, the record of snapshot {0,0}, all entries behind the base unchanged,
//! then, for a new cluster, appended membership entries: **Add** a temporary voter, **Remove** all old members, **Add** the
//! new ones with their URLs, **Remove** the temporary one, in this order: 3.4 panics when no voter is left, and a URL that a
//! present member has is refused. No **Update**: etcd 3.5.1 to 3.5.19 does not carry it into `snap/db`, where 3.6 looks
//! (etcd-io/etcd#19557). With a v3 store, the alarms of old members are disarmed then, and its revision may be moved
//! ([`super::v3::bump`]). Then a hard state that commits all of it, and the record of the base, for 3.x with the base's
//! voters. Appending keeps the store's indexes of every key. Members of one cluster have the same log and differ in the
//! metadata.
//!
//! A seed is for a member that joins the cluster restored from the same source: the leader sends it what comes behind.
//! Nothing is appended to it, since the founder has other entries at those indexes. With an empty data directory the
//! leader would send it everything.
//!
//! Each byte of a log is summed three times on its way into a member, and framed once. When it is read first, from this node's
//! disk or as it arrives from the archive: that decides what is restored. When it is framed anew: it lay on a disk since, in a
//! join for as long as it waits, and the new frame would give a damaged byte a right CRC. When it is read back: that is what
//! etcd will find. Nobody sums a snapshot anew, so it is summed when it is read first and when it is read back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, ensure};

use super::bolt;
use super::datadir::{Contents, DataDir, Family};
use super::file;
use super::frame::{FrameWriter, Kind, Stop};
use super::log::Log;
use super::members::MemberJson;
use super::proto::{ConfChange, ConfChangeKind, Entry, EntryKind, HardState, LogPosition, Metadata};
use super::snap::Snapshot;
use super::store::StoredMember;
use super::v3::alarms::AlarmKind;
use super::v3::bump::Bump;
use super::v3::proposals::Proposal;
use super::wal::{self, Place, Reading, SegmentName};
use crate::exit::{Exit, fault};
use crate::sys::fs::{create_dirs, create_private};

/// Mode of etcd's folders.
const DIR_MODE: u32 = 0o700;
const BUFFER_BYTES: usize = 128 << 10;

/// A member of the new cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMember {
    /// Any number but 0 that no old member has.
    pub id: u64,
    /// Its advertised peer URLs.
    pub peer_urls: Vec<String>,
}

/// What a member directory is written for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// A new cluster of these members, and of no other.
    Found(Vec<NewMember>),
    /// A member that joins: a running cluster has it in its list, and was restored from the same source.
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
    /// How the v3 store's revision is moved beyond what clients have seen, where that is wanted.
    pub bump: Option<Bump>,
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
const FIRST: SegmentName = SegmentName { sequence: 0, index: 0 };
/// It while it is written.
type NewLog = FrameWriter<BufWriter<File>>;
/// A membership entry to append: what happens, to whom, and its peer URLs.
type Membership = (ConfChangeKind, u64, Vec<String>);

/// Writes a member directory (`snap/`, `wal/`). Nothing is synced yet.
///
/// # Errors
/// [`Exit::Refused`] if the last entry wanted is not behind the source's snapshot, else those of [`write_base`] and
/// [`write_log`].
pub fn write_member_dir(
    source: &DataDir,
    contents: &Contents,
    rewrite: &Rewrite,
    target: Target<'_>,
) -> Result<()> {
    rewrite.last_index(contents)?;
    write_base(contents, rewrite.family, target.path)?;
    write_log(source, contents, rewrite, target)
}

/// Writes the part of a member directory that is the same for every member: its folders, and the snapshot to begin with.
///
/// # Errors
/// The source cannot be read again, or the target cannot be written.
pub fn write_base(contents: &Contents, family: Family, path: &Path) -> Result<()> {
    let snap = path.join("snap");
    create_dirs(&snap, DIR_MODE)?;
    create_dirs(&path.join("wal"), DIR_MODE)?;
    if let Some(v3) = &contents.v3 {
        let mut db = create_private(&snap.join("db")).context("creating snap/db")?;
        v3.copy_to(&mut db).context("writing snap/db")?;
    }
    let Some(base) = &contents.base else { return Ok(()) };
    let copy = snap.join(base.name.to_string());
    let copied = || -> Result<()> {
        let mut file = create_private(&copy)?;
        io::copy(&mut base.file()?, &mut file)?;
        Ok(())
    };
    copied().with_context(|| format!("copying {}", base.path.display()))?;
    if family == Family::Three && contents.v3.is_none() {
        let mut db = create_private(&snap.join("db")).context("creating snap/db")?;
        db.write_all(&bolt::stub(base.metadata.position.index)).context("writing snap/db")?;
    }
    Ok(())
}

/// Writes the rest of it, the log.
///
/// # Errors
/// The source cannot be read again as it was scanned, or the target cannot be written.
pub fn write_log(source: &DataDir, contents: &Contents, rewrite: &Rewrite, target: Target<'_>) -> Result<()> {
    let path = segment(target.path);
    let file = create_private(&path).with_context(|| format!("creating {}", path.display()))?;
    let mut log = FrameWriter::new(BufWriter::with_capacity(BUFFER_BYTES, file), 0);
    fill_log(source, contents, rewrite, target.member_id, &mut log).context("writing the new log")?;
    let file = log.into_inner().into_inner().map_err(io::IntoInnerError::into_error);
    file.map(drop).with_context(|| format!("writing {}", path.display()))
}

/// Reads a new member directory back, and syncs its files meanwhile.
///
/// # Errors
/// It cannot be read, or is not what `rewrite` says.
pub fn prove(contents: &Contents, rewrite: &Rewrite, target: Target<'_>) -> Result<()> {
    prove_base(contents, target.path)?;
    prove_log(contents, rewrite, target)
}

/// Reads back what [`write_base`] wrote, and syncs it meanwhile.
///
/// # Errors
/// It cannot be read or synced, or is not the source's snapshot or v3 store.
pub fn prove_base(contents: &Contents, path: &Path) -> Result<()> {
    if let Some(v3) = &contents.v3 {
        let db = path.join("snap/db");
        planned(read_back(&db, || v3.is_copied(&db))?)?;
    }
    let Some(base) = &contents.base else { return Ok(()) };
    let snap = path.join("snap");
    let copy = read_back(&snap.join(base.name.to_string()), || Snapshot::open(&snap, base.name))?;
    planned(copy.is_copy_of(base))
}

/// Reads back what [`write_log`] wrote, and syncs it meanwhile.
///
/// # Errors
/// It cannot be read or synced, or is not what `rewrite` says.
pub fn prove_log(contents: &Contents, rewrite: &Rewrite, target: Target<'_>) -> Result<()> {
    let base = contents.base_position();
    let mut found = Log::behind(base, HardState::default());
    let walk = read_back(&segment(target.path), || {
        wal::walk(&target.path.join("wal"), Place::start_of(FIRST), Reading::Still, &mut |_, record| {
            found.add(record)
        })
    })?;
    let taken = rewrite.last_index(contents)?;
    let last = taken + rewrite.appended(contents)?.count();
    let members = match &rewrite.purpose {
        Purpose::Found(members) => {
            let wanted: BTreeSet<u64> = members.iter().map(|m| m.id).collect();
            contents.members_by(&found.changes)?.into_keys().collect::<BTreeSet<_>>() == wanted
        }
        Purpose::Seed => true,
    };
    let metadata = Metadata { member_id: target.member_id, cluster_id: rewrite.cluster_id };
    planned(
        found.metadata == Some(metadata)
            && (found.last.index, found.hard_state.commit) == (last, last)
            && found.continues(base.index)
            && found.entries >= last - base.index
            && found.snapshots.contains(&base)
            && matches!(walk.stop, Stop::Eof | Stop::Zeros)
            && found.changes_to(taken) == contents.log.changes_to(taken)
            && members,
    )
}

fn planned(is: bool) -> Result<()> {
    if is {
        return Ok(());
    }
    Err(fault(
        Exit::Failed,
        "the new member directory does not read back as planned",
        "please report this as a bug",
    ))
}

/// Reads a new file back while the disk takes it, so that neither waits for the other. Its pages stay in memory, for etcd.
fn read_back<T>(path: &Path, read: impl FnOnce() -> Result<T>) -> Result<T> {
    let file = file::reopen(path)?;
    let mut synced = Ok(());
    let read = thread::scope(|scope| {
        scope.spawn(|| synced = file.sync_data());
        read()
    })?;
    // The kernel says it once: no later sync fails for it.
    synced.with_context(|| format!("syncing {}", path.display()))?;
    Ok(read)
}

fn segment(target: &Path) -> PathBuf {
    FIRST.path(&target.join("wal"))
}

fn fill_log(
    source: &DataDir,
    contents: &Contents,
    rewrite: &Rewrite,
    member_id: u64,
    log: &mut NewLog,
) -> Result<()> {
    let base = contents.base_position();
    let wanted = rewrite.last_index(contents)?;
    log.crc_record()?;
    log.record(Kind::Metadata, &Metadata { member_id, cluster_id: rewrite.cluster_id }.encode())?;
    log.record(Kind::Snapshot, &LogPosition::default().encode())?;

    let mut last = base;
    wal::walk(&source.wal, contents.start, Reading::Still, &mut |_, record| {
        // Of the log only the entries are kept; hard states and snapshot records are written new below.
        if record.kind == Kind::Entry {
            let entry = Entry::decode(record.data)?;
            if (base.index + 1..=wanted).contains(&entry.index) {
                log.record(Kind::Entry, record.data)?;
                last = LogPosition { index: entry.index, term: entry.term };
            }
        }
        Ok(())
    })?;
    ensure!(last.index == wanted, "the source ends at index {} now, not at {wanted}", last.index);

    let mut state = HardState { term: last.term, vote: 0, commit: wanted };
    if let Purpose::Found(_) = rewrite.purpose {
        state.term = appended_term(contents);
    }
    let appended = rewrite.appended(contents)?;
    for (kind, member_id, urls) in &appended.members {
        state.commit += 1;
        log.record(Kind::Entry, &change(*kind, *member_id, urls, state)?)?;
    }
    for proposal in appended.proposals() {
        state.commit += 1;
        log.record(Kind::Entry, &proposal.entry(state.term, state.commit))?;
    }
    log.record(Kind::HardState, &state.encode())?;
    if base.index > 0 {
        let record = match (rewrite.family, &contents.base) {
            (Family::Three, Some(snapshot)) => base.encode_with(&snapshot.metadata.conf_state),
            _ => base.encode(),
        };
        log.record(Kind::Snapshot, &record)?;
    }
    Ok(())
}

/// The term of the entries that are appended: that of every entry of the old cluster, and of every vote that the member gave, or a
/// later one. So whatever the new cluster's first leader writes has a later one.
pub fn appended_term(contents: &Contents) -> u64 {
    contents.log.hard_state.term.max(contents.last().term).max(contents.base_position().term)
}

/// A membership entry, at the index and in the term of `state`.
fn change(
    kind: ConfChangeKind,
    member_id: u64,
    peer_urls: &[String],
    state: HardState,
) -> io::Result<Vec<u8>> {
    let member = || MemberJson { id: member_id, peer_urls: peer_urls.to_vec(), name: String::new() };
    let context = match kind {
        ConfChangeKind::Remove => Vec::new(),
        _ => serde_json::to_vec(&member())?,
    };
    let HardState { term, commit: index, .. } = state;
    let change = ConfChange { kind, member_id, context: &context }.encode(index);
    Ok(Entry { kind: EntryKind::ConfChange, term, index, data: &change }.encode())
}

impl Rewrite {
    /// The index of the last entry that is taken over from the source.
    ///
    /// # Errors
    /// [`Exit::Refused`] if the source has no such entry behind its snapshot, or its v3 store is newer.
    pub fn last_index(&self, contents: &Contents) -> Result<u64> {
        let (first, last) = (contents.lowest(), contents.last().index);
        let wanted = self.up_to.unwrap_or(last);
        if (first..=last).contains(&wanted) {
            return Ok(wanted);
        }
        Err(fault(
            Exit::Refused,
            format!("index {wanted} is not in the source, which has {first} to {last}"),
            "choose an index in this range, or another source",
        ))
    }

    /// What is appended.
    fn appended(&self, contents: &Contents) -> Result<Appended> {
        let Purpose::Found(new) = &self.purpose else { return Ok(Appended::default()) };
        let members = membership(&contents.members_at(self.last_index(contents)?)?, new);
        let mut alarms = BTreeSet::new();
        if let Some(v3) = &contents.v3 {
            // Those that are over already, too: etcd makes nothing of disarming them.
            alarms.extend(v3.state.alarms.0.iter().chain(&contents.log.alarms));
        }
        Ok(Appended { members, alarms, bump: self.bump })
    }
}

/// What is appended to the log of a new cluster, in this order. The members come first, so that nothing of an old one is left; an
/// alarm of an old member keeps etcd from taking writes, so those that move the revision come last.
#[derive(Debug, Default)]
struct Appended {
    members: Vec<Membership>,
    /// Who raised an alarm, and which.
    alarms: BTreeSet<(u64, AlarmKind)>,
    bump: Option<Bump>,
}

impl Appended {
    /// How many entries it is.
    fn count(&self) -> u64 {
        (self.members.len() + self.alarms.len()) as u64 + self.bump.map_or(0, Bump::entries)
    }

    /// Those for the v3 store.
    fn proposals(&self) -> impl Iterator<Item = Proposal<'static>> {
        let disarm = |&(member_id, kind): &(u64, AlarmKind)| Proposal::Disarm { member_id, kind };
        self.alarms.iter().map(disarm).chain(self.bump.into_iter().flat_map(Bump::proposals))
    }
}

/// The membership entries that make `new` out of `present`, in order. Pure.
fn membership(present: &BTreeMap<u64, StoredMember>, new: &[NewMember]) -> Vec<Membership> {
    let add = |id, urls: &[String]| (ConfChangeKind::Add, id, urls.to_vec());
    let remove = |id| (ConfChangeKind::Remove, id, Vec::new());
    let temporary = temporary(present, new);
    // Gone again before anybody listens. Unique, and a valid URL.
    let nowhere = [format!("http://placeholder-{temporary:x}.invalid:2380")];
    let mut all = vec![add(temporary, &nowhere)];
    all.extend(present.keys().map(|&id| remove(id)));
    all.extend(new.iter().map(|member| add(member.id, &member.peer_urls)));
    all.push(remove(temporary));
    all
}

/// The ID of a voter that is there for no longer than it takes to change all others. The same for all members, as their logs
/// are; and as fresh as theirs, since an ID that was removed once never comes back.
fn temporary(present: &BTreeMap<u64, StoredMember>, new: &[NewMember]) -> u64 {
    let is_taken = |id: u64| id == 0 || present.contains_key(&id) || new.iter().any(|m| m.id == id);
    let mut id = new.first().map_or(u64::MAX, |member| !member.id);
    while is_taken(id) {
        id = id.wrapping_sub(1);
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(url: &str) -> StoredMember {
        StoredMember { name: String::new(), peer_urls: vec![url.into()] }
    }

    #[test]
    fn a_voter_is_left_at_all_times_no_url_is_there_twice_and_nobody_is_updated() {
        use ConfChangeKind::{Add, Remove};
        let present = BTreeMap::from([(1, stored("http://a:1")), (2, stored("http://b:2"))]);
        let new = |id: u64, url: &str| NewMember { id, peer_urls: vec![url.into()] };
        let all = membership(&present, &[new(9, "http://a:1"), new(10, "http://c:3")]);
        let (temporary, kinds) = (all[0].1, all.iter().map(|c| (c.0, c.1)).collect::<Vec<_>>());
        assert_eq!(
            kinds,
            [(Add, temporary), (Remove, 1), (Remove, 2), (Add, 9), (Add, 10), (Remove, temporary)]
        );
        assert_eq!(all[0].2, [format!("http://placeholder-{temporary:x}.invalid:2380")]);
        assert_eq!((&all[3].2[0][..], &all[4].2[0][..]), ("http://a:1", "http://c:3"));
        // Its ID is nobody else's.
        for (id, other) in [(9, !9_u64), (u64::MAX, u64::MAX - 1), (u64::MAX, 5)] {
            let present = BTreeMap::from([(other, stored("http://a:1"))]);
            let temporary = membership(&present, &[new(id, "http://a:1")])[0].1;
            assert!(![0, id, other].contains(&temporary), "{temporary:x}");
        }
    }
}
