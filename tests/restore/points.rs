//! Restores to points in the past: real etcd, real rclone, a remote of type `local`. Every state is recorded when it is
//! the current one.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use testkit::files::write;
use testkit::http::Connection;
use testkit::keys::{self, Client, How, Keys, address_of};
use testkit::node::Node;
use testkit::tools::Tools;
use testkit::wait::until;

use crate::PROGRAM;

const OTHER: &str = "fedcba9876543210fedcba9876543210";

/// A running etcd and the raft index of its last write.
struct Writer {
    connection: Connection,
    client: Client,
    index: u64,
}

impl Writer {
    fn to(node: &Node) -> Self {
        let url = &node.etcd.client_url;
        let connection = Connection::new(address_of(url).unwrap());
        Self { connection, client: Client::new(url).unwrap(), index: 0 }
    }

    fn write(&mut self, method: &str, key: &str, form: Option<&str>) {
        let reply = self.connection.request(method, &format!("/v2/keys{key}"), form).unwrap();
        assert!(matches!(reply.status, 200 | 201), "{method} {key}: {}", reply.body);
        self.index = reply.header("x-raft-index").unwrap().parse().unwrap();
    }

    fn put(&mut self, key: &str, value: u64) {
        self.write("PUT", key, Some(&format!("value={value}")));
    }

    fn keys(&mut self) -> Keys {
        self.client.dump_local().unwrap()
    }

    /// A moment with a SYNC before and behind it.
    fn moment(&mut self) -> SystemTime {
        self.wait_for_syncs();
        let now = SystemTime::now();
        self.wait_for_syncs();
        now
    }

    /// Two: the first one may have been on its way.
    fn wait_for_syncs(&mut self) {
        let mut index = || -> u64 {
            let reply = self.connection.request("GET", "/v2/keys/", None).unwrap();
            reply.header("x-raft-index").unwrap().parse().unwrap()
        };
        let wanted = index() + 2;
        until("no SYNC", Duration::from_secs(60), || index() >= wanted);
    }
}

/// The next backup begins a generation.
fn forget(node: &Node) {
    fs::remove_file(node.path("/var/lib/etcd2-backup/state.json")).unwrap();
}

/// Restores, starts etcd, compares every key, stops it.
#[track_caller]
fn assert_restores(node: &mut Node, options: &[&str], expected: &Keys) -> String {
    let log = node.ok(&[&["restore"], options].concat());
    node.etcd.start().unwrap();
    let differences = keys::compare(expected, &keys::dump(&node.etcd.client_url).unwrap());
    assert!(differences.is_empty(), "{options:?}: {differences:?}\n{log}");
    node.etcd.kill().unwrap();
    log
}

fn text(time: SystemTime) -> String {
    humantime::format_rfc3339_nanos(time).to_string()
}

/// Numbers that look random and are the same each time.
pub(crate) fn random(state: &mut u64, below: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

#[test]
fn any_index_is_restored_exactly() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.set("ETCD_SNAPSHOT_COUNT", "100");
    node.etcd.start().unwrap();
    let (mut writer, mut seed) = (Writer::to(&node), 7);
    node.ok(&["backup"]);
    let mut recorded: Vec<(u64, Keys)> = Vec::new();
    for number in 0..400 {
        let key = format!("/k/{}", random(&mut seed, 60));
        let there = writer.client.get(&key).unwrap().is_some();
        match random(&mut seed, 4) {
            0 if there => writer.write("DELETE", &key, None),
            1 => writer.write("POST", "/queue", Some(&format!("value={number}"))),
            _ => writer.put(&key, number),
        }
        if number % 20 == random(&mut seed, 20) || number % 20 == 19 && recorded.len() as u64 <= number / 20 {
            recorded.push((writer.index, writer.keys()));
        }
        if number % 50 == 49 {
            node.ok(&["backup"]);
        }
        if number == 199 {
            forget(&node);
            node.ok(&["backup"]);
        }
    }
    node.etcd.stop().unwrap();
    assert!(recorded.len() >= 20, "{}", recorded.len());
    let names = node.objects();
    assert!(names.len() >= 8 && names.iter().any(|p| p.starts_with(names[0].parent().unwrap())), "{names:?}");

    let mut generations = [0; 3];
    for (index, keys) in &recorded {
        let log = assert_restores(&mut node, &["--raft-index", &index.to_string()], keys);
        assert!(log.contains(&format!(" up to index {index} in ")), "{log}");
        (1..3)
            .for_each(|n| generations[n] += usize::from(log.contains(&format!("archive, generation {n},"))));
    }
    assert!(generations[1] >= 3 && generations[2] >= 3, "{generations:?}");
    // The older generation has what the newer one has too, if it is asked.
    let (index, keys) = &recorded[9];
    let log = assert_restores(&mut node, &["--raft-index", &index.to_string(), "--generation", "1"], keys);
    assert!(log.contains("archive, generation 1,"), "{log}");

    let before = node.kept("member");
    for index in ["0", "100000"] {
        node.refused(&["restore", "--raft-index", index], 12, &["is in no generation", "list --points"]);
    }
    for options in [
        &["--at", "2026-01-31T23:59:59Z", "--raft-index", "7"][..],
        &["--source", "local", "--raft-index", "7"],
        &["--source", "auto", "--from", OTHER],
    ] {
        node.refused(&[&["restore"], options].concat(), 2, &["exclude each other"]);
    }
    let log = node.ok(&["restore", "--plan", "--raft-index", &index.to_string()]);
    assert!(
        log.contains(&format!("up to index {index} of term")) && log.contains("nothing was changed"),
        "{log}"
    );
    assert_eq!(node.kept("member"), before);
}

#[test]
fn any_moment_between_writes_is_restored_in_every_lineage() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.start().unwrap();
    let mut writer = Writer::to(&node);
    // Beside a key that expires, etcd 3 writes SYNC entries too.
    let ttl = How { ttl: Some(1_000_000), ..How::default() };
    writer.client.put_how("/expires", "later", &ttl).unwrap();
    let start = SystemTime::now();
    let mut recorded = Vec::new();
    let mut step = |node: &Node, writer: &mut Writer, number| {
        writer.put("/now", number);
        let keys = writer.keys();
        recorded.push((writer.moment(), keys));
        if number % 2 == 1 {
            node.ok(&["backup"]);
        }
    };
    (0..6).for_each(|number| step(&node, &mut writer, number));
    forget(&node);
    (6..8).for_each(|number| step(&node, &mut writer, number));
    node.etcd.stop().unwrap();
    node.ok(&["restore"]);
    node.etcd.start().unwrap();
    let mut writer = Writer::to(&node);
    (8..10).for_each(|number| step(&node, &mut writer, number));
    node.etcd.stop().unwrap();

    // A part is captured in a second of its own: the two generations in between may share one with a write.
    for (moment, keys) in &recorded {
        let log = assert_restores(&mut node, &["--at", &text(*moment)], keys);
        assert!(log.contains("by the leader's clock in the WAL"), "{log}");
    }
    let (last, keys) = recorded.last().unwrap();
    let later = text(*last + Duration::from_secs(100_000));
    let log = assert_restores(&mut node, &["--at", &later], keys);
    assert!(log.contains("by the time of the backup"), "{log}");
    let early = text(start - Duration::from_secs(3600));
    node.refused(
        &["restore", "--at", &early],
        12,
        &["generation 1 begins later than that", "generation 1: index 1 to"],
    );
}

/// An older data directory is put back, and written on past where it was: one index, two entries.
#[test]
fn an_index_whose_entry_was_replaced_is_not_restored_without_a_word() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.set("ETCD_SNAPSHOT_COUNT", "20");
    let (data, older) = (node.path("/var/lib/etcd2"), node.path("/var/lib/older"));
    let copy = |from: &Path, to: &Path| {
        assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    };
    let puts = |node: &Node, numbers: Range<u64>| {
        let mut writer = Writer::to(node);
        numbers.for_each(|number| writer.put("/now", number));
        (writer.index.to_string(), writer.keys())
    };
    node.etcd.start().unwrap();
    puts(&node, 0..50);
    node.etcd.stop().unwrap();
    copy(&data, &older);
    node.etcd.start().unwrap();
    let given_up = puts(&node, 50..80);
    node.ok(&["backup"]);
    node.etcd.stop().unwrap();
    fs::remove_dir_all(&data).unwrap();
    copy(&older, &data);
    node.etcd.start().unwrap();
    let kept = puts(&node, 100..103);
    node.ok(&["backup"]);
    // Its base lies behind both.
    forget(&node);
    puts(&node, 103..200);
    node.ok(&["backup"]);
    node.etcd.stop().unwrap();

    let by_name = format!("restore --generation 1 --raft-index {}", given_up.0);
    let words = ["generation 1 only: generation 2 replaced it later", by_name.as_str()];
    node.refused(&["restore", "--raft-index", &given_up.0], 10, &words);
    assert_restores(&mut node, &["--generation", "1", "--raft-index", &given_up.0], &given_up.1);
    let log = assert_restores(&mut node, &["--raft-index", &kept.0], &kept.1);
    assert!(log.contains("warning: generation 1 may have had other entries up to index "), "{log}");
}

#[test]
fn a_damaged_part_before_the_point_is_an_error_and_one_behind_it_is_not() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.start().unwrap();
    let mut writer = Writer::to(&node);
    let mut recorded = Vec::new();
    for number in 0..5 {
        (0..10).for_each(|_| writer.put("/now", number));
        recorded.push((writer.index.to_string(), writer.keys()));
        node.ok(&["backup"]);
    }
    node.etcd.stop().unwrap();
    let damaged = node.folder().join(&node.objects()[2]);
    let whole = fs::read(&damaged).unwrap();
    let mut altered = whole.clone();
    altered[whole.len() / 2] ^= 1;
    for bytes in [Some(altered), None] {
        match bytes {
            Some(bytes) => write(&damaged, bytes),
            None => fs::remove_file(&damaged).unwrap(),
        }
        for (index, keys) in &recorded[..2] {
            assert_restores(&mut node, &["--raft-index", index], keys);
        }
        let reachable = format!("--raft-index {}", recorded[1].0);
        for (index, _) in &recorded[2..] {
            for options in [&["--raft-index", index][..], &["--raft-index", index, "--accept-older"]] {
                let run = node.run(&[&["restore"], options].concat());
                let gone = !damaged.exists();
                assert_eq!(run.code, if gone { 12 } else { 11 }, "{}", run.log);
                let words = if gone { &recorded[1].0 } else { &reachable };
                assert!(run.log.contains(words), "{words}: {}", run.log);
            }
        }
    }
    node.refused(&["restore", "--at", &text(SystemTime::now()), "--accept-older"], 11, &["is broken before"]);
}

#[test]
fn another_machines_folder_is_restored_as_it_is() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.start().unwrap();
    keys::write_sample(&node.etcd.client_url).unwrap();
    let keys = keys::dump(&node.etcd.client_url).unwrap();
    node.ok(&["backup"]);
    node.etcd.stop().unwrap();
    let other = node.folder().with_file_name(OTHER);
    fs::rename(node.folder(), &other).unwrap();
    fs::remove_dir_all(node.path("/var/lib/etcd2")).unwrap();
    let before = testkit::files::tree(&other);
    node.refused(&["restore"], 12, &["there is no backup of this machine", OTHER, "--from"]);
    node.refused(&["restore", "--from", &"1".repeat(32)], 12, &["there is no backup of that machine", OTHER]);
    let good = node.environment.clone();
    node.environment.insert("ETCD_RESTORE_MASTER_ADV_PEER_URLS".into(), "http://10.0.0.9:2380".into());
    node.refused(&["restore", "--from", OTHER], 10, &["not the founding member"]);
    node.environment = good;
    node.ok(&["restore", "--from", OTHER]);
    assert_eq!(testkit::files::tree(&other), before);
    node.etcd.start().unwrap();
    let differences = keys::compare(&keys, &keys::dump(&node.etcd.client_url).unwrap());
    assert!(differences.is_empty(), "{differences:?}");
    // From here on it is this machine's own history.
    node.ok(&["backup"]);
    let record = node.objects().into_iter().find(|p| p.starts_with("recovery")).unwrap();
    let record = fs::read_to_string(node.folder().join(record)).unwrap();
    assert!(record.contains(&format!(r#""machine_id": "{OTHER}""#)), "{record}");
    node.etcd.stop().unwrap();
    node.ok(&["restore"]);
}
