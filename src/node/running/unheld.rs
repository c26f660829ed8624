//! A log that is backed up and that nobody holds, though etcd runs: then etcd has its data elsewhere. etcd holds a lock on its
//! newest segment as long as it runs.
//!
//! It is called so only after a minute in a row: etcd may have been started just now, or be about to read its log.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::note::{self, Open};
use super::surroundings::{Run, Surroundings};
use crate::etcd::datadir::DataDir;
use crate::etcd::in_use;
use crate::exit::{Exit, fault};
use crate::node::Node;
use crate::sys::fs::{remove_if_there, write_atomic};
use crate::sys::terminal::table::span;

/// How long etcd may take until it holds its log, in seconds.
const PATIENCE: u64 = 60;

/// Since when nobody was seen to hold a log, while one and the same etcd ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unheld {
    /// The log.
    wal_dir: PathBuf,
    /// The boot, by the kernel's random number.
    boot: String,
    /// When etcd was started, in microseconds after that; `None`: its unit is not active.
    started: Option<u64>,
    /// When it was first seen, in seconds after the boot.
    since: u64,
}

/// What is seen at one moment.
#[derive(Debug, Clone)]
pub struct Moment {
    /// The log that was read.
    pub wal_dir: PathBuf,
    /// Whether somebody holds its newest segment.
    pub held: bool,
    /// What the last look saw, which knows who that is.
    pub open: Open,
    /// When etcd was started, in microseconds after the boot; `None`: its unit is not active.
    pub started: Option<u64>,
    /// The boot, by the kernel's random number.
    pub boot: String,
    /// How long ago that was, in seconds.
    pub uptime: u64,
}

/// What is to be remembered, and for how many seconds nobody has held the log if that is too long.
pub fn judge(known: Option<Unheld>, now: &Moment) -> (Option<Unheld>, Option<u64>) {
    let is_elsewhere = match now.open {
        Open::Here => false,
        // Whoever holds the log that was read, and whatever the unit says.
        Open::Elsewhere(_) => true,
        Open::Untold(_) | Open::Unknown(_) | Open::Unasked(_) => !now.held && now.started.is_some(),
    };
    if !is_elsewhere {
        return (None, None);
    }
    let (wal_dir, boot) = (now.wal_dir.clone(), now.boot.clone());
    let first = Unheld { wal_dir, boot, started: now.started, since: now.uptime };
    let same = |known: &Unheld| Unheld { since: known.since, ..first.clone() } == *known;
    let unheld = known.filter(same).unwrap_or(first);
    let seconds = now.uptime.saturating_sub(unheld.since);
    (Some(unheld), Some(seconds).filter(|seconds| *seconds >= PATIENCE))
}

/// Sees to it that the log that is backed up is the one of the etcd that runs.
///
/// # Errors
/// [`Exit::Settings`]: it is not, and has not been for a minute. What cannot be asked is a warning.
pub fn refuse_if_elsewhere(around: &dyn Surroundings, node: &Node, dir: &DataDir) -> Result<()> {
    let settings = &node.settings;
    let now = match moment(around, node, dir) {
        Ok(Some(now)) => now,
        Ok(None) => return Ok(()),
        Err(e) => {
            log::warn!(
                "could not determine whether the running etcd has the WAL in {} open: {e:#}",
                dir.wal.display()
            );
            return Ok(());
        }
    };
    if let Open::Untold(said) | Open::Unasked(said) = &now.open {
        log::warn!("{said}; this backup read the WAL in {}", dir.wal.display());
    }
    let path = settings.backup_dir.join("unheld.json");
    let known = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let (unheld, too_long) = judge(known, &now);
    match &unheld {
        Some(unheld) => write_atomic(&path, &serde_json::to_vec(unheld)?, 0o600)?,
        None => remove_if_there(&path)?,
    }
    let Some(seconds) = too_long else { return Ok(()) };
    let time = span(Duration::from_secs(seconds));
    let unit = &settings.etcd.unit;
    let log = dir.wal.display();
    let what = match now.open {
        Open::Elsewhere(said) => {
            format!("for {time} etcd has not written to the WAL in {log} that was read: {said}")
        }
        Open::Here | Open::Untold(_) | Open::Unasked(_) => not_held(unit, &time, dir),
        Open::Unknown(said) => format!("{} {said}", not_held(unit, &time, dir)).trim().to_owned(),
    };
    let hint = format!(
        "see what etcd has open: sudo /opt/bin/etcd2-backup look; how it is started: systemctl cat {unit}"
    );
    Err(fault(Exit::Settings, what, hint))
}

fn not_held(unit: &str, time: &str, dir: &DataDir) -> String {
    format!(
        "{unit} runs, but for {time} no process has had the WAL in {} open: its etcd has its data \
         elsewhere, or is not a member.",
        dir.wal.display()
    )
}

fn moment(around: &dyn Surroundings, node: &Node, dir: &DataDir) -> Result<Option<Moment>> {
    let run = around.etcd(&node.settings.etcd.unit)?;
    let Some(Run { started, boot, uptime }) = run else { return Ok(None) };
    let (held, open) = (in_use::is_held(&dir.wal)?, note::open(&node.root, &dir.wal));
    Ok(Some(Moment { wal_dir: dir.wal.clone(), held, open, started, boot, uptime }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each cycle said, from `(uptime, started, held)`; the boot is another one after an uptime that is smaller.
    fn cycles(all: &[(u64, Option<u64>, bool)]) -> Vec<Option<u64>> {
        let (mut known, mut boot, mut before) = (None, 0, 0);
        let cycle = |&(uptime, started, held): &(u64, Option<u64>, bool)| {
            boot += u32::from(uptime < before);
            before = uptime;
            let open = Open::Unknown(String::new());
            let now = Moment { wal_dir: "/w".into(), held, open, started, boot: boot.to_string(), uptime };
            let (next, said) = judge(known.take(), &now);
            known = next;
            said
        };
        all.iter().map(cycle).collect()
    }

    #[test]
    fn only_a_minute_in_a_row_of_one_etcd_counts() {
        let on = Some(5);
        assert_eq!(cycles(&[(10, on, false), (40, on, false), (69, on, false)]), [None; 3]);
        assert_eq!(cycles(&[(10, on, false), (40, on, false), (70, on, false)]), [None, None, Some(60)]);
        assert_eq!(cycles(&[(10, on, false), (3610, on, false)]), [None, Some(3600)]);
        // Held in between, stopped in between, another start, another boot.
        assert_eq!(cycles(&[(10, on, false), (40, on, true), (80, on, false), (110, on, false)]), [None; 4]);
        assert_eq!(cycles(&[(10, on, false), (40, None, false), (80, on, false)]), [None; 3]);
        assert_eq!(cycles(&[(10, on, false), (80, Some(70), false), (120, Some(110), false)]), [None; 3]);
        assert_eq!(cycles(&[(100, on, false), (20, on, false), (70, on, false)]), [None; 3]);
        assert_eq!(cycles(&[(10, None, false), (400, None, false)]), [None; 2]);
    }

    #[test]
    fn another_log_begins_anew() {
        let at = |wal_dir: &str, uptime| Moment {
            wal_dir: wal_dir.into(),
            held: false,
            open: Open::Unknown(String::new()),
            started: Some(1),
            boot: "b".into(),
            uptime,
        };
        let (known, _) = judge(None, &at("/a", 10));
        assert_eq!(judge(known.clone(), &at("/b", 100)).1, None);
        assert_eq!(judge(known, &at("/a", 100)).1, Some(90));
    }

    #[test]
    fn what_the_look_saw_counts_more_than_who_holds_the_log() {
        let (elsewhere, untold) = (|| Open::Elsewhere("seen".into()), || Open::Untold("seen".into()));
        for (open, held, started, want) in [
            (elsewhere(), false, Some(1), Some(60)),
            // The unit is not active, and another etcd holds the old log.
            (elsewhere(), true, None, Some(60)),
            (elsewhere(), true, Some(1), Some(60)),
            // A file system without locks.
            (Open::Here, false, Some(1), None),
            (Open::Here, true, Some(1), None),
            // Two etcds on a host, one of them stopped.
            (untold(), false, None, None),
            (untold(), true, Some(1), None),
            (untold(), false, Some(1), Some(60)),
            (Open::Unasked("no rights".into()), true, Some(1), None),
            (Open::Unasked("no rights".into()), false, Some(1), Some(60)),
        ] {
            let at = |uptime| Moment {
                wal_dir: "/w".into(),
                held,
                open: open.clone(),
                started,
                boot: "b".into(),
                uptime,
            };
            let (known, said) = judge(None, &at(10));
            assert_eq!(said, None);
            assert_eq!(judge(known, &at(70)).1, want, "{open:?} {held} {started:?}");
        }
    }
}
