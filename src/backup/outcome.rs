//! What is known of a cycle.

use std::path::Path;
use std::time::UNIX_EPOCH;

use serde_json::Value;

use crate::backup::capture::Capture;
use crate::backup::state::State;
use crate::etcd::datadir::Family;
use crate::paths;
use crate::sys::summed;

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
    /// The leader's clock in the newest SYNC that was read; 0 of etcd 3.x, where its age tells nothing: it writes them only
    /// while a key has a TTL.
    pub synced: Option<u64>,
    /// Of the base of the v3 store: when it was taken, its bytes, those of the log behind it, since when another one is due; each 0
    /// without.
    pub base: Option<[u64; 4]>,
    /// When a part of the archive was last read again and found whole.
    pub verified: Option<u64>,
    /// When a rehearsal last found all as the archive says.
    pub rehearsed: Option<u64>,
    /// 1 if the timer's last rehearsal could not run on this node, else 0.
    pub rehearse_skipped: Option<u64>,
}

impl Cycle {
    /// What was read.
    pub fn read(&mut self, capture: &Capture) {
        self.entries = Some(capture.log.entries);
        self.read_bytes = Some(capture.read_bytes());
        self.lag_entries = Some(capture.log.writes);
        self.synced = match capture.family {
            Family::Two => capture.log.synced(),
            Family::Three => Some(0),
        };
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

/// When the last rehearsal was, if it found nothing wrong.
pub fn rehearsed(backup_dir: &Path) -> Option<u64> {
    let said: Value = summed::from_slice(&std::fs::read(paths::rehearsed(backup_dir)).ok()?).ok()?;
    let time = humantime::parse_rfc3339(said["time"].as_str()?).ok()?;
    (said["wrong"] == 0).then(|| time.duration_since(UNIX_EPOCH).map(|since| since.as_secs()).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs::write_atomic;

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
