//! The program at the end of docs/format.md, as it is printed, makes of a folder a data directory that etcd starts on.

use std::fs;
use std::process::Command;
use std::time::Duration;

use testkit::checkout;
use testkit::files::write;
use testkit::keys;
use testkit::node::Node;
use testkit::process;
use testkit::tools::{self, Tools};
use testkit::v3;

use super::format1::as_format_1;
use crate::PROGRAM;

const LIMIT: Duration = Duration::from_secs(60);

fn printed() -> String {
    let page = fs::read_to_string(checkout::root().join("docs/format.md")).unwrap();
    let (_, code) = page.split_once("```python\n").unwrap();
    let (code, _) = code.split_once("```").unwrap();
    assert!(code.lines().count() <= 100, "{}", code.lines().count());
    code.to_owned()
}

/// Whether the machine has what the page asks for.
fn can_run() -> bool {
    let missing = ["python3", "zstd"].into_iter().find_map(|program| {
        let asked = process::run(Command::new(program).arg("--version"), LIMIT);
        asked.err().map(|e| e.context(format!("asking {program} for its version")))
    });
    if let Some(e) = &missing {
        tools::skip_unless_ci(e);
    }
    missing.is_none()
}

#[test]
fn the_program_on_the_page_makes_a_data_directory_of_either_format() {
    let Some(tools) = Tools::from_env().filter(|_| can_run()) else { return };
    // With a snapshot, so that its log begins within a segment, and without.
    for (snapshots, format_1) in [("20", true), ("20", false), ("10000", false)] {
        let mut node = Node::new(PROGRAM, tools);
        node.etcd.set("ETCD_SNAPSHOT_COUNT", snapshots);
        node.etcd.start().unwrap();
        let url = node.etcd.client_url.clone();
        for n in 0..3 {
            keys::write_many(&url, &format!("/at{n}"), 30).unwrap();
            node.ok(&["backup"]);
        }
        let expected = keys::dump(&url).unwrap();
        node.etcd.stop().unwrap();
        node.destroy_data().unwrap();
        if format_1 {
            as_format_1(&node);
        }
        let script = node.path("/by-hand.py");
        write(&script, printed());
        let places = [&script, &node.folder(), &node.path("/var/lib/etcd2")];
        process::run(Command::new("python3").args(places), LIMIT).unwrap();
        node.etcd.start().unwrap();
        let differences = keys::compare(&expected, &keys::dump(&url).unwrap());
        assert!(differences.is_empty(), "{snapshots} {format_1}: {differences:?}");
    }
}

#[test]
fn the_program_on_the_page_brings_the_v3_store_back() {
    for tools in Tools::all_with_v3().into_iter().filter(|_| can_run()) {
        for snapshots in ["20", "10000"] {
            let mut node = Node::new(PROGRAM, tools);
            node.etcd.set("ETCD_SNAPSHOT_COUNT", snapshots);
            node.etcd.start().unwrap();
            let url = node.etcd.client_url.clone();
            let put = |n: u64| {
                let mut v3 = v3::Client::new(&url).unwrap();
                for at in 0..30 {
                    v3.put(&format!("/{n}/{at}"), "value").unwrap();
                }
                v3.store().unwrap()
            };
            (0..3).for_each(|n| {
                put(n);
                node.ok(&["backup"]);
            });
            node.ok(&["base", "--now"]);
            put(3);
            node.ok(&["backup"]);
            let expected = put(4);
            node.ok(&["backup"]);
            node.etcd.stop().unwrap();
            node.destroy_data().unwrap();
            let script = node.path("/by-hand.py");
            write(&script, printed());
            let places = [&script, &node.folder(), &node.path("/var/lib/etcd2")];
            process::run(Command::new("python3").args(places), LIMIT).unwrap();
            node.etcd.set("ETCD_FORCE_NEW_CLUSTER", "true");
            node.etcd.start().unwrap();
            let found = v3::Client::new(&url).unwrap().store().unwrap();
            assert_eq!(found, expected, "{snapshots}");
        }
    }
}
