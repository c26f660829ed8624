//! Messages of etcd's v3 API: values to bytes, and bytes to values. Which field is which: api/etcdserverpb/rpc.proto of etcd,
//! whose fields keep their numbers from 3.0 to 3.6. What a newer etcd says beside that is passed over.

use anyhow::{Context as _, Result, ensure};

use super::shape::{Kind, Shape};
use crate::cluster::{Member, Membership};
use crate::etcd::wire::{Encoder, Fields, Value};

/// No cluster has more members; a list takes many times its bytes.
const MAX_MEMBERS: usize = 1000;

const HEADER: Shape = &[
    (1, "cluster_id", Kind::Number),
    (2, "member_id", Kind::Number),
    (3, "revision", Kind::Number),
    (4, "raft_term", Kind::Number),
];
const MEMBER: Shape = &[
    (1, "ID", Kind::Number),
    (2, "name", Kind::Text),
    (3, "peerURLs", Kind::Texts),
    (4, "clientURLs", Kind::Texts),
    (5, "isLearner", Kind::Truth),
];
/// An empty request.
pub const EMPTY: Shape = &[];
/// `MemberListRequest`.
pub const LIST: Shape = &[(1, "linearizable", Kind::Truth)];
/// `MemberListResponse`, and what removing and promoting answer.
pub const MEMBERS: Shape = &[(1, "header", Kind::Message(HEADER)), (2, "members", Kind::Message(MEMBER))];
/// `MemberAddRequest`.
pub const ADD: Shape = &[(1, "peerURLs", Kind::Texts), (2, "isLearner", Kind::Truth)];
/// `MemberAddResponse`.
pub const ADDED: Shape = &[(1, "header", Kind::Message(HEADER)), (2, "member", Kind::Message(MEMBER))];
/// `MemberRemoveRequest` and `MemberPromoteRequest`.
pub const WHICH: Shape = &[(1, "ID", Kind::Number)];
/// `StatusResponse`.
pub const STATUS: Shape = &[
    (1, "header", Kind::Message(HEADER)),
    (2, "version", Kind::Text),
    (3, "dbSize", Kind::Number),
    (4, "leader", Kind::Number),
    (5, "raftIndex", Kind::Number),
    (6, "raftTerm", Kind::Number),
    (7, "raftAppliedIndex", Kind::Number),
    (8, "errors", Kind::Texts),
    (9, "dbSizeInUse", Kind::Number),
    (10, "isLearner", Kind::Truth),
];
/// `HashKVRequest`.
pub const AT: Shape = &[(1, "revision", Kind::Number)];
/// `HashKVResponse`.
pub const HASH: Shape =
    &[(1, "header", Kind::Message(HEADER)), (2, "hash", Kind::Number), (3, "compact_revision", Kind::Number)];
/// `AuthenticateRequest`.
pub const LOGIN: Shape = &[(1, "name", Kind::Text), (2, "password", Kind::Text)];
/// `AuthenticateResponse`.
pub const TOKEN: Shape = &[(1, "header", Kind::Message(HEADER)), (2, "token", Kind::Text)];

/// Who answers, and where it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Header {
    /// Its cluster.
    pub cluster_id: u64,
    /// Which member it is.
    pub member_id: u64,
    /// The revision of its key-value store; 0 where the call has nothing to do with keys.
    pub revision: i64,
    /// Its raft term.
    pub raft_term: u64,
}

/// How a member is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Who answers.
    pub header: Header,
    /// Its version, as `3.4.23`.
    pub version: String,
    /// Bytes of its database file.
    pub db_size: u64,
    /// Bytes of it that are in use; 0 before 3.4.
    pub db_size_in_use: u64,
    /// The leader it knows; 0 if there is none.
    pub leader: u64,
    /// The highest index that it knows to be committed.
    pub raft_index: u64,
    /// Its raft term.
    pub raft_term: u64,
    /// The index of the last entry that it applied; 0 before 3.4, which do not say it.
    pub raft_applied_index: u64,
    /// What is wrong with it: no leader, alarms.
    pub errors: Vec<String>,
    /// Whether it has no vote.
    pub is_learner: bool,
}

/// The hash of all keys up to a revision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HashKv {
    /// Who answers; its revision is the one that the hash is of.
    pub header: Header,
    /// The hash: CRC-32C over the revisions that are kept.
    pub hash: u32,
    /// The last compaction, -1 if there was none: only hashes with the same one can be compared.
    pub compact_revision: i64,
}

/// `MemberListRequest`. Whether a quorum has to say it: 3.5 and newer; an older one passes over that.
pub fn list(linearizable: bool) -> Vec<u8> {
    truth(Encoder::default(), 1, linearizable).done()
}

/// `MemberAddRequest`.
pub fn add(peer_urls: &[String], as_learner: bool) -> Vec<u8> {
    let urls = peer_urls.iter().fold(Encoder::default(), |message, url| message.bytes(1, url.as_bytes()));
    truth(urls, 2, as_learner).done()
}

/// `MemberRemoveRequest` and `MemberPromoteRequest`.
pub fn which(id: u64) -> Vec<u8> {
    Encoder::default().number(1, id).done()
}

/// `HashKVRequest`; revision 0 is the newest one.
pub fn at(revision: i64) -> Vec<u8> {
    Encoder::default().number(1, revision.cast_unsigned()).done()
}

/// `AuthenticateRequest`.
pub fn login(user: &str, password: &str) -> Vec<u8> {
    Encoder::default().bytes(1, user.as_bytes()).bytes(2, password.as_bytes()).done()
}

fn truth(message: Encoder, number: u64, value: bool) -> Encoder {
    if value { message.number(number, 1) } else { message }
}

/// The members in an answer to listing, removing or promoting.
///
/// # Errors
/// It is something else.
pub fn members(answer: &[u8]) -> Result<Membership> {
    let mut found = Membership { cluster_id: 0, members: Vec::new() };
    for field in Fields::new(answer) {
        match field? {
            (1, value) => found.cluster_id = header(value)?.cluster_id,
            (2, value) => {
                ensure!(found.members.len() < MAX_MEMBERS, "more than {MAX_MEMBERS} members");
                found.members.push(member(value)?);
            }
            _ => {}
        }
    }
    ensure!(found.cluster_id != 0, "the answer names no cluster");
    Ok(found)
}

/// The new member's ID in an answer to adding one.
///
/// # Errors
/// It is something else.
pub fn added(answer: &[u8]) -> Result<u64> {
    let mut new = None;
    for field in Fields::new(answer) {
        if let (2, value) = field? {
            new = Some(member(value)?.id);
        }
    }
    new.context("the answer names no new member")
}

/// A member's status.
///
/// # Errors
/// It is something else.
pub fn status(answer: &[u8]) -> Result<Status> {
    let mut found = Status::default();
    for field in Fields::new(answer) {
        match field? {
            (1, value) => found.header = header(value)?,
            (2, value) => found.version = text(value)?,
            (3, value) => found.db_size = value.number()?,
            (4, value) => found.leader = value.number()?,
            (5, value) => found.raft_index = value.number()?,
            (6, value) => found.raft_term = value.number()?,
            (7, value) => found.raft_applied_index = value.number()?,
            (8, value) => found.errors.push(text(value)?),
            (9, value) => found.db_size_in_use = value.number()?,
            (10, value) => found.is_learner = value.number()? != 0,
            _ => {}
        }
    }
    ensure!(found.header.member_id != 0, "the answer names no member");
    Ok(found)
}

/// The hash of a member's keys.
///
/// # Errors
/// It is something else.
pub fn hash_kv(answer: &[u8]) -> Result<HashKv> {
    let mut found = HashKv::default();
    for field in Fields::new(answer) {
        match field? {
            (1, value) => found.header = header(value)?,
            (2, value) => {
                found.hash = u32::try_from(value.number()?).context("a hash of more than 32 bits")?;
            }
            (3, value) => found.compact_revision = value.number()?.cast_signed(),
            _ => {}
        }
    }
    ensure!(found.header.member_id != 0, "the answer names no member");
    Ok(found)
}

/// The token in an answer to logging in.
///
/// # Errors
/// It is something else, or what cannot stand in a header.
pub fn token(answer: &[u8]) -> Result<String> {
    let mut found = String::new();
    for field in Fields::new(answer) {
        if let (2, value) = field? {
            found = text(value)?;
        }
    }
    ensure!(
        !found.is_empty() && found.bytes().all(|b| b.is_ascii_graphic()),
        "the answer has no usable token"
    );
    Ok(found)
}

/// The bytes of the db in one message of a snapshot; none if it has none.
///
/// # Errors
/// It is something else.
pub fn piece(answer: &[u8]) -> Result<&[u8]> {
    let mut found: &[u8] = &[];
    for field in Fields::new(answer) {
        if let (3, value) = field? {
            found = value.bytes()?;
        }
    }
    Ok(found)
}

fn header(value: Value<'_>) -> Result<Header> {
    let mut found = Header::default();
    for field in Fields::new(value.bytes()?) {
        match field? {
            (1, value) => found.cluster_id = value.number()?,
            (2, value) => found.member_id = value.number()?,
            (3, value) => found.revision = value.number()?.cast_signed(),
            (4, value) => found.raft_term = value.number()?,
            _ => {}
        }
    }
    Ok(found)
}

fn member(value: Value<'_>) -> Result<Member> {
    let mut found = Member::default();
    for field in Fields::new(value.bytes()?) {
        match field? {
            (1, value) => found.id = value.number()?,
            (2, value) => found.name = text(value)?,
            (3, value) => found.peer_urls.push(text(value)?),
            (4, value) => found.client_urls.push(text(value)?),
            (5, value) => found.is_learner = value.number()? != 0,
            _ => {}
        }
    }
    ensure!(found.id != 0, "a member without an ID");
    Ok(found)
}

fn text(value: Value<'_>) -> Result<String> {
    Ok(std::str::from_utf8(value.bytes()?).context("a text that is not UTF-8")?.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::shape::{from_json, to_json};
    use super::*;

    /// What etcd 3.4.23 answered by gRPC, but for the five bytes before it.
    const OF_3_4_LIST: &str = "0a1808ead6d39eefc5e988a5011089e1bfa38da4b2a5cc012002123f0889e1bfa38da4b2a5cc01120265311a16\
        687474703a2f2f3132372e302e302e313a33333830312216687474703a2f2f3132372e302e302e313a3333373931";
    const OF_3_4_STATUS: &str = "0a1a08ead6d39eefc5e988a5011089e1bfa38da4b2a5cc01180120021206332e342e32331880a0022089e1bfa3\
        8da4b2a5cc012804300238044880c001";
    const OF_3_4_HASH: &str =
        "0a1a08ead6d39eefc5e988a5011089e1bfa38da4b2a5cc011801200210edea91850418ffffffffffffffffff01";
    const CLUSTER: u64 = 11_894_470_811_451_714_410;
    const MEMBER_ID: u64 = 14_720_799_474_854_129_801;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn what_etcd_3_4_answered_is_understood_in_both_tongues() {
        let own = Member {
            id: MEMBER_ID,
            name: "e1".into(),
            peer_urls: vec!["http://127.0.0.1:33801".into()],
            client_urls: vec!["http://127.0.0.1:33791".into()],
            is_learner: false,
        };
        let list = Membership { cluster_id: CLUSTER, members: vec![own] };
        assert_eq!(members(&bytes(OF_3_4_LIST)).unwrap(), list);
        let said = json!({
            "header": {"cluster_id": CLUSTER.to_string(), "member_id": MEMBER_ID.to_string(), "raft_term": "2"},
            "members": [{"ID": MEMBER_ID.to_string(), "name": "e1", "peerURLs": ["http://127.0.0.1:33801"],
                "clientURLs": ["http://127.0.0.1:33791"]}],
        });
        assert_eq!(from_json(MEMBERS, &said).unwrap(), bytes(OF_3_4_LIST));

        let header = Header { cluster_id: CLUSTER, member_id: MEMBER_ID, revision: 1, raft_term: 2 };
        let found = status(&bytes(OF_3_4_STATUS)).unwrap();
        assert_eq!((found.header, &*found.version, found.leader), (header, "3.4.23", MEMBER_ID));
        assert_eq!((found.raft_index, found.raft_applied_index, found.raft_term), (4, 4, 2));
        assert_eq!((found.db_size, found.db_size_in_use, found.is_learner), (36_864, 24_576, false));
        let hash = HashKv { header, hash: 1_084_519_789, compact_revision: -1 };
        assert_eq!(hash_kv(&bytes(OF_3_4_HASH)).unwrap(), hash);
    }

    #[test]
    fn requests_say_what_is_asked_for_and_no_more() {
        assert_eq!((list(false), list(true)), (vec![], vec![8, 1]));
        assert_eq!(add(&["u".into(), "v".into()], true), b"\x0a\x01u\x0a\x01v\x10\x01");
        assert_eq!(to_json(ADD, &add(&["u".into()], false)).unwrap(), json!({"peerURLs": ["u"]}));
        assert_eq!(to_json(WHICH, &which(u64::MAX)).unwrap(), json!({"ID": u64::MAX.to_string()}));
        assert_eq!(to_json(AT, &at(5)).unwrap(), json!({"revision": "5"}));
        let password = "a:\"b\0";
        assert_eq!(
            to_json(LOGIN, &login("root", password)).unwrap(),
            json!({"name": "root", "password": password})
        );
    }

    #[test]
    fn an_answer_that_is_not_a_members_is_refused() {
        let id = |id| Encoder::default().number(1, id).done();
        let member_of = |member: &[u8]| Encoder::default().bytes(1, &id(7)).bytes(2, member).done();
        assert_eq!(members(&member_of(&id(5))).unwrap().members[0].id, 5);
        for bad in
            [vec![], id(7), member_of(&id(0)), member_of(&[0x12, 1, 0xff]), bytes(OF_3_4_LIST)[1..].to_vec()]
        {
            assert!(members(&bad).is_err(), "{bad:x?}");
            assert!(status(&bad).is_err(), "{bad:x?}");
        }
        let many = (0..=MAX_MEMBERS as u64)
            .fold(Encoder::default().bytes(1, &id(7)), |m, at| m.bytes(2, &id(at + 1)));
        assert!(members(&many.done()).unwrap_err().to_string().contains("more than 1000 members"));
        assert!(added(&Encoder::default().bytes(1, &id(7)).done()).is_err());
        for (said, good) in [("aBc.7", true), ("", false), ("a b", false), ("a\r\nb: c", false)] {
            let answer = Encoder::default().bytes(2, said.as_bytes()).done();
            assert_eq!(token(&answer).is_ok(), good, "{said:?}");
        }
        // What is left, the bytes, and since 3.6 the version.
        let of_3_6 = Encoder::default().number(2, 9).bytes(3, b"abc").bytes(4, b"3.6.0").done();
        assert_eq!(piece(&of_3_6).unwrap(), b"abc");
        assert_eq!(piece(&Encoder::default().number(2, 9).done()).unwrap(), b"");
        assert!(piece(&Encoder::default().number(3, 9).done()).is_err() && piece(&[0x1a, 4, 0]).is_err());
        let wide =
            Encoder::default().bytes(1, &Encoder::default().number(2, 7).done()).number(2, 1 << 32).done();
        assert!(hash_kv(&wide).is_err());
    }
}
