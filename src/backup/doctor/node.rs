//! This node's clock, its room, and etcd's log as a backup reads it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Check;
use crate::backup::capture::Capture;
use crate::backup::state::State;
use crate::cluster::own::{self, Asked, Differs};
use crate::etcd::datadir::DataDir;
use crate::etcd::in_use;
use crate::etcd::proto::{LogPosition, Metadata};
use crate::exit::{Exit, fault};
use crate::node::running::note::Open;
use crate::sys::fs::parent;
use crate::sys::room::{self, Leave, Room};
use crate::sys::terminal::table::bytes;
use crate::sys::{look, time};

/// A restore refuses a clock that is further behind.
const BEHIND: u64 = 3600;
/// Clocks of two nodes are never the same; at that distance something is wrong.
const APART: u64 = 300;
/// What everybody has to be allowed on a file, and on a folder above it.
const READ: u32 = 0o4;
const ENTER: u32 = 0o1;

/// What a backup of all would read.
pub fn log(all: &Capture) -> Check {
    let (ids, last) = (all.metadata, all.last().index);
    let says =
        format!("intact up to index {last}, of member {:x} of cluster {:x}", ids.member_id, ids.cluster_id);
    Check::good("log", says)
}

/// Whether that is all that etcd has applied.
pub fn log_as_far_as_etcd_says(etcd: &Asked, all: &Capture) -> Check {
    judge_index(etcd, all.metadata, all.last())
}

fn judge_index(etcd: &Asked, log: Metadata, last: LogPosition) -> Check {
    let own = match etcd {
        Asked::Answered(own) => own,
        Asked::Silent => {
            return Check::noted(
                "index",
                "etcd on this node does not answer",
                "run this again while etcd is running on this node",
            );
        }
        Asked::Unknown(why) => {
            let says = format!("could not ask etcd on this node which index it has applied: {why}");
            return Check::noted(
                "index",
                says,
                "backups do not need this; status and doctor compare it with the log",
            );
        }
    };
    match (own::compare(own, log, last), own.applied) {
        (Some(Differs::OtherMember(id)), _) => Check::failed(
            "index",
            &fault(
                Exit::Settings,
                format!(
                    "the etcd that answers here is member {id:x}, but the log is of member {:x}",
                    log.member_id
                ),
                "backups would read a log that etcd does not write to. See which log etcd has open: sudo \
                 /opt/bin/etcd2-backup look",
            ),
        ),
        (Some(Differs::EndsBefore(applied)), _) => Check::failed(
            "index",
            &fault(
                Exit::Corrupt,
                format!(
                    "etcd has applied index {applied}, but the log can be read only up to index {}",
                    last.index
                ),
                "later writes cannot be backed up. See where the log ends: sudo /opt/bin/etcd2-backup \
                 inspect DATA_DIR",
            ),
        ),
        (Some(Differs::Unapplied(applied)), _) => Check::failed(
            "index",
            &fault(
                Exit::Settings,
                format!(
                    "etcd has a quorum but has applied only index {applied}, although the log already \
                     reached index {}: etcd writes another log, or it hangs",
                    last.index
                ),
                "see which log etcd has open: sudo /opt/bin/etcd2-backup look",
            ),
        ),
        (Some(Differs::Unheld), _) => Check::failed(
            "index",
            &fault(
                Exit::Settings,
                "etcd answers here but does not have the backed-up log open: it keeps its data elsewhere",
                "see which log it has open: sudo /opt/bin/etcd2-backup look",
            ),
        ),
        (None, Some(applied)) => {
            Check::good("index", format!("etcd has applied index {applied}, and the log has it"))
        }
        (None, None) => Check::noted(
            "index",
            "etcd on this node does not report which index it has applied",
            "this is normal if etcd's authentication is on",
        ),
    }
}

/// Whether the log that a backup reads is the one that the running etcd has open.
pub fn log_of_the_running_etcd(open: &Open, dir: &DataDir, unit: &str, is_active: bool) -> Check {
    let log = dir.wal.display();
    match open {
        Open::Elsewhere(said) => {
            let what = format!("{said}, but backups read the log in {log}");
            let hint = format!(
                "correct {unit}, or ETCD_DATA_DIR in 30-etcd2-backup-restore.conf: systemctl cat {unit}"
            );
            return Check::failed("etcd", &fault(Exit::Settings, what, hint));
        }
        Open::Untold(said) => {
            let hint = format!(
                "set ETCD_INITIAL_ADVERTISE_PEER_URLS in a drop-in of {unit}, which tells them apart: systemctl cat {unit}"
            );
            return Check::noted("etcd", format!("{said}; backups read the log in {log}"), hint);
        }
        Open::Here | Open::Unknown(_) | Open::Unasked(_) => {}
    }
    match in_use::is_held(&dir.wal) {
        Ok(true) if matches!(open, Open::Unasked(_)) => Check::noted(
            "etcd",
            format!(
                "a process has the log in {log} open, but it is not known whether that is this node's etcd{}",
                looked(open)
            ),
            "run it as root: sudo /opt/bin/etcd2-backup look",
        ),
        Ok(true) => Check::good("etcd", format!("a process has the log in {log} open")),
        Ok(false) if is_active => Check::noted(
            "etcd",
            format!("{unit} runs, but no process has the log in {log} open{}", looked(open)),
            format!("is it starting, only a proxy, or does it keep its data elsewhere? systemctl cat {unit}"),
        ),
        Ok(false) => Check::noted(
            "etcd",
            format!("no process has the log in {log} open"),
            format!("sudo systemctl start {unit}"),
        ),
        Err(e) => Check::noted(
            "etcd",
            format!("cannot tell which process has the log in {log} open: {e:#}"),
            "run it as root",
        ),
    }
}

/// What the last look at the running etcd found, which the unit of `doctor` has taken just before.
fn looked(open: &Open) -> String {
    match open {
        Open::Unknown(said) | Open::Unasked(said) if !said.is_empty() => format!("; {said}"),
        _ => String::new(),
    }
}

/// Compares this node's clock with the leader's in the newest SYNC of the log, and with the last backup's.
pub fn clock(now: u64, synced: Option<u64>, state: Option<&State>) -> Check {
    let captured = state.map(|s| s.clock);
    let newest = synced.max(captured).filter(|newest| *newest > now);
    let behind = newest.map_or(0, |newest| newest - now);
    let says = match newest {
        None => format!("{} by this node", time::rfc3339(now)),
        Some(newest) => {
            format!("{} by this node, but {} was seen before", time::rfc3339(now), time::rfc3339(newest))
        }
    };
    let hint = "set the clock (see: timedatectl): the ages of backups are counted by it";
    match behind {
        0..=APART => Check::good("clock", says),
        _ if behind <= BEHIND => Check::noted("clock", says, hint),
        _ => Check::failed("clock", &fault(Exit::Refused, says, hint)),
    }
}

/// Whether a folder has room for what a backup of all makes, at worst as much as it reads.
pub fn room(dir: &Path, needed: u64) -> Check {
    let ask = || {
        room::check(dir, needed, Leave::Reserve, "a new generation")?;
        Room::of(dir)
    };
    match ask() {
        Err(e) => Check::failed("room", &e),
        Ok(Room { free, .. }) => {
            let (free, needed) = (bytes(free), bytes(needed));
            Check::good("room", format!("{free} free in {}; {needed} may be needed", dir.display()))
        }
    }
}

/// Whether node_exporter, which seldom is root, can read the file that backups write for it. What is not there yet will be
/// made so.
pub fn metrics(file: &Path) -> Check {
    let hint = |what: &str| {
        format!(
            "if node_exporter does not run as root there: {what}; or set another metrics.textfile in the site"
        )
    };
    match closed_to_others(file) {
        Ok(None) => Check::good("metrics", format!("every user can read {}", file.display())),
        Ok(Some((path, mode))) => Check::noted(
            "metrics",
            format!("only some users can read {}, as {} has mode {mode:04o}", file.display(), path.display()),
            hint(&format!("sudo chmod o+rX {}", path.display())),
        ),
        Err(e) => Check::noted(
            "metrics",
            format!("could not check whether every user can read {}: {e:#}", file.display()),
            hint(&format!("ls -ld {}", parent(file).display())),
        ),
    }
}

/// The outermost part of a path that keeps other users from reading the file, with its mode.
fn closed_to_others(file: &Path) -> Result<Option<(PathBuf, u32)>> {
    let there = file.ancestors().find_map(|path| look::at(path).map(|found| found.map(|_| path)).transpose());
    let Some(there) = there.transpose()? else { return Ok(None) };
    // Where links lead to counts.
    let real = fs::canonicalize(there).with_context(|| format!("following {}", there.display()))?;
    let listed = match there {
        _ if there == file => real.parent(),
        _ if there == parent(file) => Some(real.as_path()),
        _ => None,
    };
    let mut parts: Vec<&Path> = real.ancestors().collect();
    parts.reverse();
    for part in parts {
        let Some(found) = look::at(part)? else { continue };
        let needed = match () {
            () if !found.is_dir() => READ,
            () if listed == Some(part) => READ | ENTER,
            () => ENTER,
        };
        if found.mode() & needed != needed {
            return Ok(Some((part.to_path_buf(), found.mode() & 0o7777)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::backup::state::tests::state;
    use crate::cluster::own::Own;
    use crate::sys::fs::{create_dirs, write_atomic};

    #[test]
    fn a_clock_that_is_behind_is_told_of_and_far_behind_it_fails() {
        let refused = Outcome::Failed(Exit::Refused);
        for (now, synced, captured, want) in [
            (10_000, None, None, Outcome::Good),
            (10_000, Some(9_000), Some(9_990), Outcome::Good),
            (10_000, Some(10_300), None, Outcome::Good),
            (10_000, Some(10_301), None, Outcome::Noted),
            (10_000, None, Some(13_600), Outcome::Noted),
            (10_000, None, Some(13_601), refused),
            (10_000, Some(13_601), Some(1), refused),
            (0, Some(1_700_000_000), None, refused),
        ] {
            let state = captured.map(state);
            let check = clock(now, synced, state.as_ref());
            assert_eq!(check.outcome, want, "{check:?}");
        }
    }

    #[test]
    fn a_log_that_is_not_all_that_etcd_has_fails() {
        let own =
            |member_id, applied| Own { member_id, is_healthy: true, applied, holds: Some(true), lags: false };
        let unheld = Own { holds: Some(false), ..own(7, Some(9)) };
        let lags = Own { lags: true, ..own(7, Some(9)) };
        let own = |member_id, applied| Asked::Answered(own(member_id, applied));
        for (etcd, want) in [
            (own(7, Some(10)), Outcome::Good),
            (own(7, Some(11)), Outcome::Failed(Exit::Corrupt)),
            (own(8, Some(1)), Outcome::Failed(Exit::Settings)),
            (own(7, None), Outcome::Noted),
            (Asked::Answered(unheld), Outcome::Failed(Exit::Settings)),
            (Asked::Answered(lags), Outcome::Failed(Exit::Settings)),
            (Asked::Silent, Outcome::Noted),
            (Asked::Unknown("(58)".into()), Outcome::Noted),
        ] {
            let log = Metadata { member_id: 7, cluster_id: 1 };
            let check = judge_index(&etcd, log, LogPosition { index: 10, term: 2 });
            assert_eq!(check.outcome, want, "{check:?}");
        }
    }

    #[test]
    fn a_folder_without_room_fails() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(room(dir.path(), 1).outcome, Outcome::Good);
        assert_eq!(room(dir.path(), u64::MAX).outcome, Outcome::Failed(Exit::NoSpace));
        // One that is to be made lies in what is there.
        assert_eq!(room(&dir.path().join("none"), 1).outcome, Outcome::Good);
    }

    #[test]
    fn a_file_for_a_monitor_that_others_cannot_read_is_told_of() {
        // Everybody may look into that; the folder for temporary files may be one's own.
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        let at = |name: &str| dir.path().join(name);
        let mode =
            |name: &str, mode| fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        let file = at("a/b/x.prom");
        mode("", 0o755);
        assert_eq!(closed_to_others(&file).unwrap(), None, "nothing of it is there");
        create_dirs(&at("a/b"), 0o755).unwrap();
        write_atomic(&file, b"", 0o644).unwrap();
        std::os::unix::fs::symlink(at("a"), at("link")).unwrap();
        for (name, closed, open) in
            [("a", 0o700, 0o711), ("a/b", 0o751, 0o755), ("a/b", 0o754, 0o755), ("a/b/x.prom", 0o600, 0o604)]
        {
            mode(name, closed);
            for file in [&file, &at("link/b/x.prom")] {
                let found = closed_to_others(file).unwrap();
                assert_eq!(found, Some((at(name).canonicalize().unwrap(), closed)));
                let check = metrics(file);
                assert_eq!(check.outcome, Outcome::Noted, "{check:?}");
            }
            mode(name, open);
            assert_eq!(closed_to_others(&file).unwrap(), None, "{name}");
        }
        assert_eq!(metrics(&file).outcome, Outcome::Good);
    }
}
