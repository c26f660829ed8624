//! kill -9 at every step of a `join` that begins with a seed: etcd starts on the node's old data, as the new member with the
//! seed, or empty as the new member, and running it again ends with the seed in place.

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
const REAL: usize = 8;

/// The entries with this node's peer URL.
fn entries(founder: &Node, node: &Node) -> Vec<Listed> {
    let urls = [node.etcd.peer_url.clone()];
    founder.etcd.members().unwrap().into_iter().filter(|m| m.peer_urls == urls).collect()
}

#[test]
fn a_seeded_join_of_a_node_that_has_other_data() {
    let (Some(strace), Some(tools)) = (tools::strace_from_env(), Tools::from_env()) else { return };
    let mut founder = Node::named(PROGRAM, tools, "e1");
    // A leader is there at once.
    founder.etcd.set("ETCD_HEARTBEAT_INTERVAL", "10");
    founder.etcd.set("ETCD_ELECTION_TIMEOUT", "50");
    founder.etcd.set("ETCD_SNAPSHOT_COUNT", "50");
    founder.etcd.start().unwrap();
    keys::write_sample(&founder.etcd.client_url).unwrap();
    keys::write_many(&founder.etcd.client_url, "/many", 60).unwrap();
    founder.etcd.wait_snapshot().unwrap();
    founder.ok(&["backup"]);
    founder.etcd.stop().unwrap();
    founder.ok(&["restore"]);
    founder.start_etcd();
    let keys = keys::dump(&founder.etcd.client_url).unwrap();
    founder.etcd.stop().unwrap();
    trim_log(&founder.etcd.data_dir);
    founder.save();
    let mut node = Node::joining(tools, "e2", &founder);
    node.back_up_beside(&founder, '2');
    node.put_fixture("v3423-single-snap-trimmed");
    node.save();
    let member = node.path("/var/lib/etcd2/member");
    let old = tree(&member);
    let seeded_as = |entry: &[Listed]| {
        let ids = datadir::ids(&member.join("wal")).unwrap();
        entry.len() == 1 && format!("{:x}", ids.member_id) == entry[0].id
    };

    founder.etcd.start().unwrap();
    let all = steps(&node, strace, &JOIN);
    let (mut fenced, mut seeded) = (0, 0);
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
        } else {
            assert!(tree(&member) == old && entered.is_empty(), "{step}");
        }
        if member.exists() && tree(&member) != old {
            seeded += 1;
            assert!(node.is_fenced() && seeded_as(&entered), "{step}: {entered:?}");
        }

        node.ok(&JOIN);
        let now = entries(&founder, &node);
        assert_eq!((now.len(), founder.etcd.members().unwrap().len()), (1, 2), "{step}");
        assert!(entered.is_empty() || entered == now, "{step}: {entered:?} {now:?}");
        assert!(!node.is_fenced() && seeded_as(&now) && node.kept("member.restoring").is_empty(), "{step}");
        let kept = node.kept("member.before-join-");
        assert!(kept.iter().any(|kept| tree(kept) == old), "{step}: {kept:?}");
        if i % REAL == 0 || i + 1 == all.len() {
            node.start_etcd();
            node.ok(&["join"]);
            let found = Client::new(&node.etcd.client_url).unwrap().dump_local().unwrap();
            let differences = keys::compare(&keys, &found);
            assert!(differences.is_empty(), "{step}: {differences:?}");
            node.etcd.kill().unwrap();
        }
    }
    assert!(
        fenced > 3 && seeded > 0,
        "{fenced} of {} steps lie behind the fence, {seeded} behind it",
        all.len()
    );
}
