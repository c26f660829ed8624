//! `undo` and `clean`: what is kept of old data, back in its place or gone for good.

use std::fs;
use std::path::{Path, PathBuf};

use etcd2_backup::etcd::datadir;
use etcd2_backup::node::identity;
use etcd2_backup::sys::root::Root;
use etcd2_backup::sys::terminal::table::bytes;
use testkit::files::tree;
use testkit::keys::{self, Client, Keys};
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

const DAY: u64 = 86_400;

/// A node with a fixture's data and one backup of it; and its keys.
fn backed_up() -> Option<(Node, Keys)> {
    let node = Node::new(PROGRAM, Tools::from_env()?);
    let keys = node.put_fixture("v3423-single-snap-trimmed");
    node.ok(&["backup"]);
    Some((node, keys))
}

fn member(node: &Node) -> PathBuf {
    node.path("/var/lib/etcd2/member")
}

fn ids(member: &Path) -> (u64, u64) {
    let ids = datadir::ids(&member.join("wal")).unwrap();
    (ids.cluster_id, ids.member_id)
}

#[track_caller]
fn assert_is_member(node: &Node, expected: (u64, u64)) {
    assert_eq!(ids(&member(node)), expected);
    let stamp = identity::load(&Root::new(node.root())).unwrap().unwrap();
    assert_eq!((stamp.cluster_id, stamp.member_id), expected);
    assert!(!node.is_fenced());
}

#[test]
fn the_old_data_comes_back_to_the_last_byte_and_the_new_is_kept() {
    let Some((mut node, keys)) = backed_up() else { return };
    let (old, old_ids) = (tree(&member(&node)), ids(&member(&node)));
    node.ok(&["restore"]);
    node.start_etcd();
    Client::new(&node.etcd.client_url).unwrap().put("/later", "1").unwrap();
    node.etcd.stop().unwrap();
    let (new, new_ids) = (tree(&member(&node)), ids(&member(&node)));

    let before = tree(&node.root());
    let log = node.ok(&["undo", "--plan"]);
    assert!(log.contains("nothing was changed"), "{log}");
    let mut after = tree(&node.root());
    after.retain(|path, _| before.contains_key(path));
    assert!(after == before);

    let log = node.ok(&["undo"]);
    for words in [
        format!("given up instead: member {:x} of cluster {:x}", new_ids.1, new_ids.0),
        format!("undone: this node is member {:x} of cluster {:x}", old_ids.1, old_ids.0),
        "this cluster has 1 member".into(),
    ] {
        assert!(log.contains(&words), "no {words:?} in {log}");
    }
    assert!(tree(&member(&node)) == old);
    assert_is_member(&node, old_ids);
    let kept = node.kept("member.before-restore-");
    assert!(kept.len() == 1 && tree(&kept[0]) == new, "{kept:?}");

    // And there again.
    // As scripts call it that are older than the command.
    node.ok(&["restore", "--undo"]);
    assert!(tree(&member(&node)) == new);
    assert_is_member(&node, new_ids);
    node.ok(&["undo"]);
    node.start_etcd();
    let differences = keys::compare(&keys, &keys::dump(&node.etcd.client_url).unwrap());
    assert!(differences.is_empty(), "{differences:?}");
    node.refused(&["undo"], 10, &["a running etcd has", "stop it first"]);
}

/// A, then B that continues A, then A again, which continues nothing of B's.
#[test]
fn the_archive_goes_on_with_the_old_cluster_and_claims_no_lineage() {
    let Some((mut node, keys)) = backed_up() else { return };
    node.ok(&["restore"]);
    node.start_etcd();
    Client::new(&node.etcd.client_url).unwrap().put("/given-up", "1").unwrap();
    node.etcd.stop().unwrap();
    node.ok(&["backup"]);
    let [a, b] = [&node.kept("member.before-restore-")[0], &member(&node)].map(|m| format!("{:x}", ids(m).0));
    node.ok(&["undo"]);
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation 3 begins"), "{log}");

    let listing = node.command(&["list", "--json"]).output().unwrap();
    let listing: serde_json::Value = serde_json::from_slice(&listing.stdout).unwrap();
    let machine = &listing["machines"][0];
    assert_eq!(machine["unrelated"], false, "{machine}");
    let continued: Vec<_> = machine["generations"].as_array().unwrap().iter().collect();
    let of = |n: usize| (&continued[n]["cluster_id"], &continued[n]["continues"]["cluster_id"]);
    assert_eq!(of(1), (&b.as_str().into(), &a.as_str().into()));
    assert_eq!(of(2), (&a.as_str().into(), &a.as_str().into()));
    let log = node.ok(&["prune", "--dry-run"]);
    assert!(!log.contains("does not say what it continues"), "{log}");
    let log = node.assert_restores(&keys, &[]);
    assert!(log.contains("restored from the archive, generation 3"), "{log}");
    // From here on too.
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation 4 begins"), "{log}");
    node.etcd.stop().unwrap();
    node.ok(&["restore", "--plan"]);
}

#[test]
fn without_anything_to_put_back_nothing_is_changed() {
    let Some((node, _)) = backed_up() else { return };
    let old = tree(&node.path("/var/lib/etcd2"));
    node.refused(
        &["undo"],
        12,
        &["there is no member directory that a restore moved aside", "to list what is kept"],
    );
    for option in ["--accept-older", "--generation=1", "--at=-1h", "--source=local", "--for-etcd=2"] {
        node.refused(&["restore", "--undo", option], 2, &["--undo swaps back the data on this disk"]);
    }
    // Of a separate log, one half is nothing.
    node.ok(&["restore"]);
    let kept = node.kept("member.before-restore-");
    fs::remove_dir_all(kept[0].join("wal")).unwrap();
    let now = tree(&node.path("/var/lib/etcd2"));
    let run = node.run(&["undo"]);
    assert!(run.code != 0 && run.log.contains("reading the data that was moved aside"), "{}", run.log);
    assert!(tree(&node.path("/var/lib/etcd2")) == now && !node.is_fenced());
    assert!(tree(&kept[0]).len() < old.len());
}

/// Renames what was kept as if that had been so many days ago.
fn age(node: &Node, days: u64) {
    for path in node.kept("member.before-restore-") {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (stem, _) = name.rsplit_once('-').unwrap();
        let time = etcd2_backup::sys::time::compact(etcd2_backup::sys::time::now() - days * DAY);
        fs::rename(&path, path.with_file_name(format!("{stem}-{time}"))).unwrap();
    }
}

#[test]
fn old_directories_are_listed_and_removed_but_never_the_only_copy() {
    let Some((mut node, _)) = backed_up() else { return };
    let log = node.ok(&["clean", "--yes"]);
    assert!(log.contains("no old directories to remove"), "{log}");
    node.ok(&["restore"]);
    age(&node, 40);
    node.ok(&["restore"]);
    let kept = node.kept("member.before-restore-");
    assert_eq!(kept.len(), 2);

    let listed = node.command(&["clean"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let lines: Vec<&str> = listed.lines().collect();
    let [head, first @ ..] = lines.as_slice() else { panic!("{listed}") };
    assert!(head.starts_with("moved aside "), "{listed}");
    // Two lines each, or more where its path is long.
    let rows: Vec<usize> = (0..first.len()).filter(|at| !first[*at].starts_with(' ')).collect();
    assert_eq!(rows.len(), 2, "{listed}");
    for (row, dir) in rows.iter().zip(&kept) {
        let size: u64 = tree(dir).values().flatten().map(|content| content.len() as u64).sum();
        assert!(first[*row].ends_with(&format!(" {}  restore", bytes(size))), "{listed}");
        let path: String =
            first[row + 1..].iter().take_while(|l| l.starts_with(' ')).map(|l| l.trim()).collect();
        assert_eq!(path, dir.display().to_string(), "{listed}");
    }
    assert!(first[rows[0]].contains("  40 d ago "), "{listed}");
    assert_eq!(node.kept("member.before-restore-"), kept);

    // etcd never ran on what was restored: the newest stays.
    let log = node.ok(&["clean", "--yes"]);
    assert!(log.contains("keeping the newest: etcd was never started on the current data"), "{log}");
    assert_eq!(node.kept("member.before-restore-"), kept[1..]);
    let words =
        ["nothing was removed: etcd was never started", "may be the only copy", "start etcd and check"];
    node.refused(&["clean", "--yes"], 10, &words);

    let (wal, aside) = (member(&node).join("wal"), node.path("/var/lib/aside"));
    fs::rename(&wal, &aside).unwrap();
    node.refused(&["clean", "--yes"], 10, &["nothing was removed: the current data cannot be read"]);
    fs::rename(&aside, &wal).unwrap();
    node.start_etcd();
    let log = node.ok(&["clean", "--older-than", "1d", "--yes"]);
    assert!(log.contains("no old directories to remove"), "{log}");
    assert_eq!(node.kept("member.before-restore-"), kept[1..]);
    node.ok(&["clean", "--yes"]);
    assert!(node.kept("member.before-").is_empty());
    assert!(node.etcd.is_healthy());
}

#[test]
fn behind_the_fence_nothing_is_removed() {
    let Some((node, _)) = backed_up() else { return };
    node.ok(&["restore"]);
    testkit::files::write(&node.path("/etc/etcd2-backup/fence"), "");
    node.refused(&["clean", "--yes"], 10, &["a recovery is in progress: the fence is up"]);
    assert_eq!(node.kept("member.before-restore-").len(), 1);
}
