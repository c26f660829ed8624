//! Looks at the etcd of this node, and notes what was seen. For root with all of its capabilities.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::member::{Found, Member, of_unit};
use super::mounts;
use super::process;
use super::theirs;
use crate::etcd::datadir;
use crate::identity::{self, Identity, Setup};
use crate::paths::Root;
use crate::settings::unit::UnitEnvironment;

/// What a look at a unit's etcd found.
#[derive(Debug, PartialEq, Eq)]
pub enum Looked {
    /// Its member, which writes to the log in this folder.
    Member(PathBuf),
    /// No process of it writes to a log, or not one that can be told: why.
    Nothing(String),
}

/// Looks at what runs, and notes where the unit's etcd has its data and what it was given. What was noted before stays, if nothing
/// is seen.
///
/// # Errors
/// `/proc` cannot be read, as this is not root; the IDs in the log cannot be read; or the note cannot be written.
pub fn look(root: &Root, unit: &str, environment: &UnitEnvironment) -> Result<Looked> {
    let ours = fs::read_to_string("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
    let ours = mounts::parse(&ours);
    let all = process::writing_to_logs()?;
    let known = identity::load(root).ok().flatten();
    let found = match of_unit(unit, &all, &ours, known.as_ref().map(|k| k.wal_dir.as_path())) {
        Found::One(process) => process,
        Found::None => {
            return Ok(Looked::Nothing(format!("no process of {unit} has a log open for writing")));
        }
        Found::Several(all) => {
            let each: Vec<String> = all
                .iter()
                .map(|p| format!("{} ({}) writes to {}", p.pid, p.shown(), p.wal_dir.display()))
                .collect();
            let what = format!("which of these is the etcd of {unit} cannot be told: {}", each.join("; "));
            return Ok(Looked::Nothing(what));
        }
    };
    let member = match Member::of(found, &ours, theirs::config_file(found)) {
        Ok(member) => member,
        Err(why) => return Ok(Looked::Nothing(why)),
    };
    note(root, environment, &member, known)?;
    Ok(Looked::Member(member.wal_dir))
}

fn note(root: &Root, environment: &UnitEnvironment, member: &Member, known: Option<Identity>) -> Result<()> {
    let (unit, file) = (environment.digest(), environment.file_digest());
    identity::record_setup(root, &Setup { unit, file, settings: member.settings.clone() })?;
    if known.is_some_and(|known| known.wal_dir == member.wal_dir) {
        return Ok(());
    }
    let ids = datadir::ids(&member.wal_dir)?;
    let identity =
        Identity { cluster_id: ids.cluster_id, member_id: ids.member_id, wal_dir: member.wal_dir.clone() };
    identity::record(root, &identity)
}
