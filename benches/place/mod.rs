//! A node with a filled etcd and a remote of type `local`, for benchmarks of whole commands.
#![allow(dead_code, reason = "each benchmark uses its part of it")]

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use testkit::etcd::Member;
use testkit::keys::Client;
use testkit::tools::Tools;

/// Whether this part of a benchmark is to run: `cargo test --benches` and the like must not run for minutes.
pub(crate) fn asked(part: &str) -> bool {
    let mut named = std::env::args().skip(1).filter(|a| !a.starts_with('-'));
    std::env::args().any(|a| a == "--bench") && named.all(|a| a == part)
}

pub(crate) const VALUE_BYTES: usize = 256;
const WRITERS: usize = 8;
const MACHINE: &str = "0123456789abcdef0123456789abcdef";

/// A value that compresses no better than its letters allow: to five eighths at most.
pub(crate) fn value(seed: u64, bytes: usize) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(LETTERS[(state >> 32) as usize % 32])
    };
    (0..bytes).map(|_| letter()).collect()
}

pub(crate) struct Place<'a> {
    pub(crate) tools: &'a Tools,
    work: tempfile::TempDir,
    pub(crate) etcd: Member,
    /// The remote's folder, and the founding member's peer URL.
    endpoint: PathBuf,
    founder: String,
}

impl<'a> Place<'a> {
    /// An etcd with so many keys and a snapshot each 10,000 writes, the default of 2.x.
    pub(crate) fn new(tools: &'a Tools, keys: usize) -> Self {
        let mut place = Self::empty(tools, "e1", MACHINE);
        place.etcd.set("ETCD_SNAPSHOT_COUNT", "10000");
        place.etcd.start().unwrap();
        place.fill("/bench", keys);
        place
    }

    /// A node whose etcd has nothing yet and does not run.
    pub(crate) fn empty(tools: &'a Tools, name: &str, machine: &str) -> Self {
        // Not in /tmp, which may be memory.
        let work = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let root = work.path().join("root");
        for dir in ["root/etc", "root/var/lib", "remote", "original"] {
            fs::create_dir_all(work.path().join(dir)).unwrap();
        }
        let write = |path: &str, text: &str| {
            etcd2_backup::sys::fs::write_atomic(&root.join(path), text.as_bytes(), 0o600).unwrap();
        };
        write("etc/machine-id", &format!("{machine}\n"));
        write("etc/rclone.conf", "[r]\ntype = local\n");
        let etcd = Member::new(tools, name, &root.join("var/lib/etcd2")).unwrap();
        let (endpoint, founder) = (work.path().join("remote/ours"), etcd.peer_url.clone());
        Self { tools, work, etcd, endpoint, founder }
    }

    /// A node that joins this one.
    pub(crate) fn joining(&self, name: &str, machine: &str) -> Self {
        let node = Self::empty(self.tools, name, machine);
        Self { endpoint: self.endpoint.clone(), founder: self.founder.clone(), ..node }
    }

    pub(crate) fn fill(&self, folder: &str, keys: usize) {
        self.fill_with(folder, keys, VALUE_BYTES);
    }

    pub(crate) fn fill_with(&self, folder: &str, keys: usize, bytes: usize) {
        thread::scope(|scope| {
            for first in 0..WRITERS {
                let url = &self.etcd.client_url;
                scope.spawn(move || {
                    let mut client = Client::new(url).unwrap();
                    for number in (first..keys).step_by(WRITERS) {
                        let (key, value) = (format!("{folder}/{number:06}"), value(number as u64, bytes));
                        // etcd stands still while it writes a snapshot of a large store, and says that it timed out.
                        let began = Instant::now();
                        while let Err(e) = client.put(&key, &value) {
                            assert!(began.elapsed() < Duration::from_secs(120), "{e:#}");
                        }
                    }
                });
            }
        });
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// The program on this node, with this verb; the remote is the folder `remote/ours`.
    pub(crate) fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_etcd2-backup"));
        command.env_clear().envs(&self.etcd.environment);
        command.env("PATH", self.tools.rclone.parent().unwrap()).env("RCLONE_CHECKSUM", "true");
        command.env("RCLONE_ENDPOINT", format!("r:{}", self.endpoint.display()));
        command.env("ETCD2_BACKUP_RCLONE_RUNNER", "host").env("ETCD_DATA_DIR", "/var/lib/etcd2");
        command.env("ETCD_RESTORE_MASTER_ADV_PEER_URLS", &self.founder);
        command.arg("--root").arg(self.path("root")).arg(verb);
        command
    }
}

pub(crate) fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs it, and gives its own peak of memory in kB.
pub(crate) fn memory_of(command: &mut Command) -> u64 {
    let mut child = command.stdin(Stdio::null()).spawn().unwrap();
    let path = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let status = fs::read_to_string(&path).unwrap_or_default();
        let now =
            status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        peak = now.unwrap_or(0).max(peak);
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{command:?}: {status}");
            return peak;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// What the summary of a backup says that it read.
pub(crate) fn read_bytes(journal: &str) -> u64 {
    let value = journal.split_whitespace().find_map(|word| word.strip_prefix("read_bytes="));
    value.unwrap_or_else(|| panic!("no read_bytes in: {journal}")).parse().unwrap()
}

/// Milliseconds, those of processes that ended and were waited for.
pub(crate) fn cpu_of_children() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    // cutime and cstime, in ticks of 10 ms.
    [13, 14].iter().map(|at: &usize| fields[*at].parse::<u64>().unwrap() * 10).sum()
}

/// Size and time of change of every file below a folder.
pub(crate) fn files(dir: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, meta) = (entry.path(), entry.metadata().unwrap());
        if meta.is_dir() {
            all.extend(files(&path));
        } else {
            all.insert(path, (meta.size(), meta.ctime(), meta.ctime_nsec()));
        }
    }
    all
}

/// Bytes of the files that are new or were written anew.
pub(crate) fn changed(
    before: &BTreeMap<PathBuf, (u64, i64, i64)>,
    now: &BTreeMap<PathBuf, (u64, i64, i64)>,
) -> u64 {
    now.iter().filter(|(path, file)| before.get(*path) != Some(file)).map(|(_, (size, ..))| size).sum()
}
