//! What a recovery asks of an endpoint that very many machines share.

use std::fs;
use std::process::Command;

use serde_json::Value;
use testkit::files::{write, write_program};
use testkit::keys;
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

/// 60 machines of 25 generations of 1,000 parts, listed by an rclone that leaves nothing out: 300 MiB, of which no look needs
/// more than a few lines.
const MACHINES: usize = 60;

/// Gives the lines of the real rclone, and so many more of other machines.
fn crowded(node: &mut Node, tools: &Tools) {
    let mut lines = String::new();
    for generation in 1..=25 {
        for part in 0..1000_u64 {
            let name = format!(
                "{:032x}/{generation:08}-00000000c0ffee00-000000000abc0000-00001234/\
                 {part:08}-{:x}-{:x}-3-20261128T000000Z-{}-{part:016x}-{:016x}.part",
                0xe,
                part * 60,
                part * 60 + 59,
                70_000 + part,
                part + 1
            );
            lines += &format!(
                "{{\"Path\":\"{name}\",\"Name\":\"x\",\"Size\":{},\"IsDir\":false}},\n",
                70_000 + part
            );
        }
    }
    let chunk = node.path("/chunk");
    write(&chunk, lines);
    let chunks = format!("{} ", chunk.display()).repeat(MACHINES);
    let folder = node.path("/crowded");
    fs::create_dir_all(&folder).unwrap();
    // The limit is not for rclone, which needs more.
    let script = format!(
        "#!/bin/sh\nulimit -S -d unlimited\nfor verb; do case $verb in lsjson) break;; esac; done\n\
         for place; do :; done\n\
         case $verb.$place in lsjson.*backups) ;; *) exec {0} \"$@\" ;; esac\n\
         echo '['; cat {chunks}; {0} \"$@\" >{1}.real || exit; tail -n +2 {1}.real\n",
        tools.rclone.display(),
        chunk.display()
    );
    write_program(&folder.join("rclone"), &script);
    let path = format!("{}:{}", folder.display(), node.environment["PATH"]);
    node.environment.insert("PATH".into(), path);
}

/// The answer of the program, which may use so many KiB of memory.
fn within(node: &Node, kib: u64, arguments: &[&str]) -> (i32, String, String) {
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--data={}:", kib << 10)).arg("--");
    let output = node.command_below(limited, arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn what_others_have_below_the_endpoint_costs_a_recovery_neither_memory_nor_the_answer() {
    let Some(tools) = Tools::from_env() else { return };
    let mut founder = Node::named(PROGRAM, tools, "e1");
    let mut second = Node::joining(tools, "e2", &founder);
    second.back_up_beside(&founder, '2');
    founder.etcd.start().unwrap();
    keys::write_many(&founder.etcd.client_url, "/many", 20).unwrap();
    founder.ok(&["backup"]);
    founder.etcd.kill().unwrap();
    let list = [&founder, &second].map(|n| format!("{}={}", n.etcd.name, n.etcd.peer_url)).join(",");
    for node in [&mut founder, &mut second] {
        crowded(node, tools);
    }
    let (code, answer, log) = within(&founder, 64 << 10, &["restore", "--json", "--initial-cluster", &list]);
    assert_eq!(code, 0, "{log}");
    let record: Value = serde_json::from_str(&answer).unwrap();
    let (code, answer, log) = within(&founder, 64 << 10, &["report"]);
    assert_eq!(code, 0, "{log}");
    let report: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((&report["record"], &report["doubts"]), (&record, &serde_json::json!([])));
    assert_eq!(report["archive"]["generation"], 1);
    let token = record["token"].as_str().unwrap();
    let (code, _, log) = within(&second, 64 << 10, &["restore", "--recovery", token]);
    assert_eq!(code, 0, "{log}");
    assert!(fs::metadata(second.path("/var/lib/etcd2/member/wal")).is_ok());
}
