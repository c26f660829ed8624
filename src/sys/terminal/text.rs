//! Values as they can be shown: on one line, short, without control characters, times in UTC.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::sys::time::parse_rfc3339;

/// More of a value does not help a reader.
const SHOWN_CHARS: usize = 60;

/// A value in quotes, shortened.
pub fn value(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for (shown, c) in characters(bytes).enumerate() {
        if shown == SHOWN_CHARS {
            let _ = write!(out, "…\" ({} bytes)", bytes.len());
            return out;
        }
        put(&mut out, c);
    }
    out.push('"');
    out
}

/// A name or path, whole and without quotes.
pub fn name(bytes: &[u8]) -> String {
    let mut out = String::new();
    characters(bytes).for_each(|c| put(&mut out, c));
    out
}

/// A character, or a byte that is none.
type Character = Result<char, u8>;

fn characters(bytes: &[u8]) -> impl Iterator<Item = Character> {
    bytes.utf8_chunks().flat_map(|chunk| {
        let bad = chunk.invalid().iter().map(|b| Err(*b));
        chunk.valid().chars().map(Ok).chain(bad)
    })
}

/// Control characters, and those that turn the direction of a line, become escapes.
fn put(out: &mut String, c: Character) {
    match c {
        Ok('\'') => out.push('\''),
        Ok(c) => out.extend(c.escape_debug()),
        Err(byte) => {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

/// Bytes as base64, for JSON that must have all of them.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = three.iter().fold(0_u32, |word, b| word << 8 | u32::from(*b)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let six = ALPHABET[(word >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= three.len() { char::from(six) } else { '=' });
        }
    }
    out
}

/// Nanoseconds since 1970 as etcd's API writes a time; `None` for 0 and what lies before.
pub fn time(nanoseconds: i64) -> Option<String> {
    let nanoseconds = u64::try_from(nanoseconds).ok().filter(|n| *n > 0)?;
    Some(format(UNIX_EPOCH + Duration::from_nanos(nanoseconds)))
}

/// A time of the store's JSON, in the zone of who wrote it, as the API writes it; `None` for etcd's "never".
pub fn stored_time(text: &str) -> Option<String> {
    if text.starts_with("0001-01-01T") {
        return None;
    }
    Some(parse_rfc3339(text).map_or_else(|| name(text.as_bytes()), format))
}

/// As Go does it: without zeros at the end of a fraction.
fn format(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_nanos(time).to_string();
    let short = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    format!("{short}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short_and_on_one_line() {
        let long = "ä".repeat(61);
        for (bytes, shown) in [
            (&b""[..], r#""""#.to_owned()),
            ("quotes \" ' \\ <&>\n\u{2603}\u{1b}[0m\u{202e}".as_bytes(), {
                "\"quotes \\\" ' \\\\ <&>\\n\u{2603}\\u{1b}[0m\\u{202e}\"".to_owned()
            }),
            (b"a\xff\x00b", r#""a\xff\0b""#.to_owned()),
            (&long.as_bytes()[..120], format!("\"{}\"", "ä".repeat(60))),
            (long.as_bytes(), format!("\"{}…\" (122 bytes)", "ä".repeat(60))),
        ] {
            assert_eq!(value(bytes), shown);
        }
        assert_eq!(name("/1/\u{7f}ключ\u{a0}".as_bytes()), r"/1/\u{7f}ключ\u{a0}");
        assert_eq!(name(b"/\xc3"), r"/\xc3");
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xff, 0xef, 0]), "/+8A");
    }

    #[test]
    fn times_are_those_of_the_api() {
        for (nanoseconds, text) in [
            (0, None),
            (-1, None),
            (1_769_903_999_000_000_000, Some("2026-01-31T23:59:59Z")),
            (1_769_903_999_120_000_000, Some("2026-01-31T23:59:59.12Z")),
            (i64::MAX, Some("2262-04-11T23:47:16.854775807Z")),
        ] {
            assert_eq!(time(nanoseconds).as_deref(), text);
        }
        for (stored, text) in [
            ("0001-01-01T00:00:00Z", None),
            ("2036-01-31T23:59:59.5Z", Some("2036-01-31T23:59:59.5Z")),
            ("2036-02-01T01:29:59.123456789+01:30", Some("2036-01-31T23:59:59.123456789Z")),
            ("2036-01-31T21:59:59-02:00", Some("2036-01-31T23:59:59Z")),
            ("1970-01-01T00:00:00+02:00", Some("1970-01-01T00:00:00+02:00")),
            ("soon\n", Some("soon\\n")),
            ("é+é", Some("é+é")),
            ("2036-01-31T23:59:59+99999999999999999:00", Some("2036-01-31T23:59:59+99999999999999999:00")),
        ] {
            assert_eq!(stored_time(stored).as_deref(), text);
        }
    }
}
