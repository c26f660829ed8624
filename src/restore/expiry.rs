//! What will be missing when etcd starts on restored data: keys whose time is over. And when the data is from.

use anyhow::Result;

use crate::etcd::datadir::{Contents, DataDir};
use crate::etcd::frame::Kind;
use crate::etcd::proto::{Entry, EntryKind};
use crate::etcd::request::{Payload, Request};
use crate::etcd::wal::{self, Reading};
use crate::inspect::keys;
use crate::sys::time::seconds;

/// See the module. Keys are not followed from write to write: that would need room for all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Keys and folders of the snapshot that have expired.
    pub keys: u64,
    /// Writes of the log behind it whose expiration has passed; some may be of one key, or taken back by a later one.
    pub writes: u64,
    /// The leader's clock in the last SYNC up to the point, seconds since 1970.
    pub synced: Option<u64>,
}

impl Outlook {
    /// Looks at a snapshot and at the log behind it, up to the entry `last`, at the time `now`.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn of(dir: &DataDir, contents: &Contents, last: u64, now: u64) -> Result<Self> {
        let mut this = Self::default();
        if let Some(base) = &contents.base {
            let passed = |text: &String| {
                let expires =
                    humantime::parse_rfc3339(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
                Some(expires.as_secs() < now)
            };
            keys::visit(&mut base.store()?, &mut |key| {
                this.keys += u64::from(key.expiration.as_ref().and_then(passed) == Some(true));
                Ok(())
            })?;
        }
        // For a plan, which is made while etcd runs, too; a log that stands still reads the same.
        wal::walk(&dir.wal, contents.start, Reading::Live, &mut |_, record| {
            if record.kind == Kind::Entry {
                let entry = Entry::decode(record.data)?;
                if entry.kind == EntryKind::Normal && entry.index <= last {
                    this.add(&Payload::of(entry.data), now);
                }
            }
            Ok(())
        })?;
        Ok(this)
    }

    fn add(&mut self, payload: &Payload<'_>, now: u64) {
        match payload {
            Payload::V2(Request { method: "SYNC", time, .. }) => self.synced = seconds(*time),
            Payload::V2(Request { expiration, .. }) if *expiration != 0 => {
                self.writes += u64::from(seconds(*expiration).is_none_or(|expires| expires < now));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_expired_is_counted_and_the_last_sync_is_kept() {
        let mut outlook = Outlook::default();
        let nanoseconds = i64::try_from(crate::sys::time::NANOSECONDS).unwrap();
        let request = |method, expiration, time| {
            Payload::V2(Request {
                method,
                expiration: expiration * nanoseconds,
                time: time * nanoseconds,
                ..Request::default()
            })
        };
        for payload in [
            request("PUT", 0, 0),
            request("PUT", 99, 0),
            request("SYNC", 0, 50),
            request("POST", -1, 0),
            request("PUT", 100, 0),
            request("SYNC", 0, 60),
            Payload::NoOp,
        ] {
            outlook.add(&payload, 100);
        }
        assert_eq!(outlook, Outlook { keys: 0, writes: 2, synced: Some(60) });
    }
}
