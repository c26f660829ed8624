//! No room in one of the three directories, to the page: its own exit code, a hint, the local data as before; and with
//! room again it works. Each test has a mount namespace of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::faults::disk::Disk;
use testkit::faults::namespace::is_inside;
use testkit::files::tree;
use testkit::keys::{self, Keys};
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

fn remove_all(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
}

/// Runs it with more room each time until it ends well; before each run `prepare`, after each failure `check`.
fn with_ever_more_room(
    node: &Node,
    small: &Disk,
    arguments: &[&str],
    prepare: impl Fn(),
    check: impl Fn(u64),
) {
    for pages in 0..1000 {
        small.make_room();
        prepare();
        small.leave(pages);
        let run = node.run(arguments);
        if run.code == 0 {
            assert!(pages > 0, "it needed no room at all");
            small.make_room();
            return;
        }
        assert_eq!(run.code, 14, "{pages} pages: {}", run.log);
        assert!(run.log.contains("\nhint: ") && !run.log.contains("damaged"), "{pages} pages: {}", run.log);
        assert!(!node.is_fenced(), "{pages} pages: {}", run.log);
        check(pages);
    }
    panic!("{arguments:?} does not fit into 4 MiB");
}

/// A node with a fixture's data.
fn node() -> (Node, Keys) {
    let node = Node::new(PROGRAM, Tools::from_env().unwrap());
    let keys = node.put_fixture("v3423-single-snap-trimmed");
    (node, keys)
}

fn data(node: &Node) -> PathBuf {
    node.path("/var/lib/etcd2")
}

fn assert_restores(mut node: Node, keys: &Keys) {
    node.ok(&["restore"]);
    // etcd's own log needs more room than there may be.
    let member = node.etcd.data_dir.join("member");
    node.etcd.data_dir = node.path("/var/lib/elsewhere");
    node.etcd.set("ETCD_DATA_DIR", node.path("/var/lib/elsewhere").to_string_lossy());
    fs::create_dir(&node.etcd.data_dir).unwrap();
    let copied = Command::new("cp").arg("-a").arg(member).arg(&node.etcd.data_dir).status().unwrap();
    assert!(copied.success());
    node.etcd.start().unwrap();
    let differences = keys::compare(keys, &keys::dump(&node.etcd.client_url).unwrap());
    assert!(differences.is_empty(), "{differences:?}");
}

#[test]
fn the_backup_directory_during_a_backup() {
    if Tools::from_env().is_none() || !is_inside("space::the_backup_directory_during_a_backup") {
        return;
    }
    let (node, keys) = node();
    let small = Disk::on(node.path("/var/lib/etcd2-backup"), "4m");
    let before = tree(&data(&node));
    let prepare = || ();
    with_ever_more_room(&node, &small, &["backup"], prepare, |pages| {
        assert_eq!(tree(&data(&node)), before, "{pages} pages");
        assert!(node.objects().is_empty(), "{pages} pages: {:?}", node.objects());
    });
    assert_eq!(node.objects().len(), 1);
    assert_restores(node, &keys);
}

#[test]
fn the_backup_directory_during_a_restore() {
    if Tools::from_env().is_none() || !is_inside("space::the_backup_directory_during_a_restore") {
        return;
    }
    let (node, keys) = node();
    let small = Disk::on(node.path("/var/lib/etcd2-backup"), "4m");
    node.ok(&["backup"]);
    let before = tree(&data(&node));
    let prepare = || remove_all(&node.path("/var/lib/etcd2-backup"));
    with_ever_more_room(&node, &small, &["restore"], prepare, |pages| {
        assert_eq!(tree(&data(&node)), before, "{pages} pages");
    });
    assert_restores(node, &keys);
}

#[test]
fn the_restore_directory_during_a_restore() {
    if Tools::from_env().is_none() || !is_inside("space::the_restore_directory_during_a_restore") {
        return;
    }
    let (node, keys) = node();
    node.ok(&["backup"]);
    let small = Disk::on(node.path("/var/lib/etcd2-restore"), "4m");
    let before = tree(&data(&node));
    // What an earlier attempt left must not be in the way.
    let prepare = || ();
    with_ever_more_room(&node, &small, &["restore"], prepare, |pages| {
        assert_eq!(tree(&data(&node)), before, "{pages} pages");
        let left = tree(&node.path("/var/lib/etcd2-restore"));
        assert!(left.keys().eq([Path::new("filler")]), "{pages} pages: {:?}", left.keys());
    });
    assert_restores(node, &keys);
}

#[test]
fn the_data_directory() {
    if Tools::from_env().is_none() || !is_inside("space::the_data_directory") {
        return;
    }
    let node = Node::new(PROGRAM, Tools::from_env().unwrap());
    let small = Disk::on(node.path("/var/lib/etcd2"), "4m");
    let fixture =
        testkit::fixtures::Fixture::unpack("v3423-single-snap-trimmed", &node.path("/var/lib")).unwrap();
    let copied =
        Command::new("cp").arg("-a").arg(fixture.data_dir.join("member")).arg(data(&node)).status().unwrap();
    assert!(copied.success());
    // A backup writes nothing there.
    small.leave(0);
    node.ok(&["backup"]);
    small.make_room();
    let before = tree(&data(&node).join("member"));
    with_ever_more_room(
        &node,
        &small,
        &["restore"],
        || (),
        |pages| {
            let names: Vec<_> = fs::read_dir(data(&node)).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(names.len(), 2, "{pages} pages: {names:?}");
            assert_eq!(tree(&data(&node).join("member")), before, "{pages} pages");
        },
    );
    assert_restores(node, &fixture.keys);
}

/// The log's disk, where the log lies apart: neither directory is exchanged, and nothing is left behind on either disk.
#[test]
fn the_separate_wal_directory_during_a_restore() {
    if Tools::from_env().is_none() || !is_inside("space::the_separate_wal_directory_during_a_restore") {
        return;
    }
    let (mut node, _) = node();
    let small = Disk::on(node.path("/disk"), "4m");
    fs::create_dir(node.path("/disk/log")).unwrap();
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(data(&node).join("member/wal/.")).arg(node.path("/disk/log"));
    assert!(copy.status().unwrap().success());
    fs::remove_dir_all(data(&node).join("member/wal")).unwrap();
    node.environment.insert("ETCD_WAL_DIR".into(), "/disk/log".into());
    node.ok(&["backup"]);
    let before = [tree(&data(&node)), tree(&node.path("/disk/log"))];
    with_ever_more_room(
        &node,
        &small,
        &["restore"],
        || (),
        |pages| {
            assert!([tree(&data(&node)), tree(&node.path("/disk/log"))] == before, "{pages} pages");
            let names: Vec<_> =
                fs::read_dir(node.path("/disk")).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(names.len(), 2, "{pages} pages: {names:?}");
        },
    );
    assert!(tree(&node.kept("member.before-restore-")[0]) == tree_of_member(&before[0]));
}

fn tree_of_member(
    data: &std::collections::BTreeMap<PathBuf, Option<Vec<u8>>>,
) -> std::collections::BTreeMap<PathBuf, Option<Vec<u8>>> {
    let below = data.iter().filter_map(|(path, content)| {
        let below = path.strip_prefix("member").ok().filter(|below| !below.as_os_str().is_empty())?;
        Some((below.to_path_buf(), content.clone()))
    });
    below.collect()
}

#[test]
fn the_backup_directory_during_an_undo() {
    if Tools::from_env().is_none() || !is_inside("space::the_backup_directory_during_an_undo") {
        return;
    }
    let (node, _) = node();
    let small = Disk::on(node.path("/var/lib/etcd2-backup"), "4m");
    node.ok(&["backup"]);
    let old = tree(&data(&node).join("member"));
    node.ok(&["restore"]);
    let before = tree(&data(&node));
    with_ever_more_room(
        &node,
        &small,
        &["undo"],
        || (),
        |pages| {
            assert!(tree(&data(&node)) == before, "{pages} pages");
        },
    );
    assert!(tree(&data(&node).join("member")) == old);
}
