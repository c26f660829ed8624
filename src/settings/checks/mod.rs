//! What the value of a setting may be: one reader for each kind, for the node, the build and the importer. Pure.
//!
//! A reader gives what a text means, or what is wrong with it, in words that follow the name and the value. How a setting is
//! written (`source = "auto"`, `ETCD2_BACKUP_SOURCE=auto`) it is told by [`Write`].
//!
//! - here: switches, numbers, names · [`times`] · [`paths`] · [`remote`]

use super::names::{UnitName, service_problem};
use super::source::Choice;
use super::urls;

mod paths;
mod remote;
mod times;

pub use paths::{dir, file, password_file, path_problem, textfile};
pub use remote::{bwlimit, endpoint, flag, flags, image, runner};
pub use times::{CLOSEST_SECS, START_LIMIT, age, interval, span, timeout, wait};

/// How a value of the setting is written where it was read, for a hint.
pub type Write<'a> = &'a dyn Fn(&str) -> String;
/// A row's reader, of which only the refusal counts.
pub type Check = fn(&str, Write<'_>) -> Read<()>;
/// What a text means.
pub type Read<T> = Result<T, Problem>;

/// What is wrong with a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problem {
    /// Follows the name and the value: `is not known`.
    pub why: String,
    /// What to write instead.
    pub hint: String,
    /// Whether the value must not be shown: it may hold a secret.
    pub hides: bool,
    /// All that can be written, where those are few.
    pub choices: &'static [&'static str],
}

fn no<T>(why: impl Into<String>, hint: impl Into<String>) -> Read<T> {
    Err(Problem { why: why.into(), hint: hint.into(), ..Problem::default() })
}

/// Longer than any value has a reason to be. Before version 236, systemd reads 2047 bytes of a line and takes the rest for a
/// line of its own.
const MAX_BYTES: usize = 1000;

/// No value holds a control character: a newline would start a line of its own in a unit. Nor is it longer than a line.
///
/// # Errors
/// It is no such line; the value is not to be shown then.
pub fn one_line(text: &str) -> Read<()> {
    let (why, hint) = if text.len() > MAX_BYTES {
        let why = format!("has {} bytes, more than {MAX_BYTES}", text.len());
        (why, "write a shorter value: an old systemd reads no longer lines")
    } else if let Some(c) = text.chars().find(|c| c.is_control()) {
        let name = match c {
            '\n' | '\r' => "a line break".to_owned(),
            '\t' => "a tab".to_owned(),
            _ => format!("the control character {}", c.escape_default()),
        };
        (format!("contains {name}"), "write the value on one line, in plain characters")
    } else {
        return Ok(());
    };
    Err(Problem { why, hint: hint.into(), hides: true, choices: &[] })
}

/// Anything that is one line: the build alone can judge it.
pub(super) fn any(_: &str, _: Write<'_>) -> Read<()> {
    Ok(())
}

/// One of a few words.
fn one_of(text: &str, choices: &'static [&'static str]) -> Read<String> {
    if choices.contains(&text) {
        return Ok(text.to_owned());
    }
    let (last, first) = choices.split_last().unwrap_or((&"", &[]));
    let hint = format!("write {} or {last}", first.join(", "));
    Err(Problem { why: "is not known".into(), hint, hides: false, choices })
}

/// A switch.
///
/// # Errors
/// It is neither.
pub fn switch(text: &str, write: Write<'_>) -> Read<bool> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => no("is neither true nor false", format!("write {} or {}", write("true"), write("false"))),
    }
}

/// Nobody keeps more, and a typing error may be meant.
const MOST: u64 = 100_000;

/// How many generations.
///
/// # Errors
/// It is no number, or a huge one.
pub fn count(text: &str, _: Write<'_>) -> Read<u64> {
    match text.parse() {
        Ok(count) if count <= MOST => Ok(count),
        _ => {
            no("is not a number of generations", format!("write 0 to {MOST}; the newest two are always kept"))
        }
    }
}

/// A priority for the CPU.
///
/// # Errors
/// It is none.
pub fn nice(text: &str, write: Write<'_>) -> Read<i64> {
    let level = text.parse().ok().filter(|level| (-20..=19).contains(level));
    level.ok_or(()).or_else(|()| {
        let hint = "write a number from -20 (before all others) to 19 (after them), for example";
        no("is no nice level", format!("{hint} {}", write("10")))
    })
}

/// A priority for the disk: one that leaves it to etcd.
///
/// # Errors
/// It is none.
pub fn io_class(text: &str, _: Write<'_>) -> Read<String> {
    match text {
        "realtime" => {
            no("is not allowed", "write best-effort or idle: realtime would take the disk from etcd")
        }
        _ => one_of(text, &["best-effort", "idle"]),
    }
}

/// The service that runs etcd.
///
/// # Errors
/// It is no service, or one of ours.
pub fn etcd_unit(text: &str, write: Write<'_>) -> Read<UnitName> {
    text.parse().or_else(|why: &str| {
        let hint = "write the full name of the service that runs etcd, for example";
        no(why, format!("{hint} {}", write("etcd2.service")))
    })
}

/// The unit that is started when a backup fails; a template gets the name of the one that failed.
///
/// # Errors
/// It is none.
pub fn on_failure(text: &str, write: Write<'_>) -> Read<String> {
    // Room for the name of the unit that failed.
    if service_problem(text).is_none() && text.len() <= 200 {
        return Ok(text.to_owned());
    }
    let hint = "write the name of a service, or of a template, which gets the name of the unit that failed:";
    no("is not the name of a service", format!("{hint} {}", write("tell-ops@.service")))
}

/// Where a restore takes its data from.
///
/// # Errors
/// It is not known.
pub fn source(text: &str, _: Write<'_>) -> Read<Choice> {
    one_of(text, &["archive", "local", "auto"]).map(|name| Choice::named(&name).unwrap_or_default())
}

/// A URL that ends in one slash means the same without it.
fn without_slash(url: &str) -> &str {
    url.strip_suffix('/').filter(|url| !url.ends_with('/')).unwrap_or(url)
}

/// The founding member's advertised peer URLs, with commas between them.
///
/// # Errors
/// One of them is none.
pub fn founder(text: &str, write: Write<'_>) -> Read<Vec<String>> {
    let example = || {
        let hint = "write the founding member's advertised peer URL, for example";
        format!("{hint} {}", write("http://172.17.4.51:2380"))
    };
    let said = text.split(',').map(str::trim).filter(|url| !url.is_empty());
    let urls: Vec<&str> = said.map(without_slash).collect();
    if urls.is_empty() {
        return no("names no peer URL", example());
    }
    for url in &urls {
        if let Some(why) = urls::peer_url_problem(url) {
            let which = if urls.len() > 1 { format!("names {url:?}, which ") } else { String::new() };
            return no(format!("{which}is not a peer URL: {why}"), example());
        }
    }
    Ok(urls.into_iter().map(str::to_owned).collect())
}

/// The most shares that `verify` takes.
pub const MOST_SHARES: u64 = 1000;

/// `1/N`: N runs in a row read everything.
///
/// # Errors
/// It is no share, or a tiny one.
pub fn share(text: &str, write: Write<'_>) -> Read<u64> {
    let of = text.strip_prefix("1/").and_then(|of| of.parse().ok());
    of.filter(|of| (1..=MOST_SHARES).contains(of)).ok_or(()).or_else(|()| {
        let hint = format!(
            "write 1/N, N from 1 to {MOST_SHARES}, for example {}: 7 runs read every byte",
            write("1/7")
        );
        no("is no share", hint)
    })
}
