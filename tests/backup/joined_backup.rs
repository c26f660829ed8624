//! What a node backs up after it joined a recovered cluster: its folder says what that continues, as the recovery record of the
//! founding member does.

use testkit::keys;
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

/// Two nodes with one remote.
fn pair() -> Option<(Node, Node)> {
    let tools = Tools::from_env()?;
    let founder = Node::named(PROGRAM, tools, "e1");
    let mut second = Node::joining(tools, "e2", &founder);
    second.back_up_beside(&founder, '2');
    Some((founder, second))
}

fn join(node: &mut Node) {
    node.ok(&["join"]);
    node.start_etcd();
    node.ok(&["join"]);
}

fn listed(node: &Node) -> serde_json::Value {
    let output = node.command(&["list", "--json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_joined_nodes_backup_continues_the_cluster_that_was_recovered() {
    let Some((mut founder, mut second)) = pair() else { return };
    founder.etcd.start().unwrap();
    keys::write_sample(&founder.etcd.client_url).unwrap();
    join(&mut second);
    founder.ok(&["backup"]);
    second.ok(&["backup"]);

    second.etcd.stop().unwrap();
    founder.etcd.stop().unwrap();
    founder.ok(&["restore"]);
    founder.start_etcd();
    join(&mut second);
    let log = second.ok(&["backup"]);
    assert!(log.contains("as its recovery record says"), "{log}");

    let list = listed(&second);
    let generations = list["machines"][0]["generations"].as_array().unwrap();
    assert_eq!(generations.len(), 2, "{list}");
    assert_eq!(generations[1]["continues"]["cluster_id"], generations[0]["cluster_id"], "{list}");
    // Nobody has to be asked which history is meant.
    second.etcd.stop().unwrap();
    founder.etcd.stop().unwrap();
    second.ok(&["restore", "--plan", "--force"]);
    second.ok(&["prune", "--dry-run"]);

    // And when a generation begins again, the node knows by itself.
    std::fs::remove_file(second.path("/var/lib/etcd2-backup/state.json")).unwrap();
    let log = second.ok(&["backup"]);
    assert!(!log.contains("as its recovery record says"), "{log}");
    let list = listed(&second);
    let generations = list["machines"][0]["generations"].as_array().unwrap();
    assert_eq!(generations[2]["continues"]["cluster_id"], generations[0]["cluster_id"], "{list}");
}
