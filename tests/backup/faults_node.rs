//! What happens to a node between two backups: its clock, its etcd, its disk. After each a restore gives every key that was
//! acknowledged before the last backup that ended well, and nothing else.
//!
//! No room on a disk is in tests/restore/space.rs, a kill at each step in tests/crash/backup_restore.rs.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use testkit::files::{alter_json, write};
use testkit::keys::{self, Keys};
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

/// A node with one backup of a running etcd that holds the sample keys.
fn backed_up() -> Option<Node> {
    let mut node = Node::new(PROGRAM, Tools::from_env()?);
    node.etcd.start().unwrap();
    keys::write_sample(&node.etcd.client_url).unwrap();
    node.ok(&["backup"]);
    Some(node)
}

fn write_some(node: &Node, dir: &str, count: usize) {
    keys::write_many(&node.etcd.client_url, dir, count).unwrap();
}

fn dump(node: &Node) -> Keys {
    keys::dump(&node.etcd.client_url).unwrap()
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

fn state(node: &Node) -> serde_json::Value {
    serde_json::from_slice(&fs::read(node.path("/var/lib/etcd2-backup/state.json")).unwrap()).unwrap()
}

#[test]
fn there_is_no_member_on_this_node() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    let data = node.path("/var/lib/etcd2");
    let nothing = |node: &Node, why: &str| {
        let run = node.run(&["backup"]);
        assert_eq!(run.code, 19, "{}", run.log);
        assert!(
            run.log.starts_with("nothing to back up on this node: ") && run.log.contains(why),
            "{}",
            run.log
        );
        assert_eq!(run.log.lines().count(), 1, "{}", run.log);
    };
    nothing(&node, "does not exist");
    fs::create_dir_all(&data).unwrap();
    nothing(&node, "etcd never ran as a member in ");
    fs::create_dir_all(data.join("member/wal")).unwrap();
    nothing(&node, "etcd never ran as a member in ");
    fs::remove_dir_all(data.join("member")).unwrap();
    fs::create_dir_all(data.join("proxy")).unwrap();
    nothing(&node, "etcd is only a proxy");
    assert!(node.objects().is_empty());
    fs::remove_dir_all(&data).unwrap();

    // Who was a member and lost its data is told so each time.
    node.etcd.start().unwrap();
    node.ok(&["backup"]);
    node.etcd.kill().unwrap();
    for proxy in [false, true] {
        fs::remove_dir_all(&data).unwrap();
        if proxy {
            fs::create_dir_all(data.join("proxy")).unwrap();
        }
        node.refused(&["backup"], 12, &["this node was a member, but its data is gone: no etcd log in "]);
        fs::create_dir_all(&data).unwrap();
    }
    for left in ["/etc/etcd2-backup/identity.json", "/var/lib/etcd2-backup/state.json"] {
        node.refused(&["backup"], 12, &[left]);
        fs::remove_file(node.path(left)).unwrap();
    }
    nothing(&node, "etcd is only a proxy");
}

#[test]
fn the_clock_jumps_back() {
    let Some(mut node) = backed_up() else { return };
    // The last part was captured in what is the future now.
    let ahead = state(&node)["time"].as_u64().unwrap() + 86_400;
    alter_json(&node.path("/var/lib/etcd2-backup/state.json"), |state| {
        state["time"] = ahead.into();
        state["clock"] = ahead.into();
    });
    for dir in ["/a", "/b"] {
        write_some(&node, dir, 1);
        node.ok(&["backup"]);
        let now = state(&node);
        assert_eq!(now["time"].as_u64(), Some(ahead), "times within a generation do not go back");
        assert!(now["clock"].as_u64().unwrap() < ahead);
    }
    let expected = dump(&node);
    let log = node.assert_restores(&expected, &[]);
    assert!(log.contains("generation 1, part 2, captured "), "{log}");
    // In the next generation they are what the clock says.
    node.ok(&["backup"]);
    assert!(state(&node)["time"].as_u64().unwrap() < ahead);
}

#[test]
fn etcd_is_restarted_between_cycles() {
    let Some(mut node) = backed_up() else { return };
    write_some(&node, "/before-the-stop", 3);
    node.etcd.restart().unwrap();
    write_some(&node, "/behind-it", 3);
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation=1 part=1 "), "{log}");
    write_some(&node, "/before-the-kill", 3);
    node.etcd.kill().unwrap();
    node.etcd.start().unwrap();
    write_some(&node, "/behind-that", 3);
    let expected = dump(&node);
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation=1 part=2 "), "{log}");
    node.assert_restores(&expected, &[]);
}

#[test]
fn etcd_is_put_back_to_an_older_point_between_cycles() {
    let Some(mut node) = backed_up() else { return };
    let data = node.path("/var/lib/etcd2");
    let older = node.path("/var/lib/older");
    node.etcd.stop().unwrap();
    copy(&data, &older);
    // The log ends before where it did, or has grown past that again.
    for (round, behind) in [1, 60].into_iter().enumerate() {
        node.etcd.start().unwrap();
        write_some(&node, &format!("/given-up-{round}"), 20);
        node.ok(&["backup"]);
        node.etcd.stop().unwrap();
        fs::remove_dir_all(&data).unwrap();
        copy(&older, &data);
        node.etcd.start().unwrap();
        write_some(&node, &format!("/kept-{round}"), behind);
        let expected = dump(&node);
        let log = node.ok(&["backup"]);
        assert!(log.contains("begins: the last record that was sent is gone or altered"), "{log}");
        assert!(!expected.keys().any(|key| key.starts_with(&format!("/given-up-{round}"))));
        node.save();
        // So short a log may as well be that of an empty etcd: which history it is to be is asked.
        let generation = state(&node)["generation"].to_string();
        node.etcd.stop().unwrap();
        if behind == 1 {
            node.refused(&["restore", "--plan"], 10, &["unrelated histories", "--generation"]);
        }
        node.assert_restores(&expected, &["--generation", &generation]);
        node.etcd.stop().unwrap();
        node.reset();
    }
}

/// With a snapshot in it nothing says that it is older, but that it lacks what was acknowledged.
#[test]
fn etcd_is_put_back_to_an_older_snapshot_between_cycles() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.set("ETCD_SNAPSHOT_COUNT", "20");
    node.etcd.start().unwrap();
    let (data, older) = (node.path("/var/lib/etcd2"), node.path("/var/lib/older"));
    write_some(&node, "/before", 50);
    node.etcd.stop().unwrap();
    copy(&data, &older);
    node.etcd.start().unwrap();
    write_some(&node, "/given-up", 30);
    node.ok(&["backup"]);
    let full = dump(&node);
    node.etcd.stop().unwrap();
    fs::remove_dir_all(&data).unwrap();
    copy(&older, &data);
    node.etcd.start().unwrap();
    write_some(&node, "/kept", 3);
    node.ok(&["backup"]);
    let less = dump(&node);
    let base = node.objects().remove(1);
    assert!(!base.file_name().unwrap().to_str().unwrap().starts_with("00000000-1-"), "{base:?}");

    let lacks = "generation 2, the newest, lacks acknowledged writes that generation 1 has";
    node.refused(&["prune", "--dry-run"], 18, &[lacks, "--accept"]);
    let sources = node.run(&["sources"]);
    assert_eq!(sources.code, 18, "{sources:?}");
    for words in ["restore --generation 1\n", "restore --generation 2\n", "lost acknowledged writes"] {
        assert!(sources.answer.contains(words), "{words}: {sources:?}");
    }
    node.etcd.stop().unwrap();
    node.save();
    node.refused(&["restore", "--plan"], 10, &["generation 2, the newest, ends at index", "--generation 1 "]);
    for (keys, generation) in [(&full, "1"), (&less, "2")] {
        node.assert_restores(keys, &["--generation", generation]);
        node.etcd.stop().unwrap();
        node.reset();
    }
    // Past all that was given up it is the history of this node again.
    node.etcd.start().unwrap();
    write_some(&node, "/behind-it", 60);
    let expected = dump(&node);
    node.ok(&["backup"]);
    node.etcd.stop().unwrap();
    node.assert_restores(&expected, &[]);
}

#[test]
fn etcd_is_upgraded_between_cycles() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.put_fixture("v238-single-nosnap");
    node.ok(&["backup"]);
    // The one at hand; in CI 3.4.
    node.etcd.start().unwrap();
    write_some(&node, "/behind-the-upgrade", 10);
    let expected = dump(&node);
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation=1 part=1 "), "{log}");
    node.assert_restores(&expected, &[]);
}

/// With the same token, name and URLs even its IDs are the same. Each restart makes its term higher than the old one's.
#[test]
fn etcd_is_seeded_empty_between_cycles() {
    (0..=3).step_by(3).for_each(seeded_empty);
}

fn seeded_empty(restarts: u32) {
    let Some(mut node) = backed_up() else { return };
    let before = dump(&node);
    node.etcd.stop().unwrap();
    fs::remove_dir_all(node.path("/var/lib/etcd2")).unwrap();
    node.etcd.start().unwrap();
    (0..restarts).for_each(|_| node.etcd.restart().unwrap());
    write_some(&node, "/of-the-new-one", 5);
    let expected = dump(&node);
    let old = state(&node);
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation 2 begins: "), "{log}");
    assert_eq!(state(&node)["cluster_id"], old["cluster_id"]);
    let term = |state: &serde_json::Value| state["last"]["term"].as_u64().unwrap();
    assert_eq!(term(&state(&node)) > term(&old), restarts > 0);
    let sources = node.run(&["sources"]);
    assert!(sources.code == 18 && sources.answer.contains("--generation 1"), "{sources:?}");
    node.save();
    node.refused(
        &["prune", "--dry-run"],
        18,
        &["started over with an empty log in generation 2", "--accept"],
    );
    node.etcd.stop().unwrap();
    for point in [&[][..], &["--raft-index", "5"]] {
        let restore = [&["restore", "--plan"], point].concat();
        node.refused(&restore, 10, &["the remote directory holds unrelated histories", "--generation"]);
    }
    for (keys, generation) in [(&expected, "2"), (&before, "1")] {
        node.assert_restores(keys, &["--generation", generation]);
        node.etcd.stop().unwrap();
        node.reset();
    }
}

#[test]
fn a_power_cut_takes_the_unsynced_tail_and_other_bytes_follow() {
    let Some(mut node) = backed_up() else { return };
    let before = dump(&node);
    write_some(&node, "/taken", 3);
    node.ok(&["backup"]);
    node.etcd.kill().unwrap();
    // What was sent was not yet on the disk: the log ends where the write of the first of them began.
    let at = |value: &serde_json::Value| value["place"]["offset"].as_u64().unwrap();
    let wal = node.path("/var/lib/etcd2/member/wal/0000000000000000-0000000000000000.wal");
    let length = fs::metadata(&wal).unwrap().len();
    let sent = state(&node);
    let cut = sent["last_record"]["at"]["offset"].as_u64().unwrap();
    assert!(cut < at(&sent) && at(&sent) <= length);
    fs::File::options().write(true).open(&wal).unwrap().set_len(cut).unwrap();
    node.etcd.start().unwrap();
    write_some(&node, "/other", 3);
    let expected = dump(&node);
    assert!(expected.len() > before.len());
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation 2 begins: the last record that was sent is gone or altered"), "{log}");
    node.assert_restores(&expected, &[]);
}

/// The CRC does not cover a record's length. etcd itself would cut the log off there at its next start.
#[test]
fn a_flipped_bit_in_the_length_of_a_record_is_never_nothing_new() {
    let Some(mut node) = backed_up() else { return };
    let at = state(&node)["place"]["offset"].as_u64().unwrap();
    write_some(&node, "/precious", 20);
    let expected = dump(&node);
    let log = node.path("/var/lib/etcd2/member/wal/0000000000000000-0000000000000000.wal");
    let log = fs::File::options().read(true).write(true).open(log).unwrap();
    let mut length = [0; 8];
    log.read_exact_at(&mut length, at).unwrap();
    for bit in [3, 10, 16, 20, 23, 24, 40, 62] {
        let mut flipped = length;
        flipped[bit / 8] ^= 1 << (bit % 8);
        log.write_all_at(&flipped, at).unwrap();
        for command in ["backup", "status"] {
            node.refused(&[command], 11, &["the log is corrupt at ", &format!(".wal@{at}: ")]);
        }
    }
    log.write_all_at(&length, at).unwrap();
    node.ok(&["backup"]);
    node.assert_restores(&expected, &[]);
}

/// Whoever may write to etcd's directory must not make us wait, nor read what is not etcd's.
#[test]
fn a_pipe_or_a_link_with_a_files_name_is_neither_waited_for_nor_followed() {
    let Some(mut node) = backed_up() else { return };
    node.etcd.kill().unwrap();
    let data = node.path("/var/lib/etcd2");
    let data = data.to_str().unwrap();
    let secret = node.path("/etc/secret");
    write(&secret, "only for root ".repeat(1000));
    let newest = node.path("/var/lib/etcd2/member/wal/0000000000000001-00000000000fffff.wal");
    let pipe = |path: &Path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    let link = |path: &Path| std::os::unix::fs::symlink(&secret, path).unwrap();
    for kind in ["a named pipe", "a symbolic link"] {
        if kind == "a named pipe" {
            pipe(&newest);
        } else {
            link(&newest);
        }
        let says = format!("0fffff.wal is {kind}, not a regular file");
        for command in
            [&["backup"][..], &["status"], &["inspect", data], &["restore", "--source", "local", "--plan"]]
        {
            node.refused(command, 11, &[&says]);
        }
        // What has other sources does not stop at it, nor hang.
        for command in [&["sources"][..], &["clean"], &["report"], &["list"], &["verify"]] {
            let run = node.run(command);
            assert!((0..=20).contains(&run.code), "{command:?}: {} {}", run.code, run.log);
        }
        fs::remove_file(&newest).unwrap();
    }
    // Snapshots and the file of the v3 store are looked at as well.
    for file in ["0000000000000002-0000000000000003.snap", "db"] {
        let path = node.path("/var/lib/etcd2/member/snap").join(file);
        let _ = fs::remove_file(&path);
        pipe(&path);
        node.ok(&["backup"]);
        // An older snapshot serves; there is one db.
        match file {
            "db" => node.refused(&["inspect", data], 11, &["snap/db is a named pipe, not a regular file"]),
            _ => drop(node.ok(&["inspect", data])),
        }
        fs::remove_file(&path).unwrap();
    }
    for object in node.objects() {
        let part = fs::read(node.folder().join(object)).unwrap();
        assert!(!part.windows(8).any(|w| w == b"for root"));
    }
}
