//! A member's v3 store restored from a disk that has been through something: a snapshot received
//! from the leader, a learner, leases that ran out meanwhile, a defragmentation.
//! What is expected is what the same etcd makes of the same disk, and what it acknowledged.

use std::thread;
use std::time::{Duration, Instant};

use etcd2_backup::etcd::datadir::{Contents, DataDir};
use etcd2_backup::etcd::wal::Reading;
use serde_json::json;
use testkit::etcd::introduce;
use testkit::node::Node;
use testkit::tools::Tools;
use testkit::v3::{Client, Store, base64};
use testkit::wait;

use crate::PROGRAM;

const LIMIT: Duration = Duration::from_secs(60);

/// With each etcd at hand, side by side: most of a test here is waiting.
pub(crate) fn each(test: impl Fn(&Tools) + Sync) {
    thread::scope(|scope| {
        for tools in Tools::all_with_v3() {
            let test = &test;
            scope.spawn(move || test(tools));
        }
    });
}

pub(crate) fn client(node: &Node) -> Client {
    Client::new(&node.etcd.client_url).unwrap()
}

/// What the store holds, and etcd's sum over it.
pub(crate) fn seen(tools: &Tools, node: &Node) -> (Store, (u64, u64)) {
    let mut v3 = client(node);
    let store = v3.store().unwrap();
    (store.clone(), v3.hash(&tools.etcdctl, store.revision).unwrap())
}

fn put(v3: &mut Client, dir: &str, times: u64) {
    for i in 0..times {
        v3.put(&format!("{dir}/{}", i % 15), &i.to_string()).unwrap();
    }
}

/// Three nodes that are to be one cluster, not started. Each is its own founding member.
pub(crate) fn three(tools: &Tools, snapshot_count: &str) -> Vec<Node> {
    let mut nodes: Vec<Node> = ["e1", "e2", "e3"].map(|name| Node::named(PROGRAM, tools, name)).into();
    introduce(&mut nodes.iter_mut().map(|node| &mut node.etcd).collect::<Vec<_>>());
    for node in &mut nodes {
        node.etcd.set("ETCD_SNAPSHOT_COUNT", snapshot_count);
    }
    nodes
}

pub(crate) fn start(nodes: &mut [Node]) {
    nodes.iter_mut().for_each(|node| node.etcd.spawn(&[]).unwrap());
    nodes.iter_mut().for_each(|node| node.etcd.wait_healthy().unwrap());
}

pub(crate) fn kill(nodes: &mut [Node]) {
    nodes.iter_mut().for_each(|node| node.etcd.kill().unwrap());
}

/// What is on the disk of a node whose etcd does not run.
pub(crate) fn on_disk(node: &Node) -> Contents {
    let dir = DataDir::open(&node.etcd.data_dir, None).unwrap();
    dir.scan_both_stores(Reading::Still).unwrap()
}

/// A follower that missed more than the leader keeps for it (5000 entries behind its snapshot).
#[test]
fn a_snapshot_that_came_from_the_leader_is_restored() {
    each(|tools| {
        let mut nodes = three(tools, "20");
        start(&mut nodes);
        client(&nodes[0]).grant(7, 3600).unwrap();
        client(&nodes[0]).put_leased("/leased", "x", 7).unwrap();
        nodes[2].etcd.kill().unwrap();
        let had = on_disk(&nodes[2]).last().index;
        thread::scope(|scope| {
            for writer in 0..8 {
                let mut v3 = client(&nodes[writer % 2]);
                scope.spawn(move || {
                    for i in 0..680 {
                        let key = format!("/{writer}/{}", i % 9);
                        // It may have been the leader that was killed.
                        wait::until("a write", LIMIT, || v3.put(&key, &i.to_string()).is_ok());
                    }
                });
            }
        });
        nodes[2].etcd.start().unwrap();
        let received = |node: &Node| on_disk(node).log.run_first.is_none_or(|first| first > had + 5000);
        for more in [false, true] {
            let mut v3 = client(&nodes[0]);
            if more {
                put(&mut v3, "/later", 50);
            }
            let before = seen(tools, &nodes[0]);
            wait::until("all applied", LIMIT, || client(&nodes[2]).revision().unwrap() == before.0.revision);
            kill(&mut nodes);
            assert!(received(&nodes[2]), "more {more}: the log goes on from {had}");
            let node = &mut nodes[2];
            node.save();
            node.ok(&["restore", "--source", "local"]);
            node.start_etcd();
            assert_eq!(seen(tools, node), before, "more {more}");
            node.etcd.kill().unwrap();
            node.reset();
            start(&mut nodes);
        }
    });
}

#[test]
fn a_learners_disk_is_restored_as_a_voters_with_a_warning() {
    each(|tools| {
        let mut nodes = three(tools, "30");
        let mut node = nodes.remove(1);
        nodes.truncate(1);
        introduce(&mut [&mut nodes[0].etcd]);
        start(&mut nodes);
        let mut v3 = client(&nodes[0]);
        put(&mut v3, "/before", 40);
        let asked = json!({ "peerURLs": [node.etcd.peer_url], "isLearner": true });
        let added = v3.call("cluster/member/add", &asked).unwrap();
        introduce(&mut [&mut node.etcd, &mut nodes[0].etcd]);
        node.etcd.set("ETCD_INITIAL_CLUSTER_STATE", "existing");
        for (learner, dir) in [(true, "/few"), (true, "/more"), (false, "/voter")] {
            if node.etcd.pid().is_none() {
                node.etcd.spawn(&[]).unwrap();
            }
            if !learner {
                let promote = json!({ "ID": added["member"]["ID"] });
                wait::until("promoted", LIMIT, || v3.call("cluster/member/promote", &promote).is_ok());
                node.etcd.wait_healthy().unwrap();
            }
            // The second time there is a snapshot that has the learner, and the third time one that does not know its vote.
            put(&mut v3, dir, 40);
            let before = seen(tools, &nodes[0]);
            // A learner answers nothing else.
            let mut own = client(&node);
            wait::until("all applied", LIMIT, || {
                own.revision().is_ok_and(|revision| revision == before.0.revision)
            });
            kill(&mut nodes);
            node.etcd.kill().unwrap();
            node.save();
            let plan = node.ok(&["restore", "--source", "local", "--plan"]);
            assert_eq!(plan.contains("the data of a learner"), learner, "{dir}: {plan}");
            node.ok(&["restore", "--source", "local"]);
            node.start_etcd();
            assert_eq!(seen(tools, &node), before, "{dir}");
            let members = client(&node).call("cluster/member/list", &json!({})).unwrap();
            let members = members["members"].as_array().unwrap();
            assert!(members.len() == 1 && members[0]["isLearner"].is_null(), "{members:?}");
            node.etcd.kill().unwrap();
            node.reset();
            nodes[0].etcd.spawn(&[]).unwrap();
            node.etcd.spawn(&[]).unwrap();
            nodes[0].etcd.wait_healthy().unwrap();
            v3 = client(&nodes[0]);
        }
    });
}

/// The leader that a start makes gives each lease its whole time again; only then it can run out.
#[test]
fn a_lease_that_ran_out_while_etcd_was_dead_goes_as_after_any_restart() {
    const SECONDS: u64 = 3;
    each(|tools| {
        let mut node = Node::new(PROGRAM, tools);
        node.etcd.start().unwrap();
        let mut v3 = client(&node);
        v3.grant(7, SECONDS).unwrap();
        let granted = Instant::now();
        v3.put_leased("/leased", "x", 7).unwrap();
        v3.put("/other", "x").unwrap();
        node.etcd.kill().unwrap();
        node.save();
        wait::until("the lease is over", LIMIT, || granted.elapsed() > Duration::from_secs(SECONDS + 1));
        let lives = |node: &mut Node| {
            node.start_etcd();
            let first = client(node).store().unwrap();
            client(node).put("/later", "x").unwrap();
            wait::until("the key is gone", LIMIT, || {
                !client(node).store().unwrap().keys.contains_key(&base64("/leased"))
            });
            // What was written meanwhile is there after one more start, and the key does not come back.
            node.etcd.kill().unwrap();
            node.start_etcd();
            let last = seen(tools, node);
            node.etcd.kill().unwrap();
            (first, last)
        };
        let plain = lives(&mut node);
        let leased = &plain.0.keys[&base64("/leased")];
        assert!(leased.lease == 7 && plain.0.leases.len() == 1, "{:?}", plain.0);
        assert!(
            plain.1.0.leases.is_empty() && plain.1.0.keys.contains_key(&base64("/later")),
            "{:?}",
            plain.1
        );
        node.reset();
        node.ok(&["restore", "--source", "local"]);
        assert_eq!(lives(&mut node), plain);
    });
}

#[test]
fn a_defragmented_db_is_restored_right_behind_it_and_later() {
    each(|tools| {
        for snapshot_count in ["100000", "10"] {
            let mut node = Node::new(PROGRAM, tools);
            node.etcd.set("ETCD_SNAPSHOT_COUNT", snapshot_count);
            node.etcd.start().unwrap();
            for more in [0, 30] {
                let mut v3 = client(&node);
                v3.grant(7 + more, 3600).unwrap();
                for i in 0..120 {
                    v3.put_leased(&format!("/{}", i % 20), &"value ".repeat(200), 7 + more).unwrap();
                }
                let revision = v3.store().unwrap().revision;
                v3.compact(revision - 5).unwrap();
                let size = || node.path("/var/lib/etcd2/member/snap/db").metadata().unwrap().len();
                let before = size();
                v3.call("maintenance/defragment", &json!({})).unwrap();
                // etcd 3.4 and 3.5 have written some pages to it by now.
                assert!(size() < before, "{} of {before}", size());
                put(&mut v3, "/later", more);
                let before = seen(tools, &node);
                node.etcd.kill().unwrap();
                node.ok(&["restore", "--source", "local"]);
                node.start_etcd();
                assert_eq!(seen(tools, &node), before, "{snapshot_count}, {more} more");
            }
        }
    });
}
