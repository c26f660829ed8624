//! What the store says before it is copied. It only ever grows, so whatever is a copy of it says no less.

use std::io::{Read, Seek};
use std::path::Path;
use std::time::Duration;
use std::{fmt, thread};

use anyhow::{Context as _, Result, ensure};

use crate::etcd::bolt::{self, Db};
use crate::etcd::file;
use crate::etcd::v3::base::Base as V3Base;
use crate::etcd::v3::state::{consistent_index, last_row};
use crate::exit::{Exit, OrFault as _, fault};

/// A few pages are read, which takes less than a millisecond; etcd commits ten times a second, more often where keys are deleted.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(5);
/// The buckets that etcd makes at its first start and never drops. The stub that a v2 restore writes has the first one alone.
const BUCKETS: [&str; 10] = [
    "meta",
    "key",
    "lease",
    "alarm",
    "auth",
    "authUsers",
    "authRoles",
    "cluster",
    "members",
    "members_removed",
];

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Floor {
    size: u64,
    said: Said,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    applied: u64,
    revision: u64,
    buckets: Vec<&'static str>,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} and revision {}", self.applied, self.revision)
    }
}

impl Said {
    fn read<S: Read + Seek>(db: &mut Db<S>) -> Result<Self> {
        let mut buckets = Vec::new();
        for name in BUCKETS {
            if db.bucket(name)?.is_some() {
                buckets.push(name);
            }
        }
        Ok(Self { applied: consistent_index(db)?, revision: last_row(db)?, buckets })
    }
}

impl Floor {
    /// Of the `db` in a `snap` folder, which etcd may be writing.
    pub(super) fn of(snap: &Path) -> Result<Self> {
        let path = snap.join("db");
        let Some(file) = file::open(&path)? else {
            let what = format!("there is no v3 store to copy: {} is missing", path.display());
            return Err(fault(
                Exit::Corrupt,
                what,
                "is ETCD_DATA_DIR right? etcd makes it at its first start",
            ));
        };
        let size = file.metadata()?.len();
        let what = format!("reading the v3 store, {}", path.display());
        let said = read(&file).or_fault(Exit::Corrupt, what, "take another member's data or a backup")?;
        Ok(Self { size, said })
    }

    /// How long its file was.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Refuses a copy that contains less: an older file, or another one.
    pub(super) fn refuse_below(&self, base: &V3Base) -> Result<()> {
        let there = Said::read(&mut Db::open(base.file()?)?)?.buckets;
        self.said.refuse_below(base.applied(), base.state.revision, &there)
    }
}

impl Said {
    fn refuse_below(&self, applied: u64, revision: u64, there: &[&str]) -> Result<()> {
        let missing: Vec<&str> = self.buckets.iter().copied().filter(|name| !there.contains(name)).collect();
        ensure!(missing.is_empty(), "lacks the buckets {}", missing.join(", "));
        ensure!(
            applied >= self.applied && revision >= self.revision,
            "is at entry {applied} and revision {revision}, but the store was at {self} before"
        );
        Ok(())
    }
}

fn read(mut file: impl Read + Seek) -> Result<Said> {
    for _ in 1..TRIES {
        // Where nothing was committed meanwhile, an error is the store's.
        if let Ok((said, true)) = bolt::between_commits(&mut file, Said::read) {
            return said;
        }
        thread::sleep(PAUSE);
    }
    let (said, still) = bolt::between_commits(&mut file, Said::read)?;
    ensure!(still, "etcd committed each of the {TRIES} times that it was read");
    said.context("between two commits")
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::etcd::bolt::stub;
    use crate::exit::exit_of;
    use crate::sys::fs::write_atomic;

    #[test]
    fn a_copy_contains_what_the_store_did() {
        let floor = Said { applied: 10, revision: 5, buckets: vec!["meta", "key"] };
        let all = ["key", "lease", "meta"];
        for (applied, revision, there, said) in [
            (10, 5, &all[..], None),
            (11, 9, &all, None),
            (9, 5, &all, Some("is at entry 9 and revision 5, but the store was at entry 10 and revision 5")),
            (10, 4, &all, Some("is at entry 10 and revision 4")),
            (10, 5, &all[1..], Some("lacks the buckets key")),
            (10, 5, &[], Some("lacks the buckets meta, key")),
        ] {
            let error = floor.refuse_below(applied, revision, there).err().map(|e| e.to_string());
            match (&error, said) {
                (None, None) => {}
                (Some(error), Some(said)) if error.starts_with(said) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_store_says_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(exit_of(&Floor::of(dir.path()).unwrap_err()), Exit::Corrupt);
        write_atomic(&dir.path().join("db"), &stub(7), 0o600).unwrap();
        let floor = Floor::of(dir.path()).unwrap();
        let said = Said { applied: 7, revision: 0, buckets: vec!["meta"] };
        assert_eq!((floor.size(), &floor.said), (16_384, &said));
        // Both metas, or the tree below them.
        for flipped in [vec![20, 4096 + 20], vec![3 * 4096 + 8]] {
            let mut broken = stub(7);
            flipped.iter().for_each(|at| broken[*at] ^= 1);
            assert!(read(Cursor::new(&broken)).is_err(), "{flipped:?}");
        }
    }
}
