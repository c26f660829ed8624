//! A member that holds v3 data beside its v2 data, of which the v2 data alone is backed up.
//! Real etcd 3.x.

use std::fs;
use std::path::Path;

use etcd2_backup::etcd::datadir::{DataDir, Family};
use etcd2_backup::etcd::rewrite::{NewMember, Purpose, Rewrite, Target, write_member_dir};
use etcd2_backup::etcd::wal::Reading;
use testkit::etcd::Cluster;
use testkit::http::Connection;
use testkit::keys::{self, address_of};
use testkit::node::Node;
use testkit::tools::{Tools, etcd_version};

use crate::PROGRAM;

const V2_ONLY: &str = "ETCD2_BACKUP_V2_ONLY";

/// The tools, if etcd is one that has a v3 store and its JSON gateway.
fn tools() -> Option<&'static Tools> {
    let tools = Tools::from_env()?;
    (etcd_version(&tools.etcd).unwrap() >= (3, 4)).then_some(tools)
}

/// A node with a running etcd that holds v2 keys.
fn running(snapshot_count: &str) -> Option<Node> {
    let mut node = Node::new(PROGRAM, tools()?);
    node.etcd.set("ETCD_SNAPSHOT_COUNT", snapshot_count);
    node.etcd.start().unwrap();
    keys::write_sample(&node.etcd.client_url).unwrap();
    Some(node)
}

/// One request to the v3 store's gateway.
fn v3(url: &str, what: &str, body: &str) {
    let mut connection = Connection::new(address_of(url).unwrap());
    let reply = connection.request("POST", &format!("/v3/{what}"), Some(body)).unwrap();
    assert_eq!(reply.status, 200, "{what}: {}", reply.body);
}

/// key "key", value "v3 value".
const PUT: (&str, &str) = ("kv/put", r#"{"key":"a2V5","value":"djMgdmFsdWU="}"#);

#[test]
fn a_backup_without_the_v3_store_is_restored_where_the_operator_says_that_this_is_enough() {
    let Some(mut node) = running("10000") else { return };
    let url = node.etcd.client_url.clone();
    node.ok(&["backup"]);
    v3(&url, PUT.0, PUT.1);
    let before = node.objects();
    node.environment.insert(V2_ONLY.into(), "true".into());
    node.ok(&["backup"]);
    assert_eq!(node.objects().len(), before.len() + 1);

    // What comes back is the v2 data, where the operator says that this is enough.
    let expected = keys::dump(&url).unwrap();
    node.etcd.stop().unwrap();
    let log = node.ok(&["restore", "--plan"]);
    assert!(log.contains("warning: the member had data in the v3 store"), "{log}");
    assert!(log.contains("would be refused now") && log.contains("--force"), "{log}");
    node.refused(&["restore"], 10, &["does not have it", "--source local", "--force"]);
    // Before its first entry nothing is missing.
    let index = first_v3_entry(&node) - 1;
    let log = node.ok(&["restore", "--plan", "--raft-index", &index.to_string()]);
    assert!(!log.contains("v3 store"), "{log}");
    let log = node.ok(&["restore", "--force"]);
    assert_eq!(log.matches("warning: the member had data in the v3 store").count(), 2, "{log}");
    node.etcd.start().unwrap();
    let differences = keys::compare(&expected, &keys::dump(&url).unwrap());
    assert!(differences.is_empty(), "{differences:?}");
}

/// As it is after a time with a version that backs up the v2 store alone.
#[test]
fn a_store_that_the_generation_does_not_have_would_be_lost() {
    let Some(mut node) = running("10000") else { return };
    node.ok(&["backup"]);
    assert_eq!(node.run(&["status"]).code, 0);
    v3(&node.etcd.client_url, PUT.0, PUT.1);
    node.environment.insert(V2_ONLY.into(), "true".into());
    node.ok(&["backup"]);
    // etcd commits to its db when it ends, at the latest.
    node.etcd.stop().unwrap();
    let status = |code: i32, words: &[&str]| {
        let run = node.run(&["status"]);
        assert_eq!(run.code, code, "{} {}", run.answer, run.log);
        let answer = run.answer.split_whitespace().collect::<Vec<_>>().join(" ");
        for word in words {
            assert!(answer.contains(word), "no {word:?} in {answer}");
        }
    };
    status(
        20,
        &["would lose nothing of the v2 store, but the v3 store, which generation 1 does not have log "],
    );
    node.ok(&["base", "--now"]);
    status(20, &["hint: the next backup begins a generation that has it: "]);
    node.ok(&["backup"]);
    status(0, &["would lose nothing log "]);
}

fn first_v3_entry(node: &Node) -> u64 {
    let contents = DataDir::open(&node.path("/var/lib/etcd2"), None).unwrap().scan(Reading::Still).unwrap();
    contents.log.v3_write.unwrap().index
}

#[test]
fn v3_data_whose_entries_are_gone_from_the_log_shows_in_the_database() {
    let Some(mut node) = running("100") else { return };
    v3(&node.etcd.client_url, PUT.0, PUT.1);
    keys::write_many(&node.etcd.client_url, "/more", 300).unwrap();
    node.etcd.stop().unwrap();

    // etcd purges a segment when 64 MB are full; here the same log is written anew, from its last snapshot on.
    let data = node.path("/var/lib/etcd2");
    let dir = DataDir::open(&data, None).unwrap();
    let contents = dir.scan(Reading::Still).unwrap();
    assert!(contents.log.v3_write.unwrap().index <= contents.base_index());
    let member = NewMember { id: 7, peer_urls: vec![node.etcd.peer_url.clone()] };
    let purpose = Purpose::Found(vec![member]);
    let rewrite = Rewrite { cluster_id: 8, purpose, up_to: None, family: Family::Three, bump: None };
    let cut = data.join("cut");
    let target = Target { member_id: 7, path: &cut };
    write_member_dir(&dir, &contents, &rewrite, target).unwrap();
    let stub = fs::read(cut.join("snap/db")).unwrap();
    replace(&data.join("member"), &cut, &fs::read(data.join("member/snap/db")).unwrap());
    let pieces = |node: &Node| {
        node.objects().iter().filter(|path| path.extension().is_some_and(|kind| kind == "piece")).count()
    };
    node.ok(&["backup"]);
    assert_eq!(pieces(&node), 1);
    let log = node.ok(&["restore", "--plan"]);
    assert!(log.contains("the v3 store: ") && !log.contains("only the v2 store"), "{log}");

    // It was the database alone that said so.
    fs::remove_dir_all(node.path("/var/lib/etcd2-backup")).unwrap();
    testkit::files::write(&data.join("member/snap/db"), &stub);
    node.ok(&["backup"]);
    assert_eq!(pieces(&node), 1);
    testkit::files::write(&data.join("member/snap/db"), b"no database");
    fs::remove_dir_all(node.path("/var/lib/etcd2-backup")).unwrap();
    let log = node.ok(&["backup"]);
    assert!(log.contains("for v3 data: no valid meta page"), "{log}");
}

/// Puts a member directory in another's place, with this database.
fn replace(member: &Path, with: &Path, db: &[u8]) {
    fs::remove_dir_all(member).unwrap();
    fs::rename(with, member).unwrap();
    testkit::files::write(&member.join("snap/db"), db);
}

#[test]
fn a_cluster_of_3_x_with_v2_data_only_is_never_refused() {
    let Some(node) = running("100") else { return };
    let url = node.etcd.client_url.clone();
    let backup = || {
        let log = node.ok(&["backup"]);
        assert!(!log.contains("v3"), "{log}");
    };
    backup();
    // Each poll of the health is an entry; so is what reads, compacts or asks for alarms in the v3 store.
    let mut connection = Connection::new(address_of(&url).unwrap());
    for _ in 0..5 {
        assert_eq!(connection.request("GET", "/health", None).unwrap().status, 200);
    }
    v3(&url, "kv/range", r#"{"key":"a2V5"}"#);
    v3(&url, "maintenance/alarm", "{}");
    v3(&url, "kv/compaction", r#"{"revision":"1"}"#);
    let added = connection.request(
        "POST",
        "/v3/cluster/member/add",
        Some(r#"{"peerURLs":["http://127.0.0.1:9"],"isLearner":true}"#),
    );
    assert_eq!(added.unwrap().status, 200);
    backup();
    keys::write_many(&url, "/more", 200).unwrap();
    backup();
    fs::remove_dir_all(node.path("/var/lib/etcd2-backup")).unwrap();
    backup();
    assert_eq!(node.objects().iter().filter(|p| p.to_string_lossy().contains("/00000000-")).count(), 2);
}

#[test]
fn members_of_three_with_v2_data_only_hold_none_of_v3() {
    let Some(tools) = tools() else { return };
    let work = tempfile::tempdir().unwrap();
    let places = ["e1", "e2", "e3"].map(|name| (name, work.path().join(name)));
    let mut cluster = Cluster::new(tools, &places).unwrap();
    cluster.set("ETCD_SNAPSHOT_COUNT", "50");
    cluster.start().unwrap();
    keys::write_many(&cluster.members[0].client_url, "/k", 300).unwrap();
    cluster.stop().unwrap();
    for member in &cluster.members {
        let contents = DataDir::open(&member.data_dir, None).unwrap().scan(Reading::Still).unwrap();
        assert!(contents.base.is_some());
        assert_eq!((contents.v3_data(), contents.db), (None, etcd2_backup::etcd::v3::Db::Empty));
    }
}
