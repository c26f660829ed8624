//! A store as etcd 2.3 would have written it: one member, `/bench/key-0000000` and so on, set once each.

use std::fs;
use std::path::Path;

use crc32c::{crc32c, crc32c_append};

use crate::files::write;

/// The member's ID, and the entries before the first key.
const MEMBER: u64 = 0xb1;
const FIRST: u64 = 5;
const TERM: u64 = 2;
const URL: &str = "http://127.0.0.1:2380";

/// Types of records: etcd's wal package.
const METADATA: u64 = 1;
const ENTRY: u64 = 2;
const STATE: u64 = 3;
const CRC: u64 = 4;
const SNAPSHOT: u64 = 5;

/// A log of `keys` writes, with the record of a snapshot behind `snapshot` of them, if not 0.
pub fn log(keys: u64, value_bytes: usize, snapshot: u64) -> Vec<u8> {
    let mut log = Log::default();
    log.record(CRC, None);
    log.record(METADATA, Some(&Message::default().number(1, MEMBER).number(2, 1).0));
    log.record(SNAPSHOT, Some(&position(0, 0)));
    let context = format!(r#"{{"id":{MEMBER},"peerURLs":["{URL}"],"name":"old"}}"#);
    let join = Message::default().number(1, 1).number(2, 0).number(3, MEMBER).bytes(4, context.as_bytes());
    log.record(ENTRY, Some(&entry(1, 1, &join.0)));
    log.record(ENTRY, Some(&entry(0, 2, &[])));
    let attributes = put(3, &format!("/0/members/{MEMBER:x}/attributes"), ATTRIBUTES);
    log.record(ENTRY, Some(&entry(0, 3, &attributes)));
    log.record(ENTRY, Some(&entry(0, 4, &put(4, "/0/version", "2.3.0"))));
    let value = value(value_bytes);
    for key in 0..keys {
        let index = FIRST + key;
        let request = put(index, &format!("/1/bench/{}", name(key)), &value);
        log.record(ENTRY, Some(&entry(0, index, &request)));
        if key + 1 == snapshot {
            log.record(SNAPSHOT, Some(&position(index, TERM)));
        }
        if key % 100 == 99 {
            let state = Message::default().number(1, TERM).number(2, MEMBER).number(3, index);
            log.record(STATE, Some(&state.0));
        }
    }
    log.bytes
}

/// A data directory with a log of `keys` writes, and a snapshot behind `snapshot` of them, if not 0.
///
/// # Panics
/// It cannot be written.
pub fn data_dir(dir: &Path, keys: u64, value_bytes: usize, snapshot: u64) {
    let (snap, wal) = (dir.join("member/snap"), dir.join("member/wal"));
    for folder in [&snap, &wal] {
        fs::create_dir_all(folder).unwrap();
    }
    write(&wal.join("0000000000000000-0000000000000000.wal"), log(keys, value_bytes, snapshot));
    if snapshot > 0 {
        let index = FIRST + snapshot - 1;
        let file = snapshot_file(index, &store(snapshot, value_bytes));
        write(&snap.join(format!("{TERM:016x}-{index:016x}.snap")), file);
    }
}

/// A segment: records with the rolling CRC over their data.
#[derive(Default)]
struct Log {
    bytes: Vec<u8>,
    crc: u32,
}

impl Log {
    fn record(&mut self, kind: u64, data: Option<&[u8]>) {
        self.crc = crc32c_append(self.crc, data.unwrap_or_default());
        let message = Message::default().number(1, kind).number(2, self.crc.into());
        let message = data.into_iter().fold(message, |m, data| m.bytes(3, data));
        self.bytes.extend((message.0.len() as u64).to_le_bytes());
        self.bytes.extend(message.0);
    }
}

/// A message of protobuf, being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(mut self, mut value: u64) -> Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    fn number(self, field: u64, value: u64) -> Self {
        self.varint(field << 3).varint(value)
    }

    fn bytes(self, field: u64, value: &[u8]) -> Self {
        let mut message = self.varint(field << 3 | 2).varint(value.len() as u64);
        message.0.extend(value);
        message
    }
}

/// walpb.Snapshot.
fn position(index: u64, term: u64) -> Vec<u8> {
    Message::default().number(1, index).number(2, term).0
}

/// raftpb.Entry.
fn entry(kind: u64, index: u64, data: &[u8]) -> Vec<u8> {
    let message = Message::default().number(1, kind).number(2, TERM).number(3, index);
    if data.is_empty() { message.0 } else { message.bytes(4, data).0 }
}

const ATTRIBUTES: &str = r#"{"name":"old","clientURLs":["http://127.0.0.1:2379"]}"#;

fn name(key: u64) -> String {
    format!("key-{key:07}")
}

fn value(bytes: usize) -> String {
    "0123456789abcdef".chars().cycle().take(bytes).collect()
}

/// etcdserverpb.Request, with every field that etcd writes. Its IDs begin with a part of the member's.
fn put(id: u64, path: &str, value: &str) -> Vec<u8> {
    let text = Message::default().number(1, MEMBER << 48 | id).bytes(2, b"PUT").bytes(3, path.as_bytes());
    let head = text.bytes(4, value.as_bytes()).number(5, 0).bytes(6, b"").number(7, 0);
    [9, 10, 11, 12, 13, 14, 15, 16].into_iter().fold(head, |e, field| e.number(field, 0)).0
}

/// snappb.Snapshot around raftpb.Snapshot.
fn snapshot_file(index: u64, store: &str) -> Vec<u8> {
    let voters = Message::default().number(1, MEMBER).0;
    let metadata = Message::default().bytes(1, &voters).number(2, index).number(3, TERM).0;
    let data = Message::default().bytes(1, store.as_bytes()).bytes(2, &metadata).0;
    Message::default().number(1, crc32c(&data).into()).bytes(2, &data).0
}

/// The store's JSON with `keys` keys.
fn store(keys: u64, value_bytes: usize) -> String {
    let value = value(value_bytes);
    let users: Vec<_> =
        (0..keys).map(|k| leaf(&format!("/1/bench/{}", name(k)), FIRST + k, &value)).collect();
    let member = format!("/0/members/{MEMBER:x}");
    let raft = format!(r#"{{"peerURLs":["{URL}"]}}"#);
    let attributes = [
        leaf(&format!("{member}/attributes"), 2, ATTRIBUTES),
        leaf(&format!("{member}/raftAttributes"), 1, &raft),
    ];
    let members = folder("/0/members", &[folder(&member, &attributes)]);
    let cluster = folder("/0", &[members, leaf("/0/version", 3, "2.3.0")]);
    let root = folder("/", &[cluster, folder("/1", &[folder("/1/bench", &users)])]);
    let (_, root) = root.split_once(':').unwrap();
    let events = vec!["null"; 1000].join(",");
    format!(
        r#"{{"Root":{root},"WatcherHub":{{"EventHistory":{{"Queue":{{"Events":[{events}],"Size":0,"Front":0,"Back":0,"Capacity":1000}},"StartIndex":0,"LastIndex":0}}}},"CurrentIndex":{},"Stats":{{}},"CurrentVersion":2}}"#,
        FIRST + keys - 1
    )
}

fn leaf(path: &str, index: u64, value: &str) -> String {
    node(path, index, &serde_json::to_string(value).unwrap(), "null")
}

fn folder(path: &str, children: &[String]) -> String {
    node(path, FIRST, r#""""#, &format!("{{{}}}", children.join(",")))
}

/// A node with its key in front, as its folder wants it.
fn node(path: &str, index: u64, value: &str, children: &str) -> String {
    let key = path.rsplit('/').next().unwrap();
    format!(
        r#""{key}":{{"Path":"{path}","CreatedIndex":{index},"ModifiedIndex":{index},"ExpireTime":"0001-01-01T00:00:00Z","Value":{value},"Children":{children}}}"#
    )
}
