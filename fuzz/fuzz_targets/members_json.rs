//! Members as JSON: in the store, in a membership entry, in the answers of etcd's API.
#![no_main]

use etcd2_backup::cluster::api;
use etcd2_backup::etcd::members::{self, Change, MemberJson};
use etcd2_backup::etcd::proto::ConfChangeKind;
use etcd2_backup::etcd::store;
use etcd2_backup::sys::http::Response;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fn response(body: Vec<u8>) -> Response {
    Response { status: 200, headers: vec![("X-Etcd-Cluster-Id".into(), "5a535ced1069e3a8".into())], body }
}

fuzz_target!(|data: &[u8]| {
    if let Ok(stored) = store::members(data) {
        assert!(stored.len() <= data.len());
        let followed = members::follow(&[], stored.clone(), &[]).expect("nothing changes");
        assert_eq!(followed, stored);
    }

    let change = |kind| Change { index: 1, kind, member_id: 3, context: data.to_vec() };
    let added = members::follow(&[], Default::default(), &[change(ConfChangeKind::Add)]);
    let json = serde_json::from_slice::<MemberJson>(data);
    assert_eq!(added.is_ok(), json.is_ok());
    if let (Ok(added), Ok(json)) = (added, json) {
        assert_eq!((&added[&3].name, &added[&3].peer_urls), (&json.name, &json.peer_urls));
        let again = serde_json::to_vec(&json).expect("it is JSON");
        assert_eq!(serde_json::from_slice::<MemberJson>(&again).expect("it was written"), json);
        let removed = [change(ConfChangeKind::Add), change(ConfChangeKind::Remove)];
        assert!(members::follow(&[], Default::default(), &removed).expect("as before").is_empty());
    }

    if let Ok(found) = api::parse_members(&response(data.to_vec())) {
        assert_eq!(found.cluster_id, 0x5a53_5ced_1069_e3a8);
        // The same list as the peer port says it, with numbers, and as the client port does, with hex digits.
        let list = |id: &dyn Fn(u64) -> Value| -> Vec<Value> {
            let all = found.members.iter();
            all.map(|m| {
                json!({"id": id(m.id), "name": m.name, "peerURLs": m.peer_urls, "clientURLs": m.client_urls})
            })
            .collect()
        };
        let peer = response(json!(list(&|id| json!(id))).to_string().into());
        let client = response(json!({"members": list(&|id| json!(format!("{id:x}")))}).to_string().into());
        for again in [peer, client] {
            assert_eq!(api::parse_members(&again).expect("it was written"), found);
        }
    }
    let _ = api::parse_raft_status(&response(data.to_vec()));
});
