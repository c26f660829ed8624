//! Damage of one byte, and every cut: what is read from a damaged data directory is the same data, a prefix of it that is
//! called torn, or an older snapshot with the log behind it; or it is refused. It is never other data, and never a prefix
//! that is said to be whole. Judged by what the undamaged directory holds, which `tests/etcd/fixtures.rs` compares with what
//! etcd said was in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::{fmt, thread};

use etcd2_backup::etcd::datadir::{Contents, DataDir, Family};
use etcd2_backup::etcd::frame::Kind;
use etcd2_backup::etcd::proto::{Entry, EntryKind, HardState};
use etcd2_backup::etcd::rewrite::{NewMember, Purpose, Rewrite, Target, write_member_dir};
use etcd2_backup::etcd::snap;
use etcd2_backup::etcd::wal::{self, Place, Reading};
use etcd2_backup::exit::{Exit, exit_of};
use testkit::fixtures::Fixture;

/// What is xored to each byte of a small log: every bit alone, and all of them.
const MASKS: [u8; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 0xff];
/// At either end of a snapshot: more than its fields around the store take.
const FIELDS: u64 = 256;
/// Of the store's bytes between them.
const STRIDE: u64 = 16;

/// An entry of the log, by what it means.
type Meaning = (u64, u64, EntryKind, Vec<u8>);

/// Damage to one file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// The byte here, xor that.
    Flip(u64, u8),
    /// All from here on is gone.
    Cut(u64),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flip(at, mask) => write!(f, "byte {at} xor {mask:#04x}"),
            Self::Cut(at) => write!(f, "cut at {at}"),
        }
    }
}

/// What became of all damage, each alone.
#[derive(Debug, Default)]
struct Sum {
    /// How often each legal outcome was met.
    outcomes: BTreeMap<Outcome, u64>,
    /// What must not be.
    wrong: Vec<String>,
}

/// What may be read from a damaged directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Same,
    /// A prefix that is called torn.
    Torn,
    /// Cut between two records: what the log was at an earlier time, and nothing can tell.
    Earlier,
    Refused,
}
use Outcome::{Earlier, Refused, Same, Torn};

/// A fixture as it was made.
struct Truth {
    dir: PathBuf,
    wal: String,
    contents: Contents,
    entries: Vec<Meaning>,
    hard_states: Vec<HardState>,
    snapshots: BTreeMap<String, Vec<u8>>,
    /// Offsets at which a record ends.
    ends: BTreeSet<u64>,
    /// Outcomes that were restored already.
    restored: Mutex<BTreeSet<String>>,
}

impl Truth {
    fn of(fixture: &Fixture) -> Self {
        let dir = DataDir::open(&fixture.data_dir, None).unwrap();
        let contents = dir.scan(Reading::Still).unwrap();
        let first = wal::segments(&dir.wal).unwrap();
        assert_eq!(first.len(), 1, "the damage is done to one segment");
        let (mut hard_states, mut ends) = (vec![HardState::default()], BTreeSet::from([0]));
        wal::walk(&dir.wal, Place::start_of(first[0]), Reading::Still, &mut |_, record| {
            if record.kind == Kind::HardState {
                hard_states.push(HardState::decode(record.data)?);
            }
            ends.insert(record.end);
            Ok(())
        })
        .unwrap();
        let entries = entries(&dir, Place::start_of(first[0]), 0);
        let snapshots = fs::read_dir(&dir.snap).unwrap().map(|e| {
            let e = e.unwrap();
            (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())
        });
        let snapshots = snapshots.collect();
        let wal = first[0].to_string();
        let restored = Mutex::default();
        Self { dir: fixture.data_dir.clone(), wal, contents, entries, hard_states, snapshots, ends, restored }
    }

    /// What is read from a damaged copy of it.
    ///
    /// `before` is what was read last. What lies in the undamaged files needs not be compared over and over.
    fn judge(
        &self,
        copy: &DataDir,
        damage: Damage,
        file: &Path,
        before: &mut Option<Contents>,
    ) -> Result<Outcome, String> {
        let contents = match copy.scan(Reading::Still) {
            Ok(contents) => contents,
            Err(e) if matches!(exit_of(&e), Exit::Corrupt | Exit::Refused) => return Ok(Refused),
            Err(e) => return Err(format!("refused as {:?}: {e:#}", exit_of(&e))),
        };
        let used = file.starts_with(&copy.wal) || contents.base.as_ref().is_some_and(|b| b.path == file);
        if !used && before.as_ref() == Some(&contents) {
            return self.outcome(&contents, damage);
        }
        must(contents.metadata == self.contents.metadata, "other IDs")?;
        if let Some(base) = &contents.base {
            let known = self.snapshots.get(&base.name.to_string());
            must(fs::read(&base.path).ok().as_ref() == known, "another snapshot")?;
        }
        let (from, last) = (contents.base_index(), contents.last());
        let expected = self.entries.get(from as usize..last.index as usize);
        must(Some(&entries(copy, contents.start, from)[..]) == expected, "other entries")?;
        must(self.hard_states.contains(&contents.log.hard_state), "another hard state")?;
        self.restore(copy, &contents);
        let outcome = self.outcome(&contents, damage);
        *before = Some(contents);
        outcome
    }

    fn outcome(&self, contents: &Contents, damage: Damage) -> Result<Outcome, String> {
        let last = contents.last();
        let complete =
            last == self.contents.last() && contents.log.hard_state == self.contents.log.hard_state;
        match (complete, contents.torn().is_some(), damage) {
            (true, _, _) => Ok(Same),
            (false, true, _) => Ok(Torn),
            (false, false, Damage::Cut(at)) if self.ends.contains(&at) => Ok(Earlier),
            _ => Err(format!("a log to {last:?} is said to be whole: {:?}", contents.tail.stop)),
        }
    }

    /// Restores what was read, once for each outcome that differs, and reads that.
    fn restore(&self, copy: &DataDir, contents: &Contents) {
        let outcome =
            format!("{} {:?} {:?}", contents.base_index(), contents.last(), contents.log.hard_state);
        if !self.restored.lock().unwrap().insert(outcome) {
            return;
        }
        let work = tempfile::tempdir_in(copy.wal.parent().unwrap()).unwrap();
        let target = Target { member_id: 0xabc, path: &work.path().join("new") };
        let new = NewMember { id: target.member_id, peer_urls: vec!["http://a:1".into()] };
        let purpose = Purpose::Found(vec![new]);
        let rewrite = Rewrite { cluster_id: 7, purpose, up_to: None, family: Family::Two, bump: None };
        write_member_dir(copy, contents, &rewrite, target).unwrap();
        let dir = DataDir { snap: target.path.join("snap"), wal: target.path.join("wal") };
        let found = dir.scan(Reading::Still).unwrap();
        assert_eq!(found.base_index(), contents.base_index());
        let all = entries(&dir, found.start, found.base_index());
        let kept = (contents.last().index - contents.base_index()) as usize;
        let from = contents.base_index() as usize;
        assert!(all[..kept] == self.entries[from..from + kept], "other entries were restored");
        assert!(all[kept..].iter().all(|e| e.2 == EntryKind::ConfChange), "{:?}", &all[kept..]);
    }
}

/// The entries behind an index, those left out that a later one replaced.
fn entries(dir: &DataDir, start: Place, behind: u64) -> Vec<Meaning> {
    let mut all: Vec<Meaning> = Vec::new();
    wal::walk(&dir.wal, start, Reading::Still, &mut |_, record| {
        if record.kind == Kind::Entry {
            let e = Entry::decode(record.data)?;
            if e.index > behind {
                all.truncate((e.index - behind - 1) as usize);
                all.push((e.index, e.term, e.kind, e.data.to_vec()));
            }
        }
        Ok(())
    })
    .unwrap();
    all
}

/// A copy for one thread, in memory where there is a file system for that.
fn copy(truth: &Truth) -> (tempfile::TempDir, DataDir) {
    let memory = Path::new("/dev/shm");
    let work = tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).unwrap();
    for folder in ["snap", "wal"] {
        let to = work.path().join("member").join(folder);
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(truth.dir.join("member").join(folder)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
    let dir = DataDir::open(work.path(), None).unwrap();
    (work, dir)
}

/// Does damage to one file (below `member/`), so many flips and a cut at each of the bytes that are `looked_at`, each alone,
/// and adds up what becomes of it.
fn damaged(truth: &Truth, file: &str, masks: usize, looked_at: impl Fn(u64) -> bool + Sync) -> Sum {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let sum = Mutex::new(Sum::default());
    let add = |dir: &DataDir, damage: Damage, path: &Path, before: &mut Option<Contents>| {
        let judged = truth.judge(dir, damage, path, before);
        let mut sum = sum.lock().unwrap();
        match judged {
            Ok(outcome) => *sum.outcomes.entry(outcome).or_default() += 1,
            Err(why) => sum.wrong.push(format!("{damage}: {why}")),
        }
    };
    let share = |thread: usize| {
        let (work, dir) = copy(truth);
        let path = work.path().join("member").join(file);
        let whole = fs::read(&path).unwrap();
        let mut before = None;
        let open = OpenOptions::new().write(true).open(&path).unwrap();
        for at in (0..whole.len()).filter(|at| at % threads == thread && looked_at(*at as u64)) {
            for mask in masks_of(at, masks) {
                open.write_all_at(&[whole[at] ^ mask], at as u64).unwrap();
                add(&dir, Damage::Flip(at as u64, mask), &path, &mut before);
            }
            open.write_all_at(&[whole[at]], at as u64).unwrap();
        }
        // From the end on: what is cut off is not needed again.
        for at in (0..whole.len()).rev().filter(|at| at % threads == thread && looked_at(*at as u64)) {
            open.set_len(at as u64).unwrap();
            add(&dir, Damage::Cut(at as u64), &path, &mut before);
        }
    };
    thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn({
                let share = &share;
                move || share(thread)
            });
        }
    });
    sum.into_inner().unwrap()
}

/// So many of the masks for the byte at an offset: all of them, or those whose turn it is.
fn masks_of(at: usize, count: usize) -> impl Iterator<Item = u8> {
    (0..count).map(move |i| MASKS[(at + i) % MASKS.len()])
}

fn must(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}

/// Damages one file of a fixture in every way: it must come to just these outcomes.
fn check(sum: Sum, expected: &[Outcome]) {
    let Sum { outcomes, wrong } = sum;
    let (first, count) = (&wrong[..wrong.len().min(40)], wrong.len());
    assert!(wrong.is_empty(), "{count} wrong: {first:#?}");
    assert_eq!(outcomes.keys().copied().collect::<Vec<_>>(), expected, "{outcomes:?}");
}

/// The log: the directory is read after each damage.
fn check_log(fixture: &Fixture, masks: usize, expected: &[Outcome]) {
    let truth = Truth::of(fixture);
    let file = format!("wal/{}", truth.wal);
    check(damaged(&truth, &file, masks, |_| true), expected);
}

/// The chosen snapshot: no damage may leave it whole, and so the directory needs to be read only now and then. That is done
/// after each damage to the fields at either end, and to each `STRIDE`th byte of the store between them.
fn check_snapshot(fixture: &Fixture, expected: &[Outcome]) {
    let truth = Truth::of(fixture);
    let base = truth.contents.base.clone().unwrap();
    let looked_at = |at: u64| at < FIELDS || at + FIELDS >= base.size || at.is_multiple_of(STRIDE);
    let whole = &truth.snapshots[&base.name.to_string()];
    let is_whole =
        |bytes: &[u8]| snap::read_through(&mut &bytes[..], bytes.len() as u64, &mut |_| Ok(())).is_ok();
    assert!(is_whole(whole));
    let mut damaged_bytes = whole.clone();
    for at in 0..whole.len() {
        for mask in masks_of(at, if looked_at(at as u64) { MASKS.len() } else { 1 }) {
            damaged_bytes[at] ^= mask;
            assert!(!is_whole(&damaged_bytes), "byte {at} xor {mask:#04x}");
            damaged_bytes[at] = whole[at];
        }
        if looked_at(at as u64) {
            assert!(!is_whole(&whole[..at]), "cut at {at}");
        }
    }
    check(damaged(&truth, &format!("snap/{}", base.name), 1, looked_at), expected);
}

fn unpack(name: &str) -> (tempfile::TempDir, Fixture) {
    let work = tempfile::tempdir().unwrap();
    let fixture = Fixture::unpack(name, work.path()).unwrap();
    (work, fixture)
}

#[test]
fn the_log_of_2_3_without_a_snapshot() {
    let (_work, fixture) = unpack("v238-single-nosnap");
    check_log(&fixture, MASKS.len(), &[Torn, Earlier, Refused]);
}

#[test]
fn the_log_of_3_4_without_a_snapshot() {
    // Zeros that were preallocated lie behind its last record.
    let (_work, fixture) = unpack("v3423-single-nosnap-trimmed");
    check_log(&fixture, MASKS.len(), &[Same, Torn, Earlier, Refused]);
}

/// Behind the first of its snapshots, which is the smallest and has the most behind it.
#[test]
fn the_log_of_2_3_behind_a_snapshot() {
    let (_work, fixture) = unpack("v238-single-snap");
    let snap = fixture.data_dir.join("member/snap");
    for newer in &snap::list(&snap).unwrap()[..3] {
        fs::remove_file(snap.join(newer.to_string())).unwrap();
    }
    check_log(&fixture, 1, &[Torn, Earlier, Refused]);
}

/// Older snapshots and the whole log are there, too.
#[test]
fn the_snapshot_of_2_3() {
    let (_work, fixture) = unpack("v238-single-snap");
    check_snapshot(&fixture, &[Same]);
}

#[test]
fn the_only_snapshot_of_2_3() {
    let (_work, fixture) = unpack("v238-etcdctl-backup");
    check_snapshot(&fixture, &[Refused]);
}
