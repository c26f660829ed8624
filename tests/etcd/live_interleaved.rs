//! A data directory that is written byte by byte, cut, purged, torn and repaired in etcd's own order while it is
//! copied: every copy ends with a whole record and holds all that was acknowledged before it began.

#![allow(clippy::print_stdout, reason = "a run of random order says what it met")]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;
use std::time::{Duration, Instant};

use etcd2_backup::etcd::datadir::{DataDir, Family};
use etcd2_backup::etcd::frame::{FrameReader, FrameWriter, Kind};
use etcd2_backup::etcd::proto::{Entry, EntryKind, HardState, LogPosition, Metadata};
use etcd2_backup::etcd::snap::SnapshotName;
use etcd2_backup::etcd::wal::SegmentName;
use etcd2_backup::etcd::wire::Encoder;

use super::copier::Copier;

const IDS: Metadata = Metadata { member_id: 1, cluster_id: 2 };
/// What 3.x extends a segment by, here.
const PREALLOCATED: u64 = 64 << 10;
const STEPS: u64 = 3000;

/// What writer and reader know of each other.
#[derive(Default)]
struct Shared {
    /// The last entry that a client was told of.
    acknowledged: AtomicU64,
    /// Copies that ended.
    copies: AtomicU64,
    /// One of the two gave up.
    ended: AtomicBool,
}

/// Writes as etcd does, in small: the log of one member.
struct Writer<'a> {
    snap: PathBuf,
    wal: PathBuf,
    family: Family,
    shared: &'a Shared,
    random: u64,
    segments: Vec<SegmentName>,
    file: File,
    offset: u64,
    crc: u32,
    index: u64,
    term: u64,
    snapshots: Vec<SnapshotName>,
    /// Copies that had ended at the last purge.
    copies: u64,
}

impl<'a> Writer<'a> {
    fn new(data_dir: &Path, family: Family, shared: &'a Shared) -> Self {
        let (snap, wal) = (data_dir.join("member/snap"), data_dir.join("member/wal"));
        fs::create_dir_all(&snap).unwrap();
        fs::create_dir_all(&wal).unwrap();
        let first = SegmentName { sequence: 0, index: 0 };
        let file = File::create(first.path(&wal)).unwrap();
        let mut this = Self {
            snap,
            wal,
            family,
            shared,
            random: 0x9e37_79b9_7f4a_7c15 ^ family as u64,
            segments: vec![first],
            file,
            offset: 0,
            crc: 0,
            index: 0,
            term: 1,
            snapshots: Vec::new(),
            copies: 0,
        };
        let start = this.records(|w| {
            w.crc_record().unwrap();
            w.record(Kind::Metadata, &IDS.encode()).unwrap();
            w.record(Kind::Snapshot, &LogPosition::default().encode()).unwrap();
        });
        this.write(&start);
        this.extend();
        this
    }

    /// A number below `n`.
    fn below(&mut self, n: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % n
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            match self.below(100) {
                0..80 => self.save(),
                80..88 => self.cut(),
                88..92 => self.take_snapshot(),
                92..96 => self.die_and_come_back(),
                96..98 => self.receive_snapshot(),
                _ => self.purge(),
            }
        }
    }

    /// Records behind the last one; the rolling CRC goes on.
    fn records(&mut self, write: impl FnOnce(&mut FrameWriter<Vec<u8>>)) -> Vec<u8> {
        let mut writer = FrameWriter::new(Vec::new(), self.crc);
        write(&mut writer);
        let bytes = writer.into_inner();
        let mut reader = FrameReader::new(&bytes[..], 0, self.crc);
        while reader.next_record().unwrap().is_ok() {}
        assert_eq!(reader.offset(), bytes.len() as u64);
        self.crc = reader.crc();
        bytes
    }

    /// Entries from the next index on, and the hard state behind them.
    fn entries(&mut self, count: u64) -> Vec<u8> {
        let (first, term) = (self.index + 1, self.term);
        let sizes: Vec<u64> = (0..count).map(|_| 1 + self.below(1500)).collect();
        self.records(|w| {
            for (index, size) in (first..).zip(sizes) {
                let value = "v".repeat(size as usize);
                let put =
                    Encoder::default().number(1, index).bytes(2, b"PUT").bytes(3, key(index).as_bytes());
                // The last field of a real request is a 0 too.
                let put = put.bytes(4, value.as_bytes()).number(16, 0).done();
                let entry = Entry { kind: EntryKind::Normal, term, index, data: &put };
                w.record(Kind::Entry, &entry.encode()).unwrap();
            }
            let state = HardState { term, vote: 1, commit: first - 1 };
            w.record(Kind::HardState, &state.encode()).unwrap();
        })
    }

    /// Writes in pieces of any size, down to single bytes.
    fn write(&mut self, bytes: &[u8]) {
        let most = [1, 7, 512, 4096][self.below(4) as usize];
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.len().min(1 + self.below(most) as usize));
            self.file.write_all_at(piece, self.offset).unwrap();
            self.offset += piece.len() as u64;
            rest = behind;
        }
    }

    fn extend(&self) {
        if self.family == Family::Three {
            self.file.set_len(self.offset.max(PREALLOCATED)).unwrap();
        }
    }

    fn save(&mut self) {
        let count = 1 + self.below(4);
        let bytes = self.entries(count);
        self.write(&bytes);
        self.index += count;
        if self.below(20) == 0 {
            // Another leader's entry takes the place of one that nobody was told of.
            self.term += 1;
            self.index -= 1;
            let bytes = self.entries(1);
            self.write(&bytes);
            self.index += 1;
        }
        self.shared.acknowledged.store(self.index, SeqCst);
    }

    fn cut(&mut self) {
        self.file.set_len(self.offset).unwrap();
        let last = self.segments[self.segments.len() - 1];
        let next = SegmentName { sequence: last.sequence + 1, index: self.index + 1 };
        let temporary = self.wal.join("0.tmp");
        self.file = File::create(&temporary).unwrap();
        self.offset = 0;
        self.extend();
        let (term, commit) = (self.term, self.index);
        let head = self.records(|w| {
            w.crc_record().unwrap();
            w.record(Kind::Metadata, &IDS.encode()).unwrap();
            w.record(Kind::HardState, &HardState { term, vote: 1, commit }.encode()).unwrap();
        });
        self.write(&head);
        fs::rename(temporary, next.path(&self.wal)).unwrap();
        self.segments.push(next);
    }

    /// 3.4 writes the file first, 2.3 the record: a whole file may be unknown to the log, a known one half there.
    fn take_snapshot(&mut self) {
        if self.index == 0 || self.snapshots.last().is_some_and(|s| s.index == self.index) {
            return;
        }
        let name = SnapshotName { term: self.term, index: self.index };
        let record = self.records(|w| w.record(Kind::Snapshot, &name.position().encode()).unwrap());
        if self.family == Family::Two {
            self.write(&record);
        }
        let mut file = File::create(self.snap.join(name.to_string())).unwrap();
        for piece in snapshot(name).chunks(11) {
            file.write_all(piece).unwrap();
        }
        if self.family == Family::Three {
            self.write(&record);
        }
        self.snapshots.push(name);
    }

    /// A follower that was away for long: its leader sends a snapshot, and the indexes jump.
    fn receive_snapshot(&mut self) {
        self.index += 50;
        self.take_snapshot();
        self.save();
    }

    /// Keeps one file of each kind, if it may. Not faster than copies are made: etcd waits 30 s.
    fn purge(&mut self) {
        self.wait_for_a_copy();
        while self.snapshots.len() > 1 {
            fs::remove_file(self.snap.join(self.snapshots.remove(0).to_string())).unwrap();
        }
        let Some(newest) = self.snapshots.last() else { return };
        // Locked is all from the segment on that the snapshot's next entry is in.
        while self.segments.get(1).is_some_and(|second| second.index <= newest.index) {
            fs::remove_file(self.segments.remove(0).path(&self.wal)).unwrap();
        }
    }

    fn wait_for_a_copy(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.shared.copies.load(SeqCst) < self.copies + 2 {
            assert!(!self.shared.ended.load(SeqCst), "the copier failed");
            assert!(Instant::now() < deadline, "no copy was made for a minute");
            thread::yield_now();
        }
        self.copies = self.shared.copies.load(SeqCst);
    }

    /// Killed inside a write; the start truncates the torn record, and goes on there with other bytes.
    fn die_and_come_back(&mut self) {
        let (crc, offset) = (self.crc, self.offset);
        let batch = self.entries(2);
        let cut = self.below(batch.len() as u64) as usize;
        self.write(&batch[..cut]);
        let mut whole = FrameReader::new(&batch[..cut], offset, crc);
        while let Ok(record) = whole.next_record().unwrap() {
            self.index += u64::from(record.kind == Kind::Entry);
        }
        (self.crc, self.offset) = (whole.crc(), whole.offset());
        self.term += 1;
        self.file.set_len(self.offset).unwrap();
        self.extend();
    }
}

fn key(index: u64) -> String {
    format!("/1/k/{index}")
}

fn snapshot(name: SnapshotName) -> Vec<u8> {
    let store = format!(r#"{{"Root":{{"Path":"/","Children":{{}}}},"Filler":"{}"}}"#, "f".repeat(3000));
    let voters = Encoder::default().number(1, IDS.member_id).done();
    let metadata = Encoder::default().bytes(1, &voters).number(2, name.index).number(3, name.term).done();
    let data = Encoder::default().bytes(1, store.as_bytes()).bytes(2, &metadata).done();
    Encoder::default().number(1, crc32c::crc32c(&data).into()).bytes(2, &data).done()
}

/// Copies without a pause until the writer ends; every copy is looked at.
fn copies_of(family: Family) {
    let work = tempfile::tempdir().unwrap();
    let data_dir = work.path().join("data");
    let archive = work.path().join("archive");
    let shared = Shared::default();
    let mut writer = Writer::new(&data_dir, family, &shared);
    let dir = DataDir::open(&data_dir, None).unwrap();
    let mut copier = Copier::new(&archive);
    let (mut made, mut unpacked) = (0_u64, 0);
    thread::scope(|scope| {
        let writing = scope.spawn(|| writer.run());
        while !writing.is_finished() {
            let acknowledged = shared.acknowledged.load(SeqCst);
            if let Err(e) = copier.copy(&dir, made % 7 == 6) {
                shared.ended.store(true, SeqCst);
                panic!("copy {made}: {e:#}");
            }
            let last = copier.content.last();
            assert!(last >= acknowledged, "copy {made} ends at {last}, {acknowledged} was acknowledged");
            made += 1;
            shared.copies.store(made, SeqCst);
            if made % 50 == 0 {
                let target = work.path().join(format!("unpacked-{made}"));
                copier.unpack(&target).unwrap();
                fs::remove_dir_all(target).unwrap();
                copier.tidy().unwrap();
                unpacked += 1;
            }
        }
    });
    println!("{family:?}: {made} copies, {} generations, {unpacked} unpacked", copier.generations());
    assert!(made > 100 && unpacked > 1, "{made} copies, {unpacked} unpacked");
    copier.copy(&dir, false).unwrap();
    assert_eq!(copier.content.last(), shared.acknowledged.load(SeqCst));
}

#[test]
fn every_copy_while_2_3_writes_is_whole() {
    copies_of(Family::Two);
}

#[test]
fn every_copy_while_3_4_writes_is_whole() {
    copies_of(Family::Three);
}
