//! A copy of the v3 store of a running etcd, as of one moment, and proven to be one.
//!
//! Bolt's pages say neither when they were written nor whether they are whole, so a file that was read while etcd wrote it may be
//! a sane tree of pages of several moments, and hold nothing. Each way gets round that differently; the first that works is taken:
//!
//! - `cloned`: the file system shares the file's blocks, at one moment · `between`: it is read between two commits
//! - `grpc`, `etcdctl`: etcd itself sends it, through our curl or through its own program; `asked` is whom they ask
//! - `floor`: what the store says before, which every copy must contain · `target`: the file that is written

mod asked;
mod between;
mod cloned;
mod etcdctl;
mod floor;
mod grpc;
mod target;

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::etcd::datadir::DataDir;
use crate::etcd::v3::base::Base as V3Base;
use crate::etcd::wal::Reading;
use crate::exit::{Exit, exit_of, fault, hint_of};
use crate::paths::AUTH;
use crate::settings::Settings;
use crate::sys::fs::create_dirs;
use floor::Floor;
use target::Target;

/// By which way a copy came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The file system cloned the file.
    Clone,
    /// It was read between two commits of etcd.
    BetweenCommits,
    /// etcd sent it, asked by gRPC.
    Grpc,
    /// etcd sent it to its own program.
    Etcdctl,
}

impl Way {
    /// All of them, in the order in which they are tried: what costs etcd nothing comes first.
    pub const ALL: [Self; 4] = [Self::Clone, Self::BetweenCommits, Self::Grpc, Self::Etcdctl];
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clone => "cloning the file",
            Self::BetweenCommits => "copying the file between two commits",
            Self::Grpc => "a snapshot from etcd by gRPC",
            Self::Etcdctl => "etcdctl snapshot save",
        })
    }
}

/// Copies the store of an etcd, running or not, to `folder`/db: synced, read through, and not older than the store was when
/// this began. Whose log it fits it is not asked: [`V3Base::refuse_if_unfit`] does that.
///
/// # Errors
/// [`Exit::Refused`] if no way worked, with the reason of each, or [`Exit::NoSpace`] if that was one; the store is not there, or cannot
/// be read. Then there is no `db` in the folder.
pub fn take(settings: &Settings, dir: &DataDir, folder: &Path) -> Result<(V3Base, Way)> {
    let floor = Floor::of(&dir.snap)?;
    let mut failed = Vec::new();
    for way in Way::ALL {
        match from(&floor, way, settings, dir, folder) {
            Ok(base) => return Ok((base, way)),
            Err(e) => failed.push((way, e)),
        }
    }
    Err(no_way(&failed))
}

/// The same by one way alone.
///
/// # Errors
/// It did not work, and why; else as [`take`].
pub fn by(way: Way, settings: &Settings, dir: &DataDir, folder: &Path) -> Result<V3Base> {
    from(&Floor::of(&dir.snap)?, way, settings, dir, folder)
}

fn from(floor: &Floor, way: Way, settings: &Settings, dir: &DataDir, folder: &Path) -> Result<V3Base> {
    create_dirs(folder, 0o700)?;
    let target = Target::new(folder, floor.size())?;
    let db = dir.snap.join("db");
    match way {
        Way::Clone => cloned::take(&db, &target)?,
        Way::BetweenCommits => between::take(&db, &target)?,
        Way::Grpc => grpc::take(settings, dir, &target)?,
        Way::Etcdctl => etcdctl::take(settings, dir, &target)?,
    }
    let base = V3Base::open(folder, Reading::Still).context("reading the copy")?;
    floor.refuse_below(&base).context("the copy")?;
    target.keep();
    Ok(base)
}

fn no_way(failed: &[(Way, anyhow::Error)]) -> anyhow::Error {
    let reasons: Vec<String> = failed.iter().map(|(way, e)| format!("{way}: {e:#}")).collect();
    let what = format!("no copy of the v3 store could be taken: {}", reasons.join("; "));
    match failed.iter().find(|(_, e)| exit_of(e) == Exit::NoSpace) {
        Some((_, e)) => fault(Exit::NoSpace, what, hint_of(e).unwrap_or_default()),
        None => fault(Exit::Refused, what, hint()),
    }
}

fn hint() -> String {
    format!(
        "one of these is enough: put ETCD_BACKUP_DIR on the same XFS or btrfs file system as etcd's data directory; or tell where \
         this member's clients reach it (ETCD_ADVERTISE_CLIENT_URLS of etcd's unit, with its certificates) and, where etcd's \
         authentication is on, write root:PASSWORD into {AUTH} (sudo install -m 600 /dev/null {AUTH})"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::bolt::stub;
    use crate::settings::tests::in_tree;
    use crate::sys::fs::write_atomic;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    fn member(db: &[u8]) -> (tempfile::TempDir, DataDir) {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir { snap: dir.path().join("snap"), wal: dir.path().join("wal") };
        create_dirs(&data.snap, 0o700).unwrap();
        create_dirs(&data.wal, 0o700).unwrap();
        write_atomic(&data.snap.join("db"), db, 0o600).unwrap();
        (dir, data)
    }

    #[test]
    fn the_store_of_a_stopped_etcd_is_copied_over_what_was_left_there() {
        // As it is while etcd runs: longer than what is in use.
        let (dir, data) = member(&[stub(7), vec![9; 8192]].concat());
        let (settings, folder) = (in_tree(dir.path()), dir.path().join("a/b"));
        create_dirs(&folder, 0o700).unwrap();
        for name in ["db", "db.part"] {
            write_atomic(&folder.join(name), &[1; 100_000], 0o644).unwrap();
        }
        let (base, way) = take(&settings, &data, &folder).unwrap();
        // Where the temporary folder is on XFS it is a clone.
        assert!(matches!(way, Way::Clone | Way::BetweenCommits), "{way}");
        assert_eq!((base.applied(), base.path.clone()), (7, folder.join("db")));
        assert_eq!(fs::metadata(&base.path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        let base = by(Way::BetweenCommits, &settings, &data, &folder).unwrap();
        assert_eq!(fs::read(&base.path).unwrap(), stub(7));
    }

    #[test]
    fn every_way_says_why_it_did_not_work_and_nothing_stays() {
        let (dir, data) = member(&stub(7));
        let (settings, folder) = (in_tree(dir.path()), dir.path().join("to"));
        for way in [Way::Grpc, Way::Etcdctl] {
            let error = by(way, &settings, &data, &folder).unwrap_err();
            // There is no log that says whom to ask.
            assert!(format!("{error:#}").contains("names its member"), "{way}: {error:#}");
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);

        let failed = |error| vec![(Way::Clone, anyhow::anyhow!("one")), (Way::Grpc, error)];
        let error = no_way(&failed(anyhow::anyhow!("two").context("asking")));
        let said = "no copy of the v3 store could be taken: cloning the file: one; a snapshot from etcd by gRPC: asking: two";
        assert_eq!((error.to_string().as_str(), exit_of(&error)), (said, Exit::Refused));
        assert!(hint_of(&error).unwrap().contains("XFS or btrfs"), "{error:?}");
        let error = no_way(&failed(fault(Exit::NoSpace, "full", "free some")));
        assert_eq!((exit_of(&error), hint_of(&error)), (Exit::NoSpace, Some("free some")));

        fs::remove_file(data.snap.join("db")).unwrap();
        assert_eq!(exit_of(&take(&settings, &data, &folder).unwrap_err()), Exit::Corrupt);
    }

    #[test]
    fn a_way_has_one_name_in_json() {
        let names: Vec<String> = Way::ALL.iter().map(|way| serde_json::to_string(way).unwrap()).collect();
        assert_eq!(names, [r#""clone""#, r#""between-commits""#, r#""grpc""#, r#""etcdctl""#]);
    }
}
