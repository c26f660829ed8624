//! What a backup says of itself: the line in the journal and the numbers for a monitor, when all is well and when not.

use std::collections::BTreeMap;
use std::fs;

use testkit::files::write;
use testkit::keys;
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

const FILE: &str = "/var/lib/numbers/etcd2-backup.prom";

fn numbers(node: &Node) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(node.path(FILE)).unwrap();
    let values = text.lines().filter_map(|l| l.strip_prefix("etcd2_backup_")?.split_once(' '));
    values.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

#[test]
fn a_run_says_what_it_knows_when_it_failed_too() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.start().unwrap();
    let url = node.etcd.client_url.clone();
    keys::write_many(&url, "/a", 10).unwrap();
    node.ok(&["backup"]);
    assert!(!node.path(FILE).exists(), "it is off by default");

    node.environment.insert("ETCD2_BACKUP_METRICS_FILE".into(), FILE.into());
    keys::write_many(&url, "/b", 10).unwrap();
    let log = node.ok(&["backup"]);
    let line = log
        .lines()
        .find(|l| l.starts_with("sent: generation=1 part=1 index="))
        .unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains(" lag_entries=0 lag_seconds="), "{line}");
    let first = numbers(&node);
    let newest = node.objects().pop().unwrap();
    let size = fs::metadata(node.folder().join(newest)).unwrap().len();
    assert_eq!((first["last_sent_bytes"], first["sent_bytes_total"]), (size, size));
    assert_eq!((first["generation"], first["parts"], first["last_exit_code"]), (1, 2, 0));
    // etcd logs one every 500 ms; there may have been none in between.
    let synced = first.get("newest_sync_timestamp_seconds");
    assert!(synced.is_none_or(|time| *time <= first["point_timestamp_seconds"] + 1), "{first:?}");

    // The remote is gone: what is known of the archive stays, and there is no word of what is not known.
    let conf = fs::read_to_string(node.path("/etc/rclone.conf")).unwrap();
    write(&node.path("/etc/rclone.conf"), "[other]\ntype = local\n");
    keys::write_many(&url, "/c", 7).unwrap();
    let run = node.run(&["backup"]);
    assert_eq!(run.code, 13, "{}", run.log);
    assert!(
        run.log.lines().any(|l| l.starts_with("failed: entries=") && l.contains(" lag_entries=7 ")),
        "{}",
        run.log
    );
    let failed = numbers(&node);
    assert_eq!((failed["last_exit_code"], failed["lag_entries"]), (13, 7));
    assert!(!failed.contains_key("lag_seconds"));
    for name in
        ["last_success_timestamp_seconds", "point_timestamp_seconds", "raft_index", "sent_bytes_total"]
    {
        assert_eq!(failed[name], first[name], "{name}");
    }

    // What waited is counted with what was new.
    write(&node.path("/etc/rclone.conf"), conf);
    keys::write_many(&url, "/d", 1).unwrap();
    node.ok(&["backup"]);
    let last = numbers(&node);
    let all: u64 = node.objects().iter().map(|o| fs::metadata(node.folder().join(o)).unwrap().len()).sum();
    let base = fs::metadata(node.folder().join(&node.objects()[0])).unwrap().len();
    assert_eq!((last["last_exit_code"], last["sent_bytes_total"]), (0, all - base));
}
