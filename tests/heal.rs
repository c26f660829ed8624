//! A cluster that has a quorum is healed, not restored over.

mod common;

use common::{Node, tree};
use testkit::etcd::{Member, introduce};
use testkit::keys::{self, Client};
use testkit::tools::Tools;

#[test]
fn a_member_of_a_cluster_with_a_quorum_is_restored_only_when_forced() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(tools);
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
    second.wait_healthy().unwrap();

    let data = node.path("/var/lib/etcd2");
    let before = tree(&data);
    for arguments in [&["restore"][..], &["restore", "--source", "local"]] {
        node.refused(arguments, 10, &["which has a quorum", "heal it: start etcd here", "--force"]);
    }
    let plan = node.ok(&["restore", "--plan"]);
    assert!(
        plan.contains("a restore would be refused now: ") && plan.contains("which has a quorum"),
        "{plan}"
    );
    assert_eq!(tree(&data), before);
    assert!(!node.is_fenced());

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
    Client::new(&second.client_url).unwrap().put("/theirs", "1").unwrap();
    assert!(Client::new(&node.etcd.client_url).unwrap().get("/theirs").unwrap().is_none());
}
