//! IDs in JSON as strings of hex digits: of a number of 64 bits, jq and JavaScript lose digits. Format 1 has numbers.

use std::fmt;

use serde::{Deserialize, Deserializer, Serializer, de};

/// Writes it in hex.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(id: &impl fmt::LowerHex, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{id:x}"))
}

/// Reads either.
///
/// # Errors
/// It is neither, or too large.
pub fn deserialize<'de, T: TryFrom<u64>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    let id = match Written::deserialize(from)? {
        Written::Number(id) => Some(id),
        Written::Hex(text) => u64::from_str_radix(&text, 16).ok(),
    };
    id.and_then(|id| T::try_from(id).ok()).ok_or_else(|| de::Error::custom("no ID of this size"))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Hex(String),
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Ids {
        #[serde(with = "super")]
        member: u64,
        #[serde(with = "super")]
        writer: u32,
    }

    #[test]
    fn ids_are_written_in_hex_and_read_in_both_ways() {
        let ids = Ids { member: u64::MAX, writer: 0xb };
        let text = r#"{"member":"ffffffffffffffff","writer":"b"}"#;
        assert_eq!(serde_json::to_string(&ids).unwrap(), text);
        for (text, expected) in [
            (text, Some(ids)),
            (r#"{"member":18446744073709551615,"writer":11}"#, Some(Ids { member: u64::MAX, writer: 11 })),
            (r#"{"member":"10","writer":"10"}"#, Some(Ids { member: 16, writer: 16 })),
            (r#"{"member":"","writer":"b"}"#, None),
            (r#"{"member":"xyz","writer":"b"}"#, None),
            (r#"{"member":1,"writer":4294967296}"#, None),
            (r#"{"member":-1,"writer":1}"#, None),
        ] {
            assert_eq!(serde_json::from_str::<Ids>(text).ok(), expected, "{text}");
        }
    }
}
