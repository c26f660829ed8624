//! The remote, and rclone on its way there.

use super::{Problem, Read, Write, no, one_of};
use crate::settings::rclone_section::Lookup;
use crate::settings::{bwlimit, endpoint, rclone_flags};

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

/// Where the backups lie, in its normal form; `remote` says what is known of the remotes, `example` is one of them.
///
/// # Errors
/// It cannot be meant so.
pub fn endpoint(text: &str, write: Write<'_>, example: &str, remote: Lookup<'_>) -> Read<String> {
    endpoint::normal(text, remote).or_else(|problem| no(problem.why(), problem.hint(example, write)))
}
