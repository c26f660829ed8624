//! From the text of a value to the type of its field.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{IndexRange, InitialCluster, MachineId, Major, Moment, NodeName, Share, Ssh, Token};
use crate::settings::source::Choice;
use crate::settings::urls;

/// A type that an option's value can have.
pub(super) trait Value: Sized {
    /// What it must look like, behind "not ".
    const WANTED: &str;

    /// The value, if this is one. Only paths may be other than UTF-8.
    fn of(given: &OsStr) -> Option<Self>;

    /// Puts a further one behind those that are there; most fields hold only the last.
    fn add(&mut self, given: Self) {
        *self = given;
    }
}

pub(super) fn put<T: Value>(field: &mut T, given: &OsStr) -> Result<(), &'static str> {
    field.add(T::of(given).ok_or(T::WANTED)?);
    Ok(())
}

/// A flag: it is set by being there.
impl Value for bool {
    const WANTED: &str = "a flag";

    fn of(given: &OsStr) -> Option<Self> {
        given.is_empty().then_some(true)
    }
}

impl<T: Value> Value for Option<T> {
    const WANTED: &str = T::WANTED;

    fn of(given: &OsStr) -> Option<Self> {
        T::of(given).map(Some)
    }
}

impl Value for PathBuf {
    const WANTED: &str = "a path";

    fn of(given: &OsStr) -> Option<Self> {
        Some(given.into())
    }
}

impl Value for Vec<String> {
    const WANTED: &str = "a text";

    fn of(given: &OsStr) -> Option<Self> {
        given.to_str().map(|text| vec![text.to_owned()])
    }

    fn add(&mut self, given: Self) {
        self.extend(given);
    }
}

impl Value for NodeName {
    const WANTED: &str = "a node";

    fn of(given: &OsStr) -> Option<Self> {
        given.to_str().map(|text| Self(text.to_owned()))
    }
}

impl Value for Ssh {
    const WANTED: &str = "a command";

    fn of(given: &OsStr) -> Option<Self> {
        let words: Vec<String> = given.to_str()?.split_whitespace().map(str::to_owned).collect();
        (!words.is_empty()).then_some(Self(words))
    }
}

impl Value for u64 {
    const WANTED: &str = "a number";

    fn of(given: &OsStr) -> Option<Self> {
        given.to_str()?.parse().ok()
    }
}

impl Value for MachineId {
    const WANTED: &str = "a machine ID, 32 hex digits";

    fn of(given: &OsStr) -> Option<Self> {
        let id = given.to_str()?;
        let hex = id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        hex.then(|| Self(id.to_owned()))
    }
}

impl Value for Token {
    const WANTED: &str = "a recovery's token, 32 hex digits";

    fn of(given: &OsStr) -> Option<Self> {
        let empty = given.is_empty().then(|| Self(String::new()));
        empty.or_else(|| MachineId::of(given).map(|MachineId(hex)| Self(hex)))
    }
}

/// A name is there once for each of its URLs.
impl Value for InitialCluster {
    const WANTED: &str = "a list like e1=http://HOST:2380,e2=http://HOST:2380, with each URL once";

    fn of(given: &OsStr) -> Option<Self> {
        let mut members: Vec<(String, Vec<String>)> = Vec::new();
        for pair in given.to_str()?.split(',') {
            let (name, url) = pair.trim().split_once('=')?;
            let url = url.strip_suffix('/').unwrap_or(url);
            let taken = members.iter().flat_map(|(_, urls)| urls).any(|other| urls::same_place(other, url));
            if name.is_empty() || taken || urls::peer_url_problem(url).is_some() {
                return None;
            }
            match members.iter_mut().find(|(other, _)| other == name) {
                Some((_, urls)) => urls.push(url.to_owned()),
                None => members.push((name.to_owned(), vec![url.to_owned()])),
            }
        }
        Some(Self(members))
    }
}

impl Value for Share {
    const WANTED: &str = "a share like 1/7, of 1000 at most";

    fn of(given: &OsStr) -> Option<Self> {
        let of = given.to_str()?.strip_prefix("1/")?.parse().ok()?;
        (1..=1000).contains(&of).then_some(Self(of))
    }
}

/// Empty for all; `7`, `5..9`, `5..` and `..9` otherwise.
impl Value for IndexRange {
    const WANTED: &str = "a range of indexes like 5..9, 5.. or ..9";

    fn of(given: &OsStr) -> Option<Self> {
        let text = given.to_str()?;
        let (first, last) = match text.split_once("..") {
            None if text.is_empty() => ("", ""),
            None => (text, text),
            Some(("", "")) => return None,
            Some(ends) => ends,
        };
        let number = |text: &str, open: u64| if text.is_empty() { Some(open) } else { text.parse().ok() };
        let range = Self { first: number(first, 0)?, last: number(last, u64::MAX)? };
        (range.first <= range.last).then_some(range)
    }
}

impl Value for Duration {
    const WANTED: &str = "a time like 90s or 10m";

    fn of(given: &OsStr) -> Option<Self> {
        humantime::parse_duration(given.to_str()?).ok()
    }
}

/// UTC, or how long ago.
impl Value for Moment {
    const WANTED: &str = "a time like 2026-11-22T13:09:13Z, or -10min for ten minutes ago";

    fn of(given: &OsStr) -> Option<Self> {
        let text = given.to_str()?;
        let time = match text.strip_prefix('-') {
            Some(ago) => SystemTime::now().checked_sub(humantime::parse_duration(ago).ok()?)?,
            None => humantime::parse_rfc3339_weak(text).ok()?,
        };
        u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok().map(Self)
    }
}

impl Value for Choice {
    const WANTED: &str = "a source";

    fn of(given: &OsStr) -> Option<Self> {
        Choice::named(given.to_str()?)
    }
}

impl Value for Major {
    const WANTED: &str = "a major version of etcd";

    fn of(given: &OsStr) -> Option<Self> {
        match given.to_str()? {
            "2" => Some(Self::Two),
            "3" => Some(Self::Three),
            _ => None,
        }
    }
}
