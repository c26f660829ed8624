//! A secret in a file that root alone can read, as its only line: never in a tarball, argv or log.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// Nobody's secret is longer.
const MAX_BYTES: u64 = 4096;

/// Reads the file's only line.
///
/// # Errors
/// There is no such file, others than its owner may read or change it, or it holds no secret. None shows the secret.
pub fn read(path: &Path) -> Result<String> {
    // Not opened otherwise: a pipe would keep us waiting.
    ensure!(fs::metadata(path)?.is_file(), "it is not a regular file");
    let file = File::open(path)?;
    let facts = file.metadata()?;
    let us = rustix::process::geteuid().as_raw();
    ensure!([0, us].contains(&facts.uid()), "it belongs to the user {}, not to root", facts.uid());
    let mode = facts.mode() & 0o7777;
    ensure!(mode & 0o077 == 0, "its mode is {mode:04o}: users other than root may read or change it");
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    parse(&text).map(str::to_owned)
}

fn parse(text: &str) -> Result<&str> {
    ensure!(text.len() as u64 <= MAX_BYTES, "it is longer than {MAX_BYTES} bytes");
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    ensure!(!line.trim().is_empty(), "it is empty");
    line.chars().all(|c| !c.is_control()).then_some(line).context("it holds more than one plain line")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs::write_atomic;

    #[test]
    fn the_secret_is_the_files_only_line() {
        let long = "x".repeat(4097);
        for (text, expected) in [
            ("secret", Ok("secret")),
            ("secret\n", Ok("secret")),
            ("secret\r\n", Ok("secret")),
            (" two words \n", Ok(" two words ")),
            ("p\u{e4}ss$%\"'\\", Ok("p\u{e4}ss$%\"'\\")),
            ("", Err("it is empty")),
            (" \n", Err("it is empty")),
            ("a\nb\n", Err("it holds more than one plain line")),
            ("a\0b", Err("it holds more than one plain line")),
            (&long, Err("it is longer than 4096 bytes")),
        ] {
            let got = parse(text).map_err(|e| e.to_string());
            assert_eq!(got.as_ref().map(|s| &**s).map_err(|e| &**e), expected, "{text:?}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_or_change_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o620, false)] {
            write_atomic(&path, b"secret\n", mode).unwrap();
            let got = read(&path);
            assert_eq!(got.is_ok(), good, "{mode:o}");
            if let Err(e) = got {
                assert!(format!("{e:#}").contains(&format!("its mode is {mode:04o}")), "{e:#}");
            }
        }
        for (path, reason) in [
            (dir.path().join("none"), "No such file"),
            (dir.path().to_owned(), "it is not a regular file"),
            ("/dev/null".into(), "it is not a regular file"),
        ] {
            let said = format!("{:#}", read(&path).unwrap_err());
            assert!(said.contains(reason), "{said}");
        }
        if rustix::process::geteuid().is_root() {
            write_atomic(&path, b"secret\n", 0o600).unwrap();
            std::os::unix::fs::chown(&path, Some(1234), None).unwrap();
            let said = format!("{:#}", read(&path).unwrap_err());
            assert!(said.contains("it belongs to the user 1234, not to root"), "{said}");
        }
    }

    #[test]
    fn an_error_does_not_show_the_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        write_atomic(&path, b"hunter2\nhunter2\n", 0o600).unwrap();
        let error = read(&path).unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}
