//! A member that is not there: its files, written as etcd writes them, what a seed does to them, and what they would say if
//! nobody had touched them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use testkit::files::write;
use testkit::replay::{self, Entry, Put};
use testkit::store::{self, Log};

use super::Random;

/// See the module.
pub(super) struct Etcd {
    dir: PathBuf,
    member: u64,
    log: Log,
    /// The log's last segment, locked as etcd locks it.
    file: File,
    /// All that was written to each segment, by sequence number and first index.
    truth: BTreeMap<(u64, u64), Vec<u8>>,
    /// The end of a write that is under way.
    held: Vec<u8>,
    crc: u32,
    entries: BTreeMap<u64, Entry>,
    /// Indexes that had another entry before.
    pub(super) replaced: BTreeSet<u64>,
    /// The last entry that a client was told of.
    pub(super) acknowledged: u64,
    committed: u64,
    /// Somebody altered bytes that it wrote.
    pub(super) damaged: bool,
    /// The last entry when it was.
    damaged_at: u64,
}

impl Etcd {
    /// A fresh one, in place of whatever is in the data directory.
    pub(super) fn begin(dir: &Path, member: u64, cluster: u64) -> Self {
        let _ = fs::remove_dir_all(dir);
        for folder in ["member/snap", "member/wal"] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        let first = (0, 0);
        let mut this = Self {
            dir: dir.into(),
            member,
            log: Log::begin(member, cluster),
            file: create(dir, first),
            truth: BTreeMap::from([(first, Vec::new())]),
            held: Vec::new(),
            crc: 0,
            entries: BTreeMap::new(),
            replaced: BTreeSet::new(),
            acknowledged: 0,
            committed: 0,
            damaged: false,
            damaged_at: 0,
        };
        this.log.commit();
        this.settle();
        this
    }

    /// What it does between two backups.
    pub(super) fn work(&mut self, random: &mut Random) -> &'static str {
        self.land();
        match random.below(12) {
            0 => "nothing",
            1 => {
                self.log.cut();
                self.land_in_next_segment();
                self.puts(random);
                "a new segment"
            }
            2 if self.committed < self.acknowledged => {
                let kept = self.committed.max(self.acknowledged - 1);
                self.replaced.extend(kept + 1..=self.acknowledged);
                self.log.elect(kept);
                self.puts(random);
                "another leader"
            }
            3 if !self.damaged => {
                self.puts(random);
                self.snapshot(random.below(2) == 0);
                "a snapshot"
            }
            4 => {
                self.puts(random);
                let before = self.acknowledged;
                self.log.put("torn", &"x".repeat(50));
                let bytes = self.add();
                let cut = 1 + random.below(bytes.len() - 1);
                self.append(&bytes[..cut]);
                self.held = bytes[cut..].to_vec();
                self.acknowledged = before;
                "a write that is under way"
            }
            _ => {
                self.puts(random);
                "writes"
            }
        }
    }

    /// So that its end is known.
    pub(super) fn write(&mut self, random: &mut Random) {
        self.land();
        self.puts(random);
    }

    fn puts(&mut self, random: &mut Random) {
        for _ in 0..=random.below(4) {
            let value = format!("{:x}", random.next()).repeat(1 + random.below(20));
            self.log.put(&format!("k{}", random.below(9)), &value);
        }
        if random.below(3) > 0 {
            self.log.commit();
            self.committed = self.log.index();
        }
        self.settle();
    }

    fn settle(&mut self) {
        let bytes = self.add();
        self.append(&bytes);
        self.acknowledged = self.log.index();
    }

    /// Takes what the log has into the account of what must be there.
    fn add(&mut self) -> Vec<u8> {
        let bytes = self.log.take();
        for entry in replay::entries(&bytes, &mut self.crc).unwrap() {
            drop(self.entries.split_off(&entry.index));
            self.entries.insert(entry.index, entry);
        }
        bytes
    }

    /// Where it writes is what it knows, whatever became of the file.
    fn append(&mut self, bytes: &[u8]) {
        let segment = self.truth.values_mut().next_back().unwrap();
        self.file.write_all_at(bytes, segment.len() as u64).unwrap();
        segment.extend(bytes);
    }

    /// Ends the write that is under way.
    fn land(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.append(&held);
        self.acknowledged = self.log.index();
    }

    fn land_in_next_segment(&mut self) {
        let (sequence, _) = *self.truth.keys().next_back().unwrap();
        let next = (sequence + 1, self.log.index() + 1);
        self.file = create(&self.dir, next);
        self.truth.insert(next, Vec::new());
        self.committed = self.log.index();
        self.settle();
    }

    /// As 2.3 does it; purges the segments behind which the snapshot is.
    fn snapshot(&mut self, purge: bool) {
        self.log.commit();
        self.log.snapshot();
        self.committed = self.log.index();
        self.settle();
        let at = (self.log.index(), self.entries[&self.log.index()].term);
        let keys: Vec<_> =
            self.keys(at.0).into_iter().map(|(key, (index, value))| (key, index, value)).collect();
        let path = self.dir.join(format!("member/snap/{:016x}-{:016x}.snap", at.1, at.0));
        write(&path, store::snapshot_file(self.member, at, &keys));
        while purge && self.truth.keys().nth(1).is_some_and(|second| second.1 <= at.0) {
            let (first, _) = self.truth.pop_first().unwrap();
            fs::remove_file(segment(&self.dir, first)).unwrap();
        }
    }

    /// Its clients' keys behind an entry: the index of the write, and the value.
    fn keys(&self, index: u64) -> BTreeMap<String, (u64, String)> {
        let puts = self.entries.range(..=index).filter_map(|(index, e)| Some((index, e.put.as_ref()?)));
        let named = |(index, Put { key, value }): (&u64, &Put)| {
            Some((key.strip_prefix("/bench/")?.to_owned(), (*index, value.clone())))
        };
        puts.filter_map(named).collect()
    }

    /// The keys behind an entry as clients name them, and their values.
    pub(super) fn values(&self, index: u64) -> BTreeMap<String, String> {
        self.keys(index).into_iter().map(|(key, (_, value))| (format!("/bench/{key}"), value)).collect()
    }

    /// Whether a snapshot of this index and term with these keys is what it wrote.
    pub(super) fn had(&self, snapshot: &replay::Snapshot) -> bool {
        self.entries[&snapshot.index].term == snapshot.term && self.values(snapshot.index) == snapshot.keys
    }

    /// Whether it wrote on behind the damage. Until then a log that was cut off is as good as one that ends there.
    pub(super) fn went_on(&self) -> bool {
        !self.damaged || self.acknowledged > self.damaged_at
    }

    /// Its entry of an index.
    pub(super) fn entry(&self, index: u64) -> Option<&Entry> {
        self.entries.get(&index)
    }

    /// Its last segment, and what it would be with some bytes altered. From `read` on no backup has read it.
    pub(super) fn altered(&mut self, read: usize, random: &mut Random) -> (PathBuf, Vec<u8>, &'static str) {
        let (name, truth) = self.truth.iter().next_back().unwrap();
        let (path, mut bytes) = (segment(&self.dir, *name), truth.clone());
        let length = bytes.len();
        let unread = if read < length { read } else { 0 };
        let what = match random.below(7) {
            0 | 1 => {
                bytes[unread + random.below(length - unread)] ^= 1 << random.below(8);
                "a flipped bit that nobody read yet"
            }
            2 => {
                bytes[random.below(length)] ^= 1 << random.below(8);
                "a flipped bit"
            }
            3 => {
                bytes.truncate(unread + random.below(length - unread));
                "cut off where nobody read yet"
            }
            4 => {
                bytes.truncate(random.below(length));
                "cut off"
            }
            5 => {
                let from = unread + random.below(length - unread);
                let to = (from + 1 + random.below(600)).min(length);
                bytes[from..to].fill(0);
                "a hole"
            }
            _ => {
                let garbage = (0..1 + random.below(3000)).map(|_| random.next() as u8);
                bytes.extend(garbage);
                "grown"
            }
        };
        (self.damaged, self.damaged_at) = (true, self.log.index());
        (path, bytes, what)
    }

    /// Puts back what it wrote.
    pub(super) fn mend(&mut self) {
        self.land();
        for (name, bytes) in &self.truth {
            put(&segment(&self.dir, *name), bytes);
        }
        self.damaged = false;
    }

    /// A copy of it as it is now, in a folder of its own.
    pub(super) fn copied(&self, to: &Path) -> Self {
        let _ = fs::remove_dir_all(to);
        testkit::files::copy(&[&self.dir], to);
        let dir = to.join(self.dir.file_name().unwrap());
        let (log, truth, held) = (self.log.clone(), self.truth.clone(), self.held.clone());
        let file = open(&segment(&dir, *truth.keys().next_back().unwrap()));
        let (entries, replaced) = (self.entries.clone(), self.replaced.clone());
        Self { dir, log, truth, held, file, entries, replaced, ..*self }
    }

    /// Puts this copy in another one's place.
    pub(super) fn move_to(mut self, dir: &Path) -> Self {
        fs::remove_dir_all(dir).unwrap();
        fs::rename(&self.dir, dir).unwrap();
        self.dir = dir.into();
        self.file.lock().unwrap();
        self
    }
}

/// In place: whoever has it open goes on with it.
pub(super) fn put(path: &Path, bytes: &[u8]) {
    let file = open(path);
    file.set_len(0).unwrap();
    file.write_all_at(bytes, 0).unwrap();
}

fn segment(dir: &Path, (sequence, index): (u64, u64)) -> PathBuf {
    dir.join(format!("member/wal/{sequence:016x}-{index:016x}.wal"))
}

fn open(path: &Path) -> File {
    File::options().write(true).open(path).unwrap()
}

fn create(dir: &Path, name: (u64, u64)) -> File {
    let file = File::create(segment(dir, name)).unwrap();
    file.lock().unwrap();
    file
}
