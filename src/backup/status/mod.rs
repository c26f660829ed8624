//! What would be lost if this node's disk died now, and why: judged from what the log holds and what was last sent.
//!
//! The remote is not asked: what it holds is what it said it took. `verify` reads it again.

use std::time::Duration;

use crate::backup::state::{Sent, State};
use crate::cluster::own::{self, Asked, Differs};
use crate::etcd::datadir::Family;
use crate::etcd::proto::{LogPosition, Metadata};
use crate::node::running::note::Open;
use crate::sys::terminal::table::span;
use crate::sys::time::NANOSECONDS;

pub mod around;
pub mod bases;
mod text;

use bases::Bases;
pub use text::{json, text};

/// All that is looked at.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Seconds since 1970.
    pub now: u64,
    /// Older than this, what was not sent is worth a warning.
    pub max_age: Duration,
    /// Where the parts go, `<endpoint>/<machine-id>`.
    pub folder: String,
    /// What was last made for that folder.
    pub state: Option<State>,
    /// Whether what decides where that folder is was changed since it was last seen to have all that was sent.
    pub moved: bool,
    /// What the log has behind that.
    pub new: New,
    /// Whether a recovery recorded what the log's cluster continues.
    pub has_parent: bool,
    /// What etcd said of itself, before the log was read.
    pub etcd: Asked,
    /// Whether the etcd that runs has the log open that was read, by the last look.
    pub open: Open,
    /// Why the log may not be the one that etcd last wrote to.
    pub doubt: Option<String>,
    /// Of all backups of this cluster in the remote, whether those of this machine are the freshest; `None`: not asked.
    pub is_freshest: Option<bool>,
    /// The base of the v3 store that is to come.
    pub bases: Bases,
    /// When a part was last read again from the remote and found whole.
    pub verified: Option<u64>,
    /// When a rehearsal last found nothing wrong.
    pub rehearsed: Option<u64>,
    /// Why the timer's rehearsal cannot run here, if it cannot.
    pub rehearse_skipped: Option<String>,
}

/// What the log has behind the last part that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct New {
    /// Whose log it is.
    pub metadata: Metadata,
    /// Its last entry.
    pub last: LogPosition,
    /// Entries behind that part that may alter what a member holds.
    pub writes: u64,
    /// The leader's clock in the newest SYNC behind that part, in nanoseconds since 1970.
    pub sync_time: Option<i64>,
    /// Which etcd wrote it.
    pub family: Family,
    /// Why the next backup begins a new generation, if it does.
    pub begins: Option<String>,
}

impl New {
    /// The log ends where the last part did.
    pub fn nothing_behind(state: &State) -> Self {
        Self {
            metadata: state.metadata(),
            last: state.last,
            writes: 0,
            sync_time: None,
            // Not known, nor whether it logs clocks.
            family: Family::Three,
            begins: None,
        }
    }
}

/// Something that somebody has to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// One word for a program.
    pub kind: &'static str,
    /// One line.
    pub text: String,
    /// The next step.
    pub hint: &'static str,
}

impl Warning {
    /// What to type, for one who asks no more than that.
    pub fn command(&self) -> &'static str {
        match self.kind {
            "timer" => ENABLE,
            "never" | "gone" | "moved" => BACK_UP,
            "left-out" => "sudo /opt/bin/etcd2-backup base --now",
            "base" => "journalctl -u etcd2-backup-base.service -n 50",
            "old" => "journalctl -u etcd2-backup.service -n 50",
            "cut-off" => "etcdctl cluster-health",
            "alone" => "sudo /opt/bin/etcd2-backup restore --source auto --plan",
            "elsewhere" | "untold" | "other-place" => "sudo /opt/bin/etcd2-backup look",
            "other-cluster" | "went-back" => "sudo /opt/bin/etcd2-backup list",
            "altered" => "sudo /opt/bin/etcd2-backup install --check",
            "unseen" => "sudo /opt/bin/etcd2-backup status",
            "no-data" => "sudo /opt/bin/etcd2-backup sources",
            _ => DOCTOR,
        }
    }
}

const ENABLE: &str = "sudo systemctl enable --now etcd2-backup.timer";
const BACK_UP: &str = "sudo systemctl start etcd2-backup.service";
const DOCTOR: &str = "sudo systemctl start etcd2-backup-doctor.service; journalctl -u etcd2-backup-doctor.service -o cat -n 20";

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The newest restore point of this cluster that the remote took.
    pub sent: Option<Sent>,
    /// So many entries would be lost, at most: those that write nothing are not counted where they can be told.
    pub lost_entries: u64,
    /// So many entries came after the last part and change nothing; counted only if nothing would be lost.
    pub idle_entries: u64,
    /// Writes of so many seconds would be lost, at most; `None`: all there ever were.
    pub lost_seconds: Option<u64>,
    /// Why something would be lost although nothing is wrong.
    pub because: Option<&'static str>,
    /// What is wrong.
    pub warnings: Vec<Warning>,
}

/// Judges.
pub fn judge(facts: &Facts) -> Judgement {
    let cluster_id = facts.new.metadata.cluster_id;
    let sent = facts.state.as_ref().filter(|_| !facts.moved).and_then(|s| s.sent);
    let sent = sent.filter(|sent| sent.cluster_id == cluster_id);
    let lost_entries = lost_entries(facts, sent);
    let lost_seconds = match (lost_entries, sent) {
        _ if is_another_log(facts) => None,
        (0, Some(_)) => Some(0),
        (_, Some(sent)) => Some(lost_seconds(facts, sent)),
        (_, None) => None,
    };
    let because = (lost_entries > 0 || lost_seconds.is_none()).then(|| because(facts));
    let mut warnings = Vec::new();
    let mut warn = |kind, text: String, hint| warnings.push(Warning { kind, text, hint });
    if let Some(state) = &facts.state {
        history(facts, state, &mut warn);
    }
    match (sent, lost_seconds) {
        (None, _) => unsent(facts, &mut warn),
        (_, Some(seconds)) if seconds > facts.max_age.as_secs() => warn(
            "old",
            format!("writes of the last {} are not in the remote", span(Duration::from_secs(seconds))),
            "see why: journalctl -u etcd2-backup.service",
        ),
        _ => {}
    }
    if let Some(doubt) = &facts.doubt {
        let hint = "start etcd, then run status again, which finds out which log etcd has open; or correct \
                    etcd's unit";
        warn("other-place", doubt.clone(), hint);
    }
    running(facts, &mut warn);
    if let Asked::Answered(own) = &facts.etcd {
        if !own.is_healthy {
            cut_off(facts, &mut warn);
        }
        if let Some(differs) = differs(facts) {
            unlike(facts, differs, &mut warn);
        }
    }
    warnings.extend(facts.bases.warning(facts.now));
    let idle_entries = match (lost_entries, sent) {
        (0, Some(sent)) => facts.new.last.index.saturating_sub(sent.index),
        _ => 0,
    };
    Judgement { sent, lost_entries, idle_entries, lost_seconds, because, warnings }
}

/// No quorum on this node: others may have one, or be dead.
fn cut_off(facts: &Facts, warn: &mut impl FnMut(&'static str, String, &'static str)) {
    let text = "etcd on this node has no quorum";
    match facts.is_freshest {
        Some(true) => warn(
            "alone",
            format!(
                "{text}, and no other machine's backup of this cluster goes further than this machine's own"
            ),
            "if the other nodes are lost, recover from this one; see what that would take: sudo \
             /opt/bin/etcd2-backup restore --source auto --plan",
        ),
        Some(false) => warn(
            "cut-off",
            format!("{text}, and another machine's backup of this cluster is fresher"),
            "see which one: sudo /opt/bin/etcd2-backup sources; and which members run: etcdctl cluster-health",
        ),
        None => warn(
            "cut-off",
            format!("{text}: writes that the other members acknowledge are not in its backups"),
            "see which members run: etcdctl cluster-health; and whose backup is the freshest: sudo \
             /opt/bin/etcd2-backup sources",
        ),
    }
}

/// What is wrong with the log, by what etcd says.
fn differs(facts: &Facts) -> Option<Differs> {
    let Asked::Answered(own) = &facts.etcd else { return None };
    own::compare(own, facts.new.metadata, facts.new.last)
}

/// Whether etcd writes to another log than the one that was read: then nothing of what it has was sent.
fn is_another_log(facts: &Facts) -> bool {
    matches!(facts.open, Open::Elsewhere(_)) || differs(facts).is_some_and(Differs::is_another_log)
}

/// What the last look says of the log that was read.
fn running(facts: &Facts, warn: &mut impl FnMut(&'static str, String, &'static str)) {
    match &facts.open {
        Open::Elsewhere(said) => warn(
            "elsewhere",
            format!("{said}: that is not the log that is backed up"),
            "correct etcd's unit, or ETCD_DATA_DIR in 30-etcd2-backup-restore.conf",
        ),
        Open::Untold(said) => warn(
            "untold",
            said.clone(),
            "set ETCD_INITIAL_ADVERTISE_PEER_URLS in a drop-in of etcd's unit: it tells them apart",
        ),
        // Whoever asks was told so before.
        Open::Here | Open::Unknown(_) | Open::Unasked(_) => {}
    }
}

/// The log is not that of the etcd that answers, or not all of it.
fn unlike(facts: &Facts, differs: Differs, warn: &mut impl FnMut(&'static str, String, &'static str)) {
    let New { metadata, last, .. } = &facts.new;
    let hint = "see which log etcd has open, and whether this one is intact: sudo systemctl start \
                etcd2-backup-doctor.service; journalctl -u etcd2-backup-doctor.service";
    match differs {
        Differs::OtherMember(id) => warn(
            "other-log",
            format!(
                "the etcd that answers here is member {id:x}, but the log is of member {:x}",
                metadata.member_id
            ),
            hint,
        ),
        Differs::EndsBefore(applied) => warn(
            "ends-early",
            format!(
                "etcd has applied index {applied}, but its log can be read only up to index {}",
                last.index
            ),
            hint,
        ),
        Differs::Unheld => warn(
            "unheld",
            "etcd answers here but does not have the backed-up log open: it keeps its data elsewhere".into(),
            hint,
        ),
        Differs::Unapplied(applied) => warn(
            "unapplied",
            format!(
                "etcd has a quorum but has applied only index {applied}, although the log already reached \
                 index {}: etcd writes another log, or it hangs",
                last.index
            ),
            hint,
        ),
    }
}

/// Why nothing counts as sent.
fn unsent(facts: &Facts, warn: &mut impl FnMut(&'static str, String, &'static str)) {
    let hint = "sudo systemctl start etcd2-backup.service; journalctl -u etcd2-backup.service";
    match facts.state.as_ref().and_then(|s| s.given_up.as_ref()) {
        _ if facts.moved => warn(
            "moved",
            format!(
                "rclone.conf or the runner was changed, and {} has not been checked since: earlier backups \
                 may be elsewhere",
                facts.folder
            ),
            "check it, and send what is missing: sudo systemctl start etcd2-backup.service",
        ),
        Some(why) => warn("gone", format!("{why}; everything is sent again"), hint),
        None => {
            let text = format!(
                "no backup of cluster {:x} has been seen to arrive in {}",
                facts.new.metadata.cluster_id, facts.folder
            );
            warn("never", text, hint);
        }
    }
}

/// Entries between what the remote has and the end of the log, or what etcd has applied behind that.
fn lost_entries(facts: &Facts, sent: Option<Sent>) -> u64 {
    let New { last, writes, begins, .. } = &facts.new;
    let unread = match differs(facts) {
        _ if is_another_log(facts) => return own_index(facts).unwrap_or(last.index),
        Some(Differs::EndsBefore(applied)) => applied - last.index,
        _ => 0,
    };
    let (Some(state), Some(sent)) = (&facts.state, sent) else { return last.index + unread };
    let behind = |end: LogPosition| end.index.saturating_sub(sent.is_still(end));
    unread
        + match begins {
            // What was made and did not arrive is not looked into again.
            None => behind(state.last) + writes,
            // Of another history nothing is known to have been sent.
            Some(_) if went_back(facts, state) => last.index,
            Some(_) => behind(*last),
        }
}

/// How far etcd says it is.
fn own_index(facts: &Facts) -> Option<u64> {
    let Asked::Answered(own) = &facts.etcd else { return None };
    own.applied
}

/// etcd 2.x logs the leader's clock every 500 ms, which no jump of this node's clock alters, nor a stop of etcd. Elsewhere it
/// is what this node's clock says.
fn lost_seconds(facts: &Facts, sent: Sent) -> u64 {
    let shipped = facts.state.as_ref().and_then(|s| s.sync_time);
    match (facts.new.family, facts.new.sync_time.or(shipped), sent.sync_time) {
        (Family::Two, Some(newest), Some(shipped)) => {
            u64::try_from(newest.saturating_sub(shipped)).unwrap_or(0).div_ceil(NANOSECONDS).max(1)
        }
        _ => facts.now.saturating_sub(sent.clock).max(1),
    }
}

fn because(facts: &Facts) -> &'static str {
    match &facts.state {
        _ if is_another_log(facts) => "etcd does not write to the log that is backed up",
        None => "no backup was made",
        Some(_) if facts.moved => "earlier backups may be elsewhere",
        Some(state) if state.pending.is_some() => "the last part was not seen to arrive",
        _ if matches!(differs(facts), Some(Differs::EndsBefore(_))) => {
            "etcd has applied more than can be read of its log"
        }
        _ if facts.new.begins.is_some() => "the next backup has to begin a new generation",
        _ => "they came after the last backup",
    }
}

/// Whether the log is still that of the backups.
fn history(facts: &Facts, state: &State, warn: &mut impl FnMut(&'static str, String, &'static str)) {
    let (was, is) = (state.metadata(), facts.new.metadata);
    if was.cluster_id != is.cluster_id && !facts.has_parent {
        warn(
            "other-cluster",
            format!(
                "etcd's data is now of cluster {:x}, but the backups are of {:x}",
                is.cluster_id, was.cluster_id
            ),
            "if this was not intended, an empty cluster may have been created: docs/recovery.md",
        );
    } else if went_back(facts, state) {
        let (end, last) = (facts.new.last, state.last);
        warn(
            "went-back",
            format!(
                "the log ends at index {} of term {}, but index {} of term {} was backed up: the log started \
                 over, or older data was put back",
                end.index, end.term, last.index, last.term
            ),
            "see what is in the remote: sudo /opt/bin/etcd2-backup list; take it back: sudo \
             /opt/bin/etcd2-backup restore --generation N",
        );
    }
}

/// Whether the log of the same member is not what was backed up, written on.
fn went_back(facts: &Facts, state: &State) -> bool {
    state.metadata() == facts.new.metadata && state.is_beyond(facts.new.last)
}

#[cfg(test)]
mod tests;
