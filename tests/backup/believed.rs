//! What lies on the node between two backups and is believed by the next one: bits of it are flipped, or its end is gone. No
//! backup ends well with a point that a restore does not have.

use std::fs;
use std::path::{Path, PathBuf};

use testkit::faults::wrapper::Wrapper;
use testkit::files::{tree, write};
use testkit::keys;
use testkit::node::Node;

use crate::faults_remote::{backed_up, dump};

/// A node with a running etcd, two backups of it, and a script in front of its rclone.
fn backed_up_twice() -> Option<(Node, Wrapper)> {
    let (node, wrapper) = backed_up()?;
    write_some(&node, "/before");
    node.ok(&["backup"]);
    Some((node, wrapper))
}

fn write_some(node: &Node, dir: &str) {
    keys::write_many(&node.etcd.client_url, dir, 3).unwrap();
}

/// The only part that waits in the spool.
fn waiting(node: &Node) -> PathBuf {
    let spool = node.path("/var/lib/etcd2-backup/spool");
    let files: Vec<PathBuf> =
        tree(&spool).into_iter().filter(|(_, content)| content.is_some()).map(|(path, _)| path).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    spool.join(&files[0])
}

/// Lets the next part wait in the spool, as the remote is down.
fn let_one_wait(node: &Node, wrapper: &Wrapper, dir: &str) -> PathBuf {
    write_some(node, dir);
    wrapper.instead("echo 'dial tcp: no route to host' >&2; exit 1");
    assert_eq!(node.run(&["backup"]).code, 13);
    wrapper.honest();
    waiting(node)
}

/// What becomes of a part while it waits.
type Alter<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;

#[test]
fn a_part_that_waits_and_is_not_as_it_was_written_is_never_sent() {
    let Some((mut node, wrapper)) = backed_up_twice() else { return };
    let flip = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 4;
        bytes
    };
    let table: [(&str, Alter<'_>); 6] = [
        ("its head", &|bytes| flip(bytes, 30)),
        ("its payload", &|bytes| flip(bytes, bytes.len() / 2)),
        ("its checksum", &|bytes| flip(bytes, bytes.len() - 1)),
        ("its second half", &|bytes| bytes[..bytes.len() / 2].to_vec()),
        ("all of it", &|_| Vec::new()),
        ("more than it", &|bytes| [bytes, &[0]].concat()),
    ];
    let mut earlier = None;
    for (at, (what, alter)) in table.iter().enumerate() {
        let file = let_one_wait(&node, &wrapper, &format!("/while-down-{at}"));
        let whole = fs::read(&file).unwrap();
        write(&file, alter(&whole));
        let log = node.ok(&["backup"]);
        assert!(log.contains(", which was waiting to be sent: it was altered ("), "{what}: {log}");
        assert!(log.contains("begins: the part waiting to be sent was altered"), "{what}: {log}");
        assert!(
            !node
                .folder()
                .join(file.strip_prefix(node.path("/var/lib/etcd2-backup/spool")).unwrap())
                .exists()
        );
        node.ok(&["verify"]);
        node.ok(&["status"]);
        earlier = Some(whole);
    }
    // A whole part, and yet not the one.
    let file = let_one_wait(&node, &wrapper, "/other");
    write(&file, earlier.unwrap());
    let log = node.ok(&["backup"]);
    assert!(log.contains(", which was waiting to be sent: it was altered ("), "{log}");
    // And one that is as it was goes on with the generation.
    let_one_wait(&node, &wrapper, "/whole");
    let log = node.ok(&["backup"]);
    assert!(log.contains("sending part 1 of generation 8 again") && !log.contains("begins"), "{log}");
    node.ok(&["verify"]);
    let expected = dump(&node);
    node.assert_restores(&expected, &[]);
}

fn flip(path: &Path, bit: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[bit / 8] ^= 1 << (bit % 8);
    write(path, bytes);
}

/// Every bit alone, without a backup of it: `src/backup/state.rs`.
#[test]
fn one_flipped_bit_in_the_state_costs_no_point() {
    let Some((mut node, _)) = backed_up_twice() else { return };
    let state = node.path("/var/lib/etcd2-backup/state.json");
    let text = fs::read_to_string(&state).unwrap();
    // In what decides where the next part goes and what it follows; a digit behind the ones that names have; and anywhere.
    let behind = |word: &str, more: usize| 8 * (text.find(word).unwrap() + word.len() + more);
    let chosen = [
        behind("\"checksum\": \"", 20),
        behind("\"checksum\": \"", 2),
        behind("\"generation\": ", 0) + 1,
        behind("\"writer\": ", 1),
        behind("\"sequence\": ", 0) + 1,
        behind("\"offset\": ", 1),
        behind("\"index\": ", 0),
        behind("\"folder\": \"", 3),
    ];
    let step = text.len() * 8 / 12;
    for bit in chosen.into_iter().chain((0..12).map(|i| i * step + i)) {
        flip(&state, bit.min(8 * fs::metadata(&state).unwrap().len() as usize - 1));
        write_some(&node, &format!("/flipped-{bit}"));
        let log = node.ok(&["backup"]);
        let run = node.run(&["status"]);
        assert_eq!(run.code, 0, "{bit}: {log} {} {}", run.answer, run.log);
        node.ok(&["verify", "--newest"]);
        let plan = node.ok(&["restore", "--plan"]);
        let index = log.lines().last().unwrap().split_once(" index=").unwrap().1;
        let index = index.split(' ').next().unwrap();
        assert!(plan.contains(&format!("index {index}")), "{bit}, index {index}: {plan}");
    }
    let expected = dump(&node);
    node.assert_restores(&expected, &[]);
}

/// A damaged note of what is damaged must not let the last good generation go.
#[test]
fn what_is_damaged_has_to_be_known_before_anything_is_removed() {
    let Some((node, _)) = backed_up_twice() else { return };
    node.ok(&["verify"]);
    node.ok(&["prune"]);
    let verified = node.path("/var/lib/etcd2-backup/verified.json");
    let at = fs::read_to_string(&verified).unwrap().find("\"part\": ").unwrap() + 8;
    flip(&verified, 8 * at);
    node.refused(&["prune"], 11, &["verified.json was damaged", "sudo /opt/bin/etcd2-backup verify"]);
    node.ok(&["verify", "--share", "1/2"]);
    node.refused(&["prune"], 11, &["verified.json was damaged"]);
    node.ok(&["verify"]);
    node.ok(&["prune"]);
}

/// The version before format 2 takes the base of a v3 store for missing, and its file has no sum.
#[test]
fn what_an_earlier_version_calls_damaged_is_read_again_before_anything_is_removed() {
    let Some((node, _)) = backed_up_twice() else { return };
    node.ok(&["verify"]);
    let path = node.path("/var/lib/etcd2-backup/verified.json");
    let mut said: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    said.as_object_mut().unwrap().remove("sum").unwrap();
    said["damaged"] = said["generations"].take();
    said["generations"] = serde_json::json!({});
    testkit::files::write(&path, said.to_string());
    assert!(!node.run(&["list"]).answer.contains("corrupt"));
    node.refused(&["prune"], 11, &["of an earlier version", "sudo /opt/bin/etcd2-backup verify"]);
    node.ok(&["verify"]);
    node.ok(&["prune"]);
}
