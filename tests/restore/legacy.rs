//! Folders of etcd2-backup-coreos: the last backup in `<machine-id>`, the one before it in `<machine-id>_backup`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::keys::Keys;
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

const OWN: &str = "0123456789abcdef0123456789abcdef";
const BEFORE: &str = "0123456789abcdef0123456789abcdef_backup";

/// A node without data, and the fixture's data in these folders, copied there by rclone.
fn with_backups(tools: &Tools, fixture: &str, folders: &[&str]) -> (Node, Keys) {
    let node = Node::new(PROGRAM, tools);
    let keys = node.put_fixture(fixture);
    for folder in folders {
        let target = format!("{}/{folder}", node.environment["RCLONE_ENDPOINT"]);
        let mut rclone = Command::new(&tools.rclone);
        rclone.arg("--config").arg(node.path("/etc/rclone.conf")).arg("copy");
        assert!(rclone.arg(node.path("/var/lib/etcd2")).arg(&target).status().unwrap().success());
    }
    fs::remove_dir_all(node.path("/var/lib/etcd2")).unwrap();
    (node, keys)
}

fn segment(node: &Node, folder: &str) -> PathBuf {
    let wal = node.folder().with_file_name(folder).join("member/wal");
    fs::read_dir(wal).unwrap().next().unwrap().unwrap().path()
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.iter().rposition(|b| *b != 0).unwrap() / 2;
    bytes[middle] ^= 0x55;
    testkit::files::write(path, bytes);
}

#[test]
fn the_last_backup_is_restored_by_every_rclone() {
    let Some(tools) = Tools::from_env() else { return };
    for rclone in tools.rclones() {
        let tools = Tools { rclone, ..tools.clone() };
        for fixture in [
            "v3423-single-snap-trimmed",
            "v3423-single-nosnap-trimmed",
            "v238-single-snap",
            "v238-etcdctl-backup",
        ] {
            let (mut node, keys) = with_backups(&tools, fixture, &[OWN, BEFORE]);
            let log = node.ok(&["restore", "--for-etcd", "3"]);
            assert!(log.contains(&format!("the layout of etcd2-backup-coreos, prefix {OWN} up to")), "{log}");
            node.assert_etcd_has(&keys);
        }
    }
}

#[test]
fn the_backup_before_it_is_restored_when_the_last_is_damaged_cut_off_or_gone() {
    let Some(tools) = Tools::from_env() else { return };
    for damage in ["flip", "no log", "all"] {
        let (mut node, keys) = with_backups(tools, "v3423-single-snap-trimmed", &[OWN, BEFORE]);
        match damage {
            "flip" => flip(&segment(&node, OWN)),
            "no log" => testkit::files::write(&segment(&node, OWN), ""),
            _ => fs::remove_dir_all(node.folder()).unwrap(),
        }
        let plan = node.ok(&["restore", "--plan"]);
        assert!(plan.contains(&format!("prefix {BEFORE}")), "{damage}: {plan}");
        let log = node.ok(&["restore"]);
        let says = damage == "all" || log.contains(&format!("{OWN} is not intact: "));
        assert!(says && log.contains(&format!("prefix {BEFORE} up to")), "{damage}: {log}");
        let record = fs::read_dir(node.folder().join("recovery")).unwrap().next().unwrap().unwrap().path();
        assert!(fs::read_to_string(record).unwrap().contains(BEFORE), "{damage}");
        node.assert_etcd_has(&keys);
    }
}

#[test]
fn two_damaged_ones_are_refused_with_both_reasons() {
    let Some(tools) = Tools::from_env() else { return };
    let (node, _) = with_backups(tools, "v3423-single-snap-trimmed", &[OWN, BEFORE]);
    [OWN, BEFORE].iter().for_each(|folder| flip(&segment(&node, folder)));
    node.refused(&["restore"], 11, &[&format!("{BEFORE} cannot be used either: ")]);
    fs::remove_dir_all(node.folder().with_file_name(BEFORE)).unwrap();
    node.refused(&["restore"], 11, &["CRC"]);
    assert!(!node.path("/var/lib/etcd2/member").exists());
}
