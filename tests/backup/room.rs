//! No room beside a member that lives: what needs more than there is does not begin, leaves nothing behind, and etcd goes on.
//! Each test has a mount namespace of its own.

use std::fs::File;
use std::io::Read as _;

use testkit::faults::disk::{Disk, PAGE};
use testkit::faults::namespace::is_inside;
use testkit::files::tree;
use testkit::keys::Client;
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

/// What a member writes while it is looked at.
const NOISE: u64 = 1 << 20;
const BACKUP_DIR: &str = "/var/lib/etcd2-backup";
const RESTORE_DIR: &str = "/var/lib/etcd2-restore";

/// A node whose data, backups and downloads are on one disk, with 6 MB of keys that cannot be compressed to much less. Its
/// etcd runs.
fn crowded() -> (Node, Disk) {
    let mut node = Node::new(PROGRAM, Tools::from_env().unwrap());
    let disk = Disk::on(node.path("/var/lib"), "220m");
    node.etcd.start().unwrap();
    let mut client = Client::new(&node.etcd.client_url).unwrap();
    for n in 0..12 {
        client.put(&format!("/large{n}"), &noise(500_000)).unwrap();
    }
    (node, disk)
}

/// Letters and digits without any order.
fn noise(length: usize) -> String {
    let mut bytes = vec![0; length];
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    bytes.iter().map(|byte| char::from(letters[usize::from(byte % 64)])).collect()
}

/// Runs it where there is no room for it: nothing is left of it, and etcd takes a write.
#[track_caller]
fn refused(node: &Node, disk: &Disk, arguments: &[&str], what: &str) {
    let free = disk.free();
    node.refused(arguments, 14, &["there is no room in ", what, "hint: free at least "]);
    assert!(disk.free() + NOISE > free, "{arguments:?}: {} of {free} bytes are left", disk.free());
    let scratch = [tree(&node.path(RESTORE_DIR)), tree(&node.path(BACKUP_DIR).join("spool"))];
    assert!(scratch.iter().all(std::collections::BTreeMap::is_empty), "{arguments:?}: {scratch:?}");
    assert!(!node.path(BACKUP_DIR).join("verify").exists());
    Client::new(&node.etcd.client_url).unwrap().put("/live", what).unwrap();
    assert!(node.etcd.is_healthy());
}

/// What a timer starts again and again must not fill the disk again and again.
#[test]
fn a_base_that_does_not_fit_is_not_begun_in_any_cycle() {
    let test = "room::a_base_that_does_not_fit_is_not_begun_in_any_cycle";
    if Tools::from_env().is_none() || !is_inside(test) {
        return;
    }
    let (node, disk) = crowded();
    // Compressed it would fit, with nothing left for etcd.
    disk.leave(pages(5 << 20));
    for _ in 0..3 {
        refused(&node, &disk, &["backup"], "the next part may need ");
        assert!(node.objects().is_empty());
    }
    disk.make_room();
    node.ok(&["backup"]);
    assert_eq!(node.objects().len(), 1);
    // What a cycle usually sends is small: a disk that is all but full is no reason to lose it.
    disk.leave(pages(256 << 10));
    Client::new(&node.etcd.client_url).unwrap().put("/small", "part").unwrap();
    node.ok(&["backup"]);
    assert_eq!(node.objects().len(), 2);
}

#[test]
fn what_reads_the_archive_beside_a_member_leaves_it_its_room() {
    let test = "room::what_reads_the_archive_beside_a_member_leaves_it_its_room";
    if Tools::from_env().is_none() || !is_inside(test) {
        return;
    }
    let (node, disk) = crowded();
    node.ok(&["backup"]);
    let part = node.folder().join(&node.objects()[0]).metadata().unwrap().len();
    let etcd = Tools::from_env().unwrap().etcd.display().to_string();
    let rehearse = ["rehearse", "--etcd", &etcd];
    let (brought, unpacked) = ("the download from ", "unpacking the parts may need ");
    // Not for what is brought; for that, and not for what is in it; for that, and not for an etcd on it.
    let (none, some) = (pages(1 << 20), pages(2 * part + (1 << 20)));
    for (leave, arguments, what) in [
        (none, &["verify"][..], brought),
        (none, &["restore", "--plan"], brought),
        (none, &rehearse, brought),
        (some, &["restore", "--plan"], unpacked),
        (some, &rehearse, unpacked),
        (pages(40 << 20), &rehearse, "an etcd with the restored data may need "),
    ] {
        disk.leave(leave);
        refused(&node, &disk, arguments, what);
    }
    // By the timer that is no failure, and told once.
    for is_told in [true, false] {
        let run = node.run(&[&rehearse[..], &["--scheduled"]].concat());
        let told = run.log.contains("restores cannot be rehearsed on this node: there is no room in ");
        assert_eq!((run.code, told), (0, is_told), "{}", run.log);
    }
    disk.make_room();
    for arguments in [&["verify"][..], &["restore", "--plan"]] {
        node.ok(arguments);
        assert!(tree(&node.path(RESTORE_DIR)).is_empty() && !node.path(BACKUP_DIR).join("verify").exists());
    }
}

fn pages(bytes: u64) -> u64 {
    bytes / PAGE
}
