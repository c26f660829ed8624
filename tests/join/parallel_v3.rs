//! Three members with v3 data, written from one disk: what they hold together is what the old cluster acknowledged. Each real
//! etcd from 3.4 on, three members that were killed at random moments under writes.

use std::time::Duration;

use testkit::files::write;
use testkit::keys;
use testkit::node::Node;
use testkit::tools::Tools;
use testkit::v3::{Client, Store};
use testkit::wait;

use crate::PROGRAM;

/// Three nodes with one remote, whose etcds are one cluster.
struct Three {
    nodes: Vec<Node>,
    list: String,
}

impl Three {
    fn new(tools: &Tools) -> Self {
        let mut nodes = vec![Node::named(PROGRAM, tools, "e1")];
        for (name, digit) in [("e2", '2'), ("e3", '3')] {
            let mut node = Node::joining(tools, name, &nodes[0]);
            node.back_up_beside(&nodes[0], digit);
            nodes.push(node);
        }
        let list: Vec<String> =
            nodes.iter().map(|n| format!("{}={}", n.etcd.name, n.etcd.peer_url)).collect();
        let list = list.join(",");
        for node in &mut nodes {
            node.etcd.set("ETCD_INITIAL_CLUSTER", &list);
            node.etcd.set("ETCD_SNAPSHOT_COUNT", "50");
        }
        nodes.iter_mut().for_each(|n| n.etcd.spawn(&[]).unwrap());
        nodes.iter_mut().for_each(|n| n.etcd.wait_healthy().unwrap());
        Self { nodes, list }
    }

    fn client(&self, node: usize) -> Client {
        Client::new(&self.nodes[node].etcd.client_url).unwrap()
    }

    /// The first one's disk is restored, and the others get what it was made of as a file.
    fn write_all_from_the_first(&self, more: &[&str]) {
        let record = founded(&self.nodes[0], &self.list, more);
        let part = self.nodes[0].path("/part").to_str().unwrap().to_owned();
        let exported = self.nodes[0].command(&["export", "--recovery-file", &record]).output().unwrap();
        assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
        let whole = exported.stdout;
        let arguments = ["restore", "--recovery-file", &record, "--source-file", &part];
        let mut damaged = whole.clone();
        damaged[whole.len() / 3] ^= 1;
        write(part.as_ref(), &damaged);
        self.nodes[1].refused(&arguments, 11, &["its checksum is wrong"]);
        write(part.as_ref(), &whole);
        self.nodes[1].ok(&arguments);
        self.nodes[2].ok(&arguments);
    }

    /// All start together; what each of them holds, once it has applied all.
    fn start(&mut self) -> Store {
        for node in &mut self.nodes {
            node.ok(&["guard"]);
            node.etcd.spawn(&[]).unwrap();
        }
        self.nodes.iter_mut().for_each(|n| n.etcd.wait_healthy().unwrap());
        let mut stores = Vec::new();
        wait::until("members with the same store", Duration::from_secs(60), || {
            stores = (0..3).map(|n| self.client(n).store().unwrap()).collect();
            stores.iter().all(|store| *store == stores[0])
        });
        stores.remove(0)
    }
}

fn founded(node: &Node, list: &str, arguments: &[&str]) -> String {
    let arguments =
        [&["restore", "--json", "--source", "local", "--initial-cluster", list], arguments].concat();
    let output = node.command(&arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = node.path("/record");
    write(&path, output.stdout);
    path.to_str().unwrap().to_owned()
}

#[test]
fn three_members_are_written_from_one_disk_and_nothing_acknowledged_is_missing() {
    for tools in Tools::all_with_v3() {
        let mut three = Three::new(tools);
        let mut v3 = three.client(0);
        let mut acknowledged = 0;
        v3.grant(7, 3600).unwrap();
        for i in 0..120 {
            let (key, lease) = (format!("/registry/{}", i % 50), if i % 3 == 0 { 7 } else { 0 });
            // What is not acknowledged, while the cluster looks for a leader, may be there or not.
            wait::until("acknowledged write", Duration::from_secs(60), || {
                let told = v3.put_leased(&key, &i.to_string(), lease);
                acknowledged = told.as_ref().map_or(acknowledged, |revision| *revision);
                told.is_ok()
            });
            // A member dies and comes back while others are written to.
            match i {
                40 => three.nodes[2].etcd.kill().unwrap(),
                80 => three.nodes[2].etcd.start().unwrap(),
                _ => {}
            }
        }
        assert_eq!(v3.store().unwrap().revision, acknowledged);
        for (more, moved) in [(&[][..], true), (&["--no-bump"], false)] {
            let before = three.client(0).store().unwrap();
            three.nodes.iter_mut().for_each(|node| node.etcd.kill().unwrap());
            three.write_all_from_the_first(more);
            let after = three.start();
            assert_eq!(after.revision > before.revision + 100_000, moved, "{}", after.revision);
            assert_eq!(Store { revision: before.revision, ..after }, before);
            assert_eq!(three.nodes[1].etcd.members().unwrap().len(), 3);
            let sums: Vec<_> = (0..3).map(|n| three.client(n).hash(&tools.etcdctl, 0).unwrap()).collect();
            assert!(sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
        }
    }
}

/// A backup without the v3 store cannot be what a member of this cluster begins with.
#[test]
fn who_joins_a_v3_store_that_came_from_a_disk_holds_the_same() {
    for tools in Tools::all_with_v3() {
        let mut founder = Node::named(PROGRAM, tools, "e1");
        founder.etcd.start().unwrap();
        keys::write_many(&founder.etcd.client_url, "/v2", 5).unwrap();
        founder.ok(&["backup"]);
        founder.environment.insert("ETCD2_BACKUP_V2_ONLY".into(), "true".into());
        let mut v3 = Client::new(&founder.etcd.client_url).unwrap();
        for i in 0..30 {
            v3.put(&format!("/registry/{i}"), "before the backup").unwrap();
        }
        founder.ok(&["backup"]);
        v3.put("/registry/1", "after it").unwrap();
        let before = v3.store().unwrap();
        founder.etcd.kill().unwrap();
        founder.ok(&["restore", "--source", "local"]);
        founder.start_etcd();

        let mut node = Node::joining(tools, "e2", &founder);
        node.back_up_beside(&founder, '2');
        let log = node.ok(&["join"]);
        assert!(log.contains("the backup leaves out what the member had in the v3 store"), "{log}");
        node.start_etcd();
        node.ok(&["join"]);
        let client = |node: &Node| Client::new(&node.etcd.client_url).unwrap();
        let after = client(&node).store().unwrap();
        assert_eq!(Store { revision: before.revision, ..after }, before);
        let sum = |node: &Node| client(node).hash(&tools.etcdctl, 0).unwrap();
        wait::until("equal sums", Duration::from_secs(60), || sum(&node) == sum(&founder));
    }
}

/// From the archive, or from a disk with a backup before it: a seed has both stores, and the leader sends only what came after it.
#[test]
fn who_joins_begins_with_the_v3_store_of_a_backup_and_holds_the_same() {
    for tools in Tools::all_with_v3() {
        for source in [&[][..], &["--source", "local"]] {
            let mut founder = Node::named(PROGRAM, tools, "e1");
            founder.etcd.set("ETCD_SNAPSHOT_COUNT", "50");
            founder.etcd.start().unwrap();
            let mut v3 = Client::new(&founder.etcd.client_url).unwrap();
            for i in 0..90 {
                v3.put(&format!("/some/{i}"), "before the base").unwrap();
            }
            founder.ok(&["backup"]);
            v3.grant(7, 3600).unwrap();
            for i in 0..20 {
                v3.put_leased(&format!("/some/{i}"), "behind it", 7).unwrap();
            }
            founder.ok(&["backup"]);
            if !source.is_empty() {
                v3.put("/some/more", "on the disk alone").unwrap();
            }
            let before = v3.store().unwrap();
            founder.etcd.kill().unwrap();
            founder.ok(&[&["restore"], source].concat());
            founder.start_etcd();

            let mut node = Node::joining(tools, "e2", &founder);
            node.back_up_beside(&founder, '2');
            let log = node.ok(&["join"]);
            assert!(log.contains("will be seeded from"), "{log}");
            node.start_etcd();
            node.ok(&["join"]);
            let client = |node: &Node| Client::new(&node.etcd.client_url).unwrap();
            assert_eq!(client(&node).store().unwrap(), before, "{log}");
            let sum = |node: &Node| client(node).hash(&tools.etcdctl, 0).unwrap();
            wait::until("equal sums", Duration::from_secs(60), || sum(&node) == sum(&founder));
        }
    }
}

/// Every member of a parallel recovery brings the same generation with its pieces from the remote.
#[test]
fn three_members_are_written_from_one_generation() {
    let Some(tools) = Tools::all_with_v3().into_iter().next() else { return };
    let mut three = Three::new(tools);
    let mut v3 = three.client(0);
    for i in 0..80 {
        v3.put(&format!("/registry/{i}"), "before the base").unwrap();
    }
    three.nodes[0].ok(&["backup"]);
    v3.put("/registry/1", "behind it").unwrap();
    three.nodes[0].ok(&["backup"]);
    let before = v3.store().unwrap();
    three.nodes.iter_mut().for_each(|node| node.etcd.kill().unwrap());
    three.nodes[0].destroy_data().unwrap();
    three.nodes[0].ok(&["restore", "--initial-cluster", &three.list]);
    for node in &three.nodes[1..] {
        node.ok(&["restore", "--recovery"]);
    }
    let after = three.start();
    assert!(after.revision > before.revision + 100_000, "{}", after.revision);
    assert_eq!(Store { revision: before.revision, ..after }, before);
    let sums: Vec<_> = (0..3).map(|n| three.client(n).hash(&tools.etcdctl, 0).unwrap()).collect();
    assert!(sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
}
