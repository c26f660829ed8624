//! What a backup says of itself: one line in the journal, and numbers for a monitor.

use std::fmt;
use std::path::Path;
use std::time::{Instant, UNIX_EPOCH};

use anyhow::Result;
use serde_json::Value;

use crate::archive::verified::Verified;
use crate::backup::capture::Capture;
use crate::backup::metrics;
use crate::backup::state::State;
use crate::exit::{Exit, exit_of};
use crate::paths;
use crate::settings::Settings;
use crate::sys::{summed, time};

/// What is known of a cycle, as far as it came. What is not known is said nowhere.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Cycle {
    /// How it ended: `sent`, `nothing new` or `held back`; `None`: it failed, or another one was in its place.
    pub outcome: Option<&'static str>,
    /// The generation that is being written.
    pub generation: Option<u64>,
    /// The newest part's place in it; 0 is the base.
    pub part: Option<u64>,
    /// The raft index up to which the remote holds everything.
    pub index: Option<u64>,
    /// Entries of the log that were new.
    pub entries: Option<u64>,
    /// Bytes of etcd's files that are in the new part.
    pub read_bytes: Option<u64>,
    /// Bytes of the parts that arrived.
    pub sent_bytes: Option<u64>,
    /// When the log was read to an end that the remote now has all of.
    pub point: Option<u64>,
    /// Entries that were read and may alter what a member holds, and are not in the remote.
    pub lag_entries: Option<u64>,
    /// The leader's clock in the newest SYNC that was read.
    pub synced: Option<u64>,
    /// When a part of the archive was last read again and found whole.
    pub verified: Option<u64>,
    /// When a rehearsal last found all as the archive says.
    pub rehearsed: Option<u64>,
}

impl Cycle {
    /// What was read.
    pub fn read(&mut self, capture: &Capture) {
        self.entries = Some(capture.log.entries);
        self.read_bytes = Some(capture.read_bytes());
        self.lag_entries = Some(capture.log.writes);
        self.synced = capture.log.synced();
    }

    /// So many bytes arrived.
    pub fn sent(&mut self, bytes: u64) {
        if bytes > 0 {
            self.sent_bytes = Some(self.sent_bytes.unwrap_or(0) + bytes);
        }
    }

    /// The log was looked at then, and the remote has all of it that may alter what a member holds.
    pub fn at(&mut self, outcome: &'static str, newest: Option<&State>, looked: u64) {
        self.outcome = Some(outcome);
        self.generation = newest.map(|state| state.generation);
        self.part = newest.map(|state| state.sequence);
        self.index = newest.map(|state| state.last.index);
        self.point = Some(looked);
        self.lag_entries = Some(0);
    }
}

/// Says how a cycle ended: in the journal, and in the site's file for a monitor.
pub fn finish(settings: &Settings, cycle: &Cycle, started: Instant, ended: &Result<Exit>) {
    if ended.is_ok() && cycle.outcome.is_none() {
        return;
    }
    let now = time::now();
    let milliseconds = started.elapsed().as_millis();
    log::info!("{}", Summary { cycle, now, milliseconds });
    if let Some(path) = &settings.metrics_file {
        // It is only told: a monitor sees it grow old.
        let seen = Verified::load(&settings.backup_dir, &settings.folder()).unwrap_or_default().generations;
        let verified = seen.values().map(|seen| seen.time).max();
        let cycle = &Cycle { verified, rehearsed: rehearsed(&settings.backup_dir), ..cycle.clone() };
        let code = ended.as_ref().map_or_else(exit_of, |exit| *exit) as u8;
        // A monitor that is not told sees it by the age of what it was told.
        if let Err(e) = metrics::update(path, &metrics::values(cycle, code, now, milliseconds)) {
            log::warn!("{e:#}");
        }
    }
}

/// When the last rehearsal was, if it found nothing wrong.
pub fn rehearsed(backup_dir: &Path) -> Option<u64> {
    let said: Value = summed::from_slice(&std::fs::read(paths::rehearsed(backup_dir)).ok()?).ok()?;
    let time = humantime::parse_rfc3339(said["time"].as_str()?).ok()?;
    (said["wrong"] == 0).then(|| time.duration_since(UNIX_EPOCH).map(|since| since.as_secs()).ok())?
}

/// `sent: generation=2 part=7 index=1234 …`
struct Summary<'a> {
    cycle: &'a Cycle,
    now: u64,
    milliseconds: u128,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = self.cycle;
        write!(f, "{}:", c.outcome.unwrap_or("failed"))?;
        for (name, value) in [
            ("generation", c.generation),
            ("part", c.part),
            ("index", c.index),
            ("entries", c.entries),
            ("read_bytes", c.read_bytes),
            ("sent_bytes", c.sent_bytes),
            ("lag_entries", c.lag_entries),
            ("lag_seconds", c.point.map(|point| self.now.saturating_sub(point))),
        ] {
            if let Some(value) = value {
                write!(f, " {name}={value}")?;
            }
        }
        write!(f, " duration_ms={}", self.milliseconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs::write_atomic;

    #[test]
    fn a_summary_says_what_is_known_and_nothing_else() {
        let sent = Cycle {
            outcome: Some("sent"),
            generation: Some(2),
            part: Some(7),
            index: Some(1234),
            entries: Some(12),
            read_bytes: Some(4096),
            sent_bytes: Some(512),
            point: Some(100),
            lag_entries: Some(0),
            synced: Some(99),
            verified: Some(98),
            rehearsed: Some(97),
        };
        let failed = Cycle { lag_entries: Some(5), ..Cycle::default() };
        for (cycle, want) in [
            (
                sent,
                "sent: generation=2 part=7 index=1234 entries=12 read_bytes=4096 sent_bytes=512 lag_entries=0 \
                 lag_seconds=3 duration_ms=250",
            ),
            (failed, "failed: lag_entries=5 duration_ms=250"),
            (Cycle::default(), "failed: duration_ms=250"),
        ] {
            assert_eq!(Summary { cycle: &cycle, now: 103, milliseconds: 250 }.to_string(), want);
        }
    }

    #[test]
    fn a_rehearsal_counts_if_nothing_was_wrong() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(rehearsed(dir.path()), None);
        for (text, want) in [
            (r#"{"time": "1970-01-02T00:00:01Z", "wrong": 0}"#, Some(86_401)),
            (r#"{"time": "1970-01-02T00:00:01Z", "wrong": 1}"#, None),
            (r#"{"time": "yesterday", "wrong": 0}"#, None),
            (r#"{"wrong": 0}"#, None),
            ("", None),
        ] {
            write_atomic(&paths::rehearsed(dir.path()), text.as_bytes(), 0o600).unwrap();
            assert_eq!(rehearsed(dir.path()), want, "{text}");
        }
    }
}
