//! `rehearse`: the newest point restored beside the data and started under a real etcd.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use testkit::files::{tree, write};
use testkit::keys::{self, Client, How};
use testkit::node::{Node, Run};
use testkit::tools::{Tools, etcd_version};
use testkit::wait::until;

use crate::PROGRAM;

const LIMIT: Duration = Duration::from_secs(60);

/// Runs it for its answer: exit code, JSON, log.
fn rehearse(node: &Node, etcd: &Path, arguments: &[&str]) -> (i32, serde_json::Value, String) {
    let program = ["rehearse", "--json", "--etcd", etcd.to_str().unwrap()];
    let Run { code, log, answer } = node.run(&[&program[..], arguments].concat());
    (code, serde_json::from_str(&answer).unwrap_or_default(), log)
}

/// A node with a backup, whose etcd is stopped.
fn backed_up(tools: &Tools) -> Node {
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.start().unwrap();
    keys::write_sample(&node.etcd.client_url).unwrap();
    node.ok(&["backup"]);
    node.etcd.stop().unwrap();
    node
}

/// What is left of a rehearsal, and must not be.
fn scratch(node: &Node) -> PathBuf {
    node.path("/var/lib/etcd2-restore/rehearsal")
}

fn number(answer: &serde_json::Value, field: &str) -> u64 {
    answer[field].as_u64().unwrap_or_else(|| panic!("no {field} in {answer}"))
}

#[test]
fn a_live_members_backup_is_what_its_keys_are_whatever_the_environment_says() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.start().unwrap();
    let url = node.etcd.client_url.clone();
    keys::write_sample(&url).unwrap();
    node.ok(&["backup"]);
    keys::write_many(&url, "/more", 50).unwrap();
    let mut client = Client::new(&url).unwrap();
    client.put_how("/gone-soon", "x", &How { ttl: Some(1), ..How::default() }).unwrap();
    node.ok(&["backup"]);
    // etcd goes on here: the rehearsal's must not get its ports, its data, nor any of its settings.
    let data = tree(&node.path("/var/lib/etcd2/member/snap"));
    node.environment.insert("ETCD_DISCOVERY".into(), "http://127.0.0.1:1/none".into());
    node.environment.insert("ETCD_LISTEN_CLIENT_URLS".into(), url.clone());
    let (code, answer, log) = rehearse(&node, &tools.etcd, &[]);
    assert_eq!(code, 0, "{log}");
    assert!(node.etcd.is_healthy());
    assert_eq!(tree(&node.path("/var/lib/etcd2/member/snap")), data);
    let there = keys::dump(&url).unwrap();
    let listed = number(&answer, "keys");
    assert!(listed >= 50 && listed <= there.len() as u64, "{listed} of {}", there.len());
    let compared = number(&answer, "compared_with_log") + number(&answer, "compared_with_snapshot");
    assert!(compared >= 50, "{answer}");
    assert!(number(&answer, "raft_index") >= number(&answer, "index"), "{answer}");
    assert_eq!((number(&answer, "wrong"), answer["digest"].as_str().unwrap().len()), (0, 64));
    for step in ["read_ms", "write_ms", "start_ms"] {
        number(&answer, step);
    }
    let kept = fs::read(node.path("/var/lib/etcd2-backup/rehearsed.json")).unwrap();
    let mut kept: serde_json::Value = serde_json::from_slice(&kept).unwrap();
    assert!(kept.as_object_mut().unwrap().remove("sum").is_some());
    assert_eq!(kept, answer);
    assert!(!scratch(&node).exists());
}

#[test]
fn snapshots_of_fixtures_are_compared_key_by_key() {
    let Some(tools) = Tools::from_env() else { return };
    let newer = etcd_version(&tools.etcd).unwrap() >= (3, 0);
    let names: &[&str] = if newer {
        &["v3423-single-snap-trimmed", "v3423-single-nosnap-trimmed"]
    } else {
        &["v238-single-snap", "v238-single-nosnap", "v225-single-snap"]
    };
    for name in names {
        let node = Node::new(PROGRAM, tools);
        node.put_fixture(name);
        node.ok(&["backup"]);
        let (code, answer, log) = rehearse(&node, &tools.etcd, &[]);
        assert_eq!(code, 0, "{name}: {log}");
        let snapshot = number(&answer, "compared_with_snapshot");
        assert_eq!(snapshot > 0, !name.contains("nosnap"), "{name}: {answer}");
        assert!(number(&answer, "compared_with_log") + snapshot > 20, "{name}: {answer}");
    }
}

#[test]
fn folders_deep_in_folders_are_compared_as_well() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.start().unwrap();
    let mut client = Client::new(&node.etcd.client_url).unwrap();
    let deep = "/d".repeat(1500);
    for key in ["/a", &format!("{deep}/k"), &format!("{}/k", &deep[..2000])] {
        client.put_how(key, "x", &How::default()).unwrap();
    }
    node.ok(&["backup"]);
    let (code, answer, log) = rehearse(&node, &tools.etcd, &[]);
    assert_eq!(code, 0, "{log}");
    assert_eq!((number(&answer, "keys"), number(&answer, "compared_with_log")), (3, 3), "{answer}");
}

#[test]
fn a_damaged_archive_and_a_script_for_etcd_are_refused() {
    let Some(tools) = Tools::from_env() else { return };
    let node = backed_up(tools);
    node.refused(&["rehearse"], 15, &["it is not known which program", "--etcd PATH"]);
    let script = node.path("/etcd-wrapper");
    write(&script, "#!/bin/sh\nexec docker run etcd\n");
    node.refused(&["rehearse", "--etcd", script.to_str().unwrap()], 15, &["is not an etcd program"]);
    // One that ends at once.
    let (code, _, log) = rehearse(&node, Path::new("/bin/true"), &[]);
    assert_eq!(code, 16, "{log}");
    assert!(log.contains("ended with exit status: 0"), "{log}");
    assert!(!scratch(&node).exists());
    let part = node.folder().join(node.objects().pop().unwrap());
    let mut bytes = fs::read(&part).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    write(&part, bytes);
    let (code, _, log) = rehearse(&node, &tools.etcd, &[]);
    assert_eq!(code, 11, "{log}");
    assert!(log.contains("its checksum is wrong"), "{log}");
    assert!(!scratch(&node).exists() && !node.path("/var/lib/etcd2-backup/rehearsed.json").exists());
}

#[test]
fn the_timers_rehearsal_is_no_failure_where_none_can_run() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = backed_up(tools);
    node.etcd.start().unwrap();
    let skipped = node.path("/var/lib/etcd2-backup/rehearse-skipped.json");
    let why = "it is not known which program etcd2.service starts";
    for is_told in [true, false] {
        let run = node.run(&["rehearse", "--scheduled"]);
        let told = run.log.contains(&format!("restores cannot be rehearsed on this node: {why}"));
        assert_eq!((run.code, told, run.log.contains("hint: ")), (0, is_told, is_told), "{}", run.log);
    }
    let status = |node: &Node| {
        let answer = node.run(&["status", "--json"]).answer;
        serde_json::from_str::<serde_json::Value>(&answer).unwrap()["rehearse_skipped"].clone()
    };
    assert_eq!(status(&node), why);
    node.environment.insert("ETCD2_BACKUP_METRICS_FILE".into(), "/var/lib/etcd2-backup.prom".into());
    let metric = |node: &Node| {
        node.ok(&["backup"]);
        let text = fs::read_to_string(node.path("/var/lib/etcd2-backup.prom")).unwrap();
        text.lines().find_map(|line| line.strip_prefix("etcd2_backup_rehearse_skipped ").map(str::to_owned))
    };
    assert_eq!(metric(&node).as_deref(), Some("1"));
    // Somebody who asks for it is refused as ever.
    node.refused(&["rehearse"], 15, &[why, "--etcd PATH"]);
    assert!(skipped.exists());

    let (code, _, log) = rehearse(&node, &tools.etcd, &["--scheduled"]);
    assert_eq!(code, 0, "{log}");
    assert!(!skipped.exists() && node.path("/var/lib/etcd2-backup/rehearsed.json").exists());
    assert_eq!((status(&node), metric(&node).as_deref()), (serde_json::Value::Null, Some("0")));
    // What ends badly is a failure.
    let (code, _, log) = rehearse(&node, Path::new("/bin/true"), &["--scheduled"]);
    assert_eq!(code, 16, "{log}");
    assert!(!skipped.exists());
}

/// etcd of a rehearsal of this node, once it is that: `/proc/PID`.
fn rehearsed_etcd(node: &Node, etcd: &Path) -> Option<PathBuf> {
    let data = scratch(node).join("data");
    let (etcd, data) = (etcd.as_os_str().as_encoded_bytes(), data.as_os_str().as_encoded_bytes());
    let is_it = |process: &PathBuf| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        let mut words = line.split(|b| *b == 0);
        words.next() == Some(etcd) && words.any(|word| word == data)
    };
    fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path()).find(is_it)
}

/// A port of loopback that one of its flags names.
fn port_of(process: &Path, flag: &str) -> u16 {
    let line = String::from_utf8(fs::read(process.join("cmdline")).unwrap()).unwrap();
    let url = line.split('\0').skip_while(|word| *word != flag).nth(1).unwrap();
    url.strip_prefix("http://127.0.0.1:").unwrap().parse().unwrap()
}

/// Whether somebody listens there in the network of a process.
fn listens(process: &Path, port: u16) -> bool {
    let (address, table) = (format!(":{port:04X} "), fs::read_to_string(process.join("net/tcp")));
    table.unwrap().lines().any(|line| line.contains(&address) && line.contains(" 0A "))
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn nobody_else_on_the_node_reaches_what_is_rehearsed() {
    let Some(tools) = Tools::from_env() else { return };
    let node = backed_up(tools);
    let arguments = ["rehearse", "--etcd", tools.etcd.to_str().unwrap()];
    // With root's rights, or in a user namespace: without those that make a network, and without the one that sets it up.
    let without = |right: &str| {
        let mut without = Command::new("unshare");
        without.args(["--user", "--map-root-user", "setpriv", &format!("--bounding-set=-{right}")]);
        node.command_below(without, &arguments)
    };
    for mut run in [node.command(&arguments), without("sys_admin"), without("net_admin")] {
        let mut run = run.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut etcd = None;
        until("etcd was not started", LIMIT, || {
            assert_eq!(run.try_wait().unwrap(), None);
            etcd = rehearsed_etcd(&node, &tools.etcd);
            etcd.is_some()
        });
        let etcd = etcd.unwrap();
        // It stays until this one goes on.
        signal(&run, "-STOP");
        for flag in ["--listen-client-urls", "--listen-peer-urls"] {
            let port = port_of(&etcd, flag);
            until("etcd does not listen", LIMIT, || listens(&etcd, port));
            let reached =
                TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), Duration::from_secs(5));
            assert!(reached.is_err(), "{flag} is reached from the node: {reached:?}");
        }
        signal(&run, "-CONT");
        let output = run.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn without_a_network_of_its_own_nothing_is_rehearsed() {
    let Some(tools) = Tools::from_env() else { return };
    let node = Node::new(PROGRAM, tools);
    // It may make no network, and a user namespace for it neither.
    let mut without = Command::new("unshare");
    without.args(["--user", "--map-root-user", "sh", "-c"]);
    let no_more =
        "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-sys_admin \"$@\"";
    without.args([no_more, "sh"]);
    let mut run = node.command_below(without, &["rehearse", "--etcd", tools.etcd.to_str().unwrap()]);
    let output = run.output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    // Nothing was backed up yet, and it did not come to that.
    assert_eq!(output.status.code(), Some(10), "{log}");
    for said in
        ["creating a network that no other user", "No space left on device", "hint: ", "unshare --net true"]
    {
        assert!(log.contains(said), "no {said} in: {log}");
    }
    assert!(!scratch(&node).exists());
}

#[test]
fn etcd_of_a_rehearsal_that_is_killed_ends_with_it() {
    let Some(tools) = Tools::from_env() else { return };
    let node = backed_up(tools);
    let mut first = node.command(&["rehearse", "--etcd", tools.etcd.to_str().unwrap()]);
    let mut first = first.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    until("etcd was not started", LIMIT, || rehearsed_etcd(&node, &tools.etcd).is_some());
    first.kill().unwrap();
    first.wait().unwrap();
    until("etcd did not end", LIMIT, || rehearsed_etcd(&node, &tools.etcd).is_none());
    assert!(scratch(&node).exists());
    let (code, _, log) = rehearse(&node, &tools.etcd, &[]);
    assert_eq!(code, 0, "{log}");
    assert!(!scratch(&node).exists());
}
