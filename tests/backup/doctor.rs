//! `doctor`: a line for each thing that a backup needs, told from a real etcd and a real rclone.

use std::fs;

use testkit::etcd::{Member, introduce};
use testkit::faults::wrapper::Wrapper;
use testkit::files::{alter_json, copy, tree, write};
use testkit::keys;
use testkit::node::Node;
use testkit::tools::{Tools, etcd_version};

use crate::PROGRAM;
use crate::status::{kinds, status};

/// What it says of each check: the word and the name, in order.
fn doctor(node: &Node, code: i32) -> (Vec<String>, String) {
    let run = node.run(&["doctor"]);
    assert_eq!(run.code, code, "{} {}", run.log, run.answer);
    let lines = run.answer.lines().filter(|line| !line.starts_with(' '));
    let words = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    (lines.map(words).collect(), run.answer)
}

const GOOD: [&str; 10] = [
    "ok log",
    "ok index",
    "ok etcd",
    "ok founder",
    "ok clock",
    "ok room",
    "ok write",
    "ok list",
    "ok read",
    "ok remove",
];

fn running() -> Option<(Node, Wrapper)> {
    let tools = Tools::from_env()?;
    let mut node = Node::new(PROGRAM, tools);
    let wrapper = Wrapper::new(&mut node, tools);
    node.environment.insert("ETCD2_BACKUP_RCLONE_TIMEOUT".into(), "5s".into());
    node.etcd.start().unwrap();
    keys::write_sample(&node.etcd.client_url).unwrap();
    Some((node, wrapper))
}

#[test]
fn each_thing_that_a_backup_needs_has_a_line() {
    let Some((mut node, wrapper)) = running() else { return };
    let (lines, said) = doctor(&node, 0);
    assert_eq!(lines, GOOD, "{said}");
    assert_eq!(wrapper.calls(), ["copy", "lsjson", "copy", "delete", "lsjson"]);
    assert!(node.objects().is_empty() && !node.path("/var/lib/etcd2-backup/doctor").exists());
    // A clock that was set back since, as the last backup says.
    node.ok(&["backup"]);
    let path = node.path("/var/lib/etcd2-backup/state.json");
    let state = fs::read_to_string(&path).unwrap();
    alter_json(&path, |state| state["clock"] = (state["clock"].as_u64().unwrap() + 4000).into());
    let (lines, said) = doctor(&node, 10);
    assert!(lines.contains(&"FAILED clock".to_owned()) && said.contains("was seen before"), "{said}");
    write(&path, state);
    // Without etcd, what it would say is not known.
    node.etcd.stop().unwrap();
    let (lines, said) = doctor(&node, 0);
    assert_eq!(lines[1..4], ["note index", "note etcd", "note founder"], "{said}");
    assert!(said.contains("could not check whether"), "{said}");
    let wal = node.path("/var/lib/etcd2/member/wal");
    fs::rename(&wal, wal.with_file_name("kept")).unwrap();
    let (lines, said) = doctor(&node, 0);
    assert_eq!(lines[..2], ["note log", "note founder"], "{said}");
}

#[test]
fn a_remote_that_is_not_what_it_seems_is_found() {
    let Some((node, wrapper)) = running() else { return };
    let copies = r#"case "$*" in *" copy "*/backup/doctor/out*|*" copy "*/etcd2-backup/doctor/out*)"#;
    for (name, body, code, want) in [
        ("it is down", "echo 'no route to host' >&2; exit 1".to_owned(), 13, vec!["FAILED write"]),
        ("it drops", format!("{copies} exit 0;; esac"), 13, vec!["ok write", "FAILED list", "ok remove"]),
        (
            "it cuts",
            format!(
                r#"{copies} "$REAL" "$@"; truncate -s 9 "{}"/doctor/*; exit 0;; esac"#,
                node.folder().display()
            ),
            13,
            vec!["ok write", "FAILED list", "ok remove"],
        ),
        (
            "it is locked",
            r#"case "$*" in *" delete "*) echo ObjectLocked >&2; exit 1;; esac"#.to_owned(),
            0,
            vec!["ok write", "ok list", "ok read", "note remove"],
        ),
    ] {
        wrapper.instead(&format!("{body}\nexec \"$REAL\" \"$@\""));
        let (lines, said) = doctor(&node, code);
        assert_eq!(lines[6..], want, "{name}: {said}");
    }
    // What is left is read by nobody, and goes nowhere.
    wrapper.honest();
    let left = node.objects();
    assert!(left.len() == 1 && left[0].starts_with("doctor"), "{left:?}");
    assert_eq!(node.run(&["list"]).code, 12);
    node.ok(&["backup"]);
    for verb in [&["list"][..], &["list", "--all"], &["verify"], &["sources"]] {
        let run = node.run(verb);
        assert_eq!(run.code, 0, "{verb:?}: {}", run.log);
        assert!(!run.answer.contains("doctor"), "{verb:?}: {}", run.answer);
    }
    let (lines, said) = doctor(&node, 0);
    assert_eq!(lines, GOOD, "{said}");
    assert!(said.contains("1 of earlier runs remain"), "{said}");
    assert!(tree(&node.folder().join("doctor")).len() == 1);
}

#[test]
fn a_log_that_is_not_all_that_etcd_has_is_found() {
    not_all_is_found(true);
}

/// etcd 3.4 and newer with default flags.
#[test]
fn a_log_that_is_not_all_is_found_where_the_v3_api_alone_is_served() {
    let Some(tools) = Tools::from_env() else { return };
    if etcd_version(&tools.etcd).unwrap() >= (3, 4) {
        not_all_is_found(false);
    }
}

fn not_all_is_found(by_v2: bool) {
    let Some((mut node, _wrapper)) = running() else { return };
    if !by_v2 {
        node.etcd.without_v2();
        node.etcd.restart().unwrap();
        let (lines, said) = doctor(&node, 0);
        assert_eq!(lines, GOOD, "{said}");
    }
    // As of a second: what etcd wrote since is not in it, and nothing in the copy says so.
    let data = node.path("/var/lib/etcd2");
    let old = node.path("/var/lib/old");
    copy(&[&data], &old);
    match by_v2 {
        true => keys::write_many(&node.etcd.client_url, "/later", 3).unwrap(),
        // At each start it says who it is, and leads.
        false => (0..2).for_each(|_| node.etcd.restart().unwrap()),
    }
    node.environment.insert("ETCD_DATA_DIR".into(), "/var/lib/old/etcd2".into());
    let (lines, said) = doctor(&node, 11);
    assert_eq!(lines[..2], ["ok log", "FAILED index"], "{said}");
    assert!(said.contains("etcd has applied index"), "{said}");
    let told = status(&node, 20);
    assert!(kinds(&told).contains(&"ends-early"), "{told}");
    let index = |name: &str| told[name].as_u64().unwrap();
    assert!(index("lost_entries") >= 3, "{told}");
    assert!(index("applied") >= index("log_index") + 3, "{told}");
}

#[test]
fn a_log_that_the_answering_etcd_does_not_have_open_is_found() {
    let Some((mut node, _wrapper)) = running() else { return };
    let tools = Tools::from_env().unwrap();
    // The old log has the same IDs and goes further than the one that etcd writes now.
    keys::write_many(&node.etcd.client_url, "/old", 50).unwrap();
    node.ok(&["backup"]);
    node.etcd.stop().unwrap();
    fs::rename(node.path("/var/lib/etcd2"), node.path("/var/lib/stale")).unwrap();
    node.etcd.start().unwrap();
    node.environment.insert("ETCD_DATA_DIR".into(), "/var/lib/stale".into());
    let (lines, said) = doctor(&node, 15);
    assert_eq!(lines[..2], ["ok log", "FAILED index"], "{said}");
    assert!(said.contains("does not have the backed-up log open"), "{said}");
    let told = status(&node, 20);
    assert_eq!(kinds(&told), ["unheld"], "{told}");
    assert_eq!((&told["lost_seconds"], &told["lost_entries"]), (&serde_json::Value::Null, &told["applied"]));
    // Another etcd holds it, one that does not answer here.
    let mut other = Member::new(tools, "other", &node.path("/var/lib/stale")).unwrap();
    other.spawn(&["--force-new-cluster"]).unwrap();
    other.wait_healthy().unwrap();
    let told = status(&node, 20);
    assert!(kinds(&told).contains(&"unapplied"), "{told}");
}

#[test]
fn a_founder_that_is_no_member_is_found() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    let other_dir = tempfile::tempdir().unwrap();
    let mut other = Member::new(tools, "other", other_dir.path()).unwrap();
    introduce(&mut [&mut node.etcd, &mut other]);
    other.spawn(&[]).unwrap();
    node.etcd.start().unwrap();
    let founder = |node: &mut Node, url: &str| {
        node.environment.insert("ETCD_RESTORE_MASTER_ADV_PEER_URLS".into(), url.to_owned());
    };
    founder(&mut node, &other.peer_url);
    let (lines, said) = doctor(&node, 0);
    // Both are on one host here, which other nodes could not reach.
    assert!(lines.contains(&"note founder".to_owned()) && said.contains(" is other ("), "{said}");
    founder(&mut node, "http://127.0.0.1:1");
    let (_, said) = doctor(&node, 15);
    assert!(said.contains("is none of the members' peer URLs") && said.contains("set-founder URL"), "{said}");
}
