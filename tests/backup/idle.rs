//! What a cluster logs when nobody writes waits, without a process of rclone, for a write or until the interval is over.

use std::time::{Duration, Instant};

use testkit::faults::wrapper::Wrapper;
use testkit::files::alter_json;
use testkit::keys;
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

const INTERVAL: &str = "ETCD2_BACKUP_QUIET_INTERVAL";
const NONE: [&str; 0] = [];

/// Backs up until etcd logged something by itself; gives what the program said then. A health check is such a thing in 3.x,
/// in 2.x the leader needs no reason.
fn backup_of_a_quiet_log(node: &Node) -> String {
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        assert!(node.etcd.is_healthy());
        let log = node.ok(&["backup", "--verbose"]);
        if !log.contains("nothing new") {
            return log;
        }
    }
    panic!("etcd logs nothing");
}

/// Makes the last part older or, with a negative number, as if the clock had been set back since.
fn age_last_part(node: &Node, seconds: i64) {
    let path = node.path("/var/lib/etcd2-backup/state.json");
    alter_json(&path, |state| state["clock"] = (state["clock"].as_i64().unwrap() - seconds).into());
}

#[test]
fn only_what_was_written_is_worth_a_call_of_rclone() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    let wrapper = Wrapper::new(&mut node, tools);
    node.etcd.start().unwrap();
    let url = node.etcd.client_url.clone();
    keys::write_sample(&url).unwrap();
    node.ok(&["backup"]);
    assert_eq!(wrapper.calls(), ["lsjson", "copy", "lsjson"]);

    let log = backup_of_a_quiet_log(&node);
    assert!(log.contains("held back: ") && log.contains("that change nothing"), "{log}");
    assert!(log.contains("uploaded 10m after the last part, or with the next write"), "{log}");
    assert_eq!((wrapper.calls(), node.objects().len()), (NONE.map(String::from).to_vec(), 1));

    // The first write is sent at once, with all before it: one call.
    keys::write_many(&url, "/more", 1).unwrap();
    let expected = keys::dump(&url).unwrap();
    node.ok(&["backup"]);
    assert_eq!((wrapper.calls(), node.objects().len()), (vec!["copy".to_owned()], 2));

    for (why, seconds) in [("the interval is over", 600), ("the clock was set back", -3600)] {
        assert!(backup_of_a_quiet_log(&node).contains("held back"), "{why}");
        let before = node.objects().len();
        age_last_part(&node, seconds);
        backup_of_a_quiet_log(&node);
        assert_eq!((wrapper.calls(), node.objects().len()), (vec!["copy".to_owned()], before + 1), "{why}");
    }

    node.environment.insert(INTERVAL.into(), "0".into());
    let before = node.objects().len();
    backup_of_a_quiet_log(&node);
    assert_eq!(node.objects().len(), before + 1);

    node.etcd.kill().unwrap();
    node.ok(&["restore", "--source", "archive"]);
    node.etcd.start().unwrap();
    let differences = keys::compare(&expected, &keys::dump(&url).unwrap());
    assert!(differences.is_empty(), "{differences:?}");
}
