//! An offline restore of 100,000 keys of 256 bytes beside a plain copy of the same bytes; and the memory of each.

#![allow(missing_docs, reason = "a program of its own")]
#![allow(clippy::print_stdout, reason = "its results")]

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use divan::Bencher;
use divan::counter::BytesCount;
use etcd2_backup::etcd::datadir::{DataDir, Family};
use etcd2_backup::etcd::rewrite::{NewMember, Purpose, Rewrite, Target, prove, write_member_dir};
use etcd2_backup::etcd::wal::Reading;
use etcd2_backup::sys::folder::{self, Folder};
use tempfile::TempDir;
use testkit::store;

const KEYS: u64 = 100_000;
const VALUE_BYTES: usize = 256;
/// Keys in the snapshot: none, as in 3.4 with its default of one snapshot in 100,000 writes; most, as in 2.3.
const SNAPSHOTS: [u64; 2] = [0, 95_000];
/// Names what this program, started again by itself, is to do once.
const ONCE: &str = "ETCD2_BACKUP_BENCH_ONCE";

fn main() {
    if let Some(what) = std::env::var_os(ONCE) {
        return once(&what.to_string_lossy());
    }
    divan::main();
    if std::env::args().any(|a| a == "--bench") {
        println!("\npeak of memory (VmHWM) of a process that does nothing else");
        for snapshot in SNAPSHOTS {
            let source = Source::new(snapshot);
            for what in ["nothing", "copy", "scan", "restore"] {
                println!("  {snapshot:>6} keys in the snapshot, {what:<8} {}", source.memory_of(what));
            }
        }
    }
}

struct Source {
    dir: TempDir,
    data: DataDir,
    /// A restored one, for the copy.
    restored: TempDir,
}

impl Source {
    fn new(snapshot: u64) -> Self {
        // Not in /tmp, which may be memory.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (dir, restored) = (tempfile::tempdir_in(target).unwrap(), tempfile::tempdir_in(target).unwrap());
        store::data_dir(dir.path(), KEYS, VALUE_BYTES, snapshot);
        let data = DataDir::open(dir.path(), None).unwrap();
        restore(&data, &restored.path().join("member"));
        sync(target);
        Self { dir, data, restored }
    }

    fn target(&self) -> TempDir {
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
    }

    fn bytes(&self) -> BytesCount {
        let folders = ["snap", "wal"].map(|name| self.restored.path().join("member").join(name));
        let files = folders.iter().flat_map(|f| fs::read_dir(f).unwrap());
        BytesCount::new(files.map(|f| f.unwrap().metadata().unwrap().len()).sum::<u64>())
    }

    fn memory_of(&self, what: &str) -> String {
        let target = self.target();
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.env(ONCE, what).arg(self.dir.path()).arg(self.restored.path()).arg(target.path());
        let out = child.output().unwrap();
        assert!(out.status.success(), "{what}: {}", out.status);
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }
}

/// What `restore` does between having its source and exchanging the directories.
fn restore(source: &DataDir, target: &Path) {
    let contents = source.scan(Reading::Still).unwrap();
    let new = NewMember { id: 0xa1, peer_urls: vec!["http://127.0.0.1:2380".into()] };
    let rewrite = Rewrite {
        cluster_id: 0xc1,
        purpose: Purpose::Found(vec![new]),
        up_to: None,
        family: Family::Two,
        bump: None,
    };
    let target = Target { member_id: 0xa1, path: target };
    write_member_dir(source, &contents, &rewrite, target).unwrap();
    prove(&contents, &rewrite, target).unwrap();
    sync(target.path);
}

fn sync(tree: &Path) {
    let (above, name) = Folder::above(tree).unwrap();
    folder::hand_over(&above, name, None).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
            File::open(&to).unwrap().sync_all().unwrap();
        }
    }
    File::open(to).unwrap().sync_all().unwrap();
}

#[divan::bench(args = SNAPSHOTS, sample_count = 15, sample_size = 1)]
fn copy_and_sync(bencher: Bencher<'_, '_>, snapshot: u64) {
    let source = Source::new(snapshot);
    let member = source.restored.path().join("member");
    let run = |to: TempDir| {
        copy(&member, &to.path().join("member"));
        to
    };
    bencher.counter(source.bytes()).with_inputs(|| source.target()).bench_local_values(run);
}

#[divan::bench(args = SNAPSHOTS, sample_count = 15, sample_size = 1)]
fn restore_and_sync(bencher: Bencher<'_, '_>, snapshot: u64) {
    let source = Source::new(snapshot);
    let run = |to: TempDir| {
        restore(&source.data, &to.path().join("member"));
        to
    };
    bencher.counter(source.bytes()).with_inputs(|| source.target()).bench_local_values(run);
}

/// Does one thing and prints the peak of this process's memory.
fn once(what: &str) {
    let paths: Vec<_> = std::env::args_os().skip(1).collect();
    let [source, restored, target] = [0, 1, 2].map(|i| Path::new(&paths[i]));
    match what {
        "nothing" => {}
        "copy" => copy(&restored.join("member"), &target.join("member")),
        "scan" => drop(DataDir::open(source, None).unwrap().scan(Reading::Still).unwrap()),
        "restore" => restore(&DataDir::open(source, None).unwrap(), &target.join("member")),
        other => panic!("{other:?} is unknown"),
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("{}", peak.trim());
}
