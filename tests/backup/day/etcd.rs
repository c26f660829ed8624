//! A member's files, written as etcd writes them while it is restarted, killed and upgraded, and locked as etcd locks them. No
//! etcd runs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use etcd2_backup::etcd::frame::{FrameReader, FrameWriter, Kind};
use etcd2_backup::etcd::proto::{Entry, EntryKind, HardState, Metadata};
use etcd2_backup::etcd::snap::SnapshotName;
use etcd2_backup::etcd::wal::SegmentName;
use etcd2_backup::etcd::wire::Encoder;
use testkit::files::write;
use testkit::store;

/// What the log of [`store`] says.
const IDS: Metadata = Metadata { member_id: 0xb1, cluster_id: 1 };
/// What 3.x extends a segment by, here.
const PREALLOCATED: u64 = 64 << 10;
/// So many files of each kind are kept, as by default.
const KEPT: usize = 5;

/// See the module.
pub(crate) struct Etcd {
    snap: PathBuf,
    wal: PathBuf,
    /// 3.x writes now.
    pub(crate) three: bool,
    segments: Vec<SegmentName>,
    snapshots: Vec<SnapshotName>,
    /// The newest segment.
    file: File,
    /// The locks of one that runs and has read its log.
    locks: Vec<File>,
    offset: u64,
    crc: u32,
    index: u64,
    term: u64,
    /// Every key that was ever acknowledged, below `/1`.
    pub(crate) keys: BTreeMap<String, String>,
}

impl Etcd {
    /// A member of 2.3 that has one key, and does not run.
    pub(crate) fn new(data_dir: &Path) -> Self {
        store::data_dir(data_dir, 1, 16, 0);
        let (snap, wal) = (data_dir.join("member/snap"), data_dir.join("member/wal"));
        let first = SegmentName { sequence: 0, index: 0 };
        let path = first.path(&wal);
        let mut log = FrameReader::new(File::open(&path).unwrap(), 0, 0);
        let (mut index, mut term) = (0, 0);
        while let Ok(record) = log.next_record().unwrap() {
            if record.kind == Kind::Entry {
                let entry = Entry::decode(record.data).unwrap();
                (index, term) = (entry.index, entry.term);
            }
        }
        let (offset, crc) = (log.offset(), log.crc());
        let keys = BTreeMap::from([("/bench/key-0000000".to_owned(), "0123456789abcdef".to_owned())]);
        let (file, locks) = (File::options().write(true).open(path).unwrap(), Vec::new());
        let (segments, snapshots) = (vec![first], Vec::new());
        Self { snap, wal, three: false, segments, snapshots, file, locks, offset, crc, index, term, keys }
    }

    /// Whether it runs and has read its log.
    pub(crate) fn holds(&self) -> bool {
        !self.locks.is_empty()
    }

    /// It has read its log: locks it, is elected, and says its name. What 3.x begins is that it writes padded records.
    pub(crate) fn ready(&mut self) {
        let lock = |segment: &SegmentName| locked(&segment.path(&self.wal));
        self.locks = self.segments.iter().map(lock).collect();
        self.term += 1;
        self.append(&[Vec::new()]);
        let attributes = r#"{"name":"old","clientURLs":["http://127.0.0.1:2379"]}"#;
        self.append(&[self.request(
            "PUT",
            &format!("/0/members/{:x}/attributes", IDS.member_id),
            attributes,
        )]);
    }

    /// Ends, or is killed: the kernel lets its locks go.
    pub(crate) fn gone(&mut self) {
        self.locks.clear();
    }

    /// Killed inside a write that nobody was told of.
    pub(crate) fn torn(&mut self) {
        let (index, crc, offset) = (self.index, self.crc, self.offset);
        self.append(&[self.request("PUT", "/1/torn", &"t".repeat(900))]);
        self.file.set_len(offset + 500).unwrap();
        if self.three {
            self.file.set_len(offset + PREALLOCATED).unwrap();
        }
        (self.index, self.crc, self.offset) = (index, crc, offset);
        self.gone();
    }

    /// The next start takes away what is torn.
    pub(crate) fn repair(&mut self) {
        self.file.set_len(self.offset).unwrap();
        self.extend();
    }

    /// Takes a write, and tells the client.
    pub(crate) fn put(&mut self) {
        let (key, value) = (format!("/day/{}", self.index + 1), format!("value {}", self.index + 1));
        self.append(&[self.request("PUT", &format!("/1{key}"), &value)]);
        self.keys.insert(key, value);
    }

    /// The leader's SYNC, or a read through the log.
    pub(crate) fn tick(&mut self, now: u64) {
        let sync = Encoder::default().number(1, self.index + 1).bytes(2, b"SYNC");
        let sync = sync.number(15, now * 1_000_000_000).number(16, 0).done();
        let read = self.request("QGET", "/1/day", "");
        self.append(&[sync, read]);
    }

    fn request(&self, method: &str, path: &str, value: &str) -> Vec<u8> {
        let id = Encoder::default().number(1, self.index + 1).bytes(2, method.as_bytes());
        id.bytes(3, path.as_bytes()).bytes(4, value.as_bytes()).number(16, 0).done()
    }

    fn append(&mut self, requests: &[Vec<u8>]) {
        let (first, term) = (self.index + 1, self.term);
        self.index += requests.len() as u64;
        let commit = self.index;
        self.records(|w| {
            for (index, data) in (first..).zip(requests) {
                let entry = Entry { kind: EntryKind::Normal, term, index, data };
                w.record(Kind::Entry, &entry.encode()).unwrap();
            }
            let state = HardState { term, vote: IDS.member_id, commit };
            w.record(Kind::HardState, &state.encode()).unwrap();
        });
    }

    /// Records behind the last one.
    fn records(&mut self, fill: impl FnOnce(&mut FrameWriter<Vec<u8>>)) {
        let mut writer = FrameWriter::new(Vec::new(), self.crc);
        fill(&mut writer);
        let bytes = writer.into_inner();
        let mut reader = FrameReader::new(&bytes[..], 0, self.crc);
        while reader.next_record().unwrap().is_ok() {}
        assert_eq!(reader.offset(), bytes.len() as u64);
        self.crc = reader.crc();
        let bytes = if self.three { padded(&bytes) } else { bytes };
        self.file.write_all_at(&bytes, self.offset).unwrap();
        self.offset += bytes.len() as u64;
    }

    fn extend(&self) {
        if self.three {
            self.file.set_len(self.offset.max(PREALLOCATED)).unwrap();
        }
    }

    /// Goes on in another segment, which has its name once its head is written.
    pub(crate) fn cut(&mut self) {
        self.file.set_len(self.offset).unwrap();
        let last = self.segments[self.segments.len() - 1];
        let next = SegmentName { sequence: last.sequence + 1, index: self.index + 1 };
        let temporary = self.wal.join("0.tmp");
        self.file = File::create(&temporary).unwrap();
        self.locks.push(locked(&temporary));
        self.offset = 0;
        self.extend();
        let state = HardState { term: self.term, vote: IDS.member_id, commit: self.index };
        self.records(|w| {
            w.crc_record().unwrap();
            w.record(Kind::Metadata, &IDS.encode()).unwrap();
            w.record(Kind::HardState, &state.encode()).unwrap();
        });
        fs::rename(temporary, next.path(&self.wal)).unwrap();
        self.segments.push(next);
    }

    /// The file first, as 3.x does, then the record; and a new segment, as 2.0 begins one.
    pub(crate) fn take_snapshot(&mut self) {
        let name = SnapshotName { term: self.term, index: self.index };
        write(&self.snap.join(name.to_string()), self.snapshot(name));
        self.records(|w| w.record(Kind::Snapshot, &name.position().encode()).unwrap());
        self.snapshots.push(name);
        self.cut();
    }

    /// Removes files until five of each kind are there, of the log only those that a snapshot stands for.
    pub(crate) fn purge(&mut self) {
        while self.snapshots.len() > KEPT {
            fs::remove_file(self.snap.join(self.snapshots.remove(0).to_string())).unwrap();
        }
        let oldest = self.snapshots.first().map_or(0, |snapshot| snapshot.index);
        while self.segments.len() > KEPT && self.segments[1].index <= oldest {
            self.locks.remove(0);
            fs::remove_file(self.segments.remove(0).path(&self.wal)).unwrap();
        }
    }

    /// How many segments were purged.
    pub(crate) fn purged(&self) -> u64 {
        self.segments[0].sequence
    }

    fn snapshot(&self, name: SnapshotName) -> Vec<u8> {
        let leaf = |path: &str, value: &str| {
            let value = serde_json::Value::from(value);
            node(path, &format!(r#"{{"Path":"{path}","Value":{value},"Children":null,{TIMES}}}"#))
        };
        let member = format!("/0/members/{:x}", IDS.member_id);
        let attributes = [
            leaf(&format!("{member}/attributes"), r#"{"name":"old","clientURLs":["http://127.0.0.1:2379"]}"#),
            leaf(&format!("{member}/raftAttributes"), r#"{"peerURLs":["http://127.0.0.1:2380"]}"#),
        ];
        let members = folder("/0/members", &[folder(&member, &attributes)]);
        let cluster = folder("/0", &[members, leaf("/0/version", "2.3.0")]);
        let of = |dir: &str| {
            let leaves = self.keys.iter().filter(|(key, _)| key.starts_with(&format!("{dir}/")));
            let leaves: Vec<_> = leaves.map(|(key, value)| leaf(&format!("/1{key}"), value)).collect();
            folder(&format!("/1{dir}"), &leaves)
        };
        let users = folder("/1", &[of("/bench"), of("/day")]);
        let root = folder("/", &[cluster, users]);
        let (_, root) = root.split_once(':').unwrap();
        let store = format!(r#"{{"Root":{root},"CurrentIndex":{},"CurrentVersion":2}}"#, name.index);
        let voters = Encoder::default().number(1, IDS.member_id).done();
        let metadata = Encoder::default().bytes(1, &voters).number(2, name.index).number(3, name.term).done();
        let data = Encoder::default().bytes(1, store.as_bytes()).bytes(2, &metadata).done();
        Encoder::default().number(1, crc32c::crc32c(&data).into()).bytes(2, &data).done()
    }
}

const TIMES: &str = r#""CreatedIndex":5,"ModifiedIndex":5,"ExpireTime":"0001-01-01T00:00:00Z""#;

fn folder(path: &str, children: &[String]) -> String {
    let children = children.join(",");
    node(path, &format!(r#"{{"Path":"{path}","Value":"","Children":{{{children}}},{TIMES}}}"#))
}

/// With its name in front, as its folder wants it.
fn node(path: &str, content: &str) -> String {
    format!(r#""{}":{content}"#, path.rsplit('/').next().unwrap())
}

/// A lock of flock(2), as long as it lives.
pub(crate) fn locked(path: &Path) -> File {
    let file = File::open(path).unwrap();
    file.lock().unwrap();
    file
}

/// Records as 3.x frames them.
fn padded(mut rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<8>() {
        let length = u64::from_le_bytes(*length);
        let (message, behind) = behind.split_at(length as usize);
        let padding = length.wrapping_neg() % 8;
        let top = if padding > 0 { (0x80 | padding) << 56 } else { 0 };
        bytes.extend((length | top).to_le_bytes());
        bytes.extend(message);
        bytes.extend(vec![0; padding as usize]);
        rest = behind;
    }
    bytes
}
