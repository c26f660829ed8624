//! The etcd of this node: what it says of itself, and whether the log that was read is its own and goes as far.
//!
//! A log that ends early looks like one in which nothing happened: damage in the length of a record, another directory, a
//! disk that does not show what was written. etcd knows better, as far as it can be asked.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cluster::access::Access;
use crate::cluster::api::{self, Applied};
use crate::etcd::proto::{LogPosition, Metadata};
use crate::settings::Settings;
use crate::sys::http::is_unasked;

/// etcd applies some entries while it writes them. A disk that takes longer is told of.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);
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
}

/// Asks the etcd of this node, at the first of its client URLs where the member of the log answers, or else anybody.
pub fn ask(settings: &Settings, member_id: u64) -> Asked {
    let http = Access::anonymous(settings).clients;
    let (mut other, mut unasked) = (None, None);
    if settings.client_urls.is_empty() {
        return Asked::Unknown("nothing says where clients reach it (ETCD_ADVERTISE_CLIENT_URLS)".into());
    }
    for url in &settings.client_urls {
        let answer = api::self_and_leader(&http, url)
            .and_then(|(member_id, _)| Ok((member_id, api::is_healthy(&http, url)?)));
        match answer {
            Err(e) => unasked = unasked.or(Some(e).filter(is_unasked)),
            Ok((member_id, is_healthy)) => {
                let applied = match api::applied(&http, url) {
                    Ok(Applied::Index(index)) => Some(index),
                    Ok(Applied::Healthy(_)) | Err(_) => None,
                };
                other.get_or_insert(Own { member_id, is_healthy, applied });
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
    own.applied.filter(|applied| *applied > last.index).map(Differs::EndsBefore)
}

/// Reads the log, and again while it ends before what etcd said it had applied, for some seconds at most.
///
/// # Errors
/// Those of `read`.
pub fn read_as_far<T>(
    asked: &Asked,
    read: impl Fn() -> Result<T>,
    end: impl Fn(&T) -> (Metadata, LogPosition),
) -> Result<T> {
    let deadline = Instant::now() + WRITTEN_WITHIN;
    loop {
        let log = read()?;
        let Asked::Answered(own) = asked else { return Ok(log) };
        let (metadata, last) = end(&log);
        if !matches!(compare(own, metadata, last), Some(Differs::EndsBefore(_))) || Instant::now() >= deadline
        {
            return Ok(log);
        }
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_the_member_s_own_and_goes_as_far_as_it_says() {
        let log = Metadata { member_id: 7, cluster_id: 1 };
        let own = |member_id, applied| Own { member_id, is_healthy: true, applied };
        for (own, want) in [
            (own(7, Some(9)), None),
            (own(7, Some(10)), None),
            (own(7, Some(11)), Some(Differs::EndsBefore(11))),
            (own(7, None), None),
            // Another member's index says nothing of this log.
            (own(8, Some(11)), Some(Differs::OtherMember(8))),
            (own(8, Some(1)), Some(Differs::OtherMember(8))),
        ] {
            assert_eq!(compare(&own, log, LogPosition { index: 10, term: 2 }), want, "{own:?}");
        }
    }
    #[test]
    fn what_is_just_being_written_is_read_again() {
        let log = Metadata { member_id: 7, cluster_id: 1 };
        let asked = Asked::Answered(Own { member_id: 7, is_healthy: true, applied: Some(3) });
        let index = std::cell::Cell::new(0);
        let read = || {
            index.set(index.get() + 1);
            Ok(index.get())
        };
        let end = |index: &u64| (log, LogPosition { index: *index, term: 1 });
        assert_eq!(read_as_far(&asked, read, end).unwrap(), 3);
        assert_eq!(read_as_far(&Asked::Silent, read, end).unwrap(), 4);
    }
}
