//! kill -9 at every step of a `restore --recovery` on a node that has other data: etcd starts there on the old data, or as the
//! member that the record makes of it, or not at all; and running it again ends with that member.

mod common;
#[path = "common/kill.rs"]
mod kill;

use common::{Node, tree, write};
use etcd2_backup::archive::lineage::Record;
use etcd2_backup::etcd::datadir;
use kill::{kill_at, steps};
use testkit::keys;
use testkit::tools::{self, Tools};

/// After every so many steps both members are started.
const REAL: usize = 12;

#[test]
fn a_node_that_takes_part_in_a_recovery() {
    let (Some(strace), Some(tools)) = (tools::strace_from_env(), Tools::from_env()) else { return };
    let mut founder = Node::named(tools, "e1");
    let mut node = Node::joining(tools, "e2", &founder);
    for etcd in [&mut founder.etcd, &mut node.etcd] {
        // A leader is there at once.
        etcd.set("ETCD_HEARTBEAT_INTERVAL", "10");
        etcd.set("ETCD_ELECTION_TIMEOUT", "50");
    }
    founder.etcd.set("ETCD_SNAPSHOT_COUNT", "50");
    founder.etcd.start().unwrap();
    keys::write_sample(&founder.etcd.client_url).unwrap();
    keys::write_many(&founder.etcd.client_url, "/many", 60).unwrap();
    founder.ok(&["backup"]);
    let keys = keys::dump(&founder.etcd.client_url).unwrap();
    founder.etcd.stop().unwrap();
    let list = format!("e1={},e2={}", founder.etcd.peer_url, node.etcd.peer_url);
    let run = founder.run(&["restore", "--json", "--initial-cluster", &list]);
    let record: Record = serde_json::from_str(&run.answer).unwrap();
    founder.save();

    let endpoint = founder.environment["RCLONE_ENDPOINT"].clone();
    node.environment.insert("RCLONE_ENDPOINT".into(), endpoint);
    write(&node.path("/etc/machine-id"), "22222222222222222222222222222222\n");
    node.put_fixture("v3423-single-snap-trimmed");
    node.save();
    let member = node.path("/var/lib/etcd2/member");
    let old = tree(&member);
    let own = record.members.iter().find(|m| m.name == "e2").unwrap().id;
    let is_new = || {
        let ids = datadir::ids(&member.join("wal")).unwrap();
        (ids.cluster_id, ids.member_id) == (record.cluster_id, own)
    };

    let restore = ["restore", "--recovery", &record.token];
    let all = steps(&node, strace, &restore);
    let (mut fenced, mut exchanged) = (0, 0);
    for (i, step) in all.iter().enumerate() {
        node.reset();
        kill_at(&node, strace, &restore, step);
        let places = [vec![member.clone()], node.kept("member.before-restore-")].concat();
        assert!(places.iter().any(|place| tree(place) == old), "{step}: the old data is lost");
        if node.is_fenced() {
            fenced += 1;
        } else {
            assert!(tree(&member) == old || is_new(), "{step}");
        }
        if member.exists() && tree(&member) != old {
            exchanged += 1;
            assert!(is_new(), "{step}");
        }

        node.ok(&restore);
        assert!(is_new() && !node.is_fenced() && node.kept("member.restoring").is_empty(), "{step}");
        let kept = node.kept("member.before-restore-");
        assert!(kept.iter().any(|kept| tree(kept) == old), "{step}: {kept:?}");
        if i % REAL == 0 || i + 1 == all.len() {
            founder.reset();
            for node in [&mut founder, &mut node] {
                node.ok(&["guard"]);
                node.etcd.spawn(&[]).unwrap();
            }
            for node in [&mut founder, &mut node] {
                node.etcd.wait_healthy().unwrap();
                let found = keys::dump(&node.etcd.client_url).unwrap();
                let differences = keys::compare(&keys, &found);
                assert!(differences.is_empty(), "{step}: {differences:?}");
            }
            for node in [&mut founder, &mut node] {
                node.etcd.kill().unwrap();
            }
        }
    }
    assert!(
        fenced > 5 && exchanged > 0,
        "{fenced} of {} steps lie behind the fence, {exchanged} behind it",
        all.len()
    );
}
