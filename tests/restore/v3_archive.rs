//! A member with data in the v3 store, restored from the archive: at the newest point and at every one before it, down to the last entry
//! of the store that the generation begins with. Each real etcd from 3.4 on.

use std::fs;

use testkit::node::Node;
use testkit::tools::Tools;
use testkit::v3::{Client, Store};

use crate::PROGRAM;
use crate::in_pieces::Generation;

fn client(node: &Node) -> Client {
    Client::new(&node.etcd.client_url).unwrap()
}

/// What a store holds, and etcd's sum over it.
type Seen = (Store, (u64, u64));

fn seen(tools: &Tools, node: &Node) -> Seen {
    let mut v3 = client(node);
    let store = v3.store().unwrap();
    (store.clone(), v3.hash(&tools.etcdctl, store.revision).unwrap())
}

fn write(node: &Node, dir: &str) {
    let mut v3 = client(node);
    for i in 0..30 {
        v3.put(&format!("{dir}/{}", i % 11), &format!("value {i}")).unwrap();
    }
    v3.delete(&format!("{dir}/3")).unwrap();
    let lease = 1000 * dir.bytes().map(u64::from).sum::<u64>();
    v3.grant(lease, 3600).unwrap();
    v3.put_leased(&format!("{dir}/leased"), "x", lease).unwrap();
}

/// A node with a generation of three parts, a minute after each other from 1,000,000,000 on; the last entry of each, and what the node
/// had with it; and the lowest index that can be restored.
fn backed_up(tools: &Tools, snapshot_count: &str, dir: &str) -> (Node, Vec<(u64, Seen)>, u64) {
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.set("ETCD_SNAPSHOT_COUNT", snapshot_count);
    node.etcd.start().unwrap();
    write(&node, dir);
    let mut all = vec![seen(tools, &node)];
    // What is killed may have nothing of it in its db yet.
    node.etcd.stop().unwrap();
    let mut generation = Generation::begin(&node, 1, 1_000_000_000);
    let mut ends = vec![generation.last()];
    for minute in 1..3 {
        node.etcd.start().unwrap();
        write(&node, &format!("{dir}/of/{minute}"));
        all.push(seen(tools, &node));
        node.etcd.kill().unwrap();
        generation.add(&node, 1_000_000_000 + 60 * minute);
        ends.push(generation.last());
    }
    (node, ends.into_iter().zip(all).collect(), generation.lowest)
}

#[test]
fn every_point_from_the_base_on_comes_back_and_none_before_it() {
    for (at, tools) in Tools::all_with_v3().into_iter().enumerate() {
        // Without a `.snap`, and with some.
        for snapshot_count in &["100000", "10"][at.min(1)..] {
            let (mut node, points, lowest) = backed_up(tools, snapshot_count, "/some");
            let what = format!("{} {snapshot_count}", tools.etcd.display());
            node.destroy_data().unwrap();
            let listed = node.run(&["list", "--json"]).answer;
            let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
            let listed = &listed["machines"][0]["generations"][0];
            assert_eq!((&listed["first_index"], &listed["v3"]), (&lowest.into(), &true.into()));
            let rehearsed = node.run(&["rehearse", "--etcd", tools.etcd.to_str().unwrap()]);
            let said = rehearsed.answer.contains("HashKV") || rehearsed.answer.contains("not compared");
            assert!(rehearsed.code == 0 && said, "{}{}", rehearsed.answer, rehearsed.log);
            let newest = points.last().unwrap();
            let log = node.ok(&["restore"]);
            assert!(!log.contains("only the v2 store"), "{log}");
            node.start_etcd();
            assert_eq!(seen(tools, &node), newest.1, "{what}");
            node.etcd.kill().unwrap();
            for (index, expected) in points.iter().rev() {
                node.ok(&["restore", "--raft-index", &index.to_string()]);
                node.start_etcd();
                assert_eq!(seen(tools, &node), *expected, "{what} {index}");
                node.etcd.kill().unwrap();
            }
            node.ok(&["restore", "--plan", "--raft-index", &lowest.to_string()]);
            let before = (lowest - 1).to_string();
            let nearest = format!("the nearest that can be restored: {lowest}");
            for more in [&[][..], &["--generation", "1"]] {
                let arguments = [&["restore", "--raft-index", &before], more].concat();
                node.refused(&arguments, 12, &[&nearest, "list --points"]);
            }
            node.refused(
                &["restore", "--at", "2001-09-09T01:46:39Z"],
                12,
                &["begins later", "list --points"],
            );
            node.ok(&["restore", "--at", "2001-09-09T01:47:45Z"]);
            node.start_etcd();
            assert_eq!(seen(tools, &node), points[1].1, "{what}");
        }
    }
}

#[test]
fn the_revision_moves_beyond_all_that_came_after_an_older_point() {
    let Some(tools) = Tools::all_with_v3().into_iter().next() else { return };
    let (mut node, points, _) = backed_up(tools, "100000", "/registry/pods");
    let revision = |at: usize| points[at].1.0.revision;
    // What it has more than the archive: clients saw that too.
    node.etcd.start().unwrap();
    write(&node, "/registry/more");
    let newest = client(&node).revision().unwrap();
    node.etcd.kill().unwrap();
    let moved = |log: &str| -> u64 {
        let (_, rest) = log.split_once("moves beyond ").unwrap_or_else(|| panic!("{log}"));
        rest.split_once(',').unwrap().0.parse().unwrap()
    };
    let older = points[0].0.to_string();
    let with_disk = moved(&node.ok(&["restore", "--plan", "--raft-index", &older]));
    assert!(with_disk > newest + 100_000, "{with_disk} {newest}");
    node.destroy_data().unwrap();
    let log = node.ok(&["restore", "--raft-index", &older]);
    assert!(moved(&log) > revision(2) + 100_000 && moved(&log) < with_disk, "{log}");
    node.start_etcd();
    let after = client(&node).store().unwrap();
    assert!(after.revision > moved(&log), "{}", after.revision);
    assert_eq!(Store { revision: revision(0), ..after }, points[0].1.0);
    // The restored cluster is one more that clients saw.
    let newest = after.revision;
    node.etcd.kill().unwrap();
    let again = moved(&node.ok(&["restore", "--plan", "--raft-index", &older]));
    assert!(again > newest + 100_000, "{again} {newest}");
}

#[test]
fn a_piece_that_is_damaged_or_gone_is_named() {
    let Some(tools) = Tools::all_with_v3().into_iter().next() else { return };
    let (mut node, _, _) = backed_up(tools, "100000", "/some");
    node.destroy_data().unwrap();
    let pieces: Vec<_> =
        node.objects().into_iter().filter(|p| p.extension().is_some_and(|e| e == "piece")).collect();
    assert_eq!(pieces.len(), 3);
    for piece in pieces {
        let path = node.folder().join(&piece);
        let whole = fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 1;
        testkit::files::write(&path, &damaged);
        let name = piece.file_name().unwrap().to_str().unwrap();
        node.refused(&["restore"], 11, &[name, "is corrupt"]);
        testkit::files::write(&path, &whole[..whole.len() - 1]);
        node.refused(&["restore"], 11, &["the base of generation 1 is missing or truncated"]);
        testkit::files::write(&path, &whole);
    }
    node.ok(&["restore", "--plan"]);
}
