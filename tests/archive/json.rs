//! What the commands print as JSON: each answer of a real node against its schema in `docs/reference/schemas/`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use testkit::files::write;
use testkit::fixtures::{Fixture, V3_NAMES, unpack_v3};
use testkit::install_tree::Bench;
use testkit::keys;
use testkit::node::Node;
use testkit::schema::problems;
use testkit::tools::Tools;

use crate::PROGRAM;

fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/schemas")
}

fn schema(name: &str) -> Value {
    serde_json::from_slice(&fs::read(schemas().join(format!("{name}.json"))).unwrap()).unwrap()
}

/// Each value on a line of its own, or one over several, is what the schema says.
#[track_caller]
fn hold(name: &str, printed: &str) -> Vec<Value> {
    let values = serde_json::Deserializer::from_str(printed).into_iter();
    let values: Vec<Value> =
        values.collect::<Result<_, _>>().unwrap_or_else(|e| panic!("{name}: {e}: {printed}"));
    assert!(!values.is_empty(), "{name}: nothing was printed");
    for value in &values {
        assert_eq!(problems(&schema(name), value), [""; 0], "{name}: {value:#}");
    }
    values
}

/// What a command of this node prints.
#[track_caller]
fn of(node: &Node, name: &str, arguments: &[&str], code: i32) -> Value {
    let run = node.run(arguments);
    assert_eq!(run.code, code, "{arguments:?}: {}", run.log);
    let mut all = hold(name, &run.answer);
    assert_eq!(all.len(), 1, "{arguments:?}: {}", run.answer);
    all.remove(0)
}

fn inspect(path: &Path, arguments: &[&str]) -> String {
    let output = Command::new(PROGRAM).arg("inspect").arg(path).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_a_node_says_is_as_described() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.start().unwrap();
    let url = node.etcd.client_url.clone();
    of(&node, "status", &["status", "--json"], 20);
    keys::write_sample(&url).unwrap();
    node.ok(&["backup"]);
    of(&node, "report", &["report"], 0);
    of(&node, "status", &["status", "--json"], 0);
    of(&node, "list", &["list", "--json", "--all"], 0);
    let found = of(&node, "sources", &["sources", "--json"], 0);
    assert!(found["sources"].as_array().unwrap().len() > 1, "{found}");
    of(&node, "verify", &["verify", "--json"], 0);
    of(&node, "prune", &["prune", "--json", "--dry-run"], 0);
    node.etcd.stop().unwrap();
    let etcd = tools.etcd.to_str().unwrap();
    of(&node, "rehearse", &["rehearse", "--json", "--etcd", etcd], 0);
    of(&node, "recovery-record", &["restore", "--plan", "--json"], 0);
    let record = of(&node, "recovery-record", &["restore", "--json", "--source", "local"], 0);
    assert!(record["backed_up"].is_object(), "{record}");
    node.etcd.start().unwrap();
    node.ok(&["backup"]);
    // A cluster that continues another one, kept data, and an archive that is damaged.
    of(&node, "report", &["report"], 0);
    let listed = of(&node, "list", &["list", "--json"], 0);
    assert!(listed["machines"][0]["generations"][1]["continues"].is_object(), "{listed}");
    assert!(listed["machines"][0]["generations"][0]["verified"].is_object(), "{listed}");
    of(&node, "status", &["status", "--json"], 0);
    of(&node, "sources", &["sources", "--json"], 0);
    let archive = node.folder();
    hold("inspect", &inspect(&archive, &["--json"]));
    let parts = node.objects().into_iter().filter(|p| p.extension().is_some_and(|e| e == "part"));
    let part = archive.join(parts.min().unwrap());
    hold("inspect", &inspect(&part, &["--json"]));
    let mut bytes = fs::read(&part).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    write(&part, bytes);
    let read = of(&node, "verify", &["verify", "--json"], 11);
    assert_eq!(read["generations"][0]["findings"][0]["kind"], "damaged", "{read}");
    of(&node, "list", &["list", "--json"], 0);
}

#[test]
fn what_inspect_says_is_as_described() {
    for name in ["v238-single-snap", "v238-torn-tail", "v238-flipped-wal", "v3423-single-snap-trimmed"] {
        let work = tempfile::tempdir().unwrap();
        let fixture = Fixture::unpack(name, work.path()).unwrap();
        hold("inspect", &inspect(&fixture.data_dir, &["--json"]));
        assert!(hold("inspect-entry", &inspect(&fixture.data_dir, &["--entries", "--json"])).len() > 10);
        assert!(hold("inspect-key", &inspect(&fixture.data_dir, &["--keys", "--json"])).len() > 10);
    }
    for name in V3_NAMES {
        let work = tempfile::tempdir().unwrap();
        let (data_dir, _) = unpack_v3(name, work.path()).unwrap();
        hold("inspect", &inspect(&data_dir, &["--json"]));
        assert!(hold("inspect-entry", &inspect(&data_dir, &["--entries", "--values", "--json"])).len() > 10);
        let db = data_dir.join("member/snap/db");
        hold("inspect", &inspect(&db, &["--json"]));
        for values in [&["--keys", "--json"][..], &["--keys", "--values", "--json"]] {
            assert!(hold("inspect-v3-key", &inspect(&db, values)).len() > 10);
        }
    }
}

#[test]
fn what_the_installer_says_is_as_described() {
    let bench = Bench::new(PROGRAM);
    let said = |name: &str, line: &str| {
        let output = bench.run(line);
        hold(name, std::str::from_utf8(&output.stdout).unwrap());
    };
    said("install", "install --json --dry-run --from v1");
    said("install", "install --json --from v1");
    said("install-check", "install --check --json");
    write(&bench.root().join("etc/systemd/system/etcd2-backup.timer"), "mine");
    said("install-check", "install --check --json");
    said("install", "install --json --force --from v2");
    said("install", "uninstall --json");
}

/// One node answers, the other one cannot be reached; a script stands for ssh.
#[test]
fn what_all_nodes_say_is_as_described() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.start().unwrap();
    node.ok(&["backup"]);
    let dir = tempfile::tempdir().unwrap();
    let ssh = dir.path().join("ssh");
    let of_node = node.command(&["status", "--json"]);
    let variables = of_node.get_envs().filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?)));
    let variables: String = variables.map(|(name, value)| format!(" '{name}={value}'")).collect();
    let arguments: String = of_node.get_args().map(|a| format!(" '{}'", a.to_str().unwrap())).collect();
    let script = format!(
        "case $* in *core@e1*) exec env -i{variables} '{}'{arguments} ;; esac\necho 'no route to host' >&2\nexit 255\n",
        of_node.get_program().to_str().unwrap()
    );
    write(&ssh, script);
    let ssh = format!("sh {}", ssh.display());
    let asked = |nodes: &[&str], code| {
        let all = [&["status", "--all", "--json", "--ssh", &ssh], nodes].concat();
        let output = Command::new(PROGRAM).args(all).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        hold("status-all", std::str::from_utf8(&output.stdout).unwrap()).remove(0)["nodes"].clone()
    };
    let nodes = asked(&["core@e1"], 0);
    hold("status", &nodes[0]["status"].to_string());
    assert!(nodes[0]["node"] == "core@e1" && nodes[0]["unseen"].is_null(), "{nodes}");
    let nodes = asked(&["core@e1", "core@e2"], 20);
    let unseen = nodes[1]["unseen"].as_str().unwrap();
    assert!(nodes[1]["status"].is_null() && unseen.contains("no route to host"), "{nodes}");
}

/// Of each schema an answer was seen above: no name is left over.
#[test]
fn every_schema_is_held_to_an_answer() {
    let there = fs::read_dir(schemas()).unwrap().map(|e| e.unwrap().path());
    let there: BTreeSet<String> =
        there.map(|p| p.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let text = include_str!("json.rs");
    for name in &there {
        let used =
            ["of(&node, ", "hold(", "said("].iter().any(|call| text.contains(&format!("{call}\"{name}\"")));
        assert!(used, "{name}");
        assert_eq!(schema(name)["$schema"], "https://json-schema.org/draft/2020-12/schema", "{name}");
    }
    assert!(there.len() >= 14, "{there:?}");
}
