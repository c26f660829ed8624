//! From the text of a value to what it means. Each error says what the text is not.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::etcd::datadir::Family;
use crate::settings::names::MachineId;
use crate::settings::source::Choice;
use crate::settings::{checks, urls};

type Value<T> = Result<T, &'static str>;

pub(super) fn number(given: &str) -> Value<u64> {
    given.parse().map_err(|_| "a number")
}

/// The name of a machine's folder below the endpoint: what systemd calls its machine ID.
pub(super) fn machine_id(given: &str) -> Value<MachineId> {
    given.parse().map_err(|_| "a machine ID, 32 hex digits")
}

/// Which recovery; empty for the only one there is.
pub(super) fn token(given: &str) -> Value<String> {
    if given.is_empty() {
        return Ok(String::new());
    }
    given.parse::<MachineId>().map(String::from).map_err(|_| "a recovery's token, 32 hex digits")
}

/// One of so many shares of the archive; never 0.
pub(super) fn share(given: &str) -> Value<u64> {
    checks::share(given, &str::to_owned).map_err(|_| "a share like 1/7, of 1000 at most")
}

/// A program and its first arguments.
pub(super) fn ssh(given: &str) -> Value<String> {
    if given.trim().is_empty() { Err("a command") } else { Ok(given.to_owned()) }
}

pub(super) fn duration(given: &str) -> Value<Duration> {
    humantime::parse_duration(given).map_err(|_| "a time like 90s or 10m")
}

/// UTC, or how long ago; in nanoseconds since 1970.
pub(super) fn moment(given: &str) -> Value<u64> {
    let time = match given.strip_prefix('-') {
        Some(ago) => humantime::parse_duration(ago).ok().and_then(|ago| SystemTime::now().checked_sub(ago)),
        None => humantime::parse_rfc3339_weak(given).ok(),
    };
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let nanoseconds = since.and_then(|since| u64::try_from(since.as_nanos()).ok());
    nanoseconds.ok_or("a time like 2026-11-22T13:09:13Z, or -10min for ten minutes ago")
}

pub(super) fn source() -> impl TypedValueParser<Value = Choice> {
    let choices = [
        ("archive", "the newest restore point in the remote"),
        ("local", "the data directory of this node"),
        ("auto", "the local one if it is intact, of the same cluster and not older; else the archive"),
    ];
    one_of(choices).try_map(|name| Choice::named(&name).ok_or("a source"))
}

pub(super) fn family() -> impl TypedValueParser<Value = Family> {
    let choices = [("2", "2.0 to 2.3"), ("3", "3.0 to 3.5")];
    one_of(choices).map(|major| if major == "2" { Family::Two } else { Family::Three })
}

fn one_of<const N: usize>(choices: [(&'static str, &'static str); N]) -> PossibleValuesParser {
    choices.map(|(name, help)| PossibleValue::new(name).help(help)).into()
}

/// Name and peer URLs of each member, as etcd's `--initial-cluster` has them: a name is there once for each of its URLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialCluster(pub Vec<(String, Vec<String>)>);

impl FromStr for InitialCluster {
    type Err = &'static str;

    fn from_str(given: &str) -> Value<Self> {
        members(given)
            .map(Self)
            .ok_or("a list like e1=http://HOST:2380,e2=http://HOST:2380, with each URL once")
    }
}

fn members(given: &str) -> Option<Vec<(String, Vec<String>)>> {
    let mut members: Vec<(String, Vec<String>)> = Vec::new();
    for pair in given.split(',') {
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
    Some(members)
}
