//! kill -9 at every step of `join`: etcd starts on the node's old data or as the new member and as nothing in between,
//! the cluster has one entry for the node, and running it again ends well.

use std::fs;
use std::path::Path;

use etcd2_backup::etcd::datadir;
use testkit::etcd::Listed;
use testkit::faults::kill::{kill_at, steps};
use testkit::files::{tree, trim_log};
use testkit::keys::{self, Client};
use testkit::node::Node;
use testkit::tools::{self, Tools};

use crate::PROGRAM;

const JOIN: [&str; 2] = ["join", "--no-start"];
/// After every so many steps the new member is started.
const REAL: usize = 4;

/// The entries with this node's peer URL.
fn entries(founder: &Node, node: &Node) -> Vec<Listed> {
    let urls = [node.etcd.peer_url.clone()];
    let all = founder.etcd.members().unwrap();
    all.into_iter().filter(|m| m.peer_urls == urls).collect()
}

/// The second run, which waits for the member to catch up and notes who it is, killed at each step.
fn kill_the_watch(node: &Node, strace: &Path) {
    for step in &steps(node, strace, &["join"]) {
        fs::remove_file(node.path("/etc/etcd2-backup/identity.json")).unwrap();
        kill_at(node, strace, &["join"], step);
        assert!(!node.is_fenced(), "{step}");
        node.ok(&["join"]);
        assert!(node.path("/etc/etcd2-backup/identity.json").exists(), "{step}");
    }
}

#[test]
fn a_join_of_a_node_that_has_other_data() {
    let (Some(strace), Some(tools)) = (tools::strace_from_env(), Tools::from_env()) else { return };
    let mut founder = Node::named(PROGRAM, tools, "e1");
    // A leader is there at once.
    founder.etcd.set("ETCD_HEARTBEAT_INTERVAL", "10");
    founder.etcd.set("ETCD_ELECTION_TIMEOUT", "50");
    founder.etcd.start().unwrap();
    keys::write_sample(&founder.etcd.client_url).unwrap();
    let keys = keys::dump(&founder.etcd.client_url).unwrap();
    founder.etcd.stop().unwrap();
    trim_log(&founder.etcd.data_dir);
    founder.save();
    let mut node = Node::joining(tools, "e2", &founder);
    node.put_fixture("v3423-single-snap-trimmed");
    node.ok(&["backup"]);
    node.save();
    let member = node.path("/var/lib/etcd2/member");
    let old = tree(&member);
    let begins_as = |entry: &[Listed]| {
        let ids = datadir::ids(&member.join("wal")).unwrap();
        entry.len() == 1 && format!("{:x}", ids.member_id) == entry[0].id
    };

    founder.etcd.start().unwrap();
    let all = steps(&node, strace, &JOIN);
    let mut fenced = 0;
    for (i, step) in all.iter().enumerate() {
        node.reset();
        founder.etcd.kill().unwrap();
        founder.reset();
        founder.etcd.start().unwrap();
        kill_at(&node, strace, &JOIN, step);

        let entered = entries(&founder, &node);
        let places = [vec![member.clone()], node.kept("member.before-join-")].concat();
        assert!(places.iter().any(|place| tree(place) == old), "{step}: the old data is lost");
        if node.is_fenced() {
            fenced += 1;
        } else if tree(&member) == old {
            assert!(entered.is_empty(), "{step}: {entered:?}");
        } else {
            assert!(begins_as(&entered), "{step}: {entered:?}");
        }

        node.ok(&JOIN);
        let now = entries(&founder, &node);
        assert_eq!((now.len(), founder.etcd.members().unwrap().len()), (1, 2), "{step}");
        assert!(entered.is_empty() || entered == now, "{step}: {entered:?} {now:?}");
        assert!(
            !node.is_fenced() && begins_as(&now) && !node.path("/var/lib/etcd2/member.empty").exists(),
            "{step}"
        );
        let kept = node.kept("member.before-join-");
        assert!(kept.len() == 1 && tree(&kept[0]) == old, "{step}: {kept:?}");
        let last = i + 1 == all.len();
        if i % REAL == 0 || last {
            node.start_etcd();
            if last {
                kill_the_watch(&node, strace);
            }
            node.ok(&["join"]);
            let found = Client::new(&node.etcd.client_url).unwrap().dump_local().unwrap();
            let differences = keys::compare(&keys, &found);
            assert!(differences.is_empty(), "{step}: {differences:?}");
            node.etcd.kill().unwrap();
        }
    }
    assert!(fenced > 5, "only {fenced} of {} steps lie behind the fence", all.len());
}
