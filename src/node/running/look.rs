//! Looks at the etcd of this node, and notes what was seen. For root with all of its capabilities.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::member::Member;
use super::mounts::{self, Mount};
use super::note::Seen;
use super::process::{self, Process};
use super::theirs;
use super::which::{Found, Sought};
use crate::etcd::datadir;
use crate::etcd::empty_log::NOBODY;
use crate::node::identity::{self, Identity};
use crate::settings::etcd_unit::UnitEnvironment;
use crate::settings::seen::Setup;
use crate::settings::urls;
use crate::sys::folder::Folder;
use crate::sys::root::Root;

/// What a look at this node's etcd found.
#[derive(Debug, PartialEq, Eq)]
pub struct Looked {
    /// For people.
    pub said: String,
    /// For a backup.
    pub seen: Seen,
}

/// Looks at what runs, and notes where the node's etcd has its data and what it was given. What was noted before stays, if nothing
/// is seen. It may run although its unit is not active: in a container that outlives it, or by another unit.
///
/// # Errors
/// `/proc` cannot be read, as this is not root; the IDs in the log cannot be read; or the note cannot be written.
pub fn look(root: &Root, unit: &str, is_active: bool, environment: &UnitEnvironment) -> Result<Looked> {
    let ours = mounts::ours()?;
    let all = process::writing_to_logs()?;
    let identity::Stamp { identity: known, setup: before, .. } = identity::read(root).unwrap_or_default();
    let peer_urls = "initial-advertise-peer-urls";
    let peer_urls =
        environment.get(peer_urls).or_else(|| before.as_ref()?.settings.get(peer_urls).map(String::as_str));
    let has_ids = |process: &&Process| known.as_ref().is_some_and(|known| has_ids(process, known));
    let with_its_ids: Vec<u32> = all.iter().filter(has_ids).map(|process| process.pid).collect();
    let sought = Sought {
        unit,
        is_active,
        wal_dir: known.as_ref().map(|k| k.wal_dir.as_path()),
        peer_urls: &urls::parse_list("", peer_urls.unwrap_or_default()).unwrap_or_default(),
        with_its_ids: &with_its_ids,
    };
    let found = match sought.among(&all, &ours) {
        Found::One(process) => process,
        Found::None => {
            let said = match is_active {
                true => format!("no process of {unit} has a WAL open for writing"),
                false => format!("{unit} is not running"),
            };
            return Ok(Looked { said, seen: Seen::Nothing });
        }
        Found::Twin(process) => {
            let said = format!("not {unit}, but {} with the IDs of its WAL", writes(process));
            return Ok(Looked { said, seen: Seen::Member(named_here(process, &ours)) });
        }
        Found::Untold(all) => {
            let each: Vec<String> = all.into_iter().map(writes).collect();
            let said = format!("cannot tell whether this is the etcd of {unit}: {}", each.join("; "));
            return Ok(Looked { said, seen: Seen::Untold });
        }
    };
    let member = match Member::of(found, &ours, theirs::config_file(found)) {
        Ok(member) => member,
        Err(said) => return Ok(Looked { said, seen: Seen::Member(named_here(found, &ours)) }),
    };
    note(root, environment, &member, known)?;
    let said = format!(
        "{} writes to the WAL in {}",
        if is_active {
            unit.to_owned()
        } else {
            format!("{unit} is not active, but its etcd is running and")
        },
        member.wal_dir.display()
    );
    Ok(Looked { said, seen: Seen::Member(member.wal_dir) })
}

fn writes(process: &Process) -> String {
    format!("process {} ({}) writes to {}", process.pid, process.shown(), process.wal_dir.display())
}

/// Its log in this node's path, or else in its own.
fn named_here(process: &Process, ours: &[Mount]) -> PathBuf {
    mounts::translate(&process.wal_dir, &process.mounts, ours).unwrap_or_else(|| process.wal_dir.clone())
}

/// Whether a process writes to a log of this member, looked at as the process sees it.
fn has_ids(process: &Process, known: &Identity) -> bool {
    let seen = Path::new("/proc").join(process.pid.to_string()).join("root");
    let Ok(inside) = process.wal_dir.strip_prefix("/") else { return false };
    match datadir::ids(&seen.join(inside)) {
        Ok(ids) => (ids.cluster_id, ids.member_id) == (known.cluster_id, known.member_id),
        Err(e) => {
            log::warn!("could not determine whose WAL process {} writes to: {e:#}", process.pid);
            false
        }
    }
}

fn note(root: &Root, environment: &UnitEnvironment, member: &Member, known: Option<Identity>) -> Result<()> {
    let (unit, file) = (environment.digest(), environment.file_digest());
    let owner = Folder::open(&member.wal_dir).and_then(|log| log.owner_and_mode());
    let owner = match owner {
        Ok((uid, gid, _)) => Some((uid, gid)),
        Err(e) => {
            log::warn!("could not determine who owns etcd's WAL: {e:#}");
            None
        }
    };
    identity::record_setup(root, Setup { unit, file, settings: member.settings.clone(), owner })?;
    if known.is_some_and(|known| known.wal_dir == member.wal_dir) {
        return Ok(());
    }
    let ids = datadir::ids(&member.wal_dir)?;
    // A join's trial is nobody to be remembered.
    if ids == NOBODY {
        return Ok(());
    }
    let identity =
        Identity { cluster_id: ids.cluster_id, member_id: ids.member_id, wal_dir: member.wal_dir.clone() };
    identity::record(root, &identity)
}
