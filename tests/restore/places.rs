//! Where the directories of a member may lie: behind links, on disks of their own, apart from each other.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::process::Command;

use testkit::faults::namespace::is_inside;
use testkit::files::{alter_json, copy, tree, write};
use testkit::keys::{self, Keys};
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

/// A node with a fixture's data, whose log is at another place of the node.
fn with_log_at(wal_dir: &str) -> Option<(Node, Keys)> {
    let mut node = Node::new(PROGRAM, Tools::from_env()?);
    let keys = node.put_fixture("v3423-single-snap-trimmed");
    node.environment.insert("ETCD_WAL_DIR".into(), wal_dir.into());
    node.etcd.set("ETCD_WAL_DIR", node.path(wal_dir).to_string_lossy());
    Some((node, keys))
}

fn move_log(node: &Node, wal_dir: &str) {
    let log = node.path("/var/lib/etcd2/member/wal");
    let mut copy = Command::new("cp");
    assert!(copy.arg("-a").arg(log.join(".")).arg(node.path(wal_dir)).status().unwrap().success());
    fs::remove_dir_all(log).unwrap();
}

#[track_caller]
fn assert_etcd_has(node: &mut Node, expected: &Keys) {
    node.assert_etcd_has(expected);
    node.etcd.stop().unwrap();
}

fn mount(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=300m,mode=700", "tmpfs"]).arg(dir);
    assert!(mount.status().unwrap().success());
}

/// What was set aside of a directory, the oldest first.
fn kept(dir: &Path, name: &str) -> Vec<std::path::PathBuf> {
    let all = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let is_kept = |p: &Path| p.file_name().unwrap().to_string_lossy().starts_with(&format!("{name}.before-"));
    let mut kept: Vec<_> = all.filter(|p| is_kept(p)).collect();
    kept.sort();
    kept
}

#[test]
fn a_separate_wal_directory_on_a_disk_of_its_own() {
    let test = "places::a_separate_wal_directory_on_a_disk_of_its_own";
    if Tools::from_env().is_none() || !is_inside(test) {
        return;
    }
    let (mut node, keys) = with_log_at("/disk/log").unwrap();
    mount(&node.path("/disk"));
    fs::create_dir(node.path("/disk/log")).unwrap();
    move_log(&node, "/disk/log");
    let old = [tree(&node.path("/var/lib/etcd2/member")), tree(&node.path("/disk/log"))];
    node.ok(&["backup"]);
    for arguments in [&["restore"][..], &["restore", "--source", "local"]] {
        let log = node.ok(arguments);
        assert!(!node.path("/var/lib/etcd2/member/wal").exists());
        let first = [&node.kept("member.before-restore-")[0], &kept(&node.path("/disk"), "log")[0]];
        assert!(first.map(|p| tree(p)) == old);
        let newest = kept(&node.path("/disk"), "log").pop().unwrap();
        assert!(log.contains(&format!("the old data is in {}", newest.display())), "{log}");
        assert_etcd_has(&mut node, &keys);
    }
    // Both of a pair have the same name behind theirs.
    let mut pairs: Vec<String> = [node.kept("member.before-"), kept(&node.path("/disk"), "log")]
        .concat()
        .iter()
        .map(|p| p.to_string_lossy().rsplit(".before-").next().unwrap().to_owned())
        .collect();
    pairs.sort();
    pairs.dedup();
    assert_eq!(pairs.len(), 2, "{pairs:?}");
}

#[test]
fn a_wal_directory_that_is_a_mount_point_is_refused_before_anything_is_changed() {
    let test = "places::a_wal_directory_that_is_a_mount_point_is_refused_before_anything_is_changed";
    if Tools::from_env().is_none() || !is_inside(test) {
        return;
    }
    let (node, _) = with_log_at("/disk").unwrap();
    mount(&node.path("/disk"));
    move_log(&node, "/disk");
    node.ok(&["backup"]);
    let before = [tree(&node.path("/var/lib/etcd2")), tree(&node.path("/disk"))];
    let words = ["/disk is a mount point and cannot be renamed", "move the files in it to a subdirectory"];
    node.refused(&["restore"], 10, &words);
    assert!([tree(&node.path("/var/lib/etcd2")), tree(&node.path("/disk"))] == before);
    assert!(!node.is_fenced());
}

#[test]
fn a_data_directory_that_is_a_mount_point_and_not_on_the_disk_of_the_download() {
    let test = "places::a_data_directory_that_is_a_mount_point_and_not_on_the_disk_of_the_download";
    if Tools::from_env().is_none() || !is_inside(test) {
        return;
    }
    let mut node = Node::new(PROGRAM, Tools::from_env().unwrap());
    let keys = node.put_fixture("v3423-single-snap-trimmed");
    let data = node.path("/var/lib/etcd2");
    fs::rename(&data, data.with_extension("before")).unwrap();
    mount(&data);
    mount(&node.path("/var/lib/etcd2-restore"));
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(data.with_extension("before").join("member")).arg(&data);
    assert!(copy.status().unwrap().success());
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    assert_ne!(device(&data), device(&node.path("/var/lib/etcd2-restore")));
    let old = tree(&data.join("member"));
    node.ok(&["backup"]);
    node.ok(&["restore"]);
    assert_eq!(device(&data.join("member")), device(&data));
    assert!(tree(&node.kept("member.before-restore-")[0]) == old);
    assert_etcd_has(&mut node, &keys);
}

/// The data stays on the disk that somebody chose for it.
#[test]
fn links_stay_links() {
    let Some((mut node, keys)) = with_log_at("/var/lib/log-link") else { return };
    for folder in ["/disk/log", "/disk/data"] {
        fs::create_dir_all(node.path(folder)).unwrap();
    }
    move_log(&node, "/disk/log");
    fs::rename(node.path("/var/lib/etcd2/member"), node.path("/disk/data/member")).unwrap();
    fs::remove_dir(node.path("/var/lib/etcd2")).unwrap();
    symlink(node.path("/disk/data"), node.path("/var/lib/etcd2")).unwrap();
    symlink(node.path("/disk/log"), node.path("/var/lib/log-link")).unwrap();
    let old = tree(&node.path("/disk"));
    node.ok(&["backup"]);
    for round in 1..=2 {
        // The second time the member directory itself is a link too.
        if round == 2 {
            fs::rename(node.path("/disk/data/member"), node.path("/disk/elsewhere")).unwrap();
            symlink(node.path("/disk/elsewhere"), node.path("/disk/data/member")).unwrap();
        }
        node.ok(&["restore"]);
        for link in ["/var/lib/etcd2", "/var/lib/log-link"] {
            assert!(node.path(link).is_symlink(), "{link}");
        }
        assert_eq!(kept(&node.path("/disk"), "log").len(), round);
        assert_etcd_has(&mut node, &keys);
    }
    assert!(node.path("/disk/data/member").is_symlink());
    assert_eq!(kept(&node.path("/disk"), "elsewhere").len(), 1);
    let first = &kept(&node.path("/disk"), "log")[0];
    assert!(tree(first) == old.iter().filter_map(below_log).collect());
}

fn below_log(
    (path, content): (&std::path::PathBuf, &Option<Vec<u8>>),
) -> Option<(std::path::PathBuf, Option<Vec<u8>>)> {
    let below = path.strip_prefix("log").ok().filter(|p| !p.as_os_str().is_empty())?;
    Some((below.to_path_buf(), content.clone()))
}

#[test]
fn a_log_within_the_member_directory_is_refused() {
    let Some((node, _)) = with_log_at("/var/lib/etcd2/member/log") else { return };
    fs::rename(node.path("/var/lib/etcd2/member/wal"), node.path("/var/lib/etcd2/member/log")).unwrap();
    node.ok(&["backup"]);
    node.refused(
        &["restore"],
        10,
        &["one is inside the other", "set ETCD_WAL_DIR to a directory of its own"],
    );
}

/// etcd's own folder, named as a separate one: nothing is separate.
#[test]
fn the_usual_wal_directory_may_be_named() {
    let Some((mut node, keys)) = with_log_at("/var/lib/etcd2/member/wal") else { return };
    node.ok(&["backup"]);
    write(&node.path("/var/lib/etcd2/note"), "stays");
    node.ok(&["restore"]);
    assert!(node.path("/var/lib/etcd2/note").exists());
    assert_etcd_has(&mut node, &keys);
}

/// It had data and a log apart: all of the old one is kept, and the new log is where etcd looks for it.
#[test]
fn a_node_with_a_separate_wal_directory_joins() {
    let Some((mut founder, keys)) = with_log_at("/var/lib/log") else { return };
    fs::create_dir(founder.path("/var/lib/log")).unwrap();
    move_log(&founder, "/var/lib/log");
    founder.ok(&["restore", "--source", "local"]);
    founder.start_etcd();
    let mut second = Node::joining(Tools::from_env().unwrap(), "e2", &founder);
    second.put_fixture("v238-single-nosnap");
    let log = second.path("/var/lib/log");
    fs::rename(second.path("/var/lib/etcd2/member/wal"), &log).unwrap();
    second.environment.insert("ETCD_WAL_DIR".into(), "/var/lib/log".into());
    second.etcd.set("ETCD_WAL_DIR", log.to_string_lossy());
    let old = [tree(&second.path("/var/lib/etcd2/member")), tree(&log)];
    second.ok(&["join", "--plain"]);
    let aside = [&second.kept("member.before-join-")[0], &kept(&second.path("/var/lib"), "log")[0]];
    assert!(aside.map(|path| tree(path)) == old);
    second.start_etcd();
    second.ok(&["join"]);
    let differences = keys::compare(&keys, &keys::dump(&second.etcd.client_url).unwrap());
    assert!(differences.is_empty(), "{differences:?}");
    assert!(fs::read_dir(&log).unwrap().count() > 0 && !second.path("/var/lib/etcd2/member/wal").exists());
}

/// As a look at the running etcd leaves it.
fn note_seen(node: &Node, data_dir: &str) {
    alter_json(&node.path("/etc/etcd2-backup/identity.json"), |stamp| {
        stamp["etcd"] = serde_json::json!({ "unit": "", "settings": { "data-dir": data_dir } });
    });
}

#[test]
fn data_goes_to_where_etcd_was_last_seen_to_have_it() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    let keys = node.put_fixture("v3423-single-snap-trimmed");
    node.ok(&["backup"]);
    note_seen(&node, "/srv/fast");
    let before = tree(&node.path("/var/lib"));
    let words =
        ["etcd last ran with its data in /srv/fast", "the settings now say /var/lib/etcd2", "add --force"];
    node.refused(&["restore"], 10, &words);
    node.refused(&["rehearse"], 10, &words);
    assert!(tree(&node.path("/var/lib")) == before && !node.is_fenced());
    note_seen(&node, "/var/lib/etcd2");
    node.ok(&["restore", "--plan"]);
    note_seen(&node, "/srv/fast");
    node.ok(&["restore", "--force"]);
    assert_etcd_has(&mut node, &keys);
    // How etcd is run stays known.
    node.refused(&["restore"], 10, &words);
}

#[test]
fn a_backup_reads_where_etcd_was_last_seen_to_write() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.start().unwrap();
    keys::write_many(&node.etcd.client_url, "/a", 5).unwrap();
    let (old, fast) = (node.path("/var/lib/etcd2"), node.path("/srv/fast"));
    // An old copy stays behind; what came since is only where etcd wrote last.
    copy(&[&old], &node.path("/old"));
    keys::write_many(&node.etcd.client_url, "/b", 5).unwrap();
    node.etcd.stop().unwrap();
    node.ok(&["backup"]);
    fs::create_dir_all(node.path("/srv")).unwrap();
    fs::rename(&old, &fast).unwrap();
    fs::rename(node.path("/old/etcd2"), &old).unwrap();
    note_seen(&node, "/srv/fast");
    // What doctor leaves is none.
    let generations = || {
        let names = fs::read_dir(node.folder()).unwrap().map(|e| e.unwrap().file_name());
        names.filter(|name| name != "doctor").count()
    };
    let said = node.ok(&["backup"]);
    assert!(said.contains("etcd last ran with its data in /srv/fast") && generations() == 1, "{said}");
    let status = node.run(&["status"]);
    assert!(status.code == 0 && status.log.contains("/srv/fast"), "{} {}", status.answer, status.log);
    // Its disk is away: the old copy is not what etcd has.
    let away = node.path("/srv/away");
    fs::rename(&fast, &away).unwrap();
    let words = [
        "etcd last ran with its data in /srv/fast",
        "the settings now say /var/lib/etcd2",
        "no longer there",
    ];
    node.refused(&["backup"], 15, &words);
    assert!(generations() == 1);
    let status = node.run(&["status"]);
    let flat = status.answer.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(status.code == 20 && flat.contains("no longer there"), "{}", status.answer);
    assert_eq!(node.run(&["doctor"]).code, 15);
    // Moved with all that was sent, it goes on; so it does where etcd runs.
    fs::remove_dir_all(&old).unwrap();
    fs::rename(&away, &old).unwrap();
    node.ok(&["backup"]);
    assert!(generations() == 1);
    node.etcd.start().unwrap();
    keys::write_many(&node.etcd.client_url, "/c", 1).unwrap();
    let said = node.ok(&["backup"]);
    assert!(said.contains("sent:") && !said.contains("last ran"), "{said}");
    node.etcd.stop().unwrap();
}

#[test]
fn the_folder_inside_a_data_directory_is_refused() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.put_fixture("v3423-single-snap-trimmed");
    node.environment.insert("ETCD_DATA_DIR".into(), "/var/lib/etcd2/member".into());
    let words =
        ["is the member directory inside a data directory", "write ETCD_DATA_DIR=", "/var/lib/etcd2 in 30-"];
    for verb in ["backup", "status", "restore"] {
        node.refused(&[verb], 15, &words);
    }
    // A link may give it any name.
    symlink("etcd2/member", node.path("/var/lib/x")).unwrap();
    for dir in ["/var/lib/x", "/var/lib/x/", "/var/lib/etcd2/member/", "/var/lib/etcd2/member/."] {
        node.environment.insert("ETCD_DATA_DIR".into(), dir.into());
        node.refused(&["backup"], 15, &words);
    }
}

#[test]
fn a_folder_of_etcds_files_is_no_data_directory() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.put_fixture("v3423-single-snap-trimmed");
    symlink(node.path("/var/lib/etcd2/member/wal"), node.path("/var/lib/link")).unwrap();
    fs::create_dir(node.path("/var/lib/alone")).unwrap();
    fs::copy(
        node.path("/var/lib/etcd2/member/wal/0000000000000000-0000000000000000.wal"),
        node.path("/var/lib/alone/0000000000000000-0000000000000000.wal"),
    )
    .unwrap();
    let inside =
        ["-0000000000000000.wal, a file of etcd's log or snapshots, not the data", "/var/lib/etcd2 in 30-"];
    let snapshots = [".snap, a file of etcd's log or snapshots, not the data", "/var/lib/etcd2 in 30-"];
    let alone = ["-0000000000000000.wal, a file of etcd's log", "to the value of etcd's --data-dir"];
    for (dir, words) in [
        ("/var/lib/etcd2/member/wal", inside),
        ("/var/lib/link", inside),
        ("/var/lib/etcd2/member/snap", snapshots),
        ("/var/lib/alone", alone),
    ] {
        node.environment.insert("ETCD_DATA_DIR".into(), dir.into());
        for verb in ["backup", "status"] {
            node.refused(&[verb], 15, &words);
        }
    }
}
