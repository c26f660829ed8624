//! A cluster that has a quorum is healed, not restored over.

use testkit::etcd::{Member, introduce, raft};
use testkit::faults::curl::Curl;
use testkit::files::tree;
use testkit::keys::{self, Client};
use testkit::node::Node;
use testkit::tools::{Tools, etcd_version};

use crate::PROGRAM;

#[test]
fn a_member_of_a_cluster_with_a_quorum_is_restored_only_when_forced() {
    let Some(tools) = Tools::from_env() else { return };
    restored_only_when_forced(tools, Serve::V2);
}

/// etcd 3.4 and newer with default flags.
#[test]
fn a_cluster_that_serves_the_v3_api_alone_is_a_living_one() {
    let Some(tools) = Tools::from_env() else { return };
    if etcd_version(&tools.etcd).unwrap() >= (3, 4) {
        restored_only_when_forced(tools, Serve::V3Alone);
    }
}

#[test]
fn a_cluster_whose_client_ports_take_grpc_alone_is_a_living_one() {
    let Some(tools) = Tools::from_env() else { return };
    if etcd_version(&tools.etcd).unwrap() >= (3, 4) {
        restored_only_when_forced(tools, Serve::GrpcAlone);
    }
}

/// What the other members serve to clients.
#[derive(Clone, Copy, PartialEq)]
enum Serve {
    V2,
    V3Alone,
    GrpcAlone,
}

fn restored_only_when_forced(tools: &Tools, serve: Serve) {
    let mut node = Node::new(PROGRAM, tools);
    let elsewhere = tempfile::tempdir().unwrap();
    let [mut second, mut third] =
        ["e2", "e3"].map(|name| Member::new(tools, name, &elsewhere.path().join(name)).unwrap());
    introduce(&mut [&mut node.etcd, &mut second, &mut third]);
    for member in [&mut node.etcd, &mut second, &mut third] {
        member.spawn(&[]).unwrap();
    }
    for member in [&mut node.etcd, &mut second, &mut third] {
        member.wait_healthy().unwrap();
    }
    keys::write_sample(&node.etcd.client_url).unwrap();
    let expected = keys::dump(&node.etcd.client_url).unwrap();
    node.ok(&["backup"]);
    node.etcd.stop().unwrap();
    if serve != Serve::V2 {
        for member in [&mut second, &mut third] {
            member.stop().unwrap();
            member.without_v2();
            member.spawn(&[]).unwrap();
        }
        third.wait_healthy().unwrap();
    }
    second.wait_healthy().unwrap();
    if serve == Serve::GrpcAlone {
        let urls = [&*second.client_url, &*third.client_url];
        Curl::new(&mut node).grpc_alone(&urls);
    }

    let data = node.path("/var/lib/etcd2");
    let before = tree(&data);
    for arguments in [&["restore"][..], &["restore", "--source", "local"]] {
        node.refused(arguments, 10, &["which has a quorum", "repair it: start etcd here", "--force"]);
    }
    let plan = node.ok(&["restore", "--plan"]);
    assert!(
        plan.contains("a restore would be refused now: ") && plan.contains("which has a quorum"),
        "{plan}"
    );
    assert_eq!(tree(&data), before);
    assert!(!node.is_fenced());

    if serve == Serve::GrpcAlone {
        return;
    }
    // With two of three down nobody can heal it.
    third.stop().unwrap();
    let plan = node.ok(&["restore", "--plan"]);
    assert!(!plan.contains("would be refused"), "{plan}");
    third.start().unwrap();
    second.wait_healthy().unwrap();
    node.refused(&["restore"], 10, &["which has a quorum"]);

    // Forced, it becomes a cluster of its own, which the others do not take for theirs.
    node.ok(&["restore", "--force"]);
    node.start_etcd();
    let differences = keys::compare(&expected, &keys::dump(&node.etcd.client_url).unwrap());
    assert!(differences.is_empty(), "{differences:?}");
    assert_eq!(node.etcd.members().unwrap().len(), 1);
    if serve == Serve::V3Alone {
        assert_eq!(second.members().unwrap().len(), 3);
        return;
    }
    Client::new(&second.client_url).unwrap().put("/theirs", "1").unwrap();
    assert!(Client::new(&node.etcd.client_url).unwrap().get("/theirs").unwrap().is_none());
}

#[test]
fn a_copy_of_a_living_cluster_is_made_on_purpose_only_and_leaves_it_alone() {
    let Some(tools) = Tools::from_env() else { return };
    let mut old = Node::new(PROGRAM, tools);
    old.etcd.start().unwrap();
    keys::write_sample(&old.etcd.client_url).unwrap();
    old.ok(&["backup"]);
    let expected = keys::dump(&old.etcd.client_url).unwrap();
    let led = raft(&old.etcd.client_url).unwrap();

    let mut new = Node::named(PROGRAM, tools, "q1");
    new.back_up_beside(&old, '2');
    let from = ["restore", "--from", "0123456789abcdef0123456789abcdef"];
    new.refused(&from, 10, &["which runs elsewhere and has a quorum", "--clone"]);
    assert!(!new.path("/var/lib/etcd2").exists() && !new.is_fenced());
    // A member of the living cluster among those of the new one.
    let list = format!("q1={},e1={}", new.etcd.peer_url, old.etcd.peer_url);
    new.refused(&[&from[..], &["--clone", "--initial-cluster", &list]].concat(), 10, &["which has a quorum"]);
    new.ok(&[&from[..], &["--clone"]].concat());
    new.start_etcd();
    let differences = keys::compare(&expected, &keys::dump(&new.etcd.client_url).unwrap());
    assert!(differences.is_empty(), "{differences:?}");
    Client::new(&new.etcd.client_url).unwrap().put("/of-the-copy", "1").unwrap();
    Client::new(&old.etcd.client_url).unwrap().put("/of-the-old", "1").unwrap();
    assert!(Client::new(&old.etcd.client_url).unwrap().get("/of-the-copy").unwrap().is_none());
    assert!(Client::new(&new.etcd.client_url).unwrap().get("/of-the-old").unwrap().is_none());
    assert_eq!((old.etcd.members().unwrap().len(), new.etcd.members().unwrap().len()), (1, 1));
    // The snapshot the copy begins with lists the old member: until etcd has read the log behind it, it may knock there.
    // It is turned away for its cluster ID, and nothing comes of it.
    assert_eq!(raft(&old.etcd.client_url).unwrap(), led);

    // What is dead is moved without a word.
    old.etcd.stop().unwrap();
    new.etcd.stop().unwrap();
    new.ok(&from);
}
