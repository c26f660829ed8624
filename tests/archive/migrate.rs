//! Another machine's backup on new machines, with names, URLs and IDs of their own: restored where it lies, or copied first.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use testkit::faults::wrapper::Wrapper;
use testkit::files::{tree, write};
use testkit::keys::{self, Keys};
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

const OLD: &str = "fedcba9876543210fedcba9876543210";

/// What lies in the folder of e1: two generations of a real etcd; its node, still there, and its keys.
fn old_cluster(tools: &Tools) -> (Node, Keys) {
    let mut node = Node::named(PROGRAM, tools, "e1");
    write(&node.path("/etc/machine-id"), format!("{OLD}\n"));
    node.etcd.start().unwrap();
    keys::write_sample(&node.etcd.client_url).unwrap();
    node.ok(&["backup"]);
    fs::remove_file(node.path("/var/lib/etcd2-backup/state.json")).unwrap();
    keys::write_many(&node.etcd.client_url, "/more", 20).unwrap();
    node.ok(&["backup"]);
    let keys = keys::dump(&node.etcd.client_url).unwrap();
    node.etcd.stop().unwrap();
    (node, keys)
}

/// A new machine that uses the same remote.
fn new_machine(tools: &Tools, old: &Node) -> Node {
    let mut node = Node::named(PROGRAM, tools, "q1");
    let endpoint = old.environment["RCLONE_ENDPOINT"].clone();
    node.environment.insert("RCLONE_ENDPOINT".into(), endpoint);
    node
}

fn folder(old: &Node, name: &str) -> PathBuf {
    old.folder().with_file_name(name)
}

fn own(old: &Node) -> PathBuf {
    folder(old, "0123456789abcdef0123456789abcdef")
}

/// Every object of a folder: empty directories are none.
fn objects(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    tree(folder).into_iter().filter_map(|(path, content)| Some((path, content?))).collect()
}

#[track_caller]
fn assert_etcd_has(node: &mut Node, expected: &Keys) {
    node.assert_etcd_has(expected);
    let members = node.etcd.members().unwrap();
    assert_eq!(members.len(), 1, "{members:?}");
    assert_eq!(
        (&members[0].name, &members[0].peer_urls),
        (&"q1".to_owned(), &vec![node.etcd.peer_url.clone()])
    );
}

#[test]
fn another_machine_s_backup_is_restored_on_a_new_machine_without_a_copy() {
    let Some(tools) = Tools::from_env() else { return };
    let (old, keys) = old_cluster(tools);
    let (mut new, before) = (new_machine(tools, &old), objects(&folder(&old, OLD)));
    new.ok(&["restore", "--from", OLD]);
    assert_etcd_has(&mut new, &keys);
    assert_eq!(objects(&folder(&old, OLD)), before);
}

#[test]
fn a_folder_is_copied_by_every_rclone_and_goes_on_as_this_machine_s() {
    let Some(tools) = Tools::from_env() else { return };
    for rclone in tools.rclones() {
        let tools = Tools { rclone, ..tools.clone() };
        let (old, keys) = old_cluster(&tools);
        let (mut new, before) = (new_machine(&tools, &old), objects(&folder(&old, OLD)));
        let log = new.ok(&["migrate", OLD, "--dry-run"]);
        assert!(log.contains("2 objects, of which 2 must be copied") && !own(&old).exists(), "{log}");
        new.ok(&["migrate", OLD]);
        assert_eq!(objects(&own(&old)), before);
        let log = new.ok(&["migrate", OLD]);
        assert!(log.contains("of which 0 must be copied"), "{log}");
        new.ok(&["restore"]);
        assert_etcd_has(&mut new, &keys);
        let log = new.ok(&["backup"]);
        assert!(log.contains("generation 3 begins"), "{log}");
        assert_eq!(objects(&folder(&old, OLD)), before);
        new.etcd.stop().unwrap();
        let log = new.ok(&["restore", "--plan"]);
        assert!(log.contains("generation 3"), "{log}");
    }
}

#[test]
fn a_copy_that_was_killed_goes_on_and_one_that_lost_an_object_says_so() {
    let Some(tools) = Tools::from_env() else { return };
    let (old, _) = old_cluster(tools);
    let mut new = new_machine(tools, &old);
    let before = objects(&folder(&old, OLD));
    let wrapper = Wrapper::new(&mut new, tools);
    // Sends the first object only, and is killed.
    wrapper.instead(r#"[ $VERB = copy ] || exec "$REAL" "$@"; head -n 1 | "$REAL" "$@"; kill -9 $$"#);
    new.environment.insert("ETCD2_BACKUP_RCLONE_TIMEOUT".into(), "15s".into());
    new.refused(&["migrate", OLD], 13, &["it resumes where it stopped"]);
    // An rclone before 1.63 leaves the beginning of an object under its name.
    let there = objects(&own(&old));
    let (first, whole) = there.iter().next().unwrap();
    assert!(there.len() == 1 && before[first] == *whole, "{:?}", there.keys());
    write(&own(&old).join(first), &whole[..whole.len() - 1]);
    // One that says that all is well.
    wrapper.instead(r#"[ $VERB = copy ] || exec "$REAL" "$@"; exit 0"#);
    new.refused(&["migrate", OLD], 13, &["is incomplete in", "it resumes where it stopped"]);
    wrapper.honest();
    new.ok(&["migrate", OLD]);
    assert_eq!(objects(&own(&old)), before);
    wrapper.calls();
    new.ok(&["migrate", OLD]);
    assert!(!wrapper.calls().contains(&"copy".into()), "all was there");
}

#[test]
fn two_histories_are_not_mixed_and_a_copy_by_hand_stays_refused() {
    let Some(tools) = Tools::from_env() else { return };
    let (old, _) = old_cluster(tools);
    let mut new = new_machine(tools, &old);
    new.etcd.start().unwrap();
    new.ok(&["backup"]);
    let before = objects(&own(&old));
    new.refused(
        &["migrate", OLD],
        10,
        &["cannot be merged", "both have a generation 1", "--from MACHINE_ID"],
    );
    // Its second generation alone is numbered differently.
    let (second, content) = objects(&folder(&old, OLD)).into_iter().next_back().unwrap();
    let lone = folder(&old, &"2".repeat(32));
    fs::create_dir_all(lone.join(second.parent().unwrap())).unwrap();
    write(&lone.join(&second), &content);
    new.refused(&["migrate", &"2".repeat(32)], 10, &["cannot be merged", "unrelated histories"]);
    assert_eq!(objects(&own(&old)), before);
    fs::create_dir_all(own(&old).join(second.parent().unwrap())).unwrap();
    write(&own(&old).join(&second), &content);
    new.etcd.stop().unwrap();
    new.refused(&["restore"], 10, &["the remote directory holds unrelated histories"]);
    new.refused(&["migrate", &"3".repeat(32)], 12, &["there is no backup in"]);
    new.refused(&["migrate", "0123456789abcdef0123456789abcdef"], 2, &["own prefix"]);
}

#[test]
fn the_original_s_two_folders_are_copied() {
    let Some(tools) = Tools::from_env() else { return };
    let old = Node::new(PROGRAM, tools);
    let keys = old.put_fixture("v3423-single-snap-trimmed");
    for name in [OLD.to_owned(), format!("{OLD}_backup")] {
        let target = folder(&old, &name);
        fs::create_dir_all(&target).unwrap();
        let mut copy = std::process::Command::new("cp");
        assert!(
            copy.arg("-r").arg(old.path("/var/lib/etcd2/member")).arg(target).status().unwrap().success()
        );
    }
    let mut new = new_machine(tools, &old);
    new.ok(&["migrate", OLD]);
    for suffix in ["", "_backup"] {
        let copied = folder(&old, &format!("0123456789abcdef0123456789abcdef{suffix}"));
        assert_eq!(objects(&copied), objects(&folder(&old, &format!("{OLD}{suffix}"))));
    }
    new.ok(&["restore"]);
    assert_etcd_has(&mut new, &keys);
}
