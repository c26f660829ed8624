//! `backup` and `restore` of one node: real etcd, real rclone, a remote of type `local`.

use std::fs;

use testkit::files::{alter_json, tree, write};
use testkit::keys::{self, Client};
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

/// A node with a running etcd that holds the sample keys.
fn running() -> Option<Node> {
    let mut node = Node::new(PROGRAM, Tools::from_env()?);
    node.etcd.start().unwrap();
    keys::write_sample(&node.etcd.client_url).unwrap();
    Some(node)
}

/// A node with one backup, its etcd stopped.
fn backed_up() -> Option<Node> {
    let mut node = running()?;
    node.ok(&["backup"]);
    node.etcd.stop().unwrap();
    Some(node)
}

#[test]
fn a_backup_sends_the_change_and_a_restore_brings_all_of_it() {
    let Some(mut node) = running() else { return };
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation 1 begins: no earlier backup is known on this node"), "{log}");
    let first = node.objects();
    assert_eq!(first.len(), 1);

    let url = node.etcd.client_url.clone();
    keys::write_many(&url, "/more", 100).unwrap();
    node.ok(&["backup"]);
    let second = node.objects();
    assert_eq!(second.len(), 2);
    assert!(second[1].to_string_lossy().contains("/00000001-"), "{second:?}");

    let expected = keys::dump(&url).unwrap();
    node.etcd.stop().unwrap();
    fs::remove_dir_all(node.path("/var/lib/etcd2")).unwrap();
    let log = node.ok(&["restore"]);
    assert!(log.contains("restored from the archive, generation 1, part 1"), "{log}");
    assert!(!node.path("/etc/etcd2-backup/fence").exists());
    node.etcd.start().unwrap();
    let differences = keys::compare(&expected, &keys::dump(&url).unwrap());
    assert!(differences.is_empty(), "{differences:?}");

    // The recovery is on record, and the next generation names what it continues.
    let objects = node.objects();
    assert!(objects.iter().any(|p| p.starts_with("recovery")), "{objects:?}");
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation 2 begins: the "), "{log}");
    let base = node.objects().into_iter().find(|p| p.to_string_lossy().starts_with("00000002-")).unwrap();
    let head = String::from_utf8_lossy(&fs::read(node.folder().join(base)).unwrap()).into_owned();
    assert!(head.contains(r#""parent":{"for_cluster":"#), "{}", &head[..600]);

    // A node that lost its backup directory no longer knows; an earlier generation of the cluster still says it.
    fs::remove_dir_all(node.path("/var/lib/etcd2-backup")).unwrap();
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation 3 begins: "), "{log}");
    node.etcd.stop().unwrap();
    let log = node.ok(&["restore"]);
    assert!(log.contains("restored from the archive, generation 3"), "{log}");
}

#[test]
fn nothing_new_sends_nothing() {
    let Some(mut node) = backed_up() else { return };
    node.environment.insert("ETCD2_BACKUP_QUIET_INTERVAL".into(), "0".into());
    let before = tree(&node.folder());
    // Stopping etcd may have written a last record.
    node.ok(&["backup"]);
    let settled = tree(&node.folder());
    assert!(settled.len() <= before.len() + 1);
    let log = node.ok(&["backup"]);
    assert!(log.contains("nothing new"), "{log}");
    assert_eq!(tree(&node.folder()), settled);
}

#[test]
fn acknowledged_writes_survive_kill_9_and_a_backup_behind_it() {
    let Some(mut node) = running() else { return };
    let url = node.etcd.client_url.clone();
    node.ok(&["backup"]);
    keys::write_many(&url, "/late", 50).unwrap();
    let expected = keys::dump(&url).unwrap();
    node.etcd.kill().unwrap();
    node.ok(&["backup"]);
    node.ok(&["restore", "--source", "archive"]);
    node.etcd.start().unwrap();
    let differences = keys::compare(&expected, &keys::dump(&url).unwrap());
    assert!(differences.is_empty(), "{differences:?}");
}

#[test]
fn the_local_disk_is_restored_without_the_remote_and_the_old_data_is_kept() {
    let Some(mut node) = running() else { return };
    let url = node.etcd.client_url.clone();
    let expected = keys::dump(&url).unwrap();
    node.etcd.stop().unwrap();
    let old = tree(&node.path("/var/lib/etcd2/member"));
    node.environment.insert("RCLONE_ENDPOINT".into(), "absent:x".into());
    let log = node.ok(&["restore", "--source", "local"]);
    assert!(log.contains("warning: the recovery record"), "{log}");
    let kept = fs::read_dir(node.path("/var/lib/etcd2")).unwrap().map(|e| e.unwrap().path());
    let kept: Vec<_> = kept.filter(|p| p.to_string_lossy().contains("member.before-restore-")).collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(tree(&kept[0]), old);
    node.etcd.start().unwrap();
    let differences = keys::compare(&expected, &keys::dump(&url).unwrap());
    assert!(differences.is_empty(), "{differences:?}");
}

#[test]
fn a_newer_local_disk_is_pointed_out_and_auto_takes_it() {
    let Some(mut node) = running() else { return };
    let url = node.etcd.client_url.clone();
    node.ok(&["backup"]);
    keys::write_many(&url, "/newer", 10).unwrap();
    let expected = keys::dump(&url).unwrap();
    node.etcd.stop().unwrap();
    let log = node.ok(&["restore", "--plan"]);
    assert!(
        log.contains("entries newer; to keep them: sudo /opt/bin/etcd2-backup restore --source local"),
        "{log}"
    );
    assert!(log.contains("nothing was changed"), "{log}");
    node.ok(&["restore", "--source", "auto"]);
    node.etcd.start().unwrap();
    let differences = keys::compare(&expected, &keys::dump(&url).unwrap());
    assert!(differences.is_empty(), "{differences:?}");
}

#[test]
fn restores_that_must_not_be_are_refused_and_the_data_is_as_it_was() {
    let Some(mut node) = backed_up() else { return };
    let data = node.path("/var/lib/etcd2");
    let before = tree(&data);
    let good = node.environment.clone();
    let part = node.folder().join(&node.objects()[0]);
    let bytes = fs::read(&part).unwrap();

    // The remote cannot be reached.
    node.environment.insert("RCLONE_ENDPOINT".into(), "absent:x".into());
    node.refused(&["restore"], 13, &["rclone lsjson"]);
    // This machine has no folder there; an empty one is the same.
    node.environment = good.clone();
    fs::rename(node.folder(), node.folder().with_file_name("other")).unwrap();
    node.refused(&["restore"], 12, &["there is no backup of this machine", "other"]);
    fs::create_dir(node.folder()).unwrap();
    node.refused(&["restore"], 12, &["there is no backup of this machine"]);
    fs::remove_dir(node.folder()).unwrap();
    fs::rename(node.folder().with_file_name("other"), node.folder()).unwrap();
    // Altered, truncated.
    let mut altered = bytes.clone();
    altered[bytes.len() / 2] ^= 1;
    write(&part, &altered);
    node.refused(&["restore"], 11, &["is corrupt", "its checksum is wrong"]);
    write(&part, &bytes[..bytes.len() - 1]);
    node.refused(&["restore"], 11, &["the base of generation 1 is missing or truncated"]);
    write(&part, &bytes);
    // Not the founding member.
    node.environment.insert("ETCD_RESTORE_MASTER_ADV_PEER_URLS".into(), "http://10.0.0.9:2380".into());
    node.refused(&["restore"], 10, &["not the founding member"]);
    node.environment = good.clone();
    // A generation that is not there.
    node.refused(&["restore", "--generation", "7"], 12, &["generation 7 is not in the archive"]);
    // No rclone.
    node.environment.insert("PATH".into(), "/nowhere".into());
    node.refused(&["restore"], 13, &["starting rclone"]);
    node.environment = good;

    assert_eq!(tree(&data), before);
    assert!(!node.path("/etc/etcd2-backup/fence").exists());
    // etcd runs.
    node.etcd.start().unwrap();
    node.refused(&["restore"], 10, &["a running etcd has"]);
    let mut client = Client::new(&node.etcd.client_url).unwrap();
    assert!(client.get("/empty").unwrap().is_some());
}

#[test]
fn backups_that_cannot_be_say_why() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.start().unwrap();
    node.environment.insert("RCLONE_ENDPOINT".into(), "absent:x".into());
    node.refused(&["backup"], 13, &["absent"]);
}

#[test]
fn an_upload_that_failed_is_repeated_as_it_was() {
    let Some(node) = running() else { return };
    node.ok(&["backup"]);
    keys::write_many(&node.etcd.client_url, "/a", 10).unwrap();
    // The remote refuses to write: a file stands where the generation's folder was.
    let generation = node.folder().join(node.objects()[0].parent().unwrap());
    let aside = node.folder().with_file_name("aside");
    fs::rename(&generation, &aside).unwrap();
    write(&generation, "in the way");
    node.refused(&["backup"], 13, &["rclone copy"]);
    fs::remove_file(&generation).unwrap();
    fs::rename(&aside, &generation).unwrap();
    let log = node.ok(&["backup"]);
    assert!(log.contains("sending part 1 of generation 1 again"), "{log}");
    let sequences: Vec<String> =
        node.objects().iter().map(|p| p.file_name().unwrap().to_string_lossy()[..8].into()).collect();
    assert_eq!(sequences[..2], ["00000000", "00000001"]);
}

#[test]
fn a_truncated_last_object_is_absent_and_replaced() {
    let Some(node) = running() else { return };
    node.ok(&["backup"]);
    keys::write_many(&node.etcd.client_url, "/a", 10).unwrap();
    node.ok(&["backup"]);
    let last = node.folder().join(node.objects().last().unwrap());
    let whole = fs::read(&last).unwrap();
    write(&last, &whole[..whole.len() / 2]);
    // As after an upload that was killed: the state says it is not known to have arrived.
    let state = node.path("/var/lib/etcd2-backup/state.json");
    let path = last.strip_prefix(node.folder()).unwrap().to_str().unwrap();
    alter_json(&state, |state| state["pending"] = path.into());
    let spooled = node.path("/var/lib/etcd2-backup/spool").join(node.objects()[0].parent().unwrap());
    fs::create_dir_all(&spooled).unwrap();
    write(&spooled.join(last.file_name().unwrap()), &whole);
    node.ok(&["backup"]);
    assert_eq!(fs::read(&last).unwrap(), whole);
    // Without the spooled file the chain cannot go on: a new generation, not a hole.
    alter_json(&state, |state| state["pending"] = "x/y.part".into());
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation 2 begins"), "{log}");
}

#[test]
fn a_lost_state_or_a_replaced_data_directory_begins_a_generation() {
    let Some(mut node) = running() else { return };
    node.ok(&["backup"]);
    fs::remove_file(node.path("/var/lib/etcd2-backup/state.json")).unwrap();
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation 2 begins: no earlier backup"), "{log}");

    node.etcd.stop().unwrap();
    fs::remove_dir_all(node.path("/var/lib/etcd2")).unwrap();
    // Another cluster: its ID follows from this token.
    node.etcd.set("ETCD_INITIAL_CLUSTER_TOKEN", "another");
    node.etcd.start().unwrap();
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation 3 begins: "), "{log}");
    node.etcd.stop().unwrap();
    // Two clusters in one folder, and nothing says that one continues the other: no guessing.
    node.refused(&["restore"], 10, &["the remote directory holds unrelated histories", "--generation"]);
    node.ok(&["restore", "--generation", "2"]);
    node.etcd.start().unwrap();
    assert!(Client::new(&node.etcd.client_url).unwrap().get("/empty").unwrap().is_some());
}

#[test]
fn a_damaged_newest_point_is_given_up_only_when_told() {
    let Some(mut node) = running() else { return };
    let url = node.etcd.client_url.clone();
    node.ok(&["backup"]);
    let expected = keys::dump(&url).unwrap();
    keys::write_many(&url, "/a", 10).unwrap();
    node.ok(&["backup"]);
    let last = node.folder().join(node.objects().last().unwrap());
    let mut bytes = fs::read(&last).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    write(&last, &bytes);
    node.etcd.stop().unwrap();
    node.refused(&["restore"], 11, &["its checksum is wrong", "--accept-older"]);
    let log = node.ok(&["restore", "--accept-older"]);
    assert!(log.contains("warning: given up:"), "{log}");
    node.etcd.start().unwrap();
    let differences = keys::compare(&expected, &keys::dump(&url).unwrap());
    assert!(differences.is_empty(), "{differences:?}");
}

#[test]
fn only_one_at_a_time_and_not_during_a_recovery() {
    let Some(node) = backed_up() else { return };
    let held = fs::File::options().write(true).open(node.path("/var/lib/etcd2-backup/lock")).unwrap();
    held.lock().unwrap();
    assert!(node.ok(&["backup"]).contains("nothing done"));
    node.refused(&["restore"], 10, &["in progress"]);
    drop(held);
    fs::create_dir_all(node.path("/etc/etcd2-backup")).unwrap();
    write(&node.path("/etc/etcd2-backup/fence"), "");
    assert!(node.ok(&["backup"]).contains("nothing done: a recovery is in progress"));
}
