//! The output of `rclone lsjson`, read while it arrives: what lies below an endpoint can be far more than fits into memory.

use std::borrow::Cow;

use anyhow::{Context, Result, ensure};
use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::Deserializer;

use super::{DOCTOR, Object};

/// An entry of `rclone lsjson`.
#[derive(Deserialize)]
struct Listed<'a> {
    #[serde(rename = "Path", borrow)]
    path: Cow<'a, str>,
    #[serde(rename = "Size")]
    size: i64,
}

/// No line of it is longer: names are of a few kilobytes at most.
const MAX_LINE: usize = 1 << 20;

/// Reads a listing piece by piece.
pub(super) struct Listing<'a> {
    /// A line of which the end has not come yet.
    rest: Vec<u8>,
    /// What a line must have one of to be read at all.
    needles: Vec<Finder<'a>>,
    /// Whether the end of all has come.
    ended: bool,
}

impl<'a> Listing<'a> {
    /// One of which only what matches one of these patterns matters; all of it, if there is none. rclone leaves out the rest
    /// itself, where it can.
    pub(super) fn new(only: &'a [String]) -> Self {
        let needles = only.iter().map(|pattern| Finder::new(literal(pattern))).collect();
        Self { rest: Vec::new(), needles, ended: false }
    }

    /// Takes what came next, and gives the objects in it.
    ///
    /// # Errors
    /// It is no listing.
    pub(super) fn feed(&mut self, mut bytes: &[u8], take: &mut dyn FnMut(&str, u64)) -> Result<()> {
        if !self.rest.is_empty() {
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                self.rest.extend_from_slice(bytes);
                ensure!(self.rest.len() <= MAX_LINE, "a line of rclone's listing has no end");
                return Ok(());
            };
            let mut line = std::mem::take(&mut self.rest);
            line.extend_from_slice(&bytes[..end]);
            self.line(&line, take)?;
            bytes = &bytes[end + 1..];
        }
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.line(&bytes[..end], take)?;
            bytes = &bytes[end + 1..];
        }
        self.rest.extend_from_slice(bytes);
        Ok(())
    }

    /// The end of it.
    ///
    /// # Errors
    /// It was cut off.
    pub(super) fn finish(mut self, take: &mut dyn FnMut(&str, u64)) -> Result<()> {
        let line = std::mem::take(&mut self.rest);
        self.line(&line, take)?;
        ensure!(self.ended, "rclone's listing is truncated");
        Ok(())
    }

    fn line(&mut self, mut line: &[u8], take: &mut dyn FnMut(&str, u64)) -> Result<()> {
        let wanted = self.needles.is_empty() || self.needles.iter().any(|n| n.find(line).is_some());
        if !wanted && line.contains(&b'{') {
            return Ok(());
        }
        loop {
            let Some(at) = line.iter().position(|b| !matches!(b, b'[' | b']' | b',' | b' ' | b'\r' | b'\t'))
            else {
                self.ended |= line.contains(&b']');
                return Ok(());
            };
            let mut entries = Deserializer::from_slice(&line[at..]).into_iter::<Listed<'_>>();
            let Listed { path, size } =
                entries.next().context("it is empty")?.context("reading rclone's listing")?;
            let end = at + entries.byte_offset();
            if !is_a_trial(&path) {
                // A backend that does not know a size says -1: such an object counts as incomplete.
                take(&path, u64::try_from(size).unwrap_or(Object::UNKNOWN_SIZE));
            }
            line = &line[end..];
        }
    }
}

/// The longest piece of a pattern that stands in every path that matches.
fn literal(pattern: &str) -> &str {
    pattern.trim_start_matches('/').split('*').max_by_key(|piece| piece.len()).unwrap_or_default()
}

/// `doctor/NAME` in a machine's folder, or `<machine-id>/doctor/NAME` below the endpoint.
fn is_a_trial(path: &str) -> bool {
    let mut parts = path.rsplit('/').skip(1);
    parts.next() == Some(DOCTOR) && parts.count() <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in a listing that comes in pieces of this length.
    fn read(json: &str, only: &[String], step: usize) -> Result<Vec<(String, u64)>> {
        let (mut listing, mut found) = (Listing::new(only), Vec::new());
        let mut take = |path: &str, size| found.push((path.to_owned(), size));
        json.as_bytes().chunks(step).try_for_each(|piece| listing.feed(piece, &mut take))?;
        listing.finish(&mut take)?;
        Ok(found)
    }

    #[test]
    fn a_listing_is_read_however_it_is_cut() {
        let (one, two) =
            (r#"{"Path":"a/b.part","Name":"b.part","Size":7,"IsDir":false}"#, r#"{"Path":"c\"","Size":-1}"#);
        for text in [
            format!("[\n{one},\n{two}\n]\n"),
            format!("[\n{one}\n,{two}\n]\n"),
            format!("[{one},{two}]"),
            format!("[\r\n{one},{two}\r\n]\r\n"),
        ] {
            for step in [1, 2, 7, 1000] {
                let found = read(&text, &[], step).unwrap();
                assert_eq!(found, [("a/b.part".to_owned(), 7), ("c\"".to_owned(), u64::MAX)], "{text}");
            }
        }
        assert_eq!(read("[\n]\n", &[], 1).unwrap(), []);
        for bad in [
            "",
            "[\n",
            &format!("[\n{one},\n"),
            &format!("[\n{one},\n{two}"),
            "[\n{\"Path\":\n]",
            "[\nno\n]",
            "[\n{}\n]",
        ] {
            assert!(read(bad, &[], 3).is_err(), "{bad}");
        }
    }

    #[test]
    fn of_what_is_not_wanted_nothing_is_read() {
        let text = "[\n{\"Path\":\"m/recovery/t\",\"Size\":7},\n{\"Path\":\"m/g/p.part\",\"Size\":\n]\n";
        let found = read(text, &["/*/recovery/*".to_owned()], 5).unwrap();
        assert_eq!(found, [("m/recovery/t".to_owned(), 7)]);
        assert_eq!(literal("/*/*-000000000000000c-*/*.part"), "-000000000000000c-");
        assert_eq!(literal("/0123/**"), "0123/");
    }

    #[test]
    fn what_doctor_left_is_in_no_listing_but_its_own() {
        for (path, is) in [
            ("doctor/abc", true),
            ("id/doctor/abc", true),
            ("abc", false),
            ("doctor", false),
            ("id/doctor", false),
            ("doctor/recovery/abc", false),
            ("above/id/doctor/abc", false),
            ("id/00000001-doctor/doctor.part", false),
        ] {
            assert_eq!(is_a_trial(path), is, "{path}");
        }
    }
}
