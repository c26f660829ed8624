//! `prune`, and the backup that prunes by itself: real rclone, a remote of type `local`. Most archives here are made of
//! parts that are whole but for their content, as nobody waits 60 days.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use etcd2_backup::archive::lineage::Parent;
use etcd2_backup::archive::part::{self, Head, Written};
use etcd2_backup::sys::time;
use serde_json::Value;
use testkit::files::{tree, write};
use testkit::keys;
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

/// A base and two parts, `hours` apart, the last one captured at `to`.
fn generation(node: &Node, number: u64, cluster_id: u64, to: u64, snapshot: u64, parent: Option<&Parent>) {
    let mut before: Option<Written> = None;
    for sequence in 0..3 {
        let head: Head = serde_json::from_value(serde_json::json!({
            "generation": number, "sequence": sequence, "cluster_id": cluster_id, "member_id": 10, "writer": 7,
            "member_name": "e1", "peer_urls": [], "family": "2", "time": to - (2 - sequence) * 3600,
            "first": 10 * number + sequence, "last": {"index": 10 * number + sequence, "term": 1},
            "start_state": {"term": 1, "vote": 0, "commit": 0},
            "predecessor": before.map_or(String::new(), |b| b.link), "log": [],
            "parent": parent.filter(|_| sequence == 0),
            "snapshot": (sequence == 0).then_some(("x.snap", snapshot)),
        }))
        .unwrap();
        let dir = node.folder().join(head.generation_name().to_string());
        fs::create_dir_all(&dir).unwrap();
        before = Some(part::write(&dir, &head, |out| Ok(out.write_all(b"content")?)).unwrap());
    }
}

/// A node with a generation every eight hours for 60 days.
fn sixty_days() -> Option<Node> {
    let node = Node::new(PROGRAM, Tools::from_env()?);
    let now = time::now();
    (1..=180).for_each(|n| generation(&node, n, 0xc, now - (180 - n) * 8 * 3600, 1000, None));
    write(&node.folder().join("00000001-notes.txt"), "somebody's");
    fs::create_dir(node.folder().join("recovery")).unwrap();
    write(&node.folder().join("recovery/0123"), "{}");
    Some(node)
}

fn files(node: &Node) -> BTreeSet<PathBuf> {
    node.objects().into_iter().collect()
}

/// The files of the generations with these names.
fn files_of(all: &BTreeSet<PathBuf>, names: &[String]) -> BTreeSet<PathBuf> {
    let of = |file: &&PathBuf| names.iter().any(|name| file.starts_with(name));
    all.iter().filter(of).cloned().collect()
}

/// What `prune` with these arguments says as JSON, and its exit code.
fn said(node: &Node, arguments: &[&str]) -> (Value, i32) {
    let output = node.command(&[&["prune", "--json"], arguments].concat()).output().unwrap();
    let value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    (value, output.status.code().unwrap())
}

/// The names of the generations that are kept, or are not.
fn names(said: &Value, keep: bool) -> Vec<String> {
    let all = said["generations"].as_array().unwrap().iter().filter(|g| g["keep"] == keep);
    all.map(|g| g["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn exactly_what_was_planned_is_removed() {
    let Some(node) = sixty_days() else { return };
    let before = files(&node);
    let (plan, code) = said(&node, &["--dry-run"]);
    assert_eq!((code, plan["paused"].as_array().unwrap().len(), files(&node)), (0, 0, before.clone()));
    let (keep, gone) = (names(&plan, true), names(&plan, false));
    assert!((24..=28).contains(&keep.len()), "{keep:?}");
    assert_eq!(keep.len() + gone.len(), 180);

    node.ok(&["prune"]);
    let expected: BTreeSet<PathBuf> = before.difference(&files_of(&before, &gone)).cloned().collect();
    assert_eq!(files(&node), expected);
    assert!(expected.contains(Path::new("recovery/0123")));
    // The folders of what was removed are gone too.
    let folders = fs::read_dir(node.folder()).unwrap().count();
    assert_eq!(folders, keep.len() + 2);

    let (again, _) = said(&node, &[]);
    assert_eq!((names(&again, false), files(&node)), (vec![], expected));
}

/// Puts a script in the place of rclone, which gets its arguments. `$REAL` is rclone.
fn wrap_rclone(node: &mut Node, script: &str) {
    let folder = node.path("/wrapped");
    fs::create_dir_all(&folder).unwrap();
    let real = Tools::from_env().unwrap().rclone.clone();
    let text = format!("#!/bin/sh\nREAL={}\n{script}\nexec \"$REAL\" \"$@\"\n", real.display());
    etcd2_backup::sys::fs::write_atomic(&folder.join("rclone"), text.as_bytes(), 0o700).unwrap();
    let path = format!("{}:{}", folder.display(), node.environment["PATH"]);
    node.environment.insert("PATH".into(), path);
}

#[test]
fn a_run_that_is_killed_half_way_is_finished_by_the_next() {
    for call in [1, 2] {
        let Some(mut node) = sixty_days() else { return };
        let before = files(&node);
        let (plan, _) = said(&node, &["--dry-run"]);
        let gone = files_of(&before, &names(&plan, false));
        let good = node.environment.clone();
        // Half of what it is told in this call; then the program is killed.
        let script = format!(
            "case \"$*\" in *' delete '*) echo >>{0}; \
             if [ $(wc -l <{0}) = {call} ]; then head -n 70 | \"$REAL\" \"$@\"; kill -9 $PPID; exit; fi;; esac",
            node.path("/calls").display()
        );
        wrap_rclone(&mut node, &script);
        assert_eq!(node.run(&["prune"]).code, -1);
        let half = files(&node);
        let removed: BTreeSet<PathBuf> = before.difference(&half).cloned().collect();
        assert!(removed.len() >= 70 && removed.len() < gone.len() && removed.is_subset(&gone), "{removed:?}");
        node.environment = good;
        let log = node.ok(&["prune"]);
        assert!(call == 1 || log.contains("without a base: nothing can be restored from it"), "{log}");
        assert_eq!(files(&node), before.difference(&gone).cloned().collect(), "call {call}");
    }
}

#[test]
fn it_stops_at_a_shrunken_store_until_that_is_accepted() {
    let Some(node) = sixty_days() else { return };
    let now = time::now();
    generation(&node, 181, 0xc, now, 500, None);
    let before = files(&node);
    let words = "the store shrank: its snapshot has 500 B in generation 181, 1.0 kB in 180";
    node.refused(&["prune"], 18, &["nothing is removed", words, "prune --accept"]);
    node.refused(&["prune", "--dry-run"], 18, &[words]);
    let (plan, code) = said(&node, &["--accept", "--dry-run"]);
    assert_eq!((code, names(&plan, false).len() > 100), (0, true));
    assert_eq!(files(&node), before);

    node.ok(&["prune", "--accept"]);
    assert!(files(&node).len() < 100);
    // It is remembered; without the note it is asked again.
    generation(&node, 182, 0xc, now, 500, None);
    node.ok(&["prune"]);
    fs::remove_file(node.path("/var/lib/etcd2-backup/accepted.json")).unwrap();
    node.refused(&["prune"], 18, &[words]);
}

#[test]
fn a_new_cluster_that_names_its_parent_is_known_and_another_is_not() {
    let Some(node) = sixty_days() else { return };
    let now = time::now();
    let parent = Parent {
        for_cluster: 0xd,
        cluster_id: 0xc,
        generation: 180,
        index: 5,
        token: "t".into(),
        before: Vec::new(),
        instead_of: Vec::new(),
    };
    generation(&node, 181, 0xd, now, 1000, Some(&parent));
    generation(&node, 182, 0xd, now, 1000, None);
    let (plan, code) = said(&node, &["--dry-run"]);
    assert_eq!((code, plan["paused"].as_array().unwrap().len()), (0, 0));
    generation(&node, 183, 0xe, now, 1000, None);
    let before = files(&node);
    let words = "generation 183 begins a new cluster, e, which does not say what it continues";
    node.refused(&["prune"], 18, &[words]);
    assert_eq!(files(&node), before);
    node.ok(&["prune", "--accept"]);
    let left = files(&node);
    for kept in ["00000180-", "00000181-", "00000182-", "00000183-"] {
        assert_eq!(left.iter().filter(|p| p.to_string_lossy().starts_with(kept)).count(), 3, "{kept}");
    }
    assert!(left.len() < before.len() / 2);
}

/// Rules that keep no more than the newest two.
fn keep_two(node: &mut Node) {
    for (name, value) in
        [("LAST", "0"), ("WITHIN", "0s"), ("DAILY", "0"), ("WEEKLY", "0"), ("OTHER_CLUSTERS", "0s")]
    {
        node.environment.insert(format!("ETCD2_BACKUP_KEEP_{name}"), value.into());
    }
}

/// A node with a running etcd.
fn running() -> Option<Node> {
    let mut node = Node::new(PROGRAM, Tools::from_env()?);
    node.etcd.start().unwrap();
    keys::write_many(&node.etcd.client_url, "/a", 10).unwrap();
    Some(node)
}

/// A backup that begins a generation.
fn begin(node: &Node) -> String {
    let state = node.path("/var/lib/etcd2-backup/state.json");
    if state.exists() {
        fs::remove_file(state).unwrap();
    }
    node.ok(&["backup"])
}

fn numbers(node: &Node) -> BTreeSet<String> {
    node.objects().iter().map(|path| path.to_string_lossy()[..8].to_owned()).collect()
}

#[test]
fn a_backup_removes_what_is_not_kept_when_it_begins_a_generation() {
    let Some(mut node) = running() else { return };
    keep_two(&mut node);
    let expected = |last: u64| (last.saturating_sub(1).max(1)..=last).map(|n| format!("{n:08}")).collect();
    for last in 1..=4 {
        let log = begin(&node);
        assert_eq!(numbers(&node), expected(last), "{log}");
        assert_eq!(log.contains("was removed: no rule keeps it"), last > 2, "{log}");
        // Not at any other cycle.
        keys::write_many(&node.etcd.client_url, "/b", 10).unwrap();
        assert!(!node.ok(&["backup"]).contains("removed"));
    }
    node.environment.insert("ETCD2_BACKUP_PRUNE".into(), "false".into());
    let log = begin(&node);
    assert_eq!((numbers(&node).len(), log.contains("removed")), (3, false), "{log}");
    // By hand it still does.
    node.ok(&["prune"]);
    assert_eq!(numbers(&node), expected(5));
}

#[test]
fn a_remote_that_may_only_be_written_to_gets_its_backups() {
    let Some(mut node) = running() else { return };
    keep_two(&mut node);
    wrap_rclone(
        &mut node,
        "case \"$*\" in *' delete '*) echo 'AccessDenied: 403 Forbidden' >&2; exit 1;; esac",
    );
    (1..=2).for_each(|_| drop(begin(&node)));
    let log = begin(&node);
    for words in ["warning: cannot prune older generations", "AccessDenied", "prune = false"] {
        assert!(log.contains(words), "no {words:?} in {log}");
    }
    assert_eq!(numbers(&node).len(), 3);
    node.refused(&["prune"], 13, &["rclone delete", "AccessDenied"]);
    node.environment.insert("ETCD2_BACKUP_PRUNE".into(), "false".into());
    assert!(!begin(&node).contains("warning"));
}

#[test]
fn a_backup_of_an_empty_cluster_in_the_same_folder_removes_nothing_and_says_so() {
    let Some(mut node) = running() else { return };
    keep_two(&mut node);
    node.environment.insert("ETCD2_BACKUP_PRUNE".into(), "false".into());
    (1..=3).for_each(|_| drop(begin(&node)));
    node.environment.remove("ETCD2_BACKUP_PRUNE");
    node.etcd.stop().unwrap();
    fs::remove_dir_all(node.path("/var/lib/etcd2")).unwrap();
    node.etcd.set("ETCD_INITIAL_CLUSTER_TOKEN", "another");
    node.etcd.start().unwrap();
    for last in 4..=6 {
        let log = begin(&node);
        assert!(log.contains("older generations are kept until you confirm: generation "), "{log}");
        assert!(log.contains("prune --accept"), "{log}");
        assert_eq!(numbers(&node).len(), last);
    }
    let before = tree(&node.folder());
    node.refused(&["prune"], 18, &["does not say what it continues"]);
    assert_eq!(tree(&node.folder()), before);
    node.ok(&["prune", "--accept"]);
    assert_eq!(numbers(&node).len(), 2);
}

#[test]
fn what_verify_found_to_be_damaged_takes_no_good_one_s_place() {
    let Some(mut node) = running() else { return };
    keep_two(&mut node);
    node.environment.insert("ETCD2_BACKUP_PRUNE".into(), "false".into());
    begin(&node);
    let expected = keys::dump(&node.etcd.client_url).unwrap();
    for dir in ["/b", "/c"] {
        keys::write_many(&node.etcd.client_url, dir, 10).unwrap();
        begin(&node);
    }
    for path in node.objects().iter().skip(1).map(|path| node.folder().join(path)) {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        write(&path, bytes);
    }
    node.refused(&["verify"], 11, &["the archive is corrupt"]);
    let (plan, code) = said(&node, &[]);
    assert_eq!((code, names(&plan, false), numbers(&node).len()), (0, vec![], 3), "{plan}");
    node.assert_restores(&expected, &["--accept-older"]);

    // Two that are whole again, and what is damaged goes.
    node.ok(&["backup"]);
    begin(&node);
    begin(&node);
    let log = node.ok(&["prune"]);
    assert!(log.contains("generation 3 was removed: verify found part 0 to be damaged"), "{log}");
}

#[test]
fn it_waits_for_nobody_who_has_the_lock() {
    let Some(node) = sixty_days() else { return };
    let before = files(&node);
    let backup_dir = node.path("/var/lib/etcd2-backup");
    fs::create_dir_all(&backup_dir).unwrap();
    let lock = etcd2_backup::sys::lock::Lock::try_take(&backup_dir.join("lock")).unwrap().unwrap();
    node.refused(&["prune"], 10, &["a backup, restore or join is in progress"]);
    node.ok(&["prune", "--dry-run"]);
    assert_eq!(files(&node), before);
    drop(lock);
    node.ok(&["prune"]);
    assert!(files(&node).len() < before.len());
}
