//! What a restore makes of its source, and how it leaves the data directory behind.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use testkit::files::tree;
use testkit::keys::Keys;
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

/// A node with a fixture's data and one backup of it; and its keys.
fn backed_up(fixture: &str) -> Option<(Node, Keys)> {
    let node = Node::new(PROGRAM, Tools::from_env()?);
    let keys = node.put_fixture(fixture);
    node.ok(&["backup"]);
    Some((node, keys))
}

fn data(node: &Node) -> PathBuf {
    node.path("/var/lib/etcd2")
}

#[test]
fn a_snapshot_of_etcd_3_comes_back_from_the_archive_for_etcd_3() {
    let Some((mut node, keys)) = backed_up("v3423-single-snap-trimmed") else { return };
    fs::remove_dir_all(data(&node)).unwrap();
    node.ok(&["restore"]);
    assert!(data(&node).join("member/snap/db").exists());
    node.assert_etcd_has(&keys);
}

/// The log of `v3423-follower-trimmed`: behind the entry before the jump, and in front of the one behind it.
const JUMP: (u64, u64) = (20880, 20944);

#[test]
fn each_backup_of_a_follower_that_receives_a_snapshot_can_be_restored() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    let keys = node.put_fixture("v3423-follower-trimmed");
    let wal = data(&node).join("member/wal/0000000000000000-0000000000000000.wal");
    let snap = data(&node).join("member/snap/0000000000000002-0000000000001658.snap");
    let (whole, aside) = (fs::read(&wal).unwrap(), snap.with_extension("aside"));

    fs::rename(&snap, &aside).unwrap();
    testkit::files::write(&wal, &whole[..JUMP.0 as usize]);
    node.ok(&["backup"]);
    // Its .snap not there yet: nothing is sent that would be older data.
    testkit::files::write(&wal, &whole[..JUMP.1 as usize]);
    node.refused(&["backup"], 11, &["ends with the snapshot of index 5720, received from the leader"]);
    fs::rename(&aside, &snap).unwrap();
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation 2 begins: the log has a gap: this member received a snapshot"), "{log}");
    let log = node.ok(&["restore", "--plan"]);
    assert!(log.contains("up to index 5720 of term 2 (0 entries after the snapshot at 5720)"), "{log}");
    testkit::files::write(&wal, &whole);
    let log = node.ok(&["backup"]);
    assert!(!log.contains("begins"), "{log}");

    fs::remove_dir_all(data(&node)).unwrap();
    let log = node.ok(&["restore"]);
    assert!(log.contains("restored from the archive, generation 2, part 1"), "{log}");
    node.assert_etcd_has(&keys);
}

#[test]
fn data_of_etcd_2_is_written_for_etcd_2_unless_told() {
    let Some((mut node, keys)) = backed_up("v238-single-snap") else { return };
    node.ok(&["restore"]);
    assert!(!data(&node).join("member/snap/db").exists());
    node.ok(&["restore", "--for-etcd", "3"]);
    assert!(data(&node).join("member/snap/db").exists());
    node.assert_etcd_has(&keys);
}

#[test]
fn a_proxy_s_directory_is_set_aside() {
    let Some((mut node, keys)) = backed_up("v3423-single-snap-trimmed") else { return };
    let proxy = data(&node).join("proxy");
    fs::create_dir(&proxy).unwrap();
    testkit::files::write(&proxy.join("cluster"), "{}");
    let log = node.ok(&["restore"]);
    let kept = node.kept("proxy.before-restore-");
    assert_eq!(kept.len(), 1);
    assert!(log.contains(&format!("the old data is in {}", kept[0].display())), "{log}");
    assert!(!proxy.exists() && kept[0].join("cluster").exists());
    node.assert_etcd_has(&keys);
}

/// 2.0.0 had `snap` and `wal` directly in the data directory.
#[test]
fn the_layout_of_2_0_0_is_backed_up_and_restored() {
    let Some(tools) = Tools::from_env() else { return };
    for source in ["archive", "local"] {
        let mut node = Node::new(PROGRAM, tools);
        let keys = node.put_fixture("v238-single-snap");
        let member = data(&node).join("member");
        for name in ["snap", "wal"] {
            fs::rename(member.join(name), data(&node).join(name)).unwrap();
        }
        fs::remove_dir(&member).unwrap();
        let old = [tree(&data(&node).join("snap")), tree(&data(&node).join("wal"))];
        node.ok(&["backup"]);
        node.ok(&["restore", "--source", source, "--for-etcd", "3"]);
        let kept = [node.kept("snap.before-restore-"), node.kept("wal.before-restore-")];
        assert_eq!(kept.map(|k| tree(&k[0])), old, "{source}");
        node.assert_etcd_has(&keys);
    }
}

#[test]
fn only_etcd_s_user_may_read_what_was_restored() {
    let Some((node, _)) = backed_up("v3423-single-snap-trimmed") else { return };
    fs::remove_dir_all(data(&node).join("member")).unwrap();
    let me = fs::metadata(node.root()).unwrap().uid();
    // Only root can give it to somebody else.
    let owner = if me == 0 { 12345 } else { me };
    chown(data(&node), Some(owner), Some(owner)).ok();
    node.ok(&["restore"]);
    let look = |path: &Path| {
        let meta = fs::metadata(path).unwrap();
        (meta.uid(), meta.mode() & 0o7777)
    };
    let member = data(&node).join("member");
    assert_eq!(look(&member), (owner, 0o700));
    let all = tree(&member);
    assert_eq!(all.len(), 5, "{:?}", all.keys());
    for (path, content) in all {
        let mode = if content.is_none() { 0o700 } else { 0o600 };
        assert_eq!(look(&member.join(&path)), (owner, mode), "{}", path.display());
    }
}
