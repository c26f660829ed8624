//! What comes over the wire from etcd's v3 API: frames in pieces of any length, trailers, messages, JSON in their place.
#![no_main]

use etcd2_backup::cluster::v3::messages;
use etcd2_backup::cluster::v3::shape::{self, Shape};
use etcd2_backup::sys::http::grpc::{self, Frames, frame};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

/// Every message that is whole, or nothing.
fn taken<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Option<Vec<Vec<u8>>> {
    let (mut frames, mut all) = (Frames::default(), Vec::new());
    for piece in pieces {
        let mut keep = |message: &[u8]| {
            all.push(message.to_vec());
            Ok(())
        };
        frames.push(piece, &mut keep).ok()?;
    }
    frames.end().ok().map(|()| all)
}

/// A message says the same when it came as JSON.
fn look(message: &[u8]) {
    if let Ok(list) = messages::members(message) {
        let member = |m: &etcd2_backup::cluster::Member| {
            json!({"ID": m.id.to_string(), "name": m.name, "peerURLs": m.peer_urls, "clientURLs": m.client_urls,
                "isLearner": m.is_learner})
        };
        let members: Vec<Value> = list.members.iter().map(member).collect();
        let said = json!({"header": {"cluster_id": list.cluster_id.to_string()}, "members": members});
        let again = shape::from_json(messages::MEMBERS, &said).expect("it is of that shape");
        assert_eq!(messages::members(&again).expect("it was written"), list);
    }
    if let Ok(hash) = messages::hash_kv(message) {
        let said = json!({
            "header": {"cluster_id": hash.header.cluster_id.to_string(), "member_id": hash.header.member_id,
                "revision": hash.header.revision, "raft_term": hash.header.raft_term},
            "hash": hash.hash, "compact_revision": hash.compact_revision.to_string(),
        });
        let again = shape::from_json(messages::HASH, &said).expect("it is of that shape");
        assert_eq!(messages::hash_kv(&again).expect("it was written"), hash);
    }
    let _ = messages::status(message);
    let _ = messages::added(message);
    assert!(messages::piece(message).map_or(0, <[u8]>::len) <= message.len());
    if let Ok(token) = messages::token(message) {
        assert!(!token.is_empty() && !token.contains(char::is_whitespace));
    }
    // Requests come from here alone; what is one goes to JSON and back.
    for of in [messages::ADD, messages::WHICH, messages::AT, messages::LOGIN] {
        if let Ok(json) = shape::to_json(of, message) {
            let again = shape::from_json(of, &json).expect("it was written");
            assert_eq!(shape::to_json(of, &again).expect("it was written"), json);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((length, data)) = data.split_first() else { return };
    let pieces = taken(data.chunks(usize::from(*length).max(1)));
    // Where it goes wrong what was whole before has gone out already.
    assert_eq!(pieces, taken([data].into_iter()));
    for message in pieces.iter().flatten() {
        look(message);
    }
    if let Some(all) = pieces {
        let again: Vec<u8> = all.iter().flat_map(|message| frame(message).expect("it is short")).collect();
        assert_eq!(again, data);
    }
    look(data);

    if let Ok(Some(refused)) = grpc::outcome(data) {
        assert!(refused.code != 0 && !refused.message.chars().any(char::is_control));
    }
    if let Ok(json) = serde_json::from_slice::<Value>(data) {
        let shapes: [Shape; 5] =
            [messages::MEMBERS, messages::ADDED, messages::STATUS, messages::HASH, messages::TOKEN];
        for of in shapes {
            if let Ok(message) = shape::from_json(of, &json) {
                look(&message);
            }
        }
    }
});
