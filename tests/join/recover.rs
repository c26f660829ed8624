//! `recover --dry-run` over two nodes that are trees; in place of ssh a script runs the program on them. What it does on nodes
//! with a systemd: `tests/lab/67-recover.sh`, `tests/lab/68-recover-killed.sh`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use testkit::faults::wrapper::Wrapper;
use testkit::files::write;
use testkit::keys;
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

/// Runs what it is told on the node that is named before it.
fn ssh(nodes: &[Node], dir: &Path) -> String {
    let mut script =
        "for last; do before=$host; host=$given; given=$last; done\neval \"set -- ${last#*sudo -n)}\"\nshift\n".to_owned();
    script += "case $host in\n";
    for node in nodes {
        let mut line = String::from("exec env -i");
        node.environment.iter().for_each(|(name, value)| write!(line, " '{name}={value}'").unwrap());
        writeln!(
            script,
            "core@{}) {line} {PROGRAM} --root '{}' \"$@\" ;;",
            node.etcd.name,
            node.root().display()
        )
        .unwrap();
    }
    script += "esac\necho 'no route to host' >&2\nexit 255\n";
    let path = dir.join("ssh");
    write(&path, script);
    format!("sh {}", path.display())
}

/// What a run that changes nothing says; it ends with this code, and with these words among others.
#[track_caller]
fn planned(ssh: &str, arguments: &[&str], code: i32, words: &[&str]) -> String {
    let mut recover = Command::new(PROGRAM);
    let output = recover.args(["recover", "--dry-run", "--ssh", ssh]).args(arguments).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{log}");
    // What is longer than a line goes on in the next one.
    let flat = log.replace("\n    ", " ");
    words.iter().for_each(|word| assert!(flat.contains(word), "no {word:?} in {log}"));
    log
}

#[test]
fn the_plan_says_what_the_nodes_have_and_what_is_made_of_it() {
    let Some(tools) = Tools::from_env() else { return };
    let mut first = Node::named(PROGRAM, tools, "e1");
    first.etcd.start().unwrap();
    keys::write_many(&first.etcd.client_url, "/many", 20).unwrap();
    first.ok(&["backup"]);
    keys::write_many(&first.etcd.client_url, "/more", 5).unwrap();
    first.etcd.stop().unwrap();
    let mut second = Node::joining(tools, "e2", &first);
    second.back_up_beside(&first, '2');
    let nodes = [first, second];
    let dir = tempfile::tempdir().unwrap();
    let ssh = ssh(&nodes, dir.path());
    let plan = |targets: &[&str], code, words: &[&str]| {
        planned(&ssh, targets, code, words);
    };
    let both = ["core@e1", "core@e2"];
    plan(
        &both,
        0,
        &[
            "core@e1 makes a new cluster from its own disk",
            "all start together: core@e2",
            "nothing was changed",
        ],
    );
    plan(&[&both[..], &["--one-by-one"]].concat(), 0, &["one after the other: core@e2"]);
    plan(&[&both[..], &["--source", "core@e2"]].concat(), 12, &["no node has data"]);
    plan(&[&both[..], &["--founder", "core@e3"]].concat(), 2, &["core@e3 is not one of the nodes"]);
    plan(
        &["core@e1", "core@e3"],
        16,
        &["core@e3: report: it cannot be reached: no route to host", "BatchMode"],
    );
    plan(&["core@e1", "core@e1"], 2, &["named twice"]);

    fs::remove_dir_all(nodes[0].path("/var/lib/etcd2")).unwrap();
    plan(&both, 0, &["core@e1 makes a new cluster from generation 1 of 0123456789abcdef0123456789abcdef"]);
    plan(
        &[&both[..], &["--founder", "core@e2"]].concat(),
        0,
        &["core@e2 makes a new cluster from generation 1"],
    );
    write(&nodes[1].path("/etc/machine-id"), "0123456789abcdef0123456789abcdef\n");
    plan(&both, 10, &["core@e1 and core@e2 have the same machine ID"]);
}

/// The cluster lives, and its data is the wrong one.
#[test]
fn all_nodes_go_back_to_a_point_in_the_past() {
    let Some(tools) = Tools::from_env() else { return };
    let mut first = Node::named(PROGRAM, tools, "e1");
    first.etcd.start().unwrap();
    keys::write_many(&first.etcd.client_url, "/many", 20).unwrap();
    first.ok(&["backup"]);
    let report: serde_json::Value = serde_json::from_str(&first.run(&["report"]).answer).unwrap();
    let index = &report["archive"]["index"];
    keys::write_many(&first.etcd.client_url, "/wrong", 5).unwrap();
    first.ok(&["backup"]);
    let mut second = Node::joining(tools, "e2", &first);
    second.back_up_beside(&first, '2');
    let nodes = [first, second];
    let dir = tempfile::tempdir().unwrap();
    let ssh = ssh(&nodes, dir.path());
    let plan = |arguments: &[&str], code, words: &[&str]| {
        let log = planned(&ssh, &[arguments, &["core@e1", "core@e2"]].concat(), code, words);
        assert!(!log.contains("another version"), "{log}");
    };
    plan(&[], 10, &["recover is for a cluster that lost it; not healthy: core@e2"]);
    let point = index.to_string();
    let machine = "0123456789abcdef0123456789abcdef";
    let to = format!("up to index {point} of term");
    let made = "core@e1 makes a new cluster from an earlier restore point of generation 1 of 0123456789abcdef0123456789abcdef";
    let given_up = "warning: etcd is healthy on core@e1: it is stopped, and what was written after that point is given up";
    plan(&["--raft-index", &point], 0, &[made, &to, given_up, "nothing was changed"]);
    plan(&["--raft-index", &point, "--from", machine, "--generation", "1"], 0, &[made, &to]);
    plan(
        &["--raft-index", &point, "--founder", "core@e2"],
        0,
        &["core@e2 makes a new cluster from an earlier restore point", &to],
    );
    plan(&["--at=-0s"], 0, &[made]);
    plan(&["--raft-index", "99999999"], 12, &["core@e1: restore: ", "99999999"]);
    plan(&["--at=-0s", "--source", "core@e2"], 12, &["there is no backup of"]);
    plan(&["--from", machine, "--generation", "7"], 12, &["generation"]);
}

/// Nobody could look: that is not that there is nothing.
#[test]
fn what_no_node_could_find_out_is_not_that_there_is_nothing() {
    let Some(tools) = Tools::from_env() else { return };
    let first = Node::named(PROGRAM, tools, "e1");
    let mut second = Node::joining(tools, "e2", &first);
    second.back_up_beside(&first, '2');
    let mut nodes = [first, second];
    let dir = tempfile::tempdir().unwrap();
    let recover = |nodes: &[Node], code, words: &[&str]| {
        planned(&ssh(nodes, dir.path()), &["core@e1", "core@e2"], code, words);
    };
    recover(&nodes, 12, &["no node has data on its disk or in the remote"]);
    // The remote is down.
    let wrappers = nodes.each_mut().map(|node| Wrapper::new(node, tools));
    wrappers.iter().for_each(|wrapper| wrapper.instead("echo 'permission denied' >&2; exit 1"));
    recover(
        &nodes,
        13,
        &[
            "could not determine which data is the freshest: core@e1: the archive: ",
            "core@e2: the archive: ",
            "permission denied",
            "--source NODE",
        ],
    );
    // One disk is there. What the other one had in the remote may be fresher.
    nodes[0].put_fixture("v238-single-snap");
    recover(&nodes, 13, &["could not determine which data is the freshest: core@e2: the archive: "]);
    wrappers.iter().for_each(Wrapper::honest);
    recover(&nodes, 0, &["core@e1 makes a new cluster from its own disk"]);
    // Whether etcd lives there cannot be asked: it would be stopped.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    nodes[1].environment.insert("ETCD_ADVERTISE_CLIENT_URLS".into(), url);
    nodes[1].environment.insert("ETCD_CERT_FILE".into(), "/etc/ssl/certs/none.pem".into());
    recover(
        &nodes,
        15,
        &["could not determine whether etcd on core@e2 has a quorum", "none.pem", "stop etcd there"],
    );
}

/// A folder beside it may be broken, or the node allowed no other.
#[test]
fn a_node_that_sees_its_own_folder_only_has_an_archive_all_the_same() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    let wrapper = Wrapper::new(&mut node, tools);
    node.put_fixture("v238-single-snap");
    node.ok(&["backup"]);
    wrapper.instead("case \"$*\" in *lsjson*/backups) echo denied >&2; exit 1;; esac\nexec \"$REAL\" \"$@\"");
    let run = node.run(&["report"]);
    let report: serde_json::Value = serde_json::from_str(&run.answer).unwrap();
    assert_eq!(report["archive"]["index"], report["disk"]["index"], "{report}");
    let doubts = report["doubts"].as_array().unwrap();
    assert!(doubts.len() == 1 && doubts[0]["about"] == "Others" && doubts[0]["code"] == 13, "{report}");
}
