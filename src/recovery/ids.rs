//! The IDs of a recovered cluster: fresh for each attempt, the same for everyone who reads the recovery record.
//!
//! Two recoveries from one point with equal IDs would accept each other's leftovers, and health would say all is well.

use anyhow::Result;
use sha2::{Digest, Sha256};

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
    fn tokens_are_fresh() {
        let (a, b) = (token().unwrap(), token().unwrap());
        assert!(a.len() == 32 && a != b);
    }
}
