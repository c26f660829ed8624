//! What a db of the v3 store adds up to, read in one walk in which every page and row is checked.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::KUBERNETES;
use super::alarms::{self, Alarms};
use super::mvcc::{self, KeyValue, Revision};
use crate::etcd::bolt::{Db, PageSet};
use crate::etcd::wire::Fields;

/// A cluster has a handful.
const MAX_MEMBERS: usize = 4096;

/// The state. Which etcd has written a field is in docs/etcd-formats.md.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct V3State {
    /// The last log entry that the db has; 0 if it says nothing.
    pub consistent_index: u64,
    /// That entry's term (3.5 and later).
    pub term: Option<u64>,
    /// The store's revision: that of the last row, or that of the last compaction if it is higher. 1 in an empty store.
    pub revision: u64,
    /// Up to which revision the history was compacted.
    pub compacted: Option<u64>,
    /// Up to which revision a compaction was begun; equal to `compacted` unless it is unfinished.
    pub compacting: Option<u64>,
    /// Rows of the bucket `key`: changes of keys that are not compacted, deletions included.
    pub revisions: u64,
    /// Of these the deletions.
    pub deletions: u64,
    /// Bytes of keys and values in all rows.
    pub key_bytes: u64,
    /// Which alarms are on.
    pub alarms: Alarms,
    /// The members by ID, learners included.
    pub members: BTreeMap<u64, V3Member>,
    /// IDs of members that were removed.
    pub removed: BTreeSet<u64>,
    /// The cluster's version, like `3.5.0`.
    pub cluster_version: Option<String>,
    /// The version of the db's layout (3.6 and later).
    pub storage_version: Option<String>,
    /// Authentication is on.
    pub auth_enabled: bool,
    /// Moves with each change of users and roles.
    pub auth_revision: Option<u64>,
    /// How many leases there are.
    pub leases: u64,
    /// How many users there are.
    pub users: u64,
    /// How many roles there are.
    pub roles: u64,
    /// There are rows of keys below `/registry/`, where Kubernetes keeps its objects.
    pub kubernetes: bool,
}

/// A member as the db has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct V3Member {
    id: u64,
    /// Empty if it has never started.
    #[serde(default)]
    pub name: String,
    /// Where its peers reach it.
    #[serde(rename = "peerURLs", default)]
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    #[serde(rename = "clientURLs", default)]
    pub client_urls: Vec<String>,
    /// It has no vote yet.
    #[serde(rename = "isLearner", default)]
    pub is_learner: bool,
}

impl V3State {
    /// Reads a db through. etcd must not be writing it; see [`Db`].
    ///
    /// # Errors
    /// It cannot be read, or is no sane db of etcd: which page or row, and why.
    pub fn read<S: Read + Seek>(db: &mut Db<S>) -> Result<Self> {
        Self::read_with_pages(db).map(|(state, _)| state)
    }

    /// The same, and which pages are in use.
    ///
    /// # Errors
    /// As there.
    pub fn read_with_pages<S: Read + Seek>(db: &mut Db<S>) -> Result<(Self, PageSet)> {
        let mut this = Self { revision: 1, ..Self::default() };
        // Empty as long as nothing was asked of the v3 store.
        ensure!(db.bucket("meta")?.is_some(), "there is no bucket meta: it is no db of etcd");
        let reached = db.check(&mut |bucket, key, value| {
            let name = || format!("the bucket {}", String::from_utf8_lossy(bucket));
            this.row(bucket, key, value).with_context(name)
        })?;
        let behind = this.compacted.max(this.compacting).unwrap_or_default();
        this.revision = this.revision.max(behind);
        Ok((this, reached.pages))
    }

    fn row(&mut self, bucket: &[u8], key: &[u8], value: &[u8]) -> Result<()> {
        match bucket {
            b"key" => self.key(key, value)?,
            b"meta" => self.meta(key, value)?,
            b"alarm" => {
                self.alarms.0.insert(alarms::decode_row(key)?);
            }
            b"members" => {
                let member: V3Member = serde_json::from_slice(value).context("reading a member")?;
                let id = hex(key)?;
                ensure!(id == member.id, "the member {id:x} calls itself {:x}", member.id);
                self.members.insert(id, member);
            }
            b"members_removed" => {
                self.removed.insert(hex(key)?);
            }
            b"cluster" if key == b"clusterVersion" => self.cluster_version = Some(text(value)?),
            b"auth" if key == b"authEnabled" => self.auth_enabled = value == [1],
            b"auth" if key == b"authRevision" => self.auth_revision = Some(number(value)?),
            b"lease" => {
                let id = number(key)?;
                ensure!(lease_id(value)? == id, "the lease {id:x} calls itself another one");
                self.leases += 1;
            }
            b"authUsers" => self.users += 1,
            b"authRoles" => self.roles += 1,
            _ => {}
        }
        ensure!(self.members.len() + self.removed.len() <= MAX_MEMBERS, "more than {MAX_MEMBERS} members");
        ensure!(self.alarms.0.len() <= MAX_MEMBERS, "more than {MAX_MEMBERS} alarms");
        Ok(())
    }

    fn key(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let (revision, row) = KeyValue::of_row(key, value)?;
        self.revision = self.revision.max(revision.main);
        self.revisions += 1;
        self.deletions += u64::from(revision.tombstone);
        self.key_bytes += (row.key.len() + row.value.len()) as u64;
        self.kubernetes |= row.key.starts_with(KUBERNETES);
        Ok(())
    }

    fn meta(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let revision = |value| Revision::decode(value).map(|r| r.main);
        match key {
            b"consistent_index" => self.consistent_index = number(value)?,
            b"term" => self.term = Some(number(value)?),
            b"finishedCompactRev" => self.compacted = Some(revision(value)?),
            b"scheduledCompactRev" => self.compacting = Some(revision(value)?),
            b"storageVersion" => self.storage_version = Some(text(value)?),
            _ => {}
        }
        Ok(())
    }
}

/// The last log entry that a db has, by reading a few pages; also for a file that etcd is writing, as [`Db`] says.
///
/// # Errors
/// It cannot be read, or is not sane on the way there.
pub fn consistent_index<S: Read + Seek>(db: &mut Db<S>) -> Result<u64> {
    let Some(mut meta) = db.bucket("meta")? else { return Ok(0) };
    meta.get(b"consistent_index")?.map_or(Ok(0), |value| number(&value)).context("the bucket meta")
}

/// The revision of the last row of the bucket `key`, by reading a few pages: 0 if there is none.
///
/// # Errors
/// It cannot be read, or is not sane on the way there.
pub fn last_row<S: Read + Seek>(db: &mut Db<S>) -> Result<u64> {
    let Some(mut bucket) = db.bucket(mvcc::BUCKET)? else { return Ok(0) };
    Ok(match bucket.last()? {
        Some((key, _)) => Revision::decode(&key)?.main,
        None => 0,
    })
}

fn number(value: &[u8]) -> Result<u64> {
    let bytes = value.try_into().with_context(|| format!("a number of {} bytes", value.len()))?;
    Ok(u64::from_be_bytes(bytes))
}

fn text(value: &[u8]) -> Result<String> {
    ensure!(value.len() < 100, "a version of {} bytes", value.len());
    Ok(String::from_utf8_lossy(value).into_owned())
}

fn hex(key: &[u8]) -> Result<u64> {
    let id = std::str::from_utf8(key).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
    id.with_context(|| format!("{:?} is no member's ID", String::from_utf8_lossy(key)))
}

/// Of a leasepb.Lease.
fn lease_id(message: &[u8]) -> Result<u64> {
    let mut id = 0;
    for field in Fields::new(message) {
        if let (1, value) = field? {
            id = value.number()?;
        }
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::bolt::stub;
    use crate::etcd::wire::Encoder;
    use std::io::Cursor;

    fn state(rows: &[(&str, &[u8], &[u8])]) -> Result<V3State> {
        let mut state = V3State::default();
        for (bucket, key, value) in rows {
            state.row(bucket.as_bytes(), key, value)?;
        }
        Ok(state)
    }

    #[test]
    fn the_stub_of_a_v2_restore_is_an_empty_store() {
        let mut db = Db::open(Cursor::new(stub(7))).unwrap();
        let expected = V3State { consistent_index: 7, revision: 1, ..V3State::default() };
        assert_eq!(V3State::read(&mut db).unwrap(), expected);
        assert_eq!((consistent_index(&mut db).unwrap(), last_row(&mut db).unwrap()), (7, 0));
    }

    #[test]
    fn rows_add_up() {
        let revision = |main: u64| [&main.to_be_bytes()[..], b"_", &[0; 8]].concat();
        let gone = [&revision(9)[..], b"t"].concat();
        let row = |key: &[u8], main| {
            Encoder::default()
                .bytes(1, key)
                .number(2, main)
                .number(3, main)
                .number(4, 1)
                .bytes(5, b"abc")
                .done()
        };
        let member = br#"{"id":171,"peerURLs":["http://a:1"],"isLearner":true}"#;
        let lease = Encoder::default().number(1, 31).number(2, 60).done();
        let state = state(&[
            ("alarm", &Encoder::default().number(1, 171).number(2, 1).done(), b""),
            ("auth", b"authEnabled", &[1]),
            ("auth", b"authRevision", &9_u64.to_be_bytes()),
            ("authUsers", b"root", b"x"),
            ("authRoles", b"root", b"x"),
            ("authRoles", b"r", b"x"),
            ("cluster", b"clusterVersion", b"3.6.0"),
            ("key", &revision(7), &row(b"k", 7)),
            ("key", &revision(8), &row(b"/registry/a", 8)),
            ("key", &gone, &Encoder::default().bytes(1, b"k").done()),
            ("lease", &31_u64.to_be_bytes(), &lease),
            ("members", b"ab", member),
            ("members_removed", b"cd", b"removed"),
            ("meta", b"consistent_index", &70_u64.to_be_bytes()),
            ("meta", b"confState", b"{}"),
            ("meta", b"finishedCompactRev", &revision(5)),
            ("meta", b"scheduledCompactRev", &revision(6)),
            ("meta", b"storageVersion", b"3.6.0"),
            ("meta", b"term", &3_u64.to_be_bytes()),
            ("other", b"k", b"v"),
        ])
        .unwrap();
        assert_eq!((state.consistent_index, state.term), (70, Some(3)));
        assert_eq!((state.revision, state.compacted, state.compacting), (9, Some(5), Some(6)));
        assert_eq!((state.revisions, state.deletions, state.key_bytes), (3, 1, 1 + 3 + 11 + 3 + 1));
        assert_eq!(
            state.alarms.0.iter().map(|(id, k)| format!("{id} {k}")).collect::<Vec<_>>(),
            ["171 NOSPACE"]
        );
        assert_eq!(state.members[&171].peer_urls, ["http://a:1"]);
        assert!(state.members[&171].is_learner && state.removed.contains(&0xcd));
        let version = Some("3.6.0".to_owned());
        assert_eq!((&state.cluster_version, &state.storage_version), (&version, &version));
        assert_eq!((state.auth_enabled, state.auth_revision), (true, Some(9)));
        assert_eq!((state.users, state.roles, state.leases, state.kubernetes), (1, 2, 1, true));
    }

    #[test]
    fn what_is_no_row_of_etcd_is_refused() {
        let lease = Encoder::default().number(1, 30).done();
        let long = [b'3'; 100];
        for (bucket, key, value, says) in [
            ("members", &b"ab"[..], &br#"{"id":172}"#[..], "the member ab calls itself ac"),
            ("members", b"xy", br#"{"id":172}"#, "\"xy\" is no member's ID"),
            ("members", b"ab", b"{", "reading a member"),
            ("members_removed", b"", b"", "\"\" is no member's ID"),
            ("lease", &31_u64.to_be_bytes(), &lease, "the lease 1f calls itself another one"),
            ("lease", b"1", &lease, "a number of 1 bytes"),
            ("meta", b"consistent_index", b"1234567", "a number of 7 bytes"),
            ("meta", b"finishedCompactRev", b"1234567", "a revision that is cut off"),
            ("cluster", b"clusterVersion", &long, "a version of 100 bytes"),
            ("key", b"k", b"", "a revision that is cut off"),
            ("alarm", &[0x0a, 1], b"", "a field of 1 byte is cut off after 0"),
        ] {
            let error = state(&[(bucket, key, value)]).unwrap_err();
            assert!(format!("{error:#}").starts_with(says), "{bucket}: {error:#}");
        }
    }
}
