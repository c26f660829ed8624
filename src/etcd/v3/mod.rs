//! etcd's v3 store, as far as it is ours to know: what its db says, what its log entries ask for, and whether a member
//! holds data of it.
//!
//! - [`mvcc`]: the rows of the bucket `key`: revisions, live keys, the hash that etcd compares members by
//! - [`state`]: what a db adds up to, all of it checked · [`requests`]: what a log entry asks for
//! - [`alarms`]: which alarms are on, following the log
//! - [`base`]: the db beside a log, as what a restore begins with
//! - [`proposals`]: entries that a restore appends · [`bump`]: the revision, moved beyond what clients have seen

pub mod alarms;
pub mod base;
pub mod bump;
pub mod mvcc;
pub mod proposals;
pub mod requests;
pub mod state;

use std::fmt;
use std::path::Path;

use anyhow::Result;

use self::requests::Request;
use super::bolt::filled::first_filled;
use super::file;

/// The buckets of `snap/db` that hold what users wrote. etcd makes all of them at its first start, empty.
const BUCKETS: [&str; 4] = ["key", "lease", "authUsers", "authRoles"];
/// Kubernetes keeps its objects below it.
const KUBERNETES: &[u8] = b"/registry/";

/// An entry that writes to the v3 store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct V3Write {
    /// Its index.
    pub index: u64,
    /// What it asks for.
    pub request: &'static str,
}

/// Whether a log entry that writes to the v3 store may set a key of Kubernetes.
pub fn may_be_of_kubernetes(data: &[u8]) -> bool {
    Request::of(data).is_ok_and(|request| request.may_put_below(KUBERNETES))
}

/// What `snap/db` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Db {
    /// It is not there, or empty.
    Empty,
    /// This bucket is not empty.
    Holds(&'static str),
    /// It cannot be looked into.
    Unreadable(String),
}

impl Db {
    /// Looks into the `db` of a `snap` folder, in a few bounded reads; etcd may be writing it.
    pub fn look(snap_dir: &Path) -> Self {
        match Self::read(&snap_dir.join("db")) {
            Ok(None) => Self::Empty,
            Ok(Some(bucket)) => Self::Holds(bucket),
            Err(e) => Self::Unreadable(format!("{e:#}")),
        }
    }

    fn read(path: &Path) -> Result<Option<&'static str>> {
        file::open(path)?.map_or(Ok(None), |mut file| first_filled(&mut file, &BUCKETS))
    }
}

/// Where v3 data was seen, for people: "entry 17 is a put of the v3 store".
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    write: Option<V3Write>,
    db: &'a Db,
}

impl<'a> Seen<'a> {
    /// `None`: nowhere.
    pub fn new(write: Option<V3Write>, db: &'a Db) -> Option<Self> {
        (write.is_some() || matches!(db, Db::Holds(_))).then_some(Self { write, db })
    }
}

impl fmt::Display for Seen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(V3Write { index, request }) = self.write {
            write!(f, "entry {index} of the log is a {request} of the v3 store")?;
        }
        if let Db::Holds(bucket) = self.db {
            let and = if self.write.is_some() { "; " } else { "" };
            write!(f, "{and}the bucket {bucket} of snap/db is not empty")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::bolt;
    use crate::sys::fs::write_atomic;

    #[test]
    fn a_db_is_looked_into_without_failing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Db::look(dir.path()), Db::Empty);
        write_atomic(&dir.path().join("db"), &bolt::stub(7), 0o600).unwrap();
        assert_eq!(Db::look(dir.path()), Db::Empty);
        write_atomic(&dir.path().join("db"), b"no bolt", 0o600).unwrap();
        assert_eq!(Db::look(dir.path()), Db::Unreadable("no valid meta page".into()));
    }

    #[test]
    fn what_was_seen_is_said() {
        let put = Some(V3Write { index: 17, request: "put" });
        let holds = Db::Holds("key");
        let unreadable = Db::Unreadable("x".into());
        for (write, db, says) in [
            (None, &Db::Empty, None),
            (None, &unreadable, None),
            (put, &Db::Empty, Some("entry 17 of the log is a put of the v3 store")),
            (None, &holds, Some("the bucket key of snap/db is not empty")),
            (
                put,
                &holds,
                Some("entry 17 of the log is a put of the v3 store; the bucket key of snap/db is not empty"),
            ),
        ] {
            assert_eq!(Seen::new(write, db).map(|s| s.to_string()).as_deref(), says);
        }
    }
}
