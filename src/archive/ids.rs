//! The IDs of a recovered cluster: fresh for each attempt, the same for everyone who reads the recovery record.
//!
//! Two recoveries from one point with equal IDs would accept each other's leftovers, and health would say all is well.
//!
//! They follow from all that the record says. So a record whose IDs are others was altered, and one that has the ID of a living
//! cluster is the one that this was made by: whoever writes another one gets another cluster's ID.

use anyhow::Result;
use sha2::{Digest, Sha256};

use super::lineage::{Record, RecordedMember};
use crate::sys::digest::to_hex;
use crate::sys::random;

/// A fresh random token, 32 hex digits.
///
/// # Errors
/// The kernel gives no random bytes.
pub fn token() -> Result<String> {
    Ok(to_hex(&random::bytes::<16>()?))
}

/// New IDs of the cluster and of its members, in the order of `members` (name, peer URLs), derived from the source's
/// hash, the sorted member list and the token. None is 0, none is among `taken`.
pub fn derive(
    source_hash: &str,
    members: &[(String, Vec<String>)],
    token: &str,
    taken: &[u64],
) -> (u64, Vec<u64>) {
    let mut lines: Vec<String> = members.iter().map(|(name, urls)| line(name, urls)).collect();
    lines.sort_unstable();
    let seed = format!("{source_hash}\n{}\n{token}", lines.join("\n"));
    let cluster = id(&format!("cluster\n{seed}"), taken);
    let own = members.iter().map(|(name, urls)| id(&format!("member {}\n{seed}", line(name, urls)), taken));
    (cluster, own.collect())
}

impl Record {
    /// The record with its members and the IDs that follow from it.
    #[must_use]
    pub fn with_ids(self, members: &[(String, Vec<String>)]) -> Self {
        let record = Self { cluster_id: 0, members: Vec::new(), ..self };
        // A value without maps and floats has exactly one form in JSON.
        let data = serde_json::to_string(&record).unwrap_or_default();
        let (cluster_id, ids) = derive(&data, members, &record.token, &[]);
        let member = |((name, peer_urls), id): (&(String, Vec<String>), u64)| RecordedMember {
            id,
            name: name.clone(),
            peer_urls: peer_urls.clone(),
        };
        Self { cluster_id, members: members.iter().zip(ids).map(member).collect(), ..record }
    }

    /// Whether its IDs are those that follow from it.
    pub fn is_derived(&self) -> bool {
        let members: Vec<_> = self.members.iter().map(|m| (m.name.clone(), m.peer_urls.clone())).collect();
        self.version == Self::VERSION && !members.is_empty() && self.clone().with_ids(&members) == *self
    }
}

fn line(name: &str, urls: &[String]) -> String {
    let mut urls = urls.to_vec();
    urls.sort_unstable();
    format!("{name}={}", urls.join(","))
}

fn id(text: &str, taken: &[u64]) -> u64 {
    let mut hash = Sha256::digest(text);
    loop {
        let mut first = [0; 8];
        first.copy_from_slice(&hash[..8]);
        let id = u64::from_be_bytes(first);
        if id != 0 && !taken.contains(&id) {
            return id;
        }
        hash = Sha256::digest(hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Vec<(String, Vec<String>)> {
        vec![("a".into(), vec!["http://1".into(), "http://2".into()]), ("b".into(), vec!["http://3".into()])]
    }

    #[test]
    fn the_ids_follow_source_members_and_token_and_nothing_else() {
        let (cluster, ids) = derive("hash", &members(), "token", &[]);
        let mut swapped = members();
        swapped.reverse();
        swapped[1].1.reverse();
        let (again, reversed) = derive("hash", &swapped, "token", &[]);
        assert_eq!((cluster, ids[0], ids[1]), (again, reversed[1], reversed[0]));
        let different =
            [derive("other", &members(), "token", &[]), derive("hash", &members(), "another", &[])];
        for (c, i) in different {
            assert!(c != cluster && i != ids);
        }
        let (_, avoiding) = derive("hash", &members(), "token", &[ids[0]]);
        assert!(avoiding[0] != ids[0] && avoiding[1] == ids[1]);
    }

    #[test]
    fn a_record_that_was_altered_in_any_field_is_not_the_one_its_ids_follow_from() {
        let record = super::super::lineage::tests::record(7, 1);
        assert!(record.is_derived(), "{record:?}");
        let json: serde_json::Value = serde_json::to_value(&record).unwrap();
        let mut altered = 0;
        for (name, value) in json.as_object().unwrap() {
            let other = match value {
                serde_json::Value::String(text) => format!("{text}0").into(),
                serde_json::Value::Number(number) => (number.as_u64().unwrap() + 1).into(),
                serde_json::Value::Array(_) => serde_json::json!([]),
                _ => serde_json::Value::Null,
            };
            let mut json = json.clone();
            json[name] = other;
            let Ok(record) = serde_json::from_value::<Record>(json) else { panic!("{name}") };
            assert!(!record.is_derived(), "{name}");
            altered += 1;
        }
        assert_eq!(altered, 14);
        let mut record = record;
        record.members[0].id += 1;
        assert!(!record.is_derived());
    }

    #[test]
    fn tokens_are_fresh() {
        let (a, b) = (token().unwrap(), token().unwrap());
        assert!(a.len() == 32 && a != b);
    }
}
