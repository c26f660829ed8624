//! kill -9 at every step of `undo`: the old data or the new, both kept, and run again it ends with the old.

use std::fs;
use std::path::PathBuf;

use etcd2_backup::etcd::datadir;
use etcd2_backup::node::identity;
use etcd2_backup::sys::root::Root;
use testkit::faults::kill::{kill_at, steps};
use testkit::files::tree;
use testkit::keys;
use testkit::node::Node;
use testkit::tools::{self, Tools};

use crate::PROGRAM;

const LOG: &str = "/var/lib/etcd2-log";
const UNDO: [&str; 1] = ["undo"];
/// After every so many steps the real etcd is started on what is there.
const REAL: usize = 10;

fn undo_killed_at_every_step(separate: bool) {
    let Some((strace, tools)) = tools::strace_from_env().zip(Tools::from_env()) else { return };
    let mut node = Node::new(PROGRAM, tools);
    let keys = node.put_fixture("v3423-single-snap-trimmed");
    let member = node.path("/var/lib/etcd2/member");
    let mut places = vec![member.clone()];
    if separate {
        let log = node.path(LOG);
        fs::rename(member.join("wal"), &log).unwrap();
        node.environment.insert("ETCD_WAL_DIR".into(), LOG.into());
        node.etcd.set("ETCD_WAL_DIR", log.to_string_lossy());
        places.push(log);
    }
    let now = |places: &[PathBuf]| places.iter().map(|place| tree(place)).collect::<Vec<_>>();
    let old = now(&places);
    node.ok(&["backup"]);
    node.ok(&["restore"]);
    let new = now(&places);
    node.save();
    let all = steps(&node, strace, &UNDO);
    let begin = all.iter().position(|s| s.line.contains("parents.json")).unwrap();
    let (mut fenced, mut mixed) = (0, 0);
    for (i, step) in all[begin..].iter().enumerate() {
        node.reset();
        kill_at(&node, strace, &UNDO, step);
        let found = now(&places);
        let whole = found == old || found == new;
        assert!(node.is_fenced() || whole, "{step}");
        fenced += usize::from(node.is_fenced());
        mixed += usize::from(!whole);
        let mut again = node.ok(&UNDO);
        assert!(now(&places) == old, "{step}: {again}");
        assert!(!node.is_fenced(), "{step}");
        let kept = node.kept("member.before-restore-");
        assert!(kept.len() == 1 && tree(&kept[0]) == new[0], "{step}: {kept:?}");
        let wal = places.get(1).map_or_else(|| member.join("wal"), Clone::clone);
        let ids = datadir::ids(&wal).unwrap();
        let stamp = identity::load(&Root::new(node.root())).unwrap().unwrap();
        assert_eq!((stamp.cluster_id, stamp.member_id), (ids.cluster_id, ids.member_id), "{step}");
        again = node.ok(&["backup"]);
        assert!(!again.contains("does not say"), "{again}");
        if i % REAL == 0 {
            node.start_etcd();
            let differences = keys::compare(&keys, &keys::dump(&node.etcd.client_url).unwrap());
            node.etcd.kill().unwrap();
            assert!(differences.is_empty(), "{step}: {differences:?}");
        }
    }
    assert!(fenced > 3, "only {fenced} of {} steps lie behind the fence", all.len());
    assert_eq!(mixed > 0, separate);
}

#[test]
fn an_undo() {
    undo_killed_at_every_step(false);
}

#[test]
fn an_undo_with_a_separate_wal_directory() {
    undo_killed_at_every_step(true);
}

/// What a restore left half done, an undo takes back and goes no further.
#[test]
fn a_restore_that_was_killed_is_undone() {
    let Some((strace, tools)) = tools::strace_from_env().zip(Tools::from_env()) else { return };
    let node = Node::new(PROGRAM, tools);
    node.put_fixture("v3423-single-snap-trimmed");
    let member = node.path("/var/lib/etcd2/member");
    node.ok(&["backup"]);
    node.ok(&["restore"]);
    let old = tree(&member);
    node.save();
    let all = steps(&node, strace, &["restore"]);
    let begin = all.iter().position(|s| s.line.contains("/fence")).unwrap();
    let mut behind = 0;
    for step in &all[begin..] {
        node.reset();
        kill_at(&node, strace, &["restore"], step);
        if !node.is_fenced() {
            continue;
        }
        behind += 1;
        node.ok(&UNDO);
        assert!(tree(&member) == old, "{step}");
        assert!(!node.is_fenced(), "{step}");
    }
    assert!(behind > 3, "{behind}");
}
