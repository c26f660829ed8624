//! Several members written from one recovery record: they start together as a new cluster. And what keeps nodes of different
//! recoveries apart.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use etcd2_backup::archive::lineage::Record;
use testkit::files::{tree, write};
use testkit::keys::{self, Client, Keys};
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

/// Three nodes with one remote; the first one is the founder, has keys and was backed up.
struct Three {
    nodes: Vec<Node>,
    list: String,
    keys: Keys,
}

impl Three {
    fn new() -> Option<Self> {
        let tools = Tools::from_env()?;
        let mut founder = Node::named(PROGRAM, tools, "e1");
        founder.etcd.set("ETCD_SNAPSHOT_COUNT", "100");
        let mut nodes = vec![founder];
        for (name, digit) in [("e2", "2"), ("e3", "3")] {
            let mut node = Node::joining(tools, name, &nodes[0]);
            let endpoint = nodes[0].environment["RCLONE_ENDPOINT"].clone();
            node.environment.insert("RCLONE_ENDPOINT".into(), endpoint);
            write(&node.path("/etc/machine-id"), format!("{}\n", digit.repeat(32)));
            nodes.push(node);
        }
        let founder = &mut nodes[0];
        founder.etcd.start().unwrap();
        keys::write_sample(&founder.etcd.client_url).unwrap();
        keys::write_many(&founder.etcd.client_url, "/many", 130).unwrap();
        founder.ok(&["backup"]);
        let keys = keys::dump(&founder.etcd.client_url).unwrap();
        founder.etcd.kill().unwrap();
        let list: Vec<String> =
            nodes.iter().map(|n| format!("{}={}", n.etcd.name, n.etcd.peer_url)).collect();
        Some(Self { nodes, list: list.join(","), keys })
    }

    /// The founder begins a recovery of all; the record that it prints.
    fn found(&self, arguments: &[&str]) -> Record {
        found(&self.nodes[0], &self.list, arguments)
    }

    /// All start together, have every key, and take a write.
    fn start(&mut self) {
        for node in &mut self.nodes {
            assert!(!node.is_fenced());
            node.ok(&["guard"]);
            node.etcd.spawn(&[]).unwrap();
        }
        self.nodes.iter_mut().for_each(|n| n.etcd.wait_healthy().unwrap());
        let new = Client::new(&self.nodes[2].etcd.client_url).unwrap().put("/new", "x").unwrap();
        self.keys.insert("/new".into(), new);
        for node in &self.nodes {
            let found = keys::dump(&node.etcd.client_url).unwrap();
            let differences = keys::compare(&self.keys, &found);
            assert!(differences.is_empty(), "{}: {differences:?}", node.etcd.name);
            let mut names: Vec<_> = node.etcd.members().unwrap().into_iter().map(|m| m.name).collect();
            names.sort();
            assert_eq!(names, ["e1", "e2", "e3"]);
            let log = fs::read_to_string(&node.etcd.log).unwrap();
            assert!(!log.contains("starts to restore snapshot") && !log.contains("applying snapshot"));
        }
    }
}

fn found(node: &Node, list: &str, arguments: &[&str]) -> Record {
    let arguments = [&["restore", "--json", "--initial-cluster", list], arguments].concat();
    let output = node.command(&arguments).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    let record: Record = serde_json::from_slice(&output.stdout).unwrap();
    assert!(log.contains(&format!("restore --recovery {}", record.token)), "{log}");
    record
}

fn save(record: &Record, path: &Path) -> String {
    write(path, serde_json::to_vec(record).unwrap());
    path.to_str().unwrap().to_owned()
}

#[test]
fn all_members_are_written_from_one_record_and_start_together() {
    let Some(mut three) = Three::new() else { return };
    let record = three.found(&[]);
    assert_eq!(record.members.len(), 3);
    let old = tree(&three.nodes[1].path("/var/lib/etcd2"));
    let log = three.nodes[1].ok(&["restore", "--recovery", &record.token, "--plan"]);
    assert!(log.contains("with 3 members, here ") && log.contains("nothing was changed"), "{log}");
    assert_eq!(tree(&three.nodes[1].path("/var/lib/etcd2")), old);
    three.nodes[1].ok(&["restore", "--recovery", &record.token]);
    // It is the only one that is not superseded.
    three.nodes[2].ok(&["restore", "--recovery"]);
    // Again, nothing is written over.
    let written = tree(&three.nodes[2].path("/var/lib/etcd2"));
    fs::remove_file(three.nodes[2].path("/etc/etcd2-backup/identity.json")).unwrap();
    write(&three.nodes[2].path("/etc/etcd2-backup/fence"), "");
    let log = three.nodes[2].ok(&["restore", "--recovery", &record.token]);
    assert!(log.contains("already") && !three.nodes[2].is_fenced(), "{log}");
    assert!(three.nodes[2].path("/etc/etcd2-backup/identity.json").exists());
    assert_eq!(tree(&three.nodes[2].path("/var/lib/etcd2")), written);
    three.start();

    // A member that ran and lost its data is not written anew: it acknowledged entries.
    let token = record.token.clone();
    let node = &mut three.nodes[2];
    node.etcd.kill().unwrap();
    fs::remove_dir_all(node.path("/var/lib/etcd2")).unwrap();
    let words = ["and its data is no longer in place", "etcd2-join.service"];
    node.refused(&["restore", "--recovery", &token], 10, &words);
    fs::remove_file(node.path("/etc/etcd2-backup/identity.json")).unwrap();
    node.refused(&["restore", "--recovery", &token], 10, &["was already member", "as the others know"]);
    node.ok(&["join"]);
    node.start_etcd();
    node.ok(&["join"]);
}

#[test]
fn a_source_that_is_a_disk_is_exported() {
    let Some(mut three) = Three::new() else { return };
    let record = three.found(&["--source", "local"]);
    assert_eq!(record.generation, 0);
    three.nodes[1].refused(&["restore", "--recovery", &record.token], 12, &["was a disk", "export"]);
    let file = save(&record, &three.nodes[0].path("/record"));
    let part = three.nodes[0].path("/part").to_str().unwrap().to_owned();
    let export = |part: &str| {
        let mut export = three.nodes[0].command(&["export", "--recovery-file", &file]);
        export.stdout(fs::File::create(part).unwrap()).stderr(Stdio::inherit()).spawn().unwrap()
    };
    // All nodes ask at the same time.
    let parts: Vec<String> = (0..8).map(|n| format!("{part}{n}")).collect();
    let exports: Vec<_> = parts.iter().map(|part| export(part)).collect();
    for mut export in exports {
        assert!(export.wait().unwrap().success());
    }
    // The heads differ by the time that it was looked at, at most.
    let sizes: Vec<u64> = parts.iter().map(|part| fs::metadata(part).unwrap().len()).collect();
    assert!(sizes.iter().all(|size| *size > 0), "{sizes:?}");
    fs::rename(&parts[0], &part).unwrap();
    three.nodes[1].refused(&["export", "--recovery-file", &file], 12, &["is not on this node's disk"]);

    let arguments = ["restore", "--recovery-file", &file, "--source-file", &part];
    let whole = fs::read(&part).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    write(Path::new(&part), &damaged);
    three.nodes[1].refused(&arguments, 11, &["its checksum is wrong"]);
    write(Path::new(&part), &whole);
    // The remote need not be there; then nobody knows whether the cluster ran, but the recovery has just begun.
    let endpoint = three.nodes[2].environment.insert("RCLONE_ENDPOINT".into(), "nowhere:backups".into());
    let log = three.nodes[2].ok(&arguments);
    assert!(log.contains("could not check in the remote whether cluster ") && endpoint.is_some(), "{log}");
    three.nodes[2].environment.insert("RCLONE_ENDPOINT".into(), endpoint.unwrap());
    for node in &mut three.nodes[1..2] {
        let log = node.ok(&arguments);
        assert!(log.contains("restored from the given file"), "{log}");
    }
    three.start();
}

#[test]
fn what_is_not_as_the_record_says_is_refused() {
    let Some(three) = Three::new() else { return };
    let record = three.found(&[]);
    let node = &three.nodes[1];
    let path = node.path("/record");
    let refused = |record: &Record, code: i32, words: &[&str]| {
        node.refused(&["restore", "--recovery-file", &save(record, &path)], code, words);
        assert!(!node.is_fenced() && !node.path("/var/lib/etcd2/member").exists());
    };
    let altered = "do not match its contents";
    refused(&Record { cluster_id: record.cluster_id + 1, ..record.clone() }, 10, &[altered]);
    let mut other = record.clone();
    other.members[0].id += 1;
    refused(&other, 10, &[altered]);
    let mut other = record.clone();
    other.members[0].peer_urls[0] += "0";
    refused(&other, 10, &[altered]);
    refused(&Record { index: record.index - 1, ..record.clone() }, 10, &[altered]);
    refused(&Record { source_cluster_id: 1, ..record.clone() }, 10, &[altered]);
    refused(&Record { time: record.time + 1, ..record.clone() }, 10, &[altered]);
    // Made up as a whole: then the data is another.
    let made_up = |record: Record| {
        let members: Vec<_> = record.members.iter().map(|m| (m.name.clone(), m.peer_urls.clone())).collect();
        record.with_ids(&members)
    };
    let other = "is not what recovery";
    refused(&made_up(Record { term: record.term + 1, ..record.clone() }), 11, &[other]);
    refused(&made_up(Record { source_cluster_id: 1, ..record.clone() }), 11, &[other]);
    let hash = format!("{}{}", &record.source_hash[..32], "0".repeat(32));
    refused(&made_up(Record { source_hash: hash, ..record.clone() }), 12, &["is no longer in"]);
    let hash = "0".repeat(64);
    refused(&made_up(Record { source_hash: hash, ..record.clone() }), 12, &["no longer in 0123456789abcdef"]);
    refused(&Record { version: 2, ..record.clone() }, 10, &["of version 2"]);
    write(&path, "{}");
    node.refused(&["restore", "--recovery-file", path.to_str().unwrap()], 11, &["is not a recovery record"]);
    let mut other = record.clone();
    other.members.remove(1);
    refused(&made_up(other), 10, &["is not one of the new cluster's members", "ETCD_NAME"]);
    node.refused(&["restore", "--recovery", &"0".repeat(32)], 12, &["no record of recovery 000"]);
    for more in [
        ["--source", "local"],
        ["--generation", "1"],
        ["--at", "-1min"],
        ["--initial-cluster", "e1=http://a:1"],
    ] {
        let run = node.run(&[&["restore", "--recovery", &record.token], &more[..]].concat());
        assert_eq!(run.code, 2, "{}", run.log);
    }
    let list = "e1=http://a:1,e2=http://b:1";
    three.nodes[0].refused(
        &["restore", "--initial-cluster", list],
        10,
        &["is not one of the new cluster's members"],
    );
}

#[test]
fn two_recoveries_from_one_point_do_not_mix() {
    let Some(mut three) = Three::new() else { return };
    let first = three.found(&[]);
    three.nodes[1].ok(&["restore", "--recovery", &first.token]);
    // Once more from the same point; a node of the first one knows nothing of it.
    let second = three.found(&[]);
    assert_eq!((first.index, &first.source_hash), (second.index, &second.source_hash));
    assert_ne!(first.cluster_id, second.cluster_id);
    let ids: Vec<u64> = first.members.iter().chain(&second.members).map(|m| m.id).collect();
    assert!((0..6).all(|a| (0..a).all(|b| ids[a] != ids[b])), "{ids:?}");
    let words = ["several recoveries name this node", &first.token, &second.token];
    three.nodes[2].refused(&["restore", "--recovery"], 10, &words);
    three.nodes[2].ok(&["restore", "--recovery", &second.token]);

    three.nodes.iter_mut().for_each(|n| n.etcd.spawn(&[]).unwrap());
    three.nodes[0].etcd.wait_healthy().unwrap();
    three.nodes[2].etcd.wait_healthy().unwrap();
    let mismatch = |node: &Node| {
        let log = fs::read_to_string(&node.etcd.log).unwrap();
        log.contains("cluster ID mismatch") || log.contains("cluster-id mismatch")
    };
    let somebody_says_so = || mismatch(&three.nodes[1]) || mismatch(&three.nodes[0]);
    let minute = std::time::Duration::from_secs(60);
    testkit::wait::until("nobody says that the cluster IDs differ", minute, somebody_says_so);
    assert!(!three.nodes[1].etcd.is_healthy());
    three.nodes[1].etcd.kill().unwrap();
    three.nodes[1].ok(&["restore", "--recovery", &second.token]);
    three.nodes[1].etcd.start().unwrap();
    let found = keys::dump(&three.nodes[1].etcd.client_url).unwrap();
    assert!(keys::compare(&three.keys, &found).is_empty());
}

/// Its disk is new, and nobody who would know it answers: the backups do.
#[test]
fn a_member_whose_disk_is_new_is_not_written_once_more_after_its_cluster_ran() {
    let Some(mut three) = Three::new() else { return };
    let record = three.found(&[]);
    // The founding member alone is no quorum: what the restore appended, and its first backup holds, says nothing.
    three.nodes[0].etcd.spawn(&[]).unwrap();
    three.nodes[0].ok(&["backup"]);
    three.nodes[0].etcd.kill().unwrap();
    let again = ["restore", "--recovery", &record.token];
    three.nodes[1].ok(&again);
    three.nodes[2].ok(&again);
    three.start();
    three.nodes[0].ok(&["backup"]);

    for node in &mut three.nodes {
        node.etcd.kill().unwrap();
    }
    let node = &three.nodes[1];
    for path in ["/var/lib/etcd2", "/etc/etcd2-backup", "/var/lib/etcd2-backup"] {
        fs::remove_dir_all(node.path(path)).unwrap();
    }
    let words =
        ["has run: a backup in 0123456789abcdef0123456789abcdef has an entry of term", "etcd2-join.service"];
    node.refused(&again, 10, &words);
    assert!(!node.path("/var/lib/etcd2").exists() && !node.is_fenced());
    let log = node.ok(&[&again[..], &["--force"]].concat());
    assert!(log.contains("would forget what it acknowledged"), "{log}");
}

/// There may be a quorum that was never backed up.
#[test]
fn a_recovery_of_long_ago_or_that_cannot_be_looked_up_is_not_carried_on_without_a_word() {
    let Some(mut three) = Three::new() else { return };
    let record = three.found(&[]);
    let members: Vec<_> = record.members.iter().map(|m| (m.name.clone(), m.peer_urls.clone())).collect();
    let old = Record { time: record.time - 3700, ..record.clone() }.with_ids(&members);
    let file = save(&old, &three.nodes[1].path("/record"));
    let restore = ["restore", "--recovery-file", &file];
    let words = ["no member of cluster", "its recovery was begun 61 min ago", "add --force"];
    three.nodes[1].refused(&restore, 10, &words);
    three.nodes[1].ok(&[&restore[..], &["--force"]].concat());

    let file = save(&record, &three.nodes[2].path("/record"));
    let endpoint = three.nodes[2].environment.insert("RCLONE_ENDPOINT".into(), "nowhere:backups".into());
    let restore = ["restore", "--recovery-file", &file];
    three.nodes[2].refused(&restore, 13, &["could not check in the remote whether cluster ", "--force"]);
    three.nodes[2].environment.insert("RCLONE_ENDPOINT".into(), endpoint.unwrap());
    three.nodes[2].ok(&restore);
}

/// Somebody named two nodes as founders.
#[test]
fn two_founders_by_mistake_make_two_clusters_and_the_others_ask() {
    let Some(three) = Three::new() else { return };
    let one = three.found(&[]);
    let from = ["--from", "0123456789abcdef0123456789abcdef", "--force"];
    let two = found(&three.nodes[1], &three.list, &from);
    assert_ne!(one.cluster_id, two.cluster_id);
    let words = ["several recoveries name this node", &one.token, &two.token];
    three.nodes[2].refused(&["restore", "--recovery"], 10, &words);
}
