//! How rclone is called: a script around the real one notes each call, and fails or lies where a test says so.

use std::fs;

use etcd2_backup::sys::fs::write_atomic;
use testkit::keys;
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

/// A node with a few keys, whose rclone is a script: `before` runs with the call's arguments, then the real rclone.
fn node_with(before: &str) -> Option<Node> {
    let tools = Tools::from_env()?;
    let mut node = Node::new(PROGRAM, tools);
    let bin = node.path("/bin");
    fs::create_dir_all(&bin).unwrap();
    let (calls, real) = (node.path("/calls"), tools.rclone.display());
    let script = format!(
        "#!/bin/sh\necho \"$*\" >>{}\ncd {}\n{before}\nexec {real} \"$@\"\n",
        calls.display(),
        bin.display()
    );
    write_atomic(&bin.join("rclone"), script.as_bytes(), 0o755).unwrap();
    let path = format!("{}:{}", bin.display(), node.environment["PATH"]);
    node.environment.insert("PATH".into(), path);
    node.etcd.start().unwrap();
    keys::write_many(&node.etcd.client_url, "/k", 3).unwrap();
    Some(node)
}

/// The calls since the last look, each with its arguments.
fn calls(node: &Node) -> Vec<String> {
    let path = node.path("/calls");
    let text = fs::read_to_string(&path).unwrap_or_default();
    let _ = fs::remove_file(path);
    text.lines().map(str::to_owned).collect()
}

/// How many of them have this verb.
fn count(calls: &[String], verb: &str) -> usize {
    calls.iter().filter(|call| call.split(' ').any(|word| word == verb)).count()
}

/// Fails the first calls of a verb, as many as the file `fail` has lines.
const FAIL: &str = r#"case "$*" in *" copy "*)
  if [ -s fail ]; then
    sed -i 1d fail
    echo "2026/01/01 ERROR : dial tcp 127.0.0.1:1: connect: connection refused" >&2
    exit 1
  fi;;
esac"#;

#[test]
fn the_version_is_asked_once() {
    let Some(node) = node_with("") else { return };
    let log = node.ok(&["backup"]);
    assert!(log.contains("rclone v1."), "{log}");
    assert_eq!(count(&calls(&node), "version"), 1);
    let cycle = |key: &str| {
        keys::write_many(&node.etcd.client_url, key, 1).unwrap();
        node.ok(&["backup"]);
        calls(&node)
    };
    // One process per cycle.
    assert_eq!(cycle("/a").len(), 1);
    fs::remove_file(node.path("/var/lib/etcd2-backup/rclone-version")).unwrap();
    assert_eq!(count(&cycle("/b"), "version"), 1);
    let rclone = node.path("/bin/rclone");
    let script = fs::read_to_string(&rclone).unwrap();
    write_atomic(&rclone, format!("{script}# another\n").as_bytes(), 0o755).unwrap();
    assert_eq!(count(&cycle("/c"), "version"), 1);
}

#[test]
fn an_rclone_that_is_too_old_is_refused_before_it_is_used() {
    let old = "case \"$*\" in *version*) echo rclone v1.53.3-DEV; exit;; esac";
    let Some(node) = node_with(old) else { return };
    node.refused(&["backup"], 15, &["rclone v1.53.3-DEV (runner host) is older than v1.60", "bundled"]);
    assert_eq!(calls(&node).len(), 1);
    assert!(!node.folder().exists());
}

#[test]
fn a_backup_tries_twice_more_and_the_next_one_sends_what_it_could_not() {
    let Some(node) = node_with(FAIL) else { return };
    let fail =
        |times: usize| write_atomic(&node.path("/bin/fail"), "x\n".repeat(times).as_bytes(), 0o600).unwrap();
    fail(2);
    let log = node.ok(&["backup"]);
    assert_eq!(log.matches("connection refused; trying again in ").count(), 2, "{log}");
    assert_eq!((count(&calls(&node), "copy"), node.objects().len()), (3, 1));

    keys::write_many(&node.etcd.client_url, "/more", 3).unwrap();
    fail(3);
    node.refused(&["backup"], 13, &["ended with exit status: 1: ", "connection refused"]);
    assert_eq!((count(&calls(&node), "copy"), node.objects().len()), (3, 1));
    node.ok(&["backup"]);
    assert_eq!(node.objects().len(), 2);
}

#[test]
fn a_failure_that_lasts_is_not_tried_again() {
    let denied = "case \"$*\" in *' copy '*) echo 'AccessDenied: Access Denied' >&2; exit 1;; esac";
    let Some(node) = node_with(denied) else { return };
    node.refused(&["backup"], 13, &["AccessDenied", "that the remote is up"]);
    assert_eq!(count(&calls(&node), "copy"), 1);
}

/// A key that may write into a bucket, and create none: rclone creates it before an upload, unless it is told not to.
#[test]
fn a_denied_upload_into_a_bucket_names_the_option_that_helps() {
    let denied = "case \"$*\" in *' copy '*) echo 'AccessDenied: Access Denied' >&2; exit 1;; *' lsjson '*) echo '[]'; exit;; esac";
    let Some(mut node) = node_with(denied) else { return };
    node.environment.insert("RCLONE_ENDPOINT".into(), "store:etcd/p".into());
    let conf = |more: &str| {
        let text = format!("[store]\ntype = s3\n{more}");
        write_atomic(&node.path("/etc/rclone.conf"), text.as_bytes(), 0o600).unwrap();
    };
    conf("");
    node.refused(
        &["backup"],
        13,
        &["AccessDenied", "no_check_bucket = true to the section [store] of rclone.conf"],
    );
    conf("no_check_bucket = true\n");
    node.refused(&["backup"], 13, &["AccessDenied", "that the remote is up"]);
    // A place without a bucket is refused before anything is sent, by the node as by the build.
    node.environment.insert("RCLONE_ENDPOINT".into(), "store:/".into());
    calls(&node);
    node.refused(
        &["backup"],
        15,
        &["RCLONE_ENDPOINT=\"store:/\" names no bucket", "RCLONE_ENDPOINT=store:bucket/path"],
    );
    assert_eq!(calls(&node).len(), 0);
}

/// Started in another folder, rclone would go on where the base is not.
#[test]
fn a_remote_in_a_relative_folder_is_refused() {
    let Some(mut node) = node_with("") else { return };
    let conf = "[r]\ntype: local\n[over]\ntype = alias\nremote = r:\n[home]\ntype = alias\nremote = ~/b\n";
    write_atomic(&node.path("/etc/rclone.conf"), conf.as_bytes(), 0o600).unwrap();
    let elsewhere = "write its whole path, for example /";
    for (endpoint, folder, hint) in [
        ("r:rel/b", "rel/b", "write the whole path: RCLONE_ENDPOINT=r:/rel/b"),
        ("r:", "", "RCLONE_ENDPOINT=r:/"),
        ("over:b", "b", elsewhere),
        ("home:", "~/b", elsewhere),
        // Of variables alone.
        ("mine:b", "b", "RCLONE_ENDPOINT=mine:/b"),
    ] {
        node.environment.insert("RCLONE_ENDPOINT".into(), endpoint.into());
        node.environment.insert("RCLONE_CONFIG_MINE_TYPE".into(), "local".into());
        let words = format!("leads to the directory {folder:?}, relative to wherever rclone is started");
        for verb in ["backup", "list", "status"] {
            node.refused(&[verb], 15, &[&words, hint]);
        }
    }
    assert_eq!(calls(&node).len(), 0);
}

#[test]
fn a_restore_is_more_patient_than_a_backup() {
    let Some(mut node) = node_with(FAIL) else { return };
    node.ok(&["backup"]);
    let expected = keys::dump(&node.etcd.client_url).unwrap();
    node.etcd.stop().unwrap();
    write_atomic(&node.path("/bin/fail"), "x\n".repeat(3).as_bytes(), 0o600).unwrap();
    let log = node.ok(&["restore"]);
    assert_eq!(log.matches("trying again in ").count(), 3, "{log}");
    node.etcd.start().unwrap();
    let differences = keys::compare(&expected, &keys::dump(&node.etcd.client_url).unwrap());
    assert!(differences.is_empty(), "{differences:?}");
}

/// A dry run that somebody tried, and that stayed; and whatever else would send less than all.
#[test]
fn variables_that_would_change_what_is_sent_do_not_reach_rclone() {
    let Some(mut node) = node_with("env | grep ^RCLONE_ | sort >>../variables") else { return };
    let mut set = |name: &str, value: &str| node.environment.insert(name.into(), value.into());
    for (name, value) in [
        ("RCLONE_DRY_RUN", "true"),
        ("RCLONE_EXCLUDE", "*"),
        ("RCLONE_MAX_SIZE", "1"),
        ("RCLONE_MIN_AGE", "1d"),
        ("RCLONE_MAX_DEPTH", "1"),
        ("RCLONE_IGNORE_EXISTING", "true"),
        ("RCLONE_LOCAL_SKIP_LINKS", "true"),
        // A remote that is in no file, and how to go there.
        ("RCLONE_CONFIG_ELSEWHERE_TYPE", "alias"),
        ("RCLONE_TRANSFERS", "1"),
    ] {
        set(name, value);
    }
    let (place, alias) = (node.path("/elsewhere"), "RCLONE_CONFIG_ELSEWHERE_REMOTE");
    node.environment.insert(alias.into(), place.display().to_string());
    node.environment.insert("RCLONE_ENDPOINT".into(), "elsewhere:b".into());
    let log = node.ok(&["backup"]);
    let ignored = "ignoring RCLONE_DRY_RUN, RCLONE_EXCLUDE, RCLONE_IGNORE_EXISTING, RCLONE_LOCAL_SKIP_LINKS, \
                   RCLONE_MAX_DEPTH, RCLONE_MAX_SIZE, RCLONE_MIN_AGE: only variables that say how to reach a remote";
    assert_eq!(log.matches(ignored).count(), 1, "{log}");
    node.ok(&["list"]);
    assert_eq!(fs::read_dir(place.join("b").join(&node.machine_id)).unwrap().count(), 1);
    let seen = fs::read_to_string(node.path("/variables")).unwrap();
    let mut seen: Vec<&str> = seen.lines().filter_map(|l| l.split('=').next()).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, ["RCLONE_CONFIG_ELSEWHERE_REMOTE", "RCLONE_CONFIG_ELSEWHERE_TYPE", "RCLONE_TRANSFERS"]);
}

#[test]
fn limit_flags_and_checksum_reach_rclone_and_a_recovery_is_not_slowed() {
    let Some(mut node) = node_with("") else { return };
    let mut set = |name: &str, value: &str| node.environment.insert(name.into(), value.into());
    set("ETCD2_BACKUP_RCLONE_BWLIMIT", "08:00,10M 19:00,off");
    set("ETCD2_BACKUP_RCLONE_FLAGS", "--transfers=2 --user-agent=x");
    node.ok(&["backup"]);
    let all = calls(&node);
    for call in &all {
        assert!(call.contains(" --transfers=2 --user-agent=x --bwlimit=08:00,10M 19:00,off "), "{call}");
    }
    assert!(all.iter().any(|call| call.contains(" copy --size-only ")), "{all:?}");

    keys::write_many(&node.etcd.client_url, "/more", 3).unwrap();
    node.environment.insert("RCLONE_CHECKSUM".into(), "true".into());
    node.ok(&["backup"]);
    let all = calls(&node);
    assert!(all.iter().any(|call| call.contains(" copy --checksum ")), "{all:?}");

    node.etcd.stop().unwrap();
    node.ok(&["restore"]);
    for call in calls(&node).iter().filter(|call| !call.contains(" version")) {
        assert!(call.contains(" --transfers=2 ") && !call.contains("bwlimit"), "{call}");
    }
    node.environment.insert("ETCD2_BACKUP_RCLONE_FLAGS".into(), "--config=/x".into());
    node.refused(
        &["backup"],
        15,
        &["ETCD2_BACKUP_RCLONE_FLAGS: \"--config\" is not a flag that may be added"],
    );
}
