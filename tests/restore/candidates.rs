//! Which data is the freshest: what the folders of three real members and this node's disk say, and what is told of an older
//! choice.

use std::fs;

use serde_json::{Value, json};
use testkit::etcd::introduce;
use testkit::faults::wrapper::Wrapper;
use testkit::files::write;
use testkit::keys;
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

/// Three members of one running cluster with one remote, their machine IDs 1…, 2… and 3….
fn three(tools: &Tools) -> [Node; 3] {
    let mut nodes = ["e1", "e2", "e3"].map(|name| Node::named(PROGRAM, tools, name));
    let [endpoint, founder] = ["RCLONE_ENDPOINT", "ETCD_RESTORE_MASTER_ADV_PEER_URLS"]
        .map(|name| nodes[0].environment[name].clone());
    for (node, digit) in nodes.iter_mut().zip(["1", "2", "3"]) {
        write(&node.path("/etc/machine-id"), digit.repeat(32) + "\n");
        node.environment.insert("RCLONE_ENDPOINT".into(), endpoint.clone());
        node.environment.insert("ETCD_RESTORE_MASTER_ADV_PEER_URLS".into(), founder.clone());
    }
    let [e1, e2, e3] = &mut nodes;
    introduce(&mut [&mut e1.etcd, &mut e2.etcd, &mut e3.etcd]);
    nodes.iter_mut().for_each(|node| node.etcd.spawn(&[]).unwrap());
    nodes.iter_mut().for_each(|node| node.etcd.wait_healthy().unwrap());
    nodes
}

fn machine(digit: &str) -> String {
    digit.repeat(32)
}

/// The answer as JSON; the exit code must be this one.
#[track_caller]
fn sources(node: &Node, code: i32) -> Value {
    let run = node.run(&["sources", "--json"]);
    assert_eq!(run.code, code, "{}", run.log);
    let answer: Value = serde_json::from_str(&run.answer).unwrap();
    assert_eq!(answer["format"], 1);
    answer
}

/// The source of a kind, in a place that ends so.
#[track_caller]
fn one<'a>(answer: &'a Value, kind: &str, place: &str) -> &'a Value {
    let all = answer["sources"].as_array().unwrap();
    let mut of = all.iter().filter(|s| s["kind"] == kind && s["place"].as_str().unwrap().ends_with(place));
    let (Some(one), None) = (of.next(), of.next()) else { panic!("not one {kind} in {place}: {answer}") };
    one
}

fn index(source: &Value) -> u64 {
    source["index"].as_u64().unwrap()
}

#[test]
fn the_freshest_of_a_cluster_is_named_with_the_command_that_takes_it() {
    let Some(tools) = Tools::from_env() else { return };
    let mut nodes = three(tools);
    for (at, dir) in ["/third", "/second", "/first"].iter().enumerate() {
        keys::write_many(&nodes[0].etcd.client_url, dir, 30).unwrap();
        nodes[2 - at].ok(&["backup"]);
    }
    // e2's own disk, of a running member, goes further than its backup.
    keys::write_many(&nodes[0].etcd.client_url, "/more", 30).unwrap();
    let wrapper = Wrapper::new(&mut nodes[1], tools);
    let answer = sources(&nodes[1], 0);
    assert_eq!(wrapper.calls(), ["lsjson", "cat"]);
    assert_eq!(answer["sources"].as_array().unwrap().len(), 4);
    let disk = one(&answer, "data-dir", "/var/lib/etcd2");
    assert_eq!(answer["sources"][answer["freshest"][0].as_u64().unwrap() as usize], *disk);
    assert_eq!((&answer["clear"], &answer["unseen"]), (&json!(true), &json!([])));
    assert_eq!((&disk["command"], &disk["standing"]), (&json!("restore --source local"), &json!("freshest")));
    for (node, digit) in nodes.iter().zip(["1", "2", "3"]) {
        let source = one(&answer, "archive", &machine(digit));
        assert_eq!(
            (&source["member_name"], &source["peer_urls"]),
            (&json!(node.etcd.name), &json!([node.etcd.peer_url]))
        );
        assert_eq!((&source["cluster_id"], &source["lineage"]), (&disk["cluster_id"], &json!(1)));
        assert_eq!(source["behind"], index(disk) - index(source), "{source}");
        assert_eq!((&source["standing"], &source["generation"]), (&json!("older"), &json!(1)));
        assert!(source["age"].as_u64().is_some() && source["time"].as_str().unwrap().ends_with('Z'));
    }
    let command = |digit| one(&answer, "archive", &machine(digit))["command"].clone();
    assert_eq!(
        ["1", "2", "3"].map(command),
        [
            json!(format!("restore --from {}", machine("1"))),
            json!("restore"),
            json!(format!("restore --from {}", machine("3")))
        ]
    );

    // Of three dead nodes without a disk e1's backup is the best.
    for node in &mut nodes {
        node.etcd.kill().unwrap();
    }
    fs::remove_dir_all(nodes[2].path("/var/lib/etcd2")).unwrap();
    let run = nodes[2].run(&["sources"]);
    assert_eq!(run.code, 0, "{}", run.log);
    let last = run.answer.lines().last().unwrap();
    assert!(
        last == format!("    sudo /opt/bin/etcd2-backup restore --from {}", machine("1")),
        "{}",
        run.answer
    );
    let behind =
        index(one(&answer, "archive", &machine("1"))) - index(one(&answer, "archive", &machine("3")));
    for words in
        [format!("\n  {behind} fewer "), "\nthe freshest:\n".into(), format!(" {}\n", nodes[0].etcd.peer_url)]
    {
        assert!(run.answer.contains(&words), "{words}: {}", run.answer);
    }
    assert!(run.log.contains("set-founder"), "{}", run.log);
    assert!(run.answer.lines().all(|line| line.trim_end() == line && line.len() <= 80), "{}", run.answer);
}

#[test]
fn a_recovered_cluster_comes_first_what_was_set_aside_is_listed_and_damage_is_told() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    let own = "0123456789abcdef0123456789abcdef";
    node.refused(&["sources"], 12, &["nothing to recover from"]);
    node.etcd.start().unwrap();
    keys::write_many(&node.etcd.client_url, "/a", 30).unwrap();
    node.ok(&["backup"]);
    keys::write_many(&node.etcd.client_url, "/lost", 30).unwrap();
    node.etcd.stop().unwrap();
    let whole = one(&sources(&node, 0), "data-dir", "etcd2")["index"].clone();
    node.ok(&["restore"]);
    let answer = sources(&node, 0);
    let (kept, disk, archive) =
        (one(&answer, "kept", ""), one(&answer, "data-dir", "etcd2"), one(&answer, "archive", own));
    assert_eq!(
        (&kept["index"], &kept["standing"], &kept["command"]),
        (&whole, &json!("superseded"), &json!("undo"))
    );
    assert!(kept["place"].as_str().unwrap().contains("member.before-restore-"), "{kept}");
    assert_eq!((&disk["standing"], &archive["standing"]), (&json!("freshest"), &json!("superseded")));
    assert_eq!(kept["behind"], 0);
    assert_eq!((&disk["lineage"], &kept["lineage"]), (&archive["lineage"], &archive["lineage"]));
    assert_ne!(disk["cluster_id"], archive["cluster_id"]);

    // Undone, the other one is what nobody goes on with.
    node.ok(&["undo"]);
    let answer = sources(&node, 0);
    assert_eq!(one(&answer, "data-dir", "etcd2")["index"], whole);
    assert_eq!(one(&answer, "kept", "")["standing"], "superseded");

    // A disk that cannot be read does not hide the archive, nor a remote that is away the disk.
    let wal = fs::read_dir(node.path("/var/lib/etcd2/member/wal")).unwrap().next().unwrap().unwrap().path();
    let good = fs::read(&wal).unwrap();
    let mut bad = good.clone();
    bad[200] ^= 0xff;
    write(&wal, &bad);
    let answer = sources(&node, 0);
    let disk = one(&answer, "data-dir", "etcd2");
    assert!(disk["trouble"].is_string() && disk["command"].is_null() && disk["index"].is_null(), "{disk}");
    assert_eq!(one(&answer, "archive", own)["standing"], "freshest");
    write(&wal, &good);
    let remote = node.folder().parent().unwrap().to_owned();
    fs::rename(&remote, remote.with_extension("away")).unwrap();
    let wrapper = Wrapper::new(&mut node, tools);
    wrapper.instead("echo 'AccessDenied: no' >&2; exit 1");
    let answer = sources(&node, 13);
    assert_eq!(answer["sources"][answer["freshest"][0].as_u64().unwrap() as usize]["kind"], "data-dir");
}

/// Two clusters that share an endpoint: a machine that was neither is asked.
#[test]
fn unrelated_clusters_are_listed_and_asked_about() {
    let Some(tools) = Tools::from_env() else { return };
    let (mut first, mut second, new) = (
        Node::named(PROGRAM, tools, "a"),
        Node::named(PROGRAM, tools, "b"),
        Node::named(PROGRAM, tools, "c"),
    );
    let endpoint = new.environment["RCLONE_ENDPOINT"].clone();
    for (node, digit) in [(&mut first, "1"), (&mut second, "2")] {
        write(&node.path("/etc/machine-id"), digit.repeat(32));
        node.environment.insert("RCLONE_ENDPOINT".into(), endpoint.clone());
        node.etcd.start().unwrap();
        node.ok(&["backup"]);
        node.etcd.stop().unwrap();
    }
    let answer = sources(&new, 18);
    assert_eq!((&answer["freshest"], &answer["clear"]), (&json!([0, 1]), &json!(false)));
    new.refused(&["sources"], 18, &["cannot tell which of these is meant"]);
    let run = new.run(&["sources"]);
    assert!(
        run.answer.contains("\nwhich one is meant?\n") && run.answer.contains("lineage 2\n"),
        "{}",
        run.answer
    );
    // Each of them knows its own, and still shows the other.
    assert_eq!(sources(&first, 0)["sources"].as_array().unwrap().len(), 3);
    sources(&second, 0);
}

/// The index that this machine's newest part ends with, by its name.
fn backed_up(node: &Node, digit: &str) -> u64 {
    let folder =
        node.environment["RCLONE_ENDPOINT"].strip_prefix("r:").unwrap().to_owned() + "/" + &machine(digit);
    let parts = testkit::files::tree(folder.as_ref())
        .into_keys()
        .filter(|path| path.extension().is_some_and(|e| e == "part"));
    let newest = parts.max().unwrap();
    let fields: Vec<&str> = newest.file_name().unwrap().to_str().unwrap().split('-').collect();
    u64::from_str_radix(fields[2], 16).unwrap()
}

/// e3 was cut off before the others went on; its folder and its disk are as stale as they are whole.
#[test]
fn a_stale_members_backup_chosen() {
    let Some(tools) = Tools::from_env() else { return };
    let mut nodes = three(tools);
    keys::write_many(&nodes[0].etcd.client_url, "/all", 20).unwrap();
    nodes[2].ok(&["backup"]);
    nodes[2].etcd.stop().unwrap();
    keys::write_many(&nodes[0].etcd.client_url, "/without-e3", 40).unwrap();
    nodes[1].ok(&["backup"]);
    keys::write_many(&nodes[0].etcd.client_url, "/without-e3", 10).unwrap();
    nodes[0].ok(&["backup"]);
    nodes.iter_mut().for_each(|node| node.etcd.kill().unwrap());

    let lacks = backed_up(&nodes[0], "1") - backed_up(&nodes[2], "3");
    assert!(lacks >= 50, "{lacks}");
    let wrapper = Wrapper::new(&mut nodes[2], tools);
    let warned = format!(
        "an older source was chosen: the backup of machine {0} is {lacks} entries newer, up to index {1} of term ",
        machine("1"),
        backed_up(&nodes[0], "1")
    );
    let command = format!("; to use it: sudo /opt/bin/etcd2-backup restore --from {}\n", machine("1"));
    let is_warned = |log: &str| log.contains(&warned) && log.contains(&command);
    let log = nodes[2].ok(&["restore", "--force", "--plan"]);
    assert!(is_warned(&log), "{log}");
    // Its folder and a look at all others are listed side by side, then the folder that goes further.
    let calls = || {
        let mut calls = wrapper.calls();
        calls.sort_unstable();
        calls
    };
    assert_eq!(calls(), ["copy", "lsjson", "lsjson", "lsjson"]);
    let log = nodes[2].ok(&["restore", "--force", "--plan", "--source", "local"]);
    let disk = index(one(&sources(&nodes[2], 0), "data-dir", "etcd2"));
    let entries = backed_up(&nodes[0], "1") - disk;
    assert!(log.contains(&format!("is {entries} entries newer, up to index ")), "{log}");
    // Who takes the freshest, or goes back to a point, is told nothing.
    for options in [["--from", &machine("1")], ["--raft-index", "9"]] {
        let log = nodes[2].ok(&[&["restore", "--force", "--plan"], &options[..]].concat());
        assert!(!log.contains("older source") && !log.contains("could not"), "{options:?}: {log}");
    }

    // A look that fails, or hangs, stops no recovery.
    wrapper.calls();
    let fails = "case \"$*\" in *lsjson*/backups) echo 'unexpected EOF' >&2; exit 1;; esac";
    wrapper.instead(&format!("{fails}\nexec \"$REAL\" \"$@\""));
    let log = nodes[2].ok(&["restore", "--force", "--plan"]);
    assert!(log.contains("could not check whether another machine has a newer backup: "), "{log}");
    assert_eq!(calls(), ["copy", "lsjson", "lsjson"], "it is tried once");
    wrapper.honest();

    let log = nodes[2].ok(&["restore", "--force"]);
    assert!(is_warned(&log), "{log}");
    nodes[2].start_etcd();
    let found = keys::dump(&nodes[2].etcd.client_url).unwrap();
    assert!(
        found.keys().any(|key| key.starts_with("/all"))
            && !found.keys().any(|key| key.starts_with("/without"))
    );
}

/// Each of them was told to found the new cluster.
#[test]
fn two_founders_by_mistake() {
    let Some(tools) = Tools::from_env() else { return };
    let mut nodes = three(tools);
    keys::write_many(&nodes[0].etcd.client_url, "/a", 20).unwrap();
    nodes.iter().for_each(|node| drop(node.ok(&["backup"])));
    nodes.iter_mut().for_each(|node| node.etcd.kill().unwrap());
    let restored = |node: &Node, options: &[&str]| -> (String, Value) {
        let run = node.run(&[&["restore", "--json"], options].concat());
        assert_eq!(run.code, 0, "{}", run.log);
        (run.log, serde_json::from_str(&run.answer).unwrap())
    };
    let hex = |record: &Value| format!("{:x}", record["cluster_id"].as_u64().unwrap());
    let (log, _) = restored(&nodes[0], &[]);
    assert!(!log.contains("another node already restored cluster"), "{log}");
    // One begun anew on the same node is no second founder.
    let (log, first) = restored(&nodes[0], &[]);
    assert!(!log.contains("another node already restored cluster"), "{log}");

    // Nothing runs yet, and nothing was backed up since: only the record tells.
    assert_eq!(sources(&nodes[1], 18)["unseen"].as_array().unwrap().len(), 2);
    let words = format!(" as cluster {}, at ", hex(&first));
    let told = [
        words,
        format!(": e1 at {}", nodes[0].etcd.peer_url),
        "To join the other: sudo systemctl start".into(),
    ];
    let plan = nodes[1].ok(&["restore", "--force", "--plan"]);
    let (log, second) = restored(&nodes[1], &["--force"]);
    for words in &told {
        assert!(plan.contains(words) && log.contains(words), "{words}: {plan}{log}");
    }
    assert_ne!(hex(&first), hex(&second));

    // Both run and are backed up: the third one's question has both, by their IDs.
    for node in &mut nodes[..2] {
        node.start_etcd();
        node.ok(&["backup"]);
    }
    let answer = sources(&nodes[2], 18);
    let mut ends: Vec<String> = answer["freshest"]
        .as_array()
        .unwrap()
        .iter()
        .map(|at| answer["sources"][at.as_u64().unwrap() as usize]["cluster_id"].as_str().unwrap().to_owned())
        .collect();
    let mut both = vec![hex(&first), hex(&second)];
    ends.sort();
    both.sort();
    assert_eq!(ends, both, "{answer}");

    // The second one joins the first after all; while it runs it is refused with both IDs.
    nodes[1].refused(
        &["join"],
        10,
        &[&format!("runs in cluster {}", hex(&second)), &format!("is in cluster {}", hex(&first))],
    );
    nodes[1].etcd.stop().unwrap();
    let log = nodes[1].ok(&["join", "--no-start"]);
    assert!(log.contains(&format!(" of cluster {} and cannot be used here", hex(&second))), "{log}");
    nodes[1].start_etcd();
    nodes[1].ok(&["join"]);
    assert_eq!(nodes[0].etcd.members().unwrap().len(), 2);
}

#[test]
fn the_site_says_where_a_restore_takes_its_data_from_and_an_option_wins() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.put_fixture("v238-single-snap");
    node.ok(&["backup"]);
    let (disk, archive) = ("source: this node's own data directory\n", "source: the archive, generation 1,");
    for (set, options, expected) in [
        ("", &[][..], archive),
        ("archive", &[], archive),
        ("local", &[], disk),
        ("auto", &[], disk),
        ("local", &["--source", "archive"], archive),
        ("archive", &["--source", "local"], disk),
        ("local", &["--generation", "1"], archive),
        ("local", &["--accept-older"], archive),
        ("auto", &["--raft-index", "450"], archive),
    ] {
        node.environment.insert("ETCD2_BACKUP_SOURCE".into(), set.into());
        let log = node.ok(&[&["restore", "--plan"], options].concat());
        assert!(log.contains(expected), "{set} {options:?}: {log}");
    }
    node.environment.insert("ETCD2_BACKUP_SOURCE".into(), "locla".into());
    node.refused(&["restore", "--plan"], 15, &["ETCD2_BACKUP_SOURCE=\"locla\" is not known"]);
}
