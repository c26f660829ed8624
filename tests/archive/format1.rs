//! Backups and a node of the first format: they are read, and a node goes on in the generation that it has.

use std::fs;

use etcd2_backup::archive::chain;
use etcd2_backup::archive::names::PartName;
use etcd2_backup::archive::part::{Part, prefix};
use etcd2_backup::remote::Object;
use etcd2_backup::sys::digest::to_hex;
use serde_json::json;
use sha2::{Digest, Sha256};
use testkit::files::{alter_json, write};
use testkit::keys;
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

fn objects(node: &Node) -> Vec<Object> {
    let size = |path: &std::path::Path| fs::metadata(node.folder().join(path)).unwrap().len();
    node.objects()
        .into_iter()
        .map(|path| Object { size: size(&path), path: path.display().to_string() })
        .collect()
}

/// The one generation of the folder and the node's state, as they were written before there was a second format.
pub(crate) fn as_format_1(node: &Node) {
    let generation = chain::generations(&objects(node)).remove(0);
    let mut before = String::new();
    for name in &generation.parts {
        let path = node.folder().join(generation.path(name));
        let part = Part::open(&path, generation.name, *name).unwrap();
        let bytes = fs::read(&path).unwrap();
        let length = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
        let mut head = serde_json::to_value(&part.head).unwrap();
        for (id, value) in [
            ("cluster_id", part.head.cluster_id),
            ("member_id", part.head.member_id),
            ("writer", part.head.writer.into()),
        ] {
            head[id] = value.into();
        }
        head["predecessor"] = before.clone().into();
        let head = serde_json::to_vec(&head).unwrap();
        let (payload, length_now) =
            (&bytes[16 + length..bytes.len() - 32], (head.len() as u32).to_le_bytes());
        let mut all = [&b"E2BKPART\x01\x02\x00\x00"[..], &length_now, &head, payload].concat();
        let checksum = Sha256::digest(&all);
        all.extend(checksum);
        let checksum = to_hex(&checksum);
        let (predecessor, link) = (prefix(&before), prefix(&checksum));
        let name = PartName { size: all.len() as u64, predecessor, link, ..*name };
        fs::remove_file(&path).unwrap();
        write(&node.folder().join(generation.path(&name)), all);
        before = checksum;
    }
    alter_json(&node.path("/var/lib/etcd2-backup/state.json"), |state| {
        let sequence = state["sequence"].clone();
        let fields = state.as_object_mut().unwrap();
        assert!(fields.remove("link").is_some() && fields.remove("content").is_some());
        fields.insert("version".into(), json!(1));
        fields.insert("checksum".into(), json!(before));
        fields.insert("checked".into(), json!({ "sequence": sequence, "checksum": before }));
    });
}

#[test]
fn a_node_goes_on_where_the_first_format_ended() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.start().unwrap();
    let url = node.etcd.client_url.clone();
    for n in 0..2 {
        keys::write_many(&url, &format!("/old{n}"), 10).unwrap();
        node.ok(&["backup"]);
    }
    as_format_1(&node);
    let first = objects(&node);
    node.ok(&["verify"]);
    keys::write_many(&url, "/new", 10).unwrap();
    node.ok(&["backup"]);
    node.ok(&["verify"]);
    let all = objects(&node);
    let generations = chain::generations(&all);
    assert_eq!((generations.len(), generations[0].parts.len(), all.len()), (1, 3, 3), "{generations:?}");
    assert!(first.iter().all(|old| all.contains(old)), "what was sent stays as it is: {first:?} {all:?}");
    let expected = keys::dump(&url).unwrap();
    node.etcd.stop().unwrap();
    node.assert_restores(&expected, &[]);
}
