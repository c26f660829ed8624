//! What this node knows of the last part it made, in `ETCD_BACKUP_DIR/state.json`. It only speeds things up: without it
//! the next backup begins a new generation. What it says is sent on and believed, so that it carries a checksum.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::archive::names::GenerationName;
use crate::archive::part::Mark;
use crate::etcd::proto::{HardState, LogPosition, Metadata};
use crate::etcd::wal::{Place, Unfinished};
use crate::remote::route::Route;
use crate::sys::fs::{remove_if_there, write_atomic};
use crate::sys::summed;

/// A day of looks, one every 30 s.
const MAX_MARKS: usize = 2880;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Format of this file, [`State::VERSION`]; another one counts as lost.
    pub version: u32,
    /// The folder the parts went to, `<endpoint>/<machine-id>`; another one begins a new generation there.
    pub folder: String,
    /// The generation being written.
    pub generation: u64,
    /// Its writer, as its folder's name says it.
    pub writer: u32,
    /// The last part's place in it.
    pub sequence: u64,
    /// The last part's checksum, 64 hex digits.
    pub checksum: String,
    /// Its link, by which the next one names it.
    #[serde(default)]
    pub link: String,
    /// What stands for its content and that of all before it: [`Part::content`](crate::archive::part::Part::content).
    #[serde(default)]
    pub content: String,
    /// What was seen of the log since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
    /// Whose log it is.
    pub cluster_id: u64,
    /// The member.
    pub member_id: u64,
    /// The base's index and size.
    pub base_index: u64,
    /// The base's size in bytes.
    pub base_size: u64,
    /// The size of the v3 store that the generation begins with, in bytes; `None`: it holds the v2 store alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v3_base: Option<u64>,
    /// The last entry in that store; `None` without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v3_index: Option<u64>,
    /// When it was copied, by this node's clock; `None` without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v3_time: Option<u64>,
    /// Bytes of the log behind the base, all parts together.
    pub log_bytes: u64,
    /// Entries behind the base.
    pub entries: u64,
    /// Behind the last shipped record.
    pub place: Place,
    /// The last shipped record, to be found again as it was.
    pub last_record: Option<LastRecord>,
    /// The last shipped entry.
    pub last: LogPosition,
    /// The last shipped hard state.
    pub hard_state: HardState,
    /// The last part's time, as its name says it.
    pub time: u64,
    /// What this node's clock said then: it may have been set back since an earlier part.
    pub clock: u64,
    /// The leader's clock in the last shipped SYNC, in nanoseconds since 1970.
    pub sync_time: Option<i64>,
    /// The part up to which the remote was seen to have all of the generation.
    pub checked: Checked,
    /// The newest point that the remote took, of whatever cluster it was.
    #[serde(default)]
    pub sent: Option<Sent>,
    /// What the last look at the log saw unfinished, to be compared with what is there at the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<Unfinished>,
    /// Path of the last part in the spool, while its upload did not end or its end was not seen.
    pub pending: Option<String>,
    /// By which way the folder was last seen to have all of the generation; `None`: it was not seen yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
    /// Why the generation cannot go on: something of it is gone, or it is not this node's alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<String>,
}

/// A look at the folder in which everything was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// What decided where the folder is.
    pub route: Route,
    /// Whether a part was seen to arrive by it, and not only those of before to be there.
    pub arrived: bool,
    /// What this node's clock said.
    pub clock: u64,
}

/// A part that the folder was seen to have, or that was sent when it was last looked at; in a new generation its base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Its place in the generation.
    pub sequence: u64,
    /// Its link, 64 hex digits.
    #[serde(alias = "checksum")]
    pub link: String,
}

/// A point that the remote took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Whose log it is of.
    pub cluster_id: u64,
    /// Its last entry.
    pub index: u64,
    /// That entry's term; `None` in a state that was written before terms were noted.
    #[serde(default)]
    pub term: Option<u64>,
    /// Up to here no new leader can have replaced its entries.
    #[serde(default)]
    pub commit: u64,
    /// What this node's clock said when it was captured.
    pub clock: u64,
    /// The leader's clock in the newest SYNC by then, in nanoseconds since 1970.
    pub sync_time: Option<i64>,
}

impl Sent {
    /// Up to which index a log of the same history that ends at `end` is sure to be what was sent. Two logs that have an entry of
    /// the same index and term are equal up to it; behind an election only what was committed is sure to have stayed.
    pub fn is_still(&self, end: LogPosition) -> u64 {
        match self.term {
            Some(term) if term != end.term || end.index < self.index => self.index.min(self.commit),
            _ => self.index,
        }
    }
}

/// A record that must still be where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRecord {
    /// Where it begins.
    pub at: Place,
    /// Offset behind it.
    pub end: u64,
    /// The rolling CRC behind it.
    pub crc: u32,
}

impl State {
    /// The current format.
    pub const VERSION: u32 = 2;
    /// Its last part is of format 1.
    const LINKED_BY_CHECKSUMS: u32 = 1;

    /// The path of the file in the backup directory.
    pub fn path(backup_dir: &Path) -> PathBuf {
        backup_dir.join("state.json")
    }

    /// The generation being written.
    pub fn generation_name(&self) -> GenerationName {
        let Self { generation: number, cluster_id, member_id, writer, .. } = *self;
        GenerationName { number, cluster_id, member_id, writer }
    }

    /// Whose log it is, as the log says it.
    pub fn metadata(&self) -> Metadata {
        Metadata { member_id: self.member_id, cluster_id: self.cluster_id }
    }

    /// The last part that counts as sent; `None` before the base does.
    pub fn last_sent(&self) -> Option<u64> {
        if self.pending.is_some() { self.sequence.checked_sub(1) } else { Some(self.sequence) }
    }

    /// Notes that the remote took the last part.
    pub fn arrived(&mut self) {
        let Self { cluster_id, last: LogPosition { index, term }, clock, sync_time, .. } = *self;
        self.pending = None;
        self.sent =
            Some(Sent { cluster_id, index, term: Some(term), commit: self.committed(), clock, sync_time });
    }

    /// Up to which index the entries of the last part stay for ever: what lies in a snapshot does, too.
    pub fn committed(&self) -> u64 {
        self.hard_state.commit.max(self.base_index).min(self.last.index)
    }

    /// Whether a log of the same member that ends at `end` does not go on from the last part. In one history a later term is
    /// newer, whatever its index: a new leader replaces what was not committed. Across histories terms say nothing, as each start
    /// of an empty etcd makes them higher; but what was committed would have to be there.
    pub fn is_beyond(&self, end: LogPosition) -> bool {
        self.last > end || self.committed() > end.index
    }

    /// Notes that the folder, reached by this route, was seen to have all that was sent; with the last part, if it was looked
    /// for behind its upload.
    pub fn seen_whole(&mut self, route: &Route, arrived: bool, now: u64) {
        // Of an encrypted rclone.conf every token makes another one, by which nobody has to see a part arrive.
        let before = self.seen.as_ref().is_some_and(|seen| seen.arrived && !seen.route.is_other(route));
        self.seen = Some(Seen { route: route.clone(), arrived: arrived || before, clock: now });
        self.looked_through();
    }

    /// The next look has to find what was sent by now.
    pub fn looked_through(&mut self) {
        if self.pending.is_none() {
            self.checked = Checked { sequence: self.sequence, link: self.link.clone() };
        }
    }

    /// Ends the generation: another one begins with all that this one has, also a part that is still to be sent. Until that has
    /// arrived no point counts as sent: what is there may be another machine's, or nothing.
    pub fn give_up(&mut self, why: &str) {
        (self.given_up, self.pending, self.sent) = (Some(why.to_owned()), None, None);
    }

    /// Keeps how far the log was, of which nothing is sent yet. Of very many looks every other one is enough.
    pub fn mark(&mut self, mark: Mark) {
        if self.marks.len() >= MAX_MARKS {
            let mut kept = false;
            self.marks.retain(|_| {
                kept = !kept;
                kept
            });
        }
        self.marks.push(mark);
    }

    /// Keeps what a look at the log saw unfinished, where it is not known yet.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn remember(&mut self, unfinished: Option<Unfinished>, backup_dir: &Path) -> Result<()> {
        if self.unfinished == unfinished {
            return Ok(());
        }
        self.unfinished = unfinished;
        self.save(backup_dir)
    }

    /// Whether the last part was captured less than `interval` ago. A clock that was set back says nothing: it was not.
    pub fn is_younger_than(&self, interval: Duration, now: u64) -> bool {
        now.checked_sub(self.clock).is_some_and(|age| age < interval.as_secs())
    }

    /// Reads it; `None` if there is none, or one that this program cannot use.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn load(backup_dir: &Path) -> Result<Option<Self>> {
        let path = Self::path(backup_dir);
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            bytes => bytes.with_context(|| format!("reading {}", path.display()))?,
        };
        match summed::from_slice::<Self>(&bytes) {
            Ok(state) if state.version == Self::VERSION => Ok(Some(state)),
            Ok(state) if state.version == Self::LINKED_BY_CHECKSUMS => {
                let (link, content) = (state.checksum.clone(), state.checksum.clone());
                Ok(Some(Self { version: Self::VERSION, link, content, ..state }))
            }
            Ok(state) => {
                log::warn!("{} has format {}: a new generation begins", path.display(), state.version);
                Ok(None)
            }
            Err(e) => {
                log::warn!("{} cannot be read ({e}): a new generation begins", path.display());
                Ok(None)
            }
        }
    }

    /// Writes it, durably.
    ///
    /// # Errors
    /// It cannot be written; the old one is still there then.
    pub fn save(&self, backup_dir: &Path) -> Result<()> {
        write_atomic(&Self::path(backup_dir), &summed::to_vec(self)?, 0o600)
    }

    /// Forgets it: the next backup begins a new generation.
    ///
    /// # Errors
    /// It is there and cannot be removed.
    pub fn forget(backup_dir: &Path) -> Result<()> {
        remove_if_there(&Self::path(backup_dir))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::etcd::wal::SegmentName;
    use crate::sys::summed::tests::with_each_bit_flipped;

    pub(crate) fn state(clock: u64) -> State {
        let place = Place::start_of(SegmentName { sequence: 0, index: 0 });
        State {
            version: State::VERSION,
            folder: "r:p/id".into(),
            generation: 1,
            writer: 2,
            sequence: 0,
            checksum: String::new(),
            link: String::new(),
            content: String::new(),
            marks: Vec::new(),
            cluster_id: 3,
            member_id: 4,
            base_index: 0,
            base_size: 0,
            v3_base: None,
            v3_index: None,
            v3_time: None,
            log_bytes: 0,
            entries: 0,
            place,
            last_record: None,
            last: LogPosition::default(),
            hard_state: HardState::default(),
            time: clock,
            clock,
            sync_time: None,
            checked: Checked { sequence: 0, link: String::new() },
            sent: None,
            unfinished: None,
            pending: None,
            seen: None,
            given_up: None,
        }
    }

    #[test]
    fn a_part_is_young_until_the_interval_is_over_or_the_clock_goes_back() {
        let table = [
            (0, 0, false),
            (0, 600, true),
            (599, 600, true),
            (600, 600, false),
            (u64::MAX - 1000, 600, false),
        ];
        for (age, interval, young) in table {
            let is = state(1000).is_younger_than(Duration::from_secs(interval), 1000 + age);
            assert_eq!(is, young, "{age} of {interval}");
        }
        assert!(!state(1000).is_younger_than(Duration::from_secs(600), 999));
    }

    #[test]
    fn a_log_goes_on_from_the_last_part_by_term_first_and_has_what_was_committed() {
        let at = |term, index| LogPosition { index, term };
        let mut state = State { last: at(3, 50), ..state(7) };
        state.hard_state.commit = 45;
        state.arrived();
        let sent = state.sent.unwrap();
        for (end, beyond, still) in [
            (at(3, 50), false, 50),
            (at(3, 60), false, 50),
            // A new leader replaced what was not committed: the log is shorter, and newer.
            (at(4, 48), false, 45),
            (at(4, 45), false, 45),
            (at(4, 90), false, 45),
            // An empty etcd under the old IDs, started so often that its term is higher.
            (at(9, 44), true, 45),
            // An older directory, and one that was written on since.
            (at(3, 49), true, 45),
            (at(2, 90), true, 45),
        ] {
            assert_eq!((state.is_beyond(end), sent.is_still(end)), (beyond, still), "{end:?}");
        }
        // What lies in a snapshot was committed, and nothing is that was not read.
        assert_eq!(State { base_index: 47, ..state.clone() }.committed(), 47);
        state.hard_state.commit = 99;
        assert_eq!(state.committed(), 50);
        assert_eq!(Sent { term: None, ..sent }.is_still(at(4, 48)), 50);
    }

    #[test]
    fn a_state_from_before_terms_were_noted_is_read() {
        let text = r#"{"cluster_id":3,"index":70,"clock":7,"sync_time":null}"#;
        let sent: Sent = serde_json::from_str(text).unwrap();
        assert_eq!((sent.index, sent.term, sent.is_still(LogPosition { index: 9, term: 9 })), (70, None, 70));
    }

    #[test]
    fn what_is_written_is_read_and_what_cannot_be_used_counts_as_lost() {
        let dir = tempfile::tempdir().unwrap();
        let load = || State::load(dir.path()).unwrap();
        assert_eq!(load(), None);
        state(7).save(dir.path()).unwrap();
        assert_eq!(load(), Some(state(7)));
        let mut remembering = state(7);
        let unfinished = Some(Unfinished { at: remembering.place, reach: 9, more: true });
        remembering.remember(unfinished, dir.path()).unwrap();
        assert_eq!(load(), Some(State { unfinished, ..state(7) }));
        State { version: 3, ..state(7) }.save(dir.path()).unwrap();
        assert_eq!(load(), None);
        // What was written with parts of format 1: their links are their checksums.
        let checksum = || "0a".repeat(32);
        let old = State { version: 1, checksum: checksum(), ..state(7) };
        old.save(dir.path()).unwrap();
        assert_eq!(load(), Some(State { version: 2, link: checksum(), content: checksum(), ..old }));
        for text in ["", "{}", "{\"version\": 1}"] {
            write_atomic(&State::path(dir.path()), text.as_bytes(), 0o600).unwrap();
            assert_eq!(load(), None, "{text:?}");
        }
        State::forget(dir.path()).unwrap();
        assert_eq!(load(), None);
    }

    #[test]
    fn of_very_many_looks_every_other_one_is_kept() {
        let mut state = state(7);
        (0..MAX_MARKS as u64 + 2).for_each(|n| state.mark(Mark { time: n, index: n }));
        assert_eq!(state.marks.len(), MAX_MARKS / 2 + 2);
        assert_eq!(state.marks.last(), Some(&Mark { time: 2881, index: 2881 }));
        assert!(state.marks.is_sorted_by_key(|mark| mark.time));
    }

    #[test]
    fn one_flipped_bit_makes_it_lost_or_alters_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let checksum = "0123456789abcdef".repeat(4);
        let checked = Checked { sequence: 3, link: checksum.clone() };
        let sent =
            Some(Sent { cluster_id: 3, index: 70, term: Some(2), commit: 69, clock: 7, sync_time: Some(8) });
        let state = State { checksum, checked, sent, sequence: 3, pending: Some("a/b".into()), ..state(7) };
        state.save(dir.path()).unwrap();
        let path = State::path(dir.path());
        let mut read = 0;
        with_each_bit_flipped(&path, |text| {
            if let Some(believed) = State::load(dir.path()).unwrap() {
                assert_eq!(believed, state, "{text}");
                read += 1;
            }
        });
        assert!(read < 40, "{read}");
        // As before there was a checksum.
        write_atomic(&path, &serde_json::to_vec_pretty(&state).unwrap(), 0o600).unwrap();
        assert_eq!(State::load(dir.path()).unwrap(), Some(state));
    }
}
