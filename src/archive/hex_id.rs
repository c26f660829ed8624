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

/// The same for several.
pub mod list {
    use serde::ser::{Serialize, SerializeSeq as _, Serializer};
    use serde::{Deserialize, Deserializer};

    /// Writes them in hex.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(ids: &[u64], to: S) -> Result<S::Ok, S::Error> {
        let mut all = to.serialize_seq(Some(ids.len()))?;
        ids.iter().try_for_each(|id| all.serialize_element(&One(*id)))?;
        all.end()
    }

    /// Reads either.
    ///
    /// # Errors
    /// One of them is neither, or too large.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u64>, D::Error> {
        Ok(Vec::<One>::deserialize(from)?.into_iter().map(|one| one.0).collect())
    }

    struct One(u64);

    impl Serialize for One {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            super::serialize(&self.0, to)
        }
    }

    impl<'de> Deserialize<'de> for One {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            super::deserialize(from).map(Self)
        }
    }
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
    struct Several(#[serde(with = "super::list")] Vec<u64>);

    #[test]
    fn several_are_written_in_hex_and_read_in_both_ways() {
        let all = Several(vec![u64::MAX, 16]);
        assert_eq!(serde_json::to_string(&all).unwrap(), r#"["ffffffffffffffff","10"]"#);
        for text in [r#"["ffffffffffffffff","10"]"#, r#"[18446744073709551615,"10"]"#] {
            assert_eq!(serde_json::from_str::<Several>(text).unwrap(), all, "{text}");
        }
        assert!(serde_json::from_str::<Several>(r#"["x"]"#).is_err());
    }

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
