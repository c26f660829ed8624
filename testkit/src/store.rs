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
    let mut log = Log::begin(MEMBER, 1);
    let value = value(value_bytes);
    for key in 0..keys {
        log.put(&name(key), &value);
        if key + 1 == snapshot {
            log.snapshot();
        }
        if key % 100 == 99 {
            log.commit();
        }
    }
    log.take()
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
        let value = value(value_bytes);
        let keys: Vec<_> = (0..snapshot).map(|key| (name(key), FIRST + key, value.clone())).collect();
        let file = snapshot_file(MEMBER, (index, TERM), &keys);
        write(&snap.join(format!("{TERM:016x}-{index:016x}.snap")), file);
    }
}

/// A member's log, written record by record with the rolling CRC over their data.
#[derive(Debug, Clone)]
pub struct Log {
    bytes: Vec<u8>,
    crc: u32,
    member: u64,
    cluster: u64,
    term: u64,
    index: u64,
}

impl Log {
    /// The log of a member that begins a cluster: it joins, is elected, and says what it is.
    pub fn begin(member: u64, cluster: u64) -> Self {
        let mut log = Self { bytes: Vec::new(), crc: 0, member, cluster, term: TERM, index: 0 };
        log.head();
        log.record(SNAPSHOT, Some(&position(0, 0)));
        let context = format!(r#"{{"id":{member},"peerURLs":["{URL}"],"name":"old"}}"#);
        let join =
            Message::default().number(1, 1).number(2, 0).number(3, member).bytes(4, context.as_bytes());
        log.index = 1;
        log.record(ENTRY, Some(&entry(1, 1, 1, &join.0)));
        log.entry(&[]);
        log.entry(&put(member, 3, &format!("/0/members/{member:x}/attributes"), ATTRIBUTES));
        log.entry(&put(member, 4, "/0/version", "2.3.0"));
        log
    }

    /// The index of the last entry.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The term of the next entry.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// What was written since this was last asked for.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Sets a key below `/bench`.
    pub fn put(&mut self, name: &str, value: &str) {
        let request = put(self.member, self.index + 1, &format!("/1/bench/{name}"), value);
        self.entry(&request);
    }

    /// Another leader: its entries take the place of those behind `index`.
    pub fn elect(&mut self, index: u64) {
        (self.term, self.index) = (self.term + 1, index);
    }

    /// Says that all is committed.
    pub fn commit(&mut self) {
        let state = Message::default().number(1, self.term).number(2, self.member).number(3, self.index);
        self.record(STATE, Some(&state.0));
    }

    /// Begins the next segment.
    pub fn cut(&mut self) {
        self.head();
        self.commit();
    }

    /// Says that there is a snapshot of all.
    pub fn snapshot(&mut self) {
        self.record(SNAPSHOT, Some(&position(self.index, self.term)));
    }

    fn head(&mut self) {
        self.record(CRC, None);
        let metadata = Message::default().number(1, self.member).number(2, self.cluster);
        self.record(METADATA, Some(&metadata.0));
    }

    fn entry(&mut self, data: &[u8]) {
        self.index += 1;
        self.record(ENTRY, Some(&entry(0, self.term, self.index, data)));
    }

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
fn entry(kind: u64, term: u64, index: u64, data: &[u8]) -> Vec<u8> {
    let message = Message::default().number(1, kind).number(2, term).number(3, index);
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
fn put(member: u64, id: u64, path: &str, value: &str) -> Vec<u8> {
    let text = Message::default().number(1, member << 48 | id).bytes(2, b"PUT").bytes(3, path.as_bytes());
    let head = text.bytes(4, value.as_bytes()).number(5, 0).bytes(6, b"").number(7, 0);
    [9, 10, 11, 12, 13, 14, 15, 16].into_iter().fold(head, |e, field| e.number(field, 0)).0
}

/// A snapshot of the member behind the entry of this index and term, and these keys below `/bench`: name, the index of the
/// write, value. snappb.Snapshot around raftpb.Snapshot.
pub fn snapshot_file(member: u64, (index, term): (u64, u64), keys: &[(String, u64, String)]) -> Vec<u8> {
    let voters = Message::default().number(1, member).0;
    let metadata = Message::default().bytes(1, &voters).number(2, index).number(3, term).0;
    let data = Message::default().bytes(1, store(member, index, keys).as_bytes()).bytes(2, &metadata).0;
    Message::default().number(1, crc32c(&data).into()).bytes(2, &data).0
}

/// The store's JSON.
fn store(member: u64, index: u64, keys: &[(String, u64, String)]) -> String {
    let users: Vec<_> =
        keys.iter().map(|(name, index, value)| leaf(&format!("/1/bench/{name}"), *index, value)).collect();
    let member = format!("/0/members/{member:x}");
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
        r#"{{"Root":{root},"WatcherHub":{{"EventHistory":{{"Queue":{{"Events":[{events}],"Size":0,"Front":0,"Back":0,"Capacity":1000}},"StartIndex":0,"LastIndex":0}}}},"CurrentIndex":{index},"Stats":{{}},"CurrentVersion":2}}"#
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
