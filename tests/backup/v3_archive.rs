//! The v3 store in the archive: bases beside the cycles, and what they and the log behind them lead to. Real etcd, real rclone.

use std::fs;
use std::path::PathBuf;

use testkit::faults::wrapper::Wrapper;
use testkit::files;
use testkit::node::Node;
use testkit::tools::Tools;
use testkit::v3::{Client, Store};

use crate::PROGRAM;

/// A node with an etcd that holds keys of the v3 store.
pub(crate) fn written(tools: &Tools, snapshot_count: &str) -> Node {
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.set("ETCD_SNAPSHOT_COUNT", snapshot_count);
    node.etcd.start().unwrap();
    put(&node, "/first", 0..40);
    node
}

pub(crate) fn client(node: &Node) -> Client {
    Client::new(&node.etcd.client_url).unwrap()
}

pub(crate) fn put(node: &Node, dir: &str, numbers: std::ops::Range<u64>) {
    let mut v3 = client(node);
    for n in numbers {
        v3.put(&format!("{dir}/{n}"), &format!("value {n}")).unwrap();
    }
}

/// What the store holds, and etcd's sum over it.
pub(crate) fn seen(tools: &Tools, node: &Node) -> (Store, (u64, u64)) {
    let mut v3 = client(node);
    let store = v3.store().unwrap();
    (store.clone(), v3.hash(&tools.etcdctl, store.revision).unwrap())
}

/// The names of the objects of this kind, by generation.
pub(crate) fn of_kind(node: &Node, kind: &str) -> Vec<PathBuf> {
    node.objects().into_iter().filter(|path| path.extension().is_some_and(|e| e == kind)).collect()
}

#[test]
fn a_generation_begins_with_the_store_and_goes_on_by_the_log_alone() {
    for tools in Tools::all_with_v3() {
        for snapshot_count in ["100000", "10"] {
            let mut node = written(tools, snapshot_count);
            let log = node.ok(&["backup"]);
            assert!(
                log.contains("took a base of the v3 store: ") && log.contains("generation 1 begins"),
                "{log}"
            );
            assert_eq!((of_kind(&node, "piece").len(), of_kind(&node, "part").len()), (1, 1), "{log}");
            put(&node, "/second", 0..30);
            let log = node.ok(&["backup"]);
            assert!(!log.contains("base"), "{log}");
            assert_eq!((of_kind(&node, "piece").len(), of_kind(&node, "part").len()), (1, 2), "{log}");
            // Nothing is due; what is asked for is taken, and the generation before it goes on until it is there.
            assert!(node.ok(&["base"]).contains("no base of the v3 store is due"));
            put(&node, "/third", 0..30);
            assert!(node.ok(&["base", "--now"]).contains("waits for the next backup"));
            put(&node, "/fourth", 0..10);
            let log = node.ok(&["backup"]);
            assert!(log.contains("generation 2 begins with a base of the v3 store"), "{log}");
            assert!(!node.path("/var/lib/etcd2-backup/base").exists());
            put(&node, "/fifth", 0..10);
            node.ok(&["backup"]);

            let before = seen(tools, &node);
            node.etcd.kill().unwrap();
            node.destroy_data().unwrap();
            let log = node.ok(&["restore", "--no-bump"]);
            assert!(!log.contains("only the v2 store"), "{log}");
            node.start_etcd();
            assert_eq!(seen(tools, &node), before, "{snapshot_count}\n{log}");
        }
    }
}

/// What was sent of a base is not sent again, and no other copy is taken for it.
#[test]
fn a_base_that_was_cut_off_goes_on_where_it_ended() {
    let all = Tools::all_with_v3();
    let Some(&tools) = all.first() else { return };
    let mut node = written(tools, "100000");
    let wrapper = Wrapper::new(&mut node, tools);
    node.ok(&["backup"]);
    // More than one piece.
    let large = "x".repeat(1 << 20);
    for n in 0..80 {
        client(&node).put(&format!("/large/{n}"), &large).unwrap();
    }
    let second = node.root().with_file_name("second");
    let cut = |verb: &str| {
        let second = second.display();
        wrapper.instead(&format!(
            "if [ $VERB = {verb} ]; then [ -e {second} ] && exit 1; touch {second}; fi; exec \"$REAL\" \"$@\""
        ));
    };
    cut("copy");
    node.refused(&["base", "--now"], 13, &["rclone"]);
    assert_eq!(of_kind(&node, "piece").len(), 2, "one of each base");
    wrapper.honest();
    put(&node, "/later", 0..10);
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation=1 part=1"), "{log}");
    let log = node.ok(&["base"]);
    assert!(log.contains("the base is in the remote: ") && !log.contains("took a base"), "{log}");
    assert_eq!(of_kind(&node, "piece").len(), 3);
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation 2 begins"), "{log}");
    assert!(node.run(&["verify"]).answer.contains("generation 2"));

    // Of each of its objects a byte is altered, or it is cut off, or gone: never is it taken for a base.
    let before = seen(tools, &node);
    node.etcd.kill().unwrap();
    let newest = node.objects().into_iter().filter(|path| path.to_string_lossy().starts_with("00000002-"));
    let newest: Vec<PathBuf> = newest.map(|path| node.folder().join(path)).collect();
    assert_eq!(newest.len(), 3);
    let state = node.path("/var/lib/etcd2-backup/state.json");
    let known = fs::read(&state).unwrap();
    for path in newest {
        // A base that is gone never was one, as pieces alone are none.
        let is_part = path.extension().is_some_and(|e| e == "part");
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        for (what, bytes) in
            [("flipped", Some(&flipped[..])), ("cut", Some(&whole[..whole.len() / 2])), ("gone", None)]
        {
            match bytes {
                Some(bytes) => files::write(&path, bytes),
                None if is_part => continue,
                None => fs::remove_file(&path).unwrap(),
            }
            // What was found damaged is forgotten, and so is that it was once there.
            files::write(&state, &known);
            let (verify, restore) = (node.run(&["verify"]), node.run(&["restore", "--plan"]));
            assert_eq!(
                (verify.code, restore.code),
                (11, 11),
                "{what} {}: {}{}",
                path.display(),
                verify.log,
                restore.log
            );
        }
        files::write(&path, &whole);
    }
    node.ok(&["restore", "--no-bump"]);
    node.start_etcd();
    assert_eq!(seen(tools, &node), before);
}
