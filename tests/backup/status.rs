//! `status`: what would be lost, told from a real etcd's log and what a real rclone took.

use std::fs;

use serde_json::Value;
use testkit::etcd::{Member, introduce};
use testkit::faults::wrapper::Wrapper;
use testkit::keys;
use testkit::node::Node;
use testkit::tools::Tools;
use testkit::wait::until;

use crate::PROGRAM;

/// The answer of `status --json`, which ends with this code.
pub(crate) fn status(node: &Node, code: i32) -> Value {
    let run = node.run(&["status", "--json"]);
    assert_eq!(run.code, code, "{}", run.log);
    serde_json::from_str(&run.answer).unwrap_or_else(|e| panic!("{e}: {}", run.answer))
}

pub(crate) fn kinds(status: &Value) -> Vec<&str> {
    status["warnings"].as_array().unwrap().iter().map(|w| w["kind"].as_str().unwrap()).collect()
}

#[test]
fn what_was_not_sent_is_counted_and_why() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    let wrapper = Wrapper::new(&mut node, tools);
    let run = node.run(&["status"]);
    assert_eq!(run.code, 19, "{}", run.log);
    node.etcd.start().unwrap();
    let url = node.etcd.client_url.clone();
    keys::write_many(&url, "/a", 10).unwrap();
    let never = status(&node, 20);
    assert_eq!(
        (kinds(&never), &never["lost_seconds"], &never["index"]),
        (vec!["never"], &Value::Null, &Value::Null)
    );

    node.ok(&["backup"]);
    let fresh = status(&node, 0);
    assert_eq!((&fresh["lost_entries"], &fresh["lost_seconds"]), (&0.into(), &0.into()));
    assert_eq!((&fresh["etcd"], &fresh["timer"]), (&"healthy".into(), &Value::Null));
    keys::write_many(&url, "/b", 7).unwrap();
    let behind = status(&node, 0);
    assert_eq!(behind["lost_entries"], 7);
    assert_eq!(behind["because"], "they came after the last backup");
    let index = |status: &Value, name: &str| status[name].as_u64().unwrap();
    assert!(index(&behind, "log_index") >= index(&behind, "index") + 7, "{behind}");

    // A part was made, and the remote does not take it.
    wrapper.instead("exit 1");
    assert_eq!(node.run(&["backup"]).code, 13);
    keys::write_many(&url, "/c", 2).unwrap();
    let pending = status(&node, 0);
    assert_eq!(pending["index"], behind["index"]);
    assert!(index(&pending, "lost_entries") >= 9, "{pending}");
    assert_eq!(pending["because"], "the last part was not seen to arrive");
    assert_eq!(kinds(&pending), [""; 0]);
    let run = node.run(&["status", "--max-age", "0s"]);
    assert!(run.code == 20 && run.answer.contains("are not in the remote"), "{}", run.answer);
    wrapper.honest();
    node.ok(&["backup"]);
    assert_eq!(status(&node, 0)["lost_entries"], 0);

    // Founded anew under the same IDs, with nothing in it.
    node.etcd.stop().unwrap();
    assert_eq!(status(&node, 0)["etcd"], "silent");
    fs::remove_dir_all(node.path("/var/lib/etcd2")).unwrap();
    node.etcd.start().unwrap();
    assert_eq!(kinds(&status(&node, 20)), ["went-back"]);
    node.etcd.stop().unwrap();
    fs::remove_dir_all(node.path("/var/lib/etcd2")).unwrap();
    let gone = node.run(&["status"]);
    assert!(gone.code == 12 && gone.log.contains("its data is gone"), "{}", gone.log);
}

#[test]
fn a_member_that_is_cut_off_says_so() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    let other_dir = tempfile::tempdir().unwrap();
    let mut other = Member::new(tools, "other", other_dir.path()).unwrap();
    introduce(&mut [&mut node.etcd, &mut other]);
    other.spawn(&[]).unwrap();
    node.etcd.start().unwrap();
    other.wait_healthy().unwrap();
    keys::write_many(&node.etcd.client_url, "/a", 3).unwrap();
    node.ok(&["backup"]);
    assert_eq!(kinds(&status(&node, 0)), [""; 0]);
    other.kill().unwrap();
    until("it still has a quorum", std::time::Duration::from_secs(30), || !node.etcd.is_healthy());
    let alone = status(&node, 20);
    assert_eq!((kinds(&alone), &alone["etcd"]), (vec!["alone"], &"cut-off".into()));
}
