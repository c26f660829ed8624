//! Lengths of time, and spans of systemd's.

use std::time::Duration;

use super::{Read, Write, no};
use crate::settings::span::parse_span;

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
