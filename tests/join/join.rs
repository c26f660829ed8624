//! `join` against real etcd: who comes in, who is kept out, and what is on the disk and in the member list afterwards.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use etcd2_backup::etcd::datadir;
use etcd2_backup::node::identity;
use etcd2_backup::sys::root::Root;
use serde_json::Value;
use testkit::etcd::Listed;
use testkit::files::tree;
use testkit::keys::{self, Client, Keys};
use testkit::node::{Node, Run};
use testkit::tools::{Tools, etcd_version};

use crate::PROGRAM;

/// A founding member that runs and has keys, and the nodes that want in.
struct Nodes {
    founder: Node,
    others: Vec<Node>,
    keys: Keys,
    /// The same by the v3 API, where no other is served.
    by_v3: Option<Value>,
}

/// Which API the members serve.
#[derive(Clone, Copy, PartialEq)]
enum Serve {
    V2,
    V3Alone,
}

impl Nodes {
    fn new(names: &[&str]) -> Option<Self> {
        Self::that(Serve::V2, names)
    }

    /// Nothing where etcd has no way to serve but that.
    fn that(serve: Serve, names: &[&str]) -> Option<Self> {
        let tools = Tools::from_env()?;
        if serve == Serve::V3Alone && etcd_version(&tools.etcd).unwrap() < (3, 4) {
            return None;
        }
        let mut founder = Node::named(PROGRAM, tools, "e1");
        let mut others: Vec<Node> = names.iter().map(|name| Node::joining(tools, name, &founder)).collect();
        if serve == Serve::V3Alone {
            [&mut founder].into_iter().chain(&mut others).for_each(|node| node.etcd.without_v2());
            founder.etcd.start().unwrap();
            for pair in [r#"{"key": "YQ==", "value": "MQ=="}"#, r#"{"key": "Yi9j", "value": "Mg=="}"#] {
                founder.etcd.ask_v3("kv/put", pair).unwrap();
            }
            let by_v3 = Some(v3_keys(&founder));
            return Some(Self { founder, others, keys: Keys::new(), by_v3 });
        }
        founder.etcd.start().unwrap();
        keys::write_sample(&founder.etcd.client_url).unwrap();
        let keys = keys::dump(&founder.etcd.client_url).unwrap();
        Some(Self { founder, others, keys, by_v3: None })
    }

    /// The founder with these nodes as members that run.
    fn joined(serve: Serve, names: &[&str]) -> Option<Self> {
        let mut nodes = Self::that(serve, names)?;
        for node in &mut nodes.others {
            node.ok(&["join"]);
            node.start_etcd();
            node.ok(&["join"]);
        }
        Some(nodes)
    }

    fn listed(&self) -> Vec<Listed> {
        self.founder.etcd.members().unwrap()
    }

    /// The one entry with this node's peer URL.
    #[track_caller]
    fn entry(&self, node: &Node) -> Listed {
        let urls = [node.etcd.peer_url.clone()];
        let mut own: Vec<Listed> = self.listed().into_iter().filter(|m| m.peer_urls == urls).collect();
        assert_eq!(own.len(), 1, "{:?}", self.listed());
        own.remove(0)
    }

    #[track_caller]
    fn assert_has_all(&self, node: &Node) {
        if let Some(expected) = &self.by_v3 {
            assert_eq!(&v3_keys(node), expected, "{}", node.etcd.name);
            return;
        }
        let found = Client::new(&node.etcd.client_url).unwrap().dump_local().unwrap();
        let differences = keys::compare(&self.keys, &found);
        assert!(differences.is_empty(), "{}: {differences:?}", node.etcd.name);
    }
}

/// All keys of the v3 store that this member has applied.
fn v3_keys(node: &Node) -> Value {
    let all = r#"{"key": "AA==", "range_end": "AA==", "serializable": true}"#;
    let mut answer = node.etcd.ask_v3("kv/range", all).unwrap();
    assert!(answer["kvs"].as_array().is_some_and(|kvs| !kvs.is_empty()), "{answer}");
    answer["kvs"].take()
}

/// The member ID in the stamp, as etcd writes it.
fn stamped(node: &Node) -> Option<String> {
    identity::load(&Root::new(node.root())).unwrap().map(|i| format!("{:x}", i.member_id))
}

#[test]
fn two_nodes_join_one_after_the_other() {
    two_nodes_join(Serve::V2);
}

#[test]
fn two_nodes_join_where_the_v3_api_alone_is_served() {
    two_nodes_join(Serve::V3Alone);
}

fn two_nodes_join(serve: Serve) {
    let Some(mut nodes) = Nodes::that(serve, &["e2", "e3"]) else { return };
    for i in 0..2 {
        let node = &nodes.others[i];
        let log = node.ok(&["join"]);
        assert!(log.contains("start etcd as usual"), "{log}");
        let entry = nodes.entry(node);
        assert_eq!((entry.name.as_str(), nodes.listed().len()), ("", i + 2));
        let ids = datadir::ids(&node.path("/var/lib/etcd2/member/wal")).unwrap();
        assert_eq!(format!("{:x}", ids.member_id), entry.id);
        assert_eq!(stamped(node), None);

        nodes.others[i].start_etcd();
        let node = &nodes.others[i];
        let log = node.ok(&["join"]);
        assert!(log.contains("has caught up with cluster"), "{log}");
        assert_eq!(stamped(node), Some(entry.id.clone()));
        assert_eq!(nodes.entry(node).name, node.etcd.name);
        nodes.assert_has_all(node);
    }

    // Again: nothing changes, whether it runs or is stopped with its data.
    let (before, id) = (nodes.listed(), stamped(&nodes.others[1]));
    let log = nodes.others[1].ok(&["join"]);
    assert!(log.contains("this node already runs as member"), "{log}");
    nodes.others[1].etcd.stop().unwrap();
    let log = nodes.others[1].ok(&["join", "--no-start"]);
    assert!(log.contains("starting it unchanged") && log.contains("start etcd as usual"), "{log}");
    assert!(nodes.others[1].kept("member.").is_empty());
    nodes.others[1].start_etcd();
    nodes.others[1].ok(&["join"]);
    assert_eq!((nodes.listed(), stamped(&nodes.others[1])), (before, id));
    nodes.assert_has_all(&nodes.others[1]);
}

#[test]
fn an_entry_that_never_started_is_used_again_and_nobody_else_comes_in_meanwhile() {
    an_entry_is_used_again(Serve::V2);
}

#[test]
fn an_entry_that_never_started_where_the_v3_api_alone_is_served() {
    an_entry_is_used_again(Serve::V3Alone);
}

fn an_entry_is_used_again(serve: Serve) {
    let Some(mut nodes) = Nodes::that(serve, &["e2", "e3"]) else { return };
    nodes.others[0].ok(&["join", "--no-start"]);
    let entry = nodes.entry(&nodes.others[0]);
    // Two members of which one runs: no quorum, and no leader to ask.
    let log = nodes.others[0].ok(&["join"]);
    assert!(log.contains("starting it unchanged"), "{log}");
    assert_eq!(nodes.entry(&nodes.others[0]), entry);
    // Bounded, and it says for whom it waits.
    let half_in = format!("waiting: member {} ({}) was added", entry.id, nodes.others[0].etcd.peer_url);
    let words = [&*half_in, "was added and has not started", "member remove"];
    nodes.others[1].refused(&["join", "--wait", "1s"], 10, &words);
    assert!(!nodes.others[1].is_fenced());
    nodes.others[0].start_etcd();
    nodes.others[0].ok(&["join"]);
    nodes.assert_has_all(&nodes.others[0]);
    assert_eq!(nodes.entry(&nodes.others[0]).id, entry.id);
}

/// Two nodes whose joins began at the same moment. Who gets in first has to start before the other one can follow.
#[test]
fn two_joins_at_the_same_moment_take_turns() {
    let Some(mut nodes) = Nodes::new(&["e2", "e3"]) else { return };
    let mut joins: Vec<Option<Child>> = nodes
        .others
        .iter()
        .map(|n| n.command(&["join"]).stderr(Stdio::piped()).spawn().map(Some).unwrap())
        .collect();
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut came_in = 0;
    while came_in < 2 {
        assert!(Instant::now() < deadline, "{:?}", nodes.listed());
        for (node, join) in nodes.others.iter_mut().zip(&mut joins) {
            let Some(child) = join else { continue };
            if child.try_wait().unwrap().is_none() {
                continue;
            }
            let run = Run::from(join.take().unwrap().wait_with_output().unwrap());
            assert_eq!(run.code, 0, "{}", run.log);
            node.start_etcd();
            node.ok(&["join"]);
            came_in += 1;
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(nodes.listed().len(), 3);
    nodes.others.iter().for_each(|n| nodes.assert_has_all(n));
}

#[test]
fn the_founding_member_and_a_dead_one_are_said_so() {
    let Some(mut nodes) = Nodes::new(&["e2"]) else { return };
    let before = nodes.listed();
    nodes.founder.refused(&["join"], 10, &["this node is the founding member", "etcd2-restore.service"]);
    assert_eq!(nodes.listed(), before);
    nodes.founder.etcd.stop().unwrap();
    let untouched = tree(&nodes.others[0].path("/etc"));
    nodes.others[0].refused(&["join"], 16, &["the founding member does not answer"]);
    assert_eq!(tree(&nodes.others[0].path("/etc")), untouched);
    assert!(!nodes.others[0].path("/var/lib/etcd2").exists());
}

#[test]
fn data_of_another_cluster_is_set_aside() {
    let Some(mut nodes) = Nodes::new(&["e2"]) else { return };
    let node = &mut nodes.others[0];
    node.put_fixture("v3423-single-snap-trimmed");
    node.ok(&["backup"]);
    assert!(stamped(node).is_some());
    let member = node.path("/var/lib/etcd2/member");
    let old = tree(&member);
    let log = node.ok(&["join"]);
    let kept = node.kept("member.before-join-");
    assert_eq!((kept.len(), member.exists()), (1, true));
    assert!(log.contains(&format!("the old data is kept as {}", kept[0].display())), "{log}");
    node.start_etcd();
    node.ok(&["join"]);
    assert_eq!(tree(&kept[0]), old);
    nodes.assert_has_all(&nodes.others[0]);
}

#[test]
fn a_wiped_member_is_replaced_while_others_have_a_quorum() {
    a_wiped_member_is_replaced(Serve::V2);
}

#[test]
fn a_wiped_member_is_replaced_where_the_v3_api_alone_is_served() {
    a_wiped_member_is_replaced(Serve::V3Alone);
}

fn a_wiped_member_is_replaced(serve: Serve) {
    let Some(mut nodes) = Nodes::joined(serve, &["e2", "e3"]) else { return };
    let old = nodes.entry(&nodes.others[1]);
    let node = &mut nodes.others[1];
    node.etcd.kill().unwrap();
    fs::remove_dir_all(node.path("/var/lib/etcd2")).unwrap();
    node.refused(&["guard"], 10, &["no longer holds a WAL"]);
    let log = node.ok(&["join"]);
    assert!(log.contains("but its data is gone: removing that member first"), "{log}");
    let new = nodes.entry(&nodes.others[1]);
    assert!(new.id != old.id && nodes.listed().len() == 3, "{:?}", nodes.listed());
    nodes.others[1].start_etcd();
    nodes.others[1].ok(&["join"]);
    assert_eq!(stamped(&nodes.others[1]), Some(new.id));
    nodes.assert_has_all(&nodes.others[1]);
}

#[test]
fn with_one_started_member_nothing_is_removed() {
    let Some(mut nodes) = Nodes::joined(Serve::V2, &["e2"]) else { return };
    let before = nodes.listed();
    let node = &mut nodes.others[0];
    node.etcd.kill().unwrap();
    fs::remove_dir_all(node.path("/var/lib/etcd2")).unwrap();
    node.refused(&["join"], 10, &["it cannot be removed", "restore --source local"]);
    assert!(!node.is_fenced());
    node.refused(&["guard"], 10, &["no longer holds a WAL"]);
    assert_eq!(nodes.listed(), before);

    // The way out that was named.
    nodes.founder.etcd.stop().unwrap();
    nodes.founder.ok(&["restore", "--source", "local"]);
    nodes.founder.start_etcd();
    nodes.others[0].ok(&["join"]);
    nodes.others[0].start_etcd();
    nodes.others[0].ok(&["join"]);
    assert_eq!(nodes.listed().len(), 2);
    nodes.assert_has_all(&nodes.others[0]);
}

/// Restore would make a second cluster, and says join; join goes through the others.
#[test]
fn a_founding_member_that_is_lost_comes_back_through_the_others() {
    let Some(mut nodes) = Nodes::joined(Serve::V2, &["e2", "e3"]) else { return };
    let all: Vec<String> = std::iter::once(&nodes.founder)
        .chain(&nodes.others)
        .map(|node| format!("{}={}", node.etcd.name, node.etcd.peer_url))
        .collect();
    let founder = &mut nodes.founder;
    founder.etcd.kill().unwrap();
    fs::remove_dir_all(founder.path("/var/lib/etcd2")).unwrap();
    // Nothing says who else is there.
    founder.refused(
        &["join"],
        10,
        &["this node knows no other member", "etcd2-restore.service", "set-founder http://HOST:2380"],
    );
    founder.environment.insert("ETCD_INITIAL_CLUSTER".into(), all.join(","));
    let joined = founder.ok(&["join"]);
    assert!(joined.contains("its cluster runs without it: joining through"), "{joined}");
    founder.start_etcd();
    founder.ok(&["join"]);
    let differences = keys::compare(&nodes.keys, &keys::dump(&founder.etcd.client_url).unwrap());
    assert!(differences.is_empty(), "{differences:?}");
    assert_eq!(nodes.listed().len(), 3);

    // A founding member that is gone for good keeps nobody out either. Its last backup noted who else was there.
    let lost = &mut nodes.others[1];
    lost.ok(&["backup"]);
    lost.etcd.kill().unwrap();
    fs::remove_dir_all(lost.path("/var/lib/etcd2")).unwrap();
    lost.environment.insert("ETCD_RESTORE_MASTER_ADV_PEER_URLS".into(), "http://127.0.0.1:1".into());
    let joined = lost.ok(&["join"]);
    assert!(joined.contains("the founding member does not answer"), "{joined}");
    lost.start_etcd();
    lost.ok(&["join"]);
    assert_eq!(nodes.listed().len(), 3);
}
