//! `verify`: every kind of damage to a part in the remote is found and named, with a real etcd and a real rclone.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::PathBuf;

use etcd2_backup::etcd::frame::{FrameWriter, Kind};
use etcd2_backup::etcd::proto::{Entry, EntryKind, HardState, LogPosition, Metadata};
use testkit::files::{tree, write};
use testkit::keys;
use testkit::node::{Node, Run};
use testkit::tools::Tools;

use crate::PROGRAM;

/// A node with two generations of a few parts each, its etcd stopped.
fn archived() -> Option<Node> {
    let mut node = Node::new(PROGRAM, Tools::from_env()?);
    node.etcd.start().unwrap();
    keys::write_sample(&node.etcd.client_url).unwrap();
    for generation in ["a", "b"] {
        for part in 0..4 {
            keys::write_many(&node.etcd.client_url, &format!("/{generation}{part}"), 20).unwrap();
            node.ok(&["backup"]);
        }
        if generation == "a" {
            fs::remove_file(node.path("/var/lib/etcd2-backup/state.json")).unwrap();
        }
    }
    node.etcd.stop().unwrap();
    assert_eq!(node.objects().len(), 8);
    Some(node)
}

/// Part `sequence` of generation `number`.
fn part(node: &Node, number: u64, sequence: u64) -> PathBuf {
    let wanted = |p: &PathBuf| {
        let path = p.to_string_lossy();
        path.starts_with(&format!("{number:08}-")) && path.contains(&format!("/{sequence:08}-"))
    };
    node.folder().join(node.objects().into_iter().find(wanted).unwrap())
}

/// Runs it for its answer: exit code, JSON, log.
fn verify(node: &Node, arguments: &[&str]) -> (i32, serde_json::Value, String) {
    let Run { code, log, answer } = node.run(&[&["verify", "--json"], arguments].concat());
    (code, serde_json::from_str(&answer).unwrap_or_default(), log)
}

/// Each finding: generation, part, kind, reason, what is lost.
fn findings(answer: &serde_json::Value) -> Vec<(u64, u64, String, String, String)> {
    let all =
        answer["generations"].as_array().unwrap().iter().flat_map(|g| g["findings"].as_array().unwrap());
    let text = |f: &serde_json::Value, field: &str| f[field].as_str().unwrap().to_owned();
    all.map(|f| {
        let number = |field: &str| f[field].as_u64().unwrap();
        (number("generation"), number("part"), text(f, "kind"), text(f, "reason"), text(f, "lost"))
    })
    .collect()
}

/// Flips a bit of every byte asked for.
fn flip(path: &PathBuf, at: impl Fn(usize) -> usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = at(bytes.len());
    bytes[at] ^= 1;
    write(path, bytes);
}

#[test]
fn a_whole_archive_is_whole_and_nothing_is_left_behind() {
    let Some(node) = archived() else { return };
    let (code, answer, log) = verify(&node, &[]);
    assert_eq!((code, findings(&answer)), (0, Vec::new()), "{log}");
    let sizes = |number: u64| -> (u64, u64) {
        let all = node
            .objects()
            .into_iter()
            .filter(|p| p.starts_with(part(&node, number, 0).parent().unwrap().file_name().unwrap()));
        let sizes: Vec<u64> = all.map(|p| fs::metadata(node.folder().join(p)).unwrap().len()).collect();
        (sizes.len() as u64, sizes.iter().sum())
    };
    for (at, number) in [(0, 1), (1, 2)] {
        let generation = &answer["generations"][at];
        let read = (generation["parts"].as_u64().unwrap(), generation["bytes"].as_u64().unwrap());
        assert_eq!(read, sizes(number), "{answer}");
    }
    let mut left: Vec<_> =
        fs::read_dir(node.path("/var/lib/etcd2-backup")).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["lock", "rclone-version", "spool", "state.json", "verified.json", "verify.lock"]);
    let verified = fs::read_to_string(node.path("/var/lib/etcd2-backup/verified.json")).unwrap();
    let verified: serde_json::Value = serde_json::from_str(&verified).unwrap();
    let parts: Vec<u64> =
        verified["generations"].as_object().unwrap().values().map(|v| v["part"].as_u64().unwrap()).collect();
    assert_eq!(parts, [3, 3]);
    // Only the newest, or a certain one; and the backup goes on as before.
    for (arguments, expected) in [(&["--newest"][..], 2), (&["--generation", "1"], 1)] {
        let (code, answer, log) = verify(&node, arguments);
        assert_eq!((code, answer["generations"].as_array().unwrap().len()), (0, 1), "{log}");
        assert_eq!(answer["generations"][0]["generation"], expected);
    }
    node.refused(&["verify", "--generation", "7"], 12, &["generation 7 is not in "]);
    node.refused(&["verify", "--newest", "--share", "1/7"], 2, &["--newest, --share and --generation"]);
    let log = node.ok(&["backup"]);
    assert!(!log.contains("begins"), "{log}");
}

#[test]
fn every_kind_of_damage_is_found_and_named() {
    let Some(node) = archived() else { return };
    node.save();
    let behind = |n: u64, part: u64| format!("in generation {n}, no restore point after part {part}, index ");
    let nothing = |n: u64| format!("generation {n} cannot be restored");
    type Expected = (u64, u64, &'static str, &'static str, String);
    type Case = (&'static str, fn(&Node), Vec<Expected>);
    let table: Vec<Case> = vec![
        (
            "a flipped bit in the payload",
            |n| flip(&part(n, 1, 2), |len| len / 2),
            vec![(1, 2, "damaged", "its checksum is wrong", behind(1, 1))],
        ),
        (
            "a flipped bit in the head",
            |n| flip(&part(n, 2, 0), |_| 40),
            vec![(2, 0, "damaged", "its checksum is wrong", nothing(2))],
        ),
        (
            "a flipped bit in the checksum of the newest",
            |n| flip(&part(n, 2, 3), |len| len - 1),
            vec![(2, 3, "damaged", "its checksum is wrong", behind(2, 2))],
        ),
        (
            "cut",
            |n| {
                let path = part(n, 1, 1);
                let bytes = fs::read(&path).unwrap();
                write(&path, &bytes[..bytes.len() - 1]);
            },
            vec![(1, 1, "damaged", "bytes, not ", behind(1, 0))],
        ),
        (
            "the newest cut, although it was reported as sent",
            |n| write(&part(n, 2, 3), b""),
            vec![(2, 3, "damaged", "it has 0 bytes, not ", behind(2, 2))],
        ),
        (
            "missing",
            |n| fs::remove_file(part(n, 1, 1)).unwrap(),
            vec![(1, 1, "missing", "it is missing", behind(1, 0))],
        ),
        (
            "the base missing",
            |n| fs::remove_file(part(n, 1, 0)).unwrap(),
            vec![(1, 0, "missing", "it is missing", nothing(1))],
        ),
        (
            "the newest missing, although it was reported as sent",
            |n| fs::remove_file(part(n, 2, 3)).unwrap(),
            vec![(2, 3, "missing", "it is missing", behind(2, 2))],
        ),
        (
            "two swapped",
            |n| {
                let (one, other) = (part(n, 1, 1), part(n, 1, 2));
                let (a, b) = (fs::read(&one).unwrap(), fs::read(&other).unwrap());
                write(&one, b);
                write(&other, a);
            },
            Vec::new(),
        ),
        (
            "foreign: another generation's part in its place",
            |n| {
                let foreign = fs::read(part(n, 2, 2)).unwrap();
                let path = part(n, 1, 2);
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                let mut fields: Vec<String> = name.split('-').map(str::to_owned).collect();
                fields[5] = foreign.len().to_string();
                fs::remove_file(&path).unwrap();
                write(&path.with_file_name(fields.join("-")), foreign);
            },
            vec![(1, 2, "damaged", "it is 00000002-", behind(1, 1))],
        ),
        (
            "two at once",
            |n| {
                flip(&part(n, 1, 1), |len| len / 2);
                flip(&part(n, 1, 3), |len| len / 2);
            },
            vec![
                (1, 1, "damaged", "its checksum is wrong", behind(1, 0)),
                (1, 3, "damaged", "its checksum is wrong", behind(1, 2)),
            ],
        ),
    ];
    for (name, damage, expected) in table {
        damage(&node);
        let (code, answer, log) = verify(&node, &[]);
        let found = findings(&answer);
        assert_eq!(code, 11, "{name}: {log}");
        assert!(log.contains("error: the archive is corrupt: ") && log.contains("hint: "), "{name}: {log}");
        if expected.is_empty() {
            // Two that differ in size are seen in the listing, else by what they say they are.
            let parts: Vec<_> = found.iter().map(|f| (f.0, f.1, f.2.as_str())).collect();
            assert_eq!(parts, [(1, 1, "damaged"), (1, 2, "damaged")], "{name}: {found:?}");
        } else {
            assert_eq!(found.len(), expected.len(), "{name}: {found:?}");
        }
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!((found.0, found.1, found.2.as_str()), (expected.0, expected.1, expected.2), "{name}");
            assert!(found.3.contains(expected.3), "{name}: {found:?}");
            assert!(found.4.starts_with(&expected.4), "{name}: {found:?}");
        }
        node.reset();
    }
}

#[test]
fn a_damaged_newest_generation_is_given_up_and_an_older_one_is_not() {
    let Some(mut node) = archived() else { return };
    flip(&part(&node, 1, 1), |len| len / 2);
    assert_eq!(verify(&node, &[]).0, 11);
    assert!(node.path("/var/lib/etcd2-backup/state.json").exists());
    flip(&part(&node, 2, 1), |len| len / 2);
    let (code, _, log) = verify(&node, &["--newest"]);
    assert_eq!(code, 11, "{log}");
    assert!(log.contains("generation 2 is closed: the next backup begins a new one"), "{log}");
    node.etcd.start().unwrap();
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation 3 begins: "), "{log}");
    // What is damaged stays so, and the new one is whole.
    let (code, answer, log) = verify(&node, &[]);
    assert_eq!(code, 11, "{log}");
    let parts: Vec<_> = findings(&answer).iter().map(|f| (f.0, f.1)).collect();
    assert_eq!(parts, [(1, 1), (2, 1)]);
    node.ok(&["verify", "--newest"]);
    let verified = fs::read_to_string(node.path("/var/lib/etcd2-backup/verified.json")).unwrap();
    let verified: serde_json::Value = serde_json::from_str(&verified).unwrap();
    let of = |map: &str| -> Vec<(String, u64)> {
        let map = verified[map].as_object().unwrap();
        map.iter().map(|(n, seen)| (n[..8].to_owned(), seen["part"].as_u64().unwrap())).collect()
    };
    assert_eq!(of("damaged"), [("00000001".to_owned(), 1), ("00000002".to_owned(), 1)]);
    assert_eq!(
        of("generations"),
        [("00000001".to_owned(), 0), ("00000002".to_owned(), 0), ("00000003".to_owned(), 0)]
    );
}

#[test]
fn the_shares_of_a_round_find_any_damage_and_read_every_byte_once() {
    let Some(node) = archived() else { return };
    node.ok(&["verify", "--share", "1/3"]);
    fs::remove_file(node.path("/var/lib/etcd2-backup/verified.json")).unwrap();
    let total: u64 = node.objects().iter().map(|p| fs::metadata(node.folder().join(p)).unwrap().len()).sum();
    let verified = || fs::read_to_string(node.path("/var/lib/etcd2-backup/verified.json")).unwrap();
    let (mut bytes, mut parts) = (0, 0);
    for share in 0..3 {
        let (code, answer, log) = verify(&node, &["--share", "1/3"]);
        assert_eq!(code, 0, "{log}");
        for generation in answer["generations"].as_array().unwrap() {
            bytes += generation["bytes"].as_u64().unwrap();
            parts += generation["parts"].as_u64().unwrap();
        }
        let known: serde_json::Value = serde_json::from_str(&verified()).unwrap();
        let expected = if share == 2 { 2 } else { 0 };
        assert_eq!(known["generations"].as_object().unwrap().len(), expected, "share {share}");
    }
    assert_eq!((bytes, parts), (total, 8));
    for (number, sequence) in [(1, 0), (1, 3), (2, 2)] {
        let path = part(&node, number, sequence);
        let whole = fs::read(&path).unwrap();
        flip(&path, |len| len / 2);
        let mut found = BTreeSet::new();
        for _ in 0..3 {
            let (code, answer, log) = verify(&node, &["--share", "1/3"]);
            let here: Vec<_> = findings(&answer).iter().map(|f| (f.0, f.1)).collect();
            assert_eq!(code, if here.is_empty() { 0 } else { 11 }, "{log}");
            assert!(here.iter().all(|f| found.insert(*f)), "found twice: {here:?}");
        }
        assert_eq!(found, BTreeSet::from([(number, sequence)]));
        write(&path, whole);
    }
}

/// A snapshot that took long to write: the record of it lies behind entries of much later, and in a part of its own share.
#[test]
fn a_part_with_a_late_snapshot_record_is_whole_for_itself() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.environment.insert("ETCD2_BACKUP_QUIET_INTERVAL".into(), "0".into());
    let member = node.path("/var/lib/etcd2/member");
    for dir in ["snap", "wal"] {
        fs::create_dir_all(member.join(dir)).unwrap();
    }
    let file = File::create(member.join("wal/0000000000000000-0000000000000000.wal")).unwrap();
    let mut log = FrameWriter::new(file, 0);
    log.crc_record().unwrap();
    log.record(Kind::Metadata, &Metadata { member_id: 0xa, cluster_id: 0xc }.encode()).unwrap();
    log.record(Kind::Snapshot, &LogPosition::default().encode()).unwrap();
    for (indexes, snapshot) in [(1..=10, None), (11..=13, None), (14..=15, Some(8)), (16..=19, Some(15))] {
        for index in indexes {
            let entry = Entry { kind: EntryKind::Normal, term: 2, index, data: &[] };
            log.record(Kind::Entry, &entry.encode()).unwrap();
            log.record(Kind::HardState, &HardState { term: 2, vote: 0xa, commit: index }.encode()).unwrap();
        }
        if let Some(index) = snapshot {
            log.record(Kind::Snapshot, &LogPosition { index, term: 2 }.encode()).unwrap();
        }
        node.ok(&["backup"]);
    }
    assert_eq!(node.objects().len(), 4);
    node.ok(&["verify"]);
    for _ in 0..7 {
        node.ok(&["verify", "--share", "1/7"]);
    }
    assert!(node.path("/var/lib/etcd2-backup/state.json").exists());
}

#[test]
fn another_machines_archive_is_read_and_nothing_is_noted_of_it() {
    let Some(node) = archived() else { return };
    let other = "fedcba9876543210fedcba9876543210";
    fs::rename(node.folder(), node.folder().with_file_name(other)).unwrap();
    let before = tree(&node.path("/var/lib/etcd2-backup"));
    let (code, answer, log) = verify(&node, &["--from", other]);
    assert_eq!((code, findings(&answer)), (0, Vec::new()), "{log}");
    let mut after = tree(&node.path("/var/lib/etcd2-backup"));
    assert_eq!(after.remove(&PathBuf::from("verify.lock")), Some(Some(Vec::new())));
    assert_eq!(after, before);
    node.refused(&["verify"], 12, &["holds no generation"]);
    node.refused(&["verify", "--from", other, "--share", "1/7"], 2, &["--share works on this machine's own"]);
}

#[test]
fn a_remote_that_is_down_is_not_called_damage() {
    let Some(mut node) = archived() else { return };
    let before = tree(&node.path("/var/lib/etcd2-backup"));
    node.environment.insert("RCLONE_ENDPOINT".into(), "absent:x".into());
    node.refused(&["verify"], 13, &["rclone lsjson"]);
    let mut after = tree(&node.path("/var/lib/etcd2-backup"));
    after.remove(&PathBuf::from("verify.lock"));
    assert_eq!(after, before);
}
