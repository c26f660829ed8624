//! The etcd of this node: what it says of itself, and whether the log that was read is its own and goes as far.
//!
//! A log that ends early looks like one in which nothing happened: damage in the length of a record, another directory, a
//! disk that does not show what was written. etcd knows better, as far as it can be asked.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cluster::access::Access;
use crate::cluster::api::{self, Applied};
use crate::etcd::datadir::{self, DataDir};
use crate::etcd::in_use;
use crate::etcd::proto::{LogPosition, Metadata};
use crate::settings::Settings;
use crate::sys::http::is_unasked;

/// etcd applies some entries while it writes them. A disk that takes longer is told of.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);
/// What is in its log it applies, or takes back, as soon as a quorum has it; so long etcd itself lets a client wait for that.
const APPLIED_WITHIN: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// What etcd says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Which member it is.
    pub member_id: u64,
    /// Whether it takes part in a quorum.
    pub is_healthy: bool,
    /// The index of the last entry that it applied; `None` where it tells that to nobody, or only to who has a password.
    pub applied: Option<u64>,
    /// Whether somebody holds the log that was read; no only if nobody did before and behind the answer, which etcd gives while
    /// it holds its own. `None`: it could not be asked.
    pub holds: Option<bool>,
    /// It has a quorum, and has not applied what was in the log seconds ago.
    pub lags: bool,
}

/// What came of asking it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// It answered.
    Answered(Own),
    /// It does not answer.
    Silent,
    /// It could not be asked, and why.
    Unknown(String),
}

/// What is wrong with a log, by what etcd says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Differs {
    /// It is another member's.
    OtherMember(u64),
    /// It ends before what etcd has applied.
    EndsBefore(u64),
    /// Nobody holds it while etcd answers.
    Unheld,
    /// It goes on behind what etcd has applied, and stays so.
    Unapplied(u64),
}

impl Differs {
    /// Whether it is not the log that etcd writes to: then nothing that etcd acknowledges comes into it.
    pub fn is_another_log(self) -> bool {
        !matches!(self, Self::EndsBefore(_))
    }
}

/// Asks the etcd of this node, at the first of its client URLs where the member of the log answers, or else anybody; and whether
/// somebody holds the log.
///
/// # Errors
/// The log does not say whose it is.
pub fn ask(settings: &Settings, dir: &DataDir) -> Result<Asked> {
    let member_id = datadir::ids(&dir.wal)?.member_id;
    let before = in_use::is_held(&dir.wal).ok();
    let mut asked = ask_member(settings, member_id);
    if let Asked::Answered(own) = &mut asked {
        // Of a segment that has just become the newest the lock may come a moment later.
        own.holds = match before {
            Some(false) => in_use::is_held(&dir.wal).ok(),
            before => before,
        };
    }
    Ok(asked)
}

fn ask_member(settings: &Settings, member_id: u64) -> Asked {
    let http = Access::anonymous(settings).clients;
    let (mut other, mut unasked) = (None, None);
    if settings.etcd.client_urls.is_empty() {
        return Asked::Unknown("its client URLs are not known (ETCD_ADVERTISE_CLIENT_URLS)".into());
    }
    for url in &settings.etcd.client_urls {
        let answer = api::self_and_leader(&http, url)
            .and_then(|(member_id, _)| Ok((member_id, api::is_healthy(&http, url)?)));
        match answer {
            Err(e) => unasked = unasked.or(Some(e).filter(is_unasked)),
            Ok((member_id, is_healthy)) => {
                let applied = match api::applied(&http, url) {
                    Ok(Applied::Index(index)) => Some(index),
                    Ok(Applied::Healthy(_)) | Err(_) => None,
                };
                other.get_or_insert(Own { member_id, is_healthy, applied, holds: None, lags: false });
            }
        }
        if let Some(own) = other.take_if(|own| own.member_id == member_id) {
            return Asked::Answered(own);
        }
    }
    match (other, unasked) {
        (Some(own), _) => Asked::Answered(own),
        (None, Some(e)) => Asked::Unknown(format!("{e:#}")),
        (None, None) => Asked::Silent,
    }
}

/// Compares a log with what etcd said before the log was read: what it had applied by then is on the disk, but for entries of
/// that moment.
pub fn compare(own: &Own, log: Metadata, last: LogPosition) -> Option<Differs> {
    if own.member_id != log.member_id {
        return Some(Differs::OtherMember(own.member_id));
    }
    match own.applied {
        Some(applied) if applied > last.index => Some(Differs::EndsBefore(applied)),
        _ if own.holds == Some(false) => Some(Differs::Unheld),
        Some(applied) if own.lags => Some(Differs::Unapplied(applied)),
        _ => None,
    }
}

/// Asks etcd and reads the log, and does so again for some seconds at most while the log ends before what etcd has applied, or
/// goes on behind it. Gives what etcd said last, and the log.
///
/// # Errors
/// Those of `ask` and `read`.
pub fn read_as_far<T>(
    ask: impl Fn() -> Result<Asked>,
    read: impl Fn() -> Result<T>,
    end: impl Fn(&T) -> (Metadata, LogPosition),
) -> Result<(Asked, T)> {
    read_within(ask, read, end, [WRITTEN_WITHIN, APPLIED_WITHIN])
}

fn read_within<T>(
    ask: impl Fn() -> Result<Asked>,
    read: impl Fn() -> Result<T>,
    end: impl Fn(&T) -> (Metadata, LogPosition),
    [written, applied]: [Duration; 2],
) -> Result<(Asked, T)> {
    let began = Instant::now();
    let mut asked = ask()?;
    let mut asked_again = false;
    // Since when the log has ended early.
    let mut early: Option<Instant> = None;
    // Where the log ended when it was read first; less if entries were taken back since.
    let mut seen = u64::MAX;
    loop {
        // Always read after etcd was asked: then it has what etcd had applied.
        let log = read()?;
        let (metadata, last) = end(&log);
        seen = seen.min(last.index);
        let Asked::Answered(own) = &mut asked else { return Ok((asked, log)) };
        let is_behind = own.is_healthy
            && own.member_id == metadata.member_id
            && own.applied.is_some_and(|applied| applied < seen);
        match compare(own, metadata, last) {
            Some(Differs::EndsBefore(_)) => {
                if early.get_or_insert_with(Instant::now).elapsed() >= written {
                    return Ok((asked, log));
                }
            }
            None if is_behind => {
                if asked_again && began.elapsed() >= applied {
                    own.lags = true;
                    return Ok((asked, log));
                }
                (asked, asked_again, early) = (ask()?, true, None);
            }
            _ => return Ok((asked, log)),
        }
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const LOG: Metadata = Metadata { member_id: 7, cluster_id: 1 };

    fn own(member_id: u64, applied: Option<u64>) -> Own {
        Own { member_id, is_healthy: true, applied, holds: Some(true), lags: false }
    }

    #[test]
    fn a_log_is_the_member_s_own_and_goes_as_far_as_it_says() {
        let unheld = |own: Own| Own { holds: Some(false), ..own };
        let unknown = |own: Own| Own { holds: None, ..own };
        let lags = |own: Own| Own { lags: true, ..own };
        for (own, want) in [
            (own(7, Some(9)), None),
            (own(7, Some(10)), None),
            (own(7, Some(11)), Some(Differs::EndsBefore(11))),
            (own(7, None), None),
            (unknown(own(7, Some(9))), None),
            (unheld(own(7, Some(9))), Some(Differs::Unheld)),
            (unheld(own(7, None)), Some(Differs::Unheld)),
            (unheld(own(7, Some(11))), Some(Differs::EndsBefore(11))),
            (lags(own(7, Some(9))), Some(Differs::Unapplied(9))),
            // Another member's index says nothing of this log.
            (own(8, Some(11)), Some(Differs::OtherMember(8))),
            (unheld(own(8, Some(1))), Some(Differs::OtherMember(8))),
        ] {
            assert_eq!(compare(&own, LOG, LogPosition { index: 10, term: 2 }), want, "{own:?}");
        }
    }

    /// What comes of etcd that says these indexes one after the other, and a log that ends so; the last ones stay.
    fn came_of(applied: &[u64], ends: &[u64], is_healthy: bool) -> (Option<Differs>, u64) {
        let (asks, reads) = (Cell::new(0), Cell::new(0));
        let next = |at: &Cell<usize>, all: &[u64]| {
            at.set(at.get() + 1);
            all[(at.get() - 1).min(all.len() - 1)]
        };
        let ask = || Ok(Asked::Answered(Own { is_healthy, ..own(7, Some(next(&asks, applied))) }));
        let read = || Ok(next(&reads, ends));
        let end = |index: &u64| (LOG, LogPosition { index: *index, term: 1 });
        let patience = [Duration::from_secs(60), Duration::from_millis(200)];
        let (asked, index) = read_within(ask, read, end, patience).unwrap();
        let Asked::Answered(own) = asked else { panic!() };
        (compare(&own, LOG, end(&index).1), index)
    }

    #[test]
    fn what_is_just_being_written_or_applied_is_looked_at_again() {
        let (many, applied): (Vec<u64>, Vec<u64>) = ((50..99).collect(), (48..99).collect());
        for (applied, ends, is_healthy, want) in [
            (&[3][..], &[1, 2, 3][..], true, (None, 3)),
            (&[3], &[3], true, (None, 3)),
            // Written, and applied a little later.
            (&[3, 3, 4, 5], &[5], true, (None, 5)),
            // Taken back by a new leader.
            (&[3], &[5, 5, 3], true, (None, 3)),
            // What is read behind the second answer counts, not what was read before it.
            (&[3, 7], &[5, 7], true, (None, 7)),
            // It goes on all the time.
            (&applied, &many, true, (None, 52)),
            // It stays behind: so for certain only with a quorum.
            (&[3], &[5], true, (Some(Differs::Unapplied(3)), 5)),
            (&[3, 4, 5, 6, 7], &[105], true, (Some(Differs::Unapplied(7)), 105)),
            (&[3], &[5], false, (None, 5)),
        ] {
            assert_eq!(came_of(applied, ends, is_healthy), want, "{applied:?} {ends:?}");
        }
        let end = |index: &u64| (LOG, LogPosition { index: *index, term: 1 });
        assert_eq!(read_as_far(|| Ok(Asked::Silent), || Ok(4), end).unwrap(), (Asked::Silent, 4));
    }
}
