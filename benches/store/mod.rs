//! A store as etcd 2.3 would have written it: one member, `/bench/key-0000000` and so on, set once each.

use std::path::Path;

use crc32c::crc32c;
use etcd2_backup::etcd::datadir::DataDir;
use etcd2_backup::etcd::frame::{FrameWriter, Kind};
use etcd2_backup::etcd::proto::HardState;
use etcd2_backup::etcd::proto::{ConfChange, ConfChangeKind, Entry, EntryKind, LogPosition, Metadata};
use etcd2_backup::etcd::snap::SnapshotName;
use etcd2_backup::etcd::wal::SegmentName;
use etcd2_backup::etcd::wire::Encoder;
use etcd2_backup::sys::fs::{create_dirs, write_atomic};

/// The member's ID, and the entries before the first key.
const MEMBER: u64 = 0xb1;
const FIRST: u64 = 5;
const TERM: u64 = 2;
const URL: &str = "http://127.0.0.1:2380";

/// A log of `keys` writes, with the record of a snapshot behind `snapshot` of them, if not 0.
pub(crate) fn log(keys: u64, value_bytes: usize, snapshot: u64) -> Vec<u8> {
    let mut log = FrameWriter::new(Vec::new(), 0);
    log.crc_record().unwrap();
    let mut add = |kind, data: &[u8]| log.record(kind, data).unwrap();
    let entry = |kind, index, data: &[u8]| Entry { kind, term: TERM, index, data }.encode();
    let normal = |index, data: &[u8]| entry(EntryKind::Normal, index, data);

    add(Kind::Metadata, &Metadata { member_id: MEMBER, cluster_id: 1 }.encode());
    add(Kind::Snapshot, &LogPosition::default().encode());
    let context = format!(r#"{{"id":{MEMBER},"peerURLs":["{URL}"],"name":"old"}}"#);
    let join = ConfChange { kind: ConfChangeKind::Add, member_id: MEMBER, context: context.as_bytes() };
    add(Kind::Entry, &entry(EntryKind::ConfChange, 1, &join.encode(1)));
    add(Kind::Entry, &normal(2, &[]));
    add(Kind::Entry, &normal(3, &put(3, &format!("/0/members/{MEMBER:x}/attributes"), ATTRIBUTES)));
    add(Kind::Entry, &normal(4, &put(4, "/0/version", "2.3.0")));
    let value = value(value_bytes);
    for key in 0..keys {
        let index = FIRST + key;
        add(Kind::Entry, &normal(index, &put(index, &format!("/1/bench/{}", name(key)), &value)));
        if key + 1 == snapshot {
            add(Kind::Snapshot, &LogPosition { index, term: TERM }.encode());
        }
        if key % 100 == 99 {
            add(Kind::HardState, &HardState { term: TERM, vote: MEMBER, commit: index }.encode());
        }
    }
    log.into_inner()
}

/// A data directory with a log of `keys` writes, and a snapshot behind `snapshot` of them, if not 0.
pub(crate) fn data_dir(dir: &Path, keys: u64, value_bytes: usize, snapshot: u64) -> DataDir {
    let (snap, wal) = (dir.join("member/snap"), dir.join("member/wal"));
    create_dirs(&snap, 0o700).unwrap();
    create_dirs(&wal, 0o700).unwrap();
    let segment = SegmentName { sequence: 0, index: 0 }.path(&wal);
    write_atomic(&segment, &log(keys, value_bytes, snapshot), 0o600).unwrap();
    if snapshot > 0 {
        let name = SnapshotName { term: TERM, index: FIRST + snapshot - 1 };
        let file = snapshot_file(name.position(), &store(snapshot, value_bytes));
        write_atomic(&snap.join(name.to_string()), &file, 0o600).unwrap();
    }
    DataDir::open(dir, None).unwrap()
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
    let text = Encoder::default().number(1, MEMBER << 48 | id).bytes(2, b"PUT").bytes(3, path.as_bytes());
    let head = text.bytes(4, value.as_bytes()).number(5, 0).bytes(6, b"").number(7, 0);
    [9, 10, 11, 12, 13, 14, 15, 16].into_iter().fold(head, |e, field| e.number(field, 0)).done()
}

/// snappb.Snapshot around raftpb.Snapshot.
fn snapshot_file(at: LogPosition, store: &str) -> Vec<u8> {
    let voters = Encoder::default().number(1, MEMBER).done();
    let metadata = Encoder::default().bytes(1, &voters).number(2, at.index).number(3, at.term).done();
    let data = Encoder::default().bytes(1, store.as_bytes()).bytes(2, &metadata).done();
    Encoder::default().number(1, crc32c(&data).into()).bytes(2, &data).done()
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
