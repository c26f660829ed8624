//! What the value of a setting may be: one reader for each kind, for the node, the build and the importer. Pure.
//!
//! A reader gives what a text means, or what is wrong with it, in words that follow the name and the value. How a setting is
//! written (`source = "auto"`, `ETCD2_BACKUP_SOURCE=auto`) it is told by [`Write`].

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::names::{UnitName, service_problem};
use super::rclone_section::Lookup;
use super::source::Choice;
use super::span::parse_span;
use super::{bwlimit, endpoint, rclone_flags, urls};

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

fn length(text: &str, hint: &str) -> Read<Duration> {
    humantime::parse_duration(text).or_else(|e| no(format!("is not a length of time: {e}"), hint))
}

/// A hundred years.
const LONGEST: Duration = Duration::from_secs(36_525 * 24 * 3600);

/// For how long something is kept.
///
/// # Errors
/// It is no length of time, or longer than a hundred years.
pub fn age(text: &str, write: Write<'_>) -> Read<Duration> {
    let hint =
        format!("write a length of time, for example {}; the newest two are always kept", write("7days"));
    match length(text, &hint)? {
        age if age > LONGEST => no("is longer than a hundred years", hint),
        age => Ok(age),
    }
}

/// How long something waits; 0 for not at all.
///
/// # Errors
/// It is no length of time.
pub fn wait(text: &str, write: Write<'_>) -> Read<Duration> {
    let hint = format!(
        "write a length of time, for example {}, or {} to send everything at once",
        write("10min"),
        write("0")
    );
    length(text, &hint)
}

/// The longest that a call of rclone may take.
///
/// # Errors
/// It is no length of time, or shorter than 1 s.
pub fn timeout(text: &str, write: Write<'_>) -> Read<Duration> {
    let hint = format!("write a length of time, for example {}", write("10m"));
    match length(text, &hint)? {
        time if time < Duration::from_secs(1) => no("is shorter than 1 s", hint),
        time => Ok(time),
    }
}

/// A span of systemd's, in microseconds.
///
/// # Errors
/// It is none.
pub fn span(text: &str, write: Write<'_>) -> Read<u64> {
    let hint =
        || format!("write a time span of systemd, for example {} or {}", write("30sec"), write("1min 30s"));
    parse_span(text).or_else(|why| no(format!("is no time span: {why}"), hint()))
}

/// The closest together that a timer may start its service, in seconds. systemd fails a service that is started more often
/// than 5 times in 10 s, and its timer with it. A timer that is late, by its accuracy or its jitter, skips what came due in
/// between and waits for what comes due next: of six starts in a row, the first and the last are more than four times this
/// apart.
pub const CLOSEST_SECS: u32 = 5;
/// Why.
pub const START_LIMIT: &str = "systemd refuses to start a service more than 5 times in 10 s";

/// A span from one start of a service to the next.
///
/// # Errors
/// It is none, or shorter than systemd allows.
pub fn interval(text: &str, write: Write<'_>) -> Read<u64> {
    match span(text, write)? {
        micros if micros < u64::from(CLOSEST_SECS) * 1_000_000 => no(
            format!("is shorter than {CLOSEST_SECS} s: {START_LIMIT}"),
            format!("write a longer one, for example {} or {}", write("5s"), write("30sec")),
        ),
        micros => Ok(micros),
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

/// A directory on the node, in its shortest form.
///
/// # Errors
/// It is no absolute path, or one that no container can be given.
pub fn dir(text: &str, write: Write<'_>, example: &str) -> Read<PathBuf> {
    path(text, || {
        format!("write the absolute path of a directory on the node, for example {}", write(example))
    })
}

/// A file on the node, in its shortest form.
///
/// # Errors
/// As [`dir`].
pub fn file(text: &str, write: Write<'_>, example: &str) -> Read<PathBuf> {
    path(text, || format!("write the absolute path of a file on the node, for example {}", write(example)))
}

/// The file of rclone.conf's password.
///
/// # Errors
/// As [`dir`].
pub fn password_file(text: &str, write: Write<'_>) -> Read<PathBuf> {
    file(text, write, "/etc/etcd2-backup/rclone.pass")
}

/// The file that node_exporter reads, which wants this ending.
///
/// # Errors
/// As [`dir`], or it ends otherwise.
pub fn textfile(text: &str, write: Write<'_>) -> Read<PathBuf> {
    let example = "/var/lib/node_exporter/textfile/etcd2-backup.prom";
    let path = file(text, write, example)?;
    if path.extension().is_some_and(|extension| extension == "prom") {
        return Ok(path);
    }
    no(
        "does not end in \".prom\"",
        format!("node_exporter reads no other: write for example {}", write(example)),
    )
}

/// Why a text is not the path of something on the node.
pub fn path_problem(text: &str) -> Option<&'static str> {
    let path = Path::new(text);
    if !path.is_absolute() {
        return Some("is not an absolute path");
    }
    if path.components().any(|c| c == Component::ParentDir) {
        return Some("contains \"..\"");
    }
    path.parent().is_none().then_some("is the root of the file system")
}

fn path(text: &str, hint: impl Fn() -> String) -> Read<PathBuf> {
    let volumes =
        text.contains([':', ',']).then_some("contains a character that no container's volume may have");
    match path_problem(text).or(volumes) {
        Some(why) => no(why, hint()),
        None => Ok(Path::new(text).components().collect()),
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

/// How rclone runs.
///
/// # Errors
/// It is not known.
pub fn runner(text: &str, _: Write<'_>) -> Read<String> {
    one_of(text, &["docker", "podman", "host", "bundled"])
}

/// The name of a container image.
///
/// # Errors
/// It is none.
pub fn image(text: &str, write: Write<'_>) -> Read<String> {
    let good = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/:@".contains(&b));
    if good {
        return Ok(text.to_owned());
    }
    let hint = "write an image whose entry point is rclone, as NAME:TAG or NAME@DIGEST, for example";
    no("is not the name of an image", format!("{hint} {}", write("rclone/rclone:1.60.1")))
}

/// A limit of bandwidth, as rclone writes it.
///
/// # Errors
/// It is none.
pub fn bwlimit(text: &str, _: Write<'_>) -> Read<String> {
    if bwlimit::is_bwlimit(text) {
        return Ok(text.to_owned());
    }
    let hint =
        "write \"2M\" for 2 MiB/s, \"2M:10M\" for up and down, \"08:00,1M 19:00,off\" for hours, or \"off\"";
    no("is no limit of bandwidth as rclone writes it", hint)
}

/// A flag for each call of rclone.
///
/// # Errors
/// It may not be added.
pub fn flag(flag: &str) -> Read<String> {
    let Some((problem, hint)) = rclone_flags::objection(flag) else { return Ok(flag.to_owned()) };
    // What follows may be a secret.
    let name = flag.split('=').next().unwrap_or_default();
    Err(Problem { why: format!("{name:?} {problem}"), hint: hint.into(), hides: true, choices: &[] })
}

/// All of them, with spaces between them.
///
/// # Errors
/// One of them may not be added.
pub fn flags(text: &str, _: Write<'_>) -> Read<Vec<String>> {
    text.split_ascii_whitespace().map(flag).collect()
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

/// Where the backups lie, in its normal form; `remote` says what is known of the remotes, `example` is one of them.
///
/// # Errors
/// It cannot be meant so.
pub fn endpoint(text: &str, write: Write<'_>, example: &str, remote: Lookup<'_>) -> Read<String> {
    endpoint::normal(text, remote).or_else(|problem| no(problem.why(), problem.hint(example, write)))
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
