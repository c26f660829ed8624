//! Small JSON files that are read back and believed: the last field, `sum`, is the SHA-256 of all that stands before it. One
//! flipped bit may leave good JSON with another meaning; it does not leave the sum right.
//!
//! A file without a sum is one of before they had it, and is read once more as it is.

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::digest::to_hex;

/// In a text of JSON no string holds it: there each quote has a backslash.
const NAME: &[u8] = b"\"sum\"";
const FIELD: &str = ",\n  \"sum\": \"";
const END: &str = "\"\n}\n";

/// A struct as such a file. It has no field `sum` of its own, at any depth.
///
/// # Errors
/// It is none that JSON can say, or has no field.
pub fn to_vec(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)?;
    ensure!(text.ends_with(b"\n}"), "not a struct with fields");
    text.truncate(text.len() - 2);
    let sum = sum(&text);
    text.extend([FIELD, &sum, END].concat().bytes());
    Ok(text)
}

/// Reads one.
///
/// # Errors
/// Its sum is wrong, or it is not what was asked for.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    check(text)?;
    Ok(serde_json::from_slice(text)?)
}

/// Whether it has a sum: a version that wrote them wrote it.
pub fn has_sum(text: &[u8]) -> bool {
    text.windows(NAME.len()).any(|word| word == NAME)
}

/// Whether it is as it was written, as far as it says so.
///
/// # Errors
/// It is not.
fn check(text: &[u8]) -> Result<()> {
    if !has_sum(text) {
        return Ok(());
    }
    let at = text.windows(FIELD.len()).rposition(|field| field == FIELD.as_bytes());
    let (body, said) = text.split_at(at.context("it has no checksum at its end")?);
    let right = [FIELD, &sum(body), END].concat();
    ensure!(said.trim_ascii_end() == right.as_bytes().trim_ascii_end(), "its checksum is wrong");
    Ok(())
}

fn sum(body: &[u8]) -> String {
    to_hex(&Sha256::digest(body))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use serde::Deserialize;

    use super::*;

    /// Every text that differs from this one in one bit.
    pub(crate) fn flipped(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        (0..text.len() * 8).map(|bit| {
            let mut text = text.to_vec();
            text[bit / 8] ^= 1 << (bit % 8);
            text
        })
    }

    /// Lets somebody look at a file with each of its bits flipped alone.
    #[expect(clippy::disallowed_methods, reason = "thousands of times, and nobody else looks at it")]
    pub(crate) fn with_each_bit_flipped(path: &Path, mut look: impl FnMut(&str)) {
        for text in flipped(&std::fs::read(path).unwrap()) {
            std::fs::write(path, &text).unwrap();
            look(&String::from_utf8_lossy(&text));
        }
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Some {
        number: u64,
        text: String,
        more: Vec<u64>,
    }

    fn some() -> Some {
        Some { number: 12, text: "a \"sum\": \"b\"".into(), more: vec![3, 4] }
    }

    #[test]
    fn one_flipped_bit_is_noticed_or_alters_nothing() {
        let text = to_vec(&some()).unwrap();
        assert_eq!(from_slice::<Some>(&text).unwrap(), some());
        let alike = flipped(&text).filter_map(|text| from_slice(&text).ok()).inspect(|read: &Some| {
            assert_eq!(read, &some());
        });
        // In the field's name alone, and in the line's end.
        assert!(alike.count() < 40);
    }

    #[test]
    fn what_has_no_sum_is_read_and_what_was_edited_is_not() {
        let text = String::from_utf8(to_vec(&some()).unwrap()).unwrap();
        let bare = serde_json::to_string_pretty(&some()).unwrap();
        for good in [bare.clone(), bare.replace('\n', ""), text.trim_end().to_owned(), format!("{text}\n")] {
            assert_eq!(from_slice::<Some>(good.as_bytes()).unwrap(), some(), "{good}");
        }
        for bad in [
            text.replace("12", "13"),
            text.replace('\n', ""),
            text.replace("\n}", ",\n  \"x\": 1\n}"),
            text.replace("\"\n}", "0\"\n}"),
            text[..text.len() / 2].to_owned(),
            format!("{text}x"),
            String::new(),
        ] {
            assert!(from_slice::<Some>(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(to_vec(&[1, 2]).is_err() && to_vec(&serde_json::json!({})).is_err());
    }
}
