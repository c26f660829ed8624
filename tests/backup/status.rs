//! `status`: what would be lost, told from a real etcd's log and what a real rclone took.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use testkit::etcd::{Member, introduce};
use testkit::faults::wrapper::Wrapper;
use testkit::files::write;
use testkit::keys;
use testkit::node::Node;
use testkit::schema::problems;
use testkit::tools::{self, Tools};
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

/// A node whose data is root's, and somebody on it who is not root: they are told what anybody may see.
#[test]
fn who_is_not_root_is_told_what_anybody_may_see_and_that_root_sees_more() {
    let Some(tools) = Tools::from_env() else { return };
    if !rustix::process::geteuid().is_root() {
        return tools::skip_unless_ci(&std::io::Error::other("only root can be somebody else").into());
    }
    // The folder for temporary files may be root's alone.
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(dir.path(), 0o755);
    let mut node = Node::bare(tools, "e1", &dir.path().join("root")).unwrap();
    fs::create_dir_all(node.program().parent().unwrap()).unwrap();
    fs::copy(PROGRAM, node.program()).unwrap();
    let settings = [
        ("RCLONE_ENDPOINT", format!("r:{}", dir.path().join("remote").display())),
        ("ETCD2_BACKUP_RCLONE_RUNNER", "host".into()),
        ("ETCD_RESTORE_MASTER_ADV_PEER_URLS", node.etcd.peer_url.clone()),
        ("ETCD_NAME", "e1".into()),
        ("ETCD_INITIAL_ADVERTISE_PEER_URLS", node.etcd.peer_url.clone()),
        ("ETCD_ADVERTISE_CLIENT_URLS", node.etcd.client_url.clone()),
    ];
    node.environment.extend(settings.map(|(name, value)| (name.to_owned(), value)));
    write(&node.path("/etc/rclone.conf"), "[r]\ntype = local\n");
    mode(&node.path("/etc/rclone.conf"), 0o600);
    mode(&node.path("/etc/machine-id"), 0o444);
    node.etcd.start().unwrap();
    keys::write_many(&node.etcd.client_url, "/a", 3).unwrap();
    node.ok(&["backup"]);
    mode(&node.path("/var/lib/etcd2"), 0o700);
    assert_eq!(kinds(&status(&node, 0)), [""; 0]);

    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        let output = node.command_below(command, arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(20), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let said = as_nobody(&["status"]);
    let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in ["would lose not known: ", "program etcd2-backup ", "founder http", "hint: root sees more"] {
        assert!(flat.contains(words), "no {words:?} in {said}");
    }
    let value: Value = serde_json::from_str(&as_nobody(&["status", "--json"])).unwrap();
    assert_eq!(kinds(&value), ["unseen"]);
    assert!(value["unseen"].as_str().unwrap().contains("ermission denied"), "{value}");
    assert_eq!((&value["log_index"], &value["lost_entries"]), (&Value::Null, &Value::Null));
    assert_eq!(value["is_founder"], true);
    let schema = include_bytes!("../../docs/reference/schemas/status.json");
    assert_eq!(problems(&serde_json::from_slice(schema).unwrap(), &value), [""; 0]);
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
