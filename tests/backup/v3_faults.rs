//! Bases of the v3 store that come to grief on their way: in the remote, on this disk, by etcd, by another process. The backups go on,
//! and no base that is not whole ever ends a generation that is. Real etcd, real rclone.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use testkit::etcd::{Cluster, Member};
use testkit::faults::wrapper::Wrapper;
use testkit::files;
use testkit::node::Node;
use testkit::tools::{Tools, etcd_version};
use testkit::v3::Client;
use testkit::wait::until;

use crate::PROGRAM;
use crate::v3_archive::{client, of_kind, put, seen, written};

fn tools() -> Option<&'static Tools> {
    Tools::all_with_v3().into_iter().next()
}

/// A node with a generation of its own, in front of whose rclone a script stands.
fn backed_up(tools: &Tools) -> (Node, Wrapper) {
    let mut node = written(tools, "100000");
    // So long a missing object is looked for.
    node.environment.insert("ETCD2_BACKUP_RCLONE_TIMEOUT".into(), "5s".into());
    let wrapper = Wrapper::new(&mut node, tools);
    node.ok(&["backup"]);
    put(&node, "/second", 0..20);
    (node, wrapper)
}

fn base_dir(node: &Node) -> PathBuf {
    node.path("/var/lib/etcd2-backup/base")
}

/// The file of the base on the node's disk with this ending.
fn base_file(node: &Node, ends: &str) -> PathBuf {
    let files = fs::read_dir(base_dir(node)).unwrap().map(|entry| entry.unwrap().path());
    let mut found = files.filter(|path| path.to_string_lossy().ends_with(ends));
    found.next().unwrap_or_else(|| panic!("no {ends}"))
}

/// The newest point of the archive is what the member has.
#[track_caller]
fn assert_restores(tools: &Tools, node: &mut Node) {
    node.ok(&["verify"]);
    assert_newest_restores(tools, node);
}

#[track_caller]
fn assert_newest_restores(tools: &Tools, node: &mut Node) {
    let before = seen(tools, node);
    node.destroy_data().unwrap();
    node.ok(&["restore", "--no-bump"]);
    node.start_etcd();
    assert_eq!(seen(tools, node), before);
}

/// A base is taken, sent, and in a generation.
#[track_caller]
fn assert_another(node: &Node) {
    assert!(node.ok(&["base", "--now"]).contains("waits for the next backup"));
    let log = node.ok(&["backup"]);
    assert!(log.contains("begins with a base of the v3 store"), "{log}");
    assert!(!base_dir(node).exists());
}

/// Hours may lie between the last look at the pieces and the part behind them.
#[test]
fn a_base_whose_pieces_vanish_ends_no_generation() {
    let Some(tools) = tools() else { return };
    let (mut node, _) = backed_up(tools);
    node.ok(&["base", "--now"]);
    for piece in of_kind(&node, "piece").into_iter().filter(|path| path.starts_with_number(2)) {
        fs::remove_file(node.folder().join(piece)).unwrap();
    }
    put(&node, "/third", 0..10);
    let log = node.ok(&["backup"]);
    assert!(log.contains("dropping the base") && log.contains("is not in the remote any more"), "{log}");
    assert!(log.contains("generation=1 part=1"), "{log}");
    assert!(!base_dir(&node).exists());
    assert_restores(tools, &mut node);
}

/// The last moment: they were seen, and the part is on its way.
#[test]
fn a_base_whose_pieces_vanish_with_its_part_is_followed_by_another_at_once() {
    let Some(tools) = tools() else { return };
    let (mut node, wrapper) = backed_up(tools);
    node.ok(&["base", "--now"]);
    let (once, folder) = (node.root().with_file_name("once"), node.folder());
    wrapper.instead(&format!(
        "if [ $VERB = copy ] && [ ! -e {0} ]; then touch {0}; rm {1}/00000002-*/*.piece; fi; exec \"$REAL\" \"$@\"",
        once.display(),
        folder.display()
    ));
    put(&node, "/third", 0..10);
    let log = node.ok(&["backup"]);
    assert!(once.exists() && log.contains("not all pieces of the v3 store of generation 00000002-"), "{log}");
    assert!(log.contains("generation 3 begins with a base of the v3 store"), "{log}");
    // What is left of it cannot be restored, and hides nothing that can.
    assert_newest_restores(tools, &mut node);
}

trait OfGeneration {
    fn starts_with_number(&self, number: u64) -> bool;
}

impl OfGeneration for Path {
    fn starts_with_number(&self, number: u64) -> bool {
        self.to_string_lossy().starts_with(&format!("{number:08}-"))
    }
}

#[test]
fn a_remote_that_is_down_costs_no_base_and_leaves_no_copy() {
    let Some(tools) = tools() else { return };
    let (mut node, wrapper) = backed_up(tools);
    wrapper.instead("exit 1");
    node.refused(&["base", "--now"], 13, &["rclone"]);
    assert!(!base_dir(&node).join("db").exists());
    node.refused(&["backup"], 13, &["rclone"]);
    wrapper.instead(r#"[ $VERB = copy ] && exit 1; exec "$REAL" "$@""#);
    node.refused(&["base", "--now"], 13, &["rclone"]);
    for _ in 0..2 {
        put(&node, "/third", 0..10);
        node.refused(&["backup"], 13, &["rclone"]);
    }
    wrapper.honest();
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation=1 part=1") || log.contains("generation=1 part=2"), "{log}");
    // A unit is to go on with it.
    assert!(node.path("/var/lib/etcd2-backup/base.due").exists());
    let log = node.ok(&["base"]);
    assert!(log.contains("the base is in the remote: ") && !log.contains("took a base"), "{log}");
    assert!(!node.path("/var/lib/etcd2-backup/base.due").exists());
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation 2 begins with a base of the v3 store"), "{log}");
    assert_restores(tools, &mut node);
}

fn flipped(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    files::write(path, bytes);
}

fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    files::write(path, &bytes[..bytes.len() / 2]);
}

fn gone(path: &Path) {
    fs::remove_file(path).unwrap();
}

type Altered = fn(&Path);
const ALTERED: [(&str, Altered); 3] = [("flipped", flipped), ("cut", cut), ("gone", gone)];

#[test]
fn a_base_that_is_altered_on_this_disk_stops_nothing_and_is_never_used() {
    let Some(tools) = tools() else { return };
    let (mut node, wrapper) = backed_up(tools);
    for name in ["db", ".part", "base.json", "log.json"] {
        for (how, alter) in ALTERED {
            let what = format!("{name} {how}");
            // Not one piece of it is sent yet.
            wrapper.instead(r#"[ $VERB = copy ] && exit 1; exec "$REAL" "$@""#);
            node.refused(&["base", "--now"], 13, &["rclone"]);
            wrapper.honest();
            alter(&base_file(&node, name));
            put(&node, "/on its way", 0..3);
            let log = node.ok(&["backup"]);
            assert!(log.contains("sent: ") && !log.contains("begins"), "{what}: {log}");
            let again = node.run(&["base", "--now"]);
            match (name, how) {
                ("db", "flipped") => assert_eq!(again.code, 11, "{what}: {}", again.log),
                _ => assert!(again.code == 0 && again.log.contains("took a base"), "{what}: {}", again.log),
            }
            assert_another(&node);
            if name == "db" {
                continue;
            }
            // All of it is sent.
            node.ok(&["base", "--now"]);
            alter(&base_file(&node, name));
            put(&node, "/sent", 0..3);
            let log = node.ok(&["backup"]);
            assert!(log.contains("sent: ") && !log.contains("begins"), "{what}: {log}");
            assert!(!base_dir(&node).exists(), "{what}");
        }
    }
    assert_restores(tools, &mut node);
}

/// What one process wrote of one base, and another one of another.
#[test]
fn a_log_of_another_base_is_none_of_this_one() {
    let Some(tools) = tools() else { return };
    let (mut node, _) = backed_up(tools);
    node.ok(&["base", "--now"]);
    let old = fs::read(base_file(&node, "log.json")).unwrap();
    let part = base_file(&node, ".part");
    let (name, content) = (part.file_name().unwrap().to_owned(), fs::read(&part).unwrap());
    node.ok(&["backup"]);
    put(&node, "/third", 0..10);
    node.ok(&["base", "--now"]);
    files::write(&base_file(&node, "log.json"), old);
    files::write(&base_dir(&node).join(name), content);
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation=2 part=1") && !base_dir(&node).exists(), "{log}");
    assert_another(&node);
    assert_restores(tools, &mut node);
}

fn put_megabytes(node: &Node, dir: &str, count: u64) {
    let large = "x".repeat(1 << 20);
    for n in 0..count {
        client(node).put(&format!("{dir}/{n}"), &large).unwrap();
    }
}

/// etcd's segments, the oldest first.
fn segments(node: &Node) -> Vec<PathBuf> {
    let files = fs::read_dir(node.etcd.data_dir.join("member/wal")).unwrap().map(|e| e.unwrap().path());
    let mut all: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|e| e == "wal")).collect();
    all.sort();
    all
}

/// etcd purges what lies before a snapshot, five segments of 64 MB later; here it is done for it.
#[test]
fn a_log_that_is_purged_behind_a_base_was_kept_up_with_or_another_base_is_taken() {
    let Some(tools) = tools() else { return };
    let mut node = written(tools, "10");
    let wrapper = Wrapper::new(&mut node, tools);
    node.ok(&["backup"]);
    let begin = || {
        wrapper.instead(r#"[ $VERB = copy ] && exit 1; exec "$REAL" "$@""#);
        node.refused(&["base", "--now"], 13, &["rclone"]);
        wrapper.honest();
    };
    begin();
    let first = base_file(&node, ".part");
    put_megabytes(&node, "/large", 70);
    node.ok(&["backup"]);
    assert!(!first.exists(), "the log was not put beside the store");
    let old = segments(&node);
    assert!(old.len() > 1);
    fs::remove_file(&old[0]).unwrap();
    let log = node.ok(&["base"]);
    assert!(!log.contains("took a base") && !log.contains("dropping"), "{log}");
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation 2 begins with a base"), "{log}");

    // No cycle comes in time.
    begin();
    put_megabytes(&node, "/large", 70);
    put_megabytes(&node, "/other", 5);
    let old = segments(&node);
    old[..old.len() - 1].iter().for_each(|path| fs::remove_file(path).unwrap());
    let log = node.ok(&["backup"]);
    assert!(log.contains("dropping the base") && log.contains("purged"), "{log}");
    assert!(log.contains("took a base") && log.contains("begins with a base"), "{log}");
    assert_restores(tools, &mut node);
}

/// Its store is as of an earlier entry, and so is what lies beside it: still one history.
#[test]
fn a_member_that_lags_gives_a_base_of_its_own() {
    let Some(tools) = tools() else { return };
    let mut node = Node::new(PROGRAM, tools);
    let work = tempfile::tempdir().unwrap();
    let places =
        [("e1", node.path("/var/lib/etcd2")), ("e2", work.path().join("e2")), ("e3", work.path().join("e3"))];
    let mut cluster = Cluster::new(tools, &places).unwrap();
    cluster.start().unwrap();
    let own = &cluster.members[0];
    for (name, value) in [
        ("ETCD_RESTORE_MASTER_ADV_PEER_URLS", &own.peer_url),
        ("ETCD_INITIAL_ADVERTISE_PEER_URLS", &own.peer_url),
        ("ETCD_ADVERTISE_CLIENT_URLS", &own.client_url),
    ] {
        node.environment.insert(name.into(), value.clone());
    }
    let put = |cluster: &Cluster, dir: &str| {
        let mut v3 = Client::new(&cluster.members[1].client_url).unwrap();
        for n in 0..30 {
            v3.put(&format!("{dir}/{n}"), dir).unwrap();
        }
    };
    put(&cluster, "/first");
    node.ok(&["backup"]);
    cluster.members[0].kill().unwrap();
    // The others may have to elect a leader first.
    until("a leader is elected", Duration::from_secs(60), || {
        Client::new(&cluster.members[1].client_url).unwrap().put("/without it/0", "").is_ok()
    });
    put(&cluster, "/without it");
    node.ok(&["base", "--now"]);
    cluster.members[0].start().unwrap();
    put(&cluster, "/with it again");
    let mut live = Client::new(&cluster.members[0].client_url).unwrap();
    let wanted = live.raft_index().unwrap();
    let store = live.store().unwrap();
    assert!(store.keys.len() == 90 && wanted > 90);
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation 2 begins with a base"), "{log}");
    drop(cluster);
    fs::remove_dir_all(node.path("/var/lib/etcd2")).unwrap();
    node.environment.insert("ETCD_RESTORE_MASTER_ADV_PEER_URLS".into(), node.etcd.peer_url.clone());
    node.environment.insert("ETCD_INITIAL_ADVERTISE_PEER_URLS".into(), node.etcd.peer_url.clone());
    node.environment.insert("ETCD_ADVERTISE_CLIENT_URLS".into(), node.etcd.client_url.clone());
    node.ok(&["restore", "--no-bump"]);
    node.start_etcd();
    assert_eq!(client(&node).store().unwrap().keys, store.keys);
}

#[test]
fn no_base_is_taken_of_a_learner() {
    let Some(tools) = tools() else { return };
    let mut node = Node::new(PROGRAM, tools);
    let work = tempfile::tempdir().unwrap();
    let mut voter = Member::new(tools, "e0", &work.path().join("e0")).unwrap();
    voter.start().unwrap();
    let mut v3 = Client::new(&voter.client_url).unwrap();
    for n in 0..20 {
        v3.put(&format!("/{n}"), "x").unwrap();
    }
    let own = &mut node.etcd;
    v3.call("cluster/member/add", &json!({"peerURLs": [own.peer_url], "isLearner": true})).unwrap();
    let all = format!("e0={},e1={}", voter.peer_url, own.peer_url);
    own.set("ETCD_INITIAL_CLUSTER", &all);
    own.set("ETCD_INITIAL_CLUSTER_STATE", "existing");
    own.spawn(&[]).unwrap();
    // It is asked before it knows anything, too.
    until("it is seen to be a learner", Duration::from_secs(60), || {
        let run = node.run(&["base", "--now"]);
        assert!(!base_dir(&node).exists() && node.objects().is_empty(), "{}", run.log);
        run.code == 10 && run.log.contains("is a learner, of which no base is taken")
    });
    node.refused(&["backup"], 10, &["is a learner", "promote"]);
    assert!(!base_dir(&node).exists() && node.objects().is_empty());
}

/// An etcd that is started over on nothing has the same IDs, where its URLs and its token are the same.
#[test]
fn a_base_of_data_that_is_there_no_more_begins_nothing() {
    let Some(tools) = tools() else { return };
    for same in [true, false] {
        let (mut node, _) = backed_up(tools);
        node.ok(&["base", "--now"]);
        node.destroy_data().unwrap();
        if !same {
            node.etcd = Member::new(tools, "e1", &node.path("/var/lib/etcd2")).unwrap();
        }
        node.etcd.start().unwrap();
        put(&node, "/over", 0..60);
        let log = node.ok(&["backup"]);
        assert!(log.contains("dropping the base") && log.contains("took a base"), "{same} {log}");
        assert!(!base_dir(&node).exists());
        let of_first = of_kind(&node, "part").into_iter().filter(|path| path.starts_with_number(1)).count();
        assert_eq!(of_first, 1, "the old generation is gone");
        // Of two histories none is chosen for the operator.
        match same {
            true => assert_restores(tools, &mut node),
            false => node.refused(&["restore", "--plan"], 10, &["unrelated histories"]),
        }
    }
}

#[test]
fn an_upgrade_of_etcd_between_two_cycles_and_during_a_base_changes_nothing() {
    let all = Tools::all_with_v3();
    for (old, new) in all.iter().zip(all.iter().skip(1)) {
        let next = etcd_version(&new.etcd).unwrap();
        let (mut node, wrapper) = backed_up(old);
        node.etcd.stop().unwrap();
        node.etcd.run_by(new).unwrap();
        node.start_etcd();
        put(&node, "/upgraded", 0..10);
        let log = node.ok(&["backup"]);
        assert!(log.contains("generation=1 part=1"), "{next:?}: {log}");
        assert_restores(new, &mut node);

        let (mut node, wrapper) = {
            drop((node, wrapper));
            backed_up(old)
        };
        wrapper.instead(r#"[ $VERB = copy ] && exit 1; exec "$REAL" "$@""#);
        node.refused(&["base", "--now"], 13, &["rclone"]);
        wrapper.honest();
        node.etcd.stop().unwrap();
        node.etcd.run_by(new).unwrap();
        node.start_etcd();
        put(&node, "/upgraded", 0..10);
        let log = node.ok(&["base"]);
        assert!(!log.contains("took a base"), "{next:?}: {log}");
        put(&node, "/sent", 0..10);
        let log = node.ok(&["backup"]);
        assert!(log.contains("generation 2 begins with a base"), "{next:?}: {log}");
        assert_restores(new, &mut node);
    }
}

#[test]
fn a_machine_that_forgot_its_state_takes_a_base_and_keeps_what_it_has() {
    let Some(tools) = tools() else { return };
    let (mut node, _) = backed_up(tools);
    let before = node.objects();
    fs::remove_file(node.path("/var/lib/etcd2-backup/state.json")).unwrap();
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation 2 begins with a base"), "{log}");
    let after = node.objects();
    assert!(before.iter().all(|object| after.contains(object)), "{before:?} {after:?}");
    // Also where one waits.
    node.ok(&["base", "--now"]);
    fs::remove_dir_all(node.path("/var/lib/etcd2-backup/spool")).unwrap();
    fs::remove_file(node.path("/var/lib/etcd2-backup/state.json")).unwrap();
    put(&node, "/third", 0..10);
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation 3 begins with a base") && !log.contains("took a base"), "{log}");
    assert_restores(tools, &mut node);
}

#[test]
fn backups_and_bases_at_once_neither_fail_nor_lose() {
    let Some(tools) = tools() else { return };
    let (mut node, _) = backed_up(tools);
    for round in 0..20 {
        put(&node, &format!("/{round}"), 0..3);
        let commands = [&["base", "--now"][..], &["backup"], &["base"], &["backup"]];
        let running = commands.map(|arguments| {
            let mut command = node.command(arguments);
            command.stderr(std::process::Stdio::piped()).spawn().unwrap()
        });
        for (running, arguments) in running.into_iter().zip(commands) {
            let output = running.wait_with_output().unwrap();
            let log = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{round} {arguments:?}: {log}");
            assert!(!log.contains("warning"), "{round} {arguments:?}: {log}");
        }
    }
    node.ok(&["base", "--now"]);
    node.ok(&["backup"]);
    assert!(!base_dir(&node).exists());
    assert_restores(tools, &mut node);
}
