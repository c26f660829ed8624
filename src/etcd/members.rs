//! Who is a member, following the log: what the snapshot says, plus the membership entries behind it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::proto::{ConfChange, ConfChangeKind};
use super::store::StoredMember;
use super::wire::Fields;

/// A membership entry of the log, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its raft index.
    pub index: u64,
    /// What happens.
    pub kind: ConfChangeKind,
    /// To whom.
    pub member_id: u64,
    /// The member's JSON.
    pub context: Vec<u8>,
}

impl Change {
    /// From an entry's payload.
    ///
    /// # Errors
    /// Not a membership change.
    pub fn decode(index: u64, data: &[u8]) -> Result<Self> {
        let change =
            ConfChange::decode(data).with_context(|| format!("reading the membership entry {index}"))?;
        let ConfChange { kind, member_id, context } = change;
        Ok(Self { index, kind, member_id, context: context.to_vec() })
    }
}

/// The context of an Add or Update, as etcd's JSON has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberJson {
    /// Equal to the change's own member ID, else etcd panics.
    pub id: u64,
    /// Where its peers reach it.
    #[serde(rename = "peerURLs", default)]
    pub peer_urls: Vec<String>,
    /// Given at bootstrap only.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// Members and their peer URLs at the end of the log, if all of it is applied.
///
/// `voters` are those of the snapshot's ConfState; a voter that the store does not list is kept, without URLs.
/// As etcd does, a change that cannot be is passed over: removing or updating who is not there.
///
/// # Errors
/// The context of an Add or Update is not a member's JSON.
pub fn follow(
    voters: &[u64],
    mut stored: BTreeMap<u64, StoredMember>,
    changes: &[Change],
) -> Result<BTreeMap<u64, StoredMember>> {
    for &id in voters {
        stored.entry(id).or_default();
    }
    for change in changes {
        if change.kind == ConfChangeKind::Remove {
            stored.remove(&change.member_id);
            continue;
        }
        let json: MemberJson = serde_json::from_slice(&change.context)
            .with_context(|| format!("reading the member in the membership entry {}", change.index))?;
        let known = stored.contains_key(&change.member_id);
        if known == (change.kind == ConfChangeKind::Update) {
            let member = stored.entry(change.member_id).or_default();
            member.peer_urls = json.peer_urls;
            if !json.name.is_empty() {
                member.name = json.name;
            }
        }
    }
    Ok(stored)
}

/// Who has no vote when all of the log is applied; `conf_state` is the snapshot's raftpb.ConfState, empty without one.
///
/// `snap/db` is not asked: 3.5.1 to 3.5.19 does not write there that a learner got its vote (etcd-io/etcd#19557).
///
/// # Errors
/// Not a ConfState.
pub fn learners(conf_state: &[u8], changes: &[Change]) -> Result<BTreeSet<u64>> {
    let mut learners = BTreeSet::new();
    for field in Fields::new(conf_state) {
        // 1 voters, 2 learners.
        if let (2, id) = field? {
            learners.insert(id.number()?);
        }
    }
    for change in changes {
        match change.kind {
            ConfChangeKind::AddLearner => learners.insert(change.member_id),
            // Who has no vote gets one by being added once more.
            ConfChangeKind::Add | ConfChangeKind::Remove => learners.remove(&change.member_id),
            ConfChangeKind::Update => false,
        };
    }
    Ok(learners)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: ConfChangeKind, id: u64, url: &str) -> Change {
        let json = MemberJson { id, peer_urls: vec![url.into()], name: String::new() };
        Change { index: 1, kind, member_id: id, context: serde_json::to_vec(&json).unwrap() }
    }

    #[test]
    fn changes_are_followed_as_etcd_applies_them() {
        let stored =
            BTreeMap::from([(1, StoredMember { name: "a".into(), peer_urls: vec!["http://1".into()] })]);
        let changes = [
            change(ConfChangeKind::Add, 3, "http://3"),
            change(ConfChangeKind::Add, 3, "http://never"),
            change(ConfChangeKind::Update, 1, "http://one"),
            change(ConfChangeKind::Update, 9, "http://nobody"),
            Change { context: vec![], ..change(ConfChangeKind::Remove, 2, "") },
            Change { context: vec![], ..change(ConfChangeKind::Remove, 8, "") },
        ];
        let members = follow(&[1, 2], stored, &changes).unwrap();
        let urls: Vec<_> = members.iter().map(|(id, m)| (*id, m.peer_urls[0].as_str())).collect();
        assert_eq!(urls, [(1, "http://one"), (3, "http://3")]);
        assert_eq!(members[&1].name, "a");
    }

    #[test]
    fn etcds_own_json_is_read_and_written() {
        let json = r#"{"id":18446744073709551615,"peerURLs":["http://a:1"],"name":"n"}"#;
        let member: MemberJson = serde_json::from_str(json).unwrap();
        assert_eq!(member.id, u64::MAX);
        assert_eq!(serde_json::to_string(&member).unwrap(), json);
        let bad = Change { context: b"x".to_vec(), ..change(ConfChangeKind::Add, 1, "") };
        assert!(follow(&[], BTreeMap::new(), &[bad]).is_err());
    }

    #[test]
    fn a_learner_is_one_until_it_is_added_as_a_voter() {
        use ConfChangeKind::{Add, AddLearner, Remove, Update};
        // Voter 1, learners 2 and 3.
        let state = [8, 1, 16, 2, 16, 3];
        let at_end = |changes: &[(ConfChangeKind, u64)]| {
            let changes: Vec<_> = changes.iter().map(|(kind, id)| change(*kind, *id, "http://a")).collect();
            learners(&state, &changes).unwrap().into_iter().collect::<Vec<_>>()
        };
        assert_eq!(at_end(&[]), [2, 3]);
        assert_eq!(at_end(&[(AddLearner, 4), (Update, 2), (Add, 5)]), [2, 3, 4]);
        assert!(at_end(&[(Add, 2), (Remove, 3)]).is_empty());
        assert!(learners(&[], &[]).unwrap().is_empty() && learners(&[16], &[]).is_err());
    }
}
