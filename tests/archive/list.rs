//! `list`: the restore points of real backups, with the rclone at hand and a current one.

use std::fs;

use serde_json::{Value, json};
use testkit::files::{tree, write};
use testkit::keys;
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

const OWN: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

/// What is printed; the exit code must be this one.
#[track_caller]
fn list(node: &Node, code: i32, options: &[&str]) -> String {
    let output = node.command(&[&["list"], options].concat()).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{options:?}: {log}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn json(node: &Node, options: &[&str]) -> Value {
    let listing: Value = serde_json::from_str(&list(node, 0, &[&["--json"], options].concat())).unwrap();
    assert_eq!(listing["format"], 1);
    listing["machines"].clone()
}

/// Two generations of two parts, then a restore and a generation of the new cluster.
fn with_history(tools: &Tools) -> Node {
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.start().unwrap();
    let url = node.etcd.client_url.clone();
    for generation in 0..2 {
        keys::write_many(&url, &format!("/{generation}/a"), 10).unwrap();
        node.ok(&["backup"]);
        keys::write_many(&url, &format!("/{generation}/b"), 10).unwrap();
        node.ok(&["backup"]);
        fs::remove_file(node.path("/var/lib/etcd2-backup/state.json")).unwrap();
    }
    node.etcd.stop().unwrap();
    node.ok(&["restore"]);
    node.etcd.start().unwrap();
    node.ok(&["backup"]);
    node
}

/// The names of the parts say what a listing has to say.
fn expected_points(node: &Node, number: u64) -> Vec<Value> {
    let of = |name: &str| -> Value {
        let fields: Vec<&str> = name.trim_end_matches(".part").split('-').collect();
        let hex = |at: usize| u64::from_str_radix(fields[at], 16).unwrap();
        let time = humantime::parse_rfc3339(&format!(
            "{}-{}-{}T{}:{}:{}Z",
            &fields[4][..4],
            &fields[4][4..6],
            &fields[4][6..8],
            &fields[4][9..11],
            &fields[4][11..13],
            &fields[4][13..15]
        ));
        json!({
            "part": fields[0].parse::<u64>().unwrap(),
            "time": humantime::format_rfc3339_seconds(time.unwrap()).to_string(),
            "index": hex(2),
            "term": hex(3),
            "bytes": fields[5].parse::<u64>().unwrap(),
        })
    };
    let paths = node.objects().into_iter().map(|p| p.to_string_lossy().into_owned());
    paths
        .filter(|p| p.starts_with(&format!("{number:08}-")))
        .map(|p| of(p.split_once('/').unwrap().1))
        .collect()
}

#[test]
fn generations_points_and_lineage_are_listed_by_every_rclone() {
    let Some(tools) = Tools::from_env() else { return };
    for rclone in tools.rclones() {
        let node = with_history(&Tools { rclone, ..tools.clone() });
        let machines = json(&node, &[]);
        let [machine] = machines.as_array().unwrap().as_slice() else { panic!("{machines}") };
        assert_eq!(machine["machine_id"], OWN);
        assert_eq!((&machine["layout"], &machine["unrelated"]), (&json!("generations"), &json!(false)));
        let generations = machine["generations"].as_array().unwrap();
        assert_eq!(generations.len(), 3);
        for (number, g) in (1..).zip(generations) {
            assert_eq!(g["number"], number);
            assert_eq!(g["points"], Value::Array(expected_points(&node, number)), "{number}");
            assert_eq!((&g["whole"], &g["absent"]), (&json!(true), &json!(0)));
            assert_eq!(g["member_name"], "e1");
            assert_eq!(g["first_index"], 1);
        }
        let [first, second, third] = [0, 1, 2].map(|at| &generations[at]);
        assert_eq!(first["cluster_id"], second["cluster_id"]);
        assert_ne!(second["cluster_id"], third["cluster_id"]);
        let last = second["points"].as_array().unwrap().last().unwrap();
        let continues = json!({"cluster_id": first["cluster_id"], "generation": 2, "index": last["index"]});
        assert_eq!([&first["continues"], &second["continues"]], [&Value::Null; 2]);
        assert_eq!(third["continues"], continues);

        assert!(generations.iter().all(|g| g["verified"].is_null() && g["damaged"].is_null()));
        node.ok(&["verify"]);
        for g in json(&node, &[])[0]["generations"].as_array().unwrap() {
            assert_eq!(g["verified"]["part"], g["points"].as_array().unwrap().last().unwrap()["part"], "{g}");
            assert!(humantime::parse_rfc3339(g["verified"]["time"].as_str().unwrap()).is_ok(), "{g}");
        }

        // For people: a line for each generation, and for each point where they are asked for.
        let short = list(&node, 0, &[]);
        let points: usize = generations.iter().map(|g| g["points"].as_array().unwrap().len()).sum();
        assert!(short.starts_with(&format!("{OWN}: 3 generations, {points} restore points, ")), "{short}");
        // The machine; of each of two clusters its line and the heads; of the second what it continues; two lines where a
        // point was verified.
        let lines = 1 + 2 * 2 + 1 + 3 * 2;
        assert_eq!(short.lines().count(), lines, "{short}");
        assert!(short.contains(&format!("from generation 2, index {}", last["index"])), "{short}");
        for long in [list(&node, 0, &["--points"]), list(&node, 0, &["-v"])] {
            assert_eq!(long.lines().count(), lines + points, "{long}");
        }
        assert!(short.lines().all(|l| l.trim_end() == l && l.len() <= 80), "{short}");
    }
}

#[test]
fn all_machines_are_listed_at_the_cost_of_two_calls() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    list(&node, 12, &[]);
    list(&node, 12, &["--all"]);
    node.put_fixture("v238-single-snap");
    node.ok(&["backup"]);
    let above = node.folder().parent().unwrap().to_owned();
    // A copy of it, a folder of the original, and somebody else's.
    for (path, bytes) in tree(&node.folder()) {
        let Some(bytes) = bytes else { continue };
        let copy = above.join(OTHER).join(path);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        write(&copy, bytes);
    }
    for path in ["0".repeat(32) + "/member/wal/0000000000000000-0000000000000000.wal", "other/x".into()] {
        fs::create_dir_all(above.join(&path).parent().unwrap()).unwrap();
        write(&above.join(path), "x");
    }
    // rclone as it is, and a note that it was called.
    let bin = node.path("/bin");
    fs::create_dir_all(&bin).unwrap();
    let path = node.environment["PATH"].clone();
    let calls = node.path("/calls");
    let script = format!("#!/bin/sh\necho \"$@\" >> {}\nPATH={path} exec rclone \"$@\"\n", calls.display());
    etcd2_backup::sys::fs::write_atomic(&bin.join("rclone"), script.as_bytes(), 0o755).unwrap();
    node.environment.insert("PATH".into(), format!("{}:{path}", bin.display()));

    let machines = json(&node, &["--all"]);
    let calls = fs::read_to_string(&calls).unwrap();
    assert_eq!(calls.lines().filter(|l| !l.contains("version")).count(), 2, "{calls}");
    let names: Vec<(&str, &str)> = machines
        .as_array()
        .unwrap()
        .iter()
        .map(|m| (m["machine_id"].as_str().unwrap(), m["layout"].as_str().unwrap()))
        .collect();
    let zero = "0".repeat(32);
    assert_eq!(
        names,
        [(&*zero, "original"), (OWN, "generations"), (OTHER, "generations"), ("other", "other")]
    );
    assert_eq!(machines[1]["generations"], machines[2]["generations"]);
    let base = &machines[1]["generations"][0];
    assert_eq!(base["member_name"], "e1");
    assert!(base["first_index"].as_u64().unwrap() > 1, "{base}");
    assert!(base["points"][0]["index"].as_u64() > base["first_index"].as_u64(), "{base}");

    assert_eq!(json(&node, &["--from", OTHER])[0], machines[2]);
    assert_eq!(json(&node, &[])[0], machines[1]);
    assert!(list(&node, 0, &["--from", &zero]).contains("one backup made by etcd2-backup-coreos"));
    list(&node, 12, &["--from", &"1".repeat(32)]);
    list(&node, 2, &["--all", "--from", OTHER]);
}

#[test]
fn what_is_broken_or_unrelated_is_said() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = with_history(tools);
    // The last generation's base no longer says what it continues, nor anything else.
    let base = node.objects().into_iter().rfind(|p| p.to_string_lossy().starts_with("00000003-")).unwrap();
    let whole = fs::read(node.folder().join(&base)).unwrap();
    let mut altered = whole.clone();
    altered[20] ^= 0xff;
    write(&node.folder().join(&base), altered);
    let machine = json(&node, &[])[0].clone();
    assert_eq!(machine["unrelated"], true);
    assert_eq!(machine["generations"][2]["member_name"], Value::Null);
    assert!(list(&node, 0, &[]).contains("these histories are unrelated"));
    write(&node.folder().join(&base), &whole);

    // A part is gone, another was cut off.
    let objects: Vec<_> = node.objects().into_iter().filter(|p| !p.starts_with("recovery")).collect();
    fs::remove_file(node.folder().join(&objects[0])).unwrap();
    let cut = objects.iter().rfind(|p| p.to_string_lossy().starts_with("00000002-")).unwrap();
    write(&node.folder().join(cut), "cut");
    let generations = json(&node, &[])[0]["generations"].clone();
    let state = |at: usize| (generations[at]["whole"].clone(), generations[at]["absent"].clone());
    assert_eq!([state(0), state(1)], [(json!(false), json!(1)), (json!(true), json!(1))]);
    assert_eq!((&generations[0]["points"], &generations[0]["first_index"]), (&json!([]), &Value::Null));
    let table = list(&node, 0, &[]);
    let flat = table.split_whitespace().collect::<Vec<_>>().join(" ");
    let words = ["none, its base is missing, 1 object ignored", "Z, 1 object ignored"];
    assert!(words.iter().all(|word| flat.contains(word)), "{table}");
    node.etcd.stop().unwrap();
}
