//! A node with a filled etcd and a remote of type `local`, for benchmarks of whole commands.
#![allow(dead_code, reason = "each benchmark uses its part of it")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use testkit::etcd::Member;
use testkit::keys::Client;
use testkit::tools::Tools;

pub(crate) const VALUE_BYTES: usize = 256;
const WRITERS: usize = 8;
const MACHINE: &str = "0123456789abcdef0123456789abcdef";

/// A value that compresses no better than its letters allow: to five eighths at most.
pub(crate) fn value(seed: u64) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(LETTERS[(state >> 32) as usize % 32])
    };
    (0..VALUE_BYTES).map(|_| letter()).collect()
}

pub(crate) struct Place<'a> {
    pub(crate) tools: &'a Tools,
    work: tempfile::TempDir,
    pub(crate) etcd: Member,
}

impl<'a> Place<'a> {
    /// An etcd with so many keys.
    pub(crate) fn new(tools: &'a Tools, keys: usize) -> Self {
        // Not in /tmp, which may be memory.
        let work = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let root = work.path().join("root");
        for dir in ["root/etc", "root/var/lib", "remote", "original"] {
            fs::create_dir_all(work.path().join(dir)).unwrap();
        }
        let write = |path: &str, text: &str| {
            etcd2_backup::sys::fs::write_atomic(&root.join(path), text.as_bytes(), 0o600).unwrap();
        };
        write("etc/machine-id", &format!("{MACHINE}\n"));
        write("etc/rclone.conf", "[r]\ntype = local\n");
        let mut etcd = Member::new(tools, "e1", &root.join("var/lib/etcd2")).unwrap();
        // The default of 2.x.
        etcd.set("ETCD_SNAPSHOT_COUNT", "10000");
        etcd.start().unwrap();
        let place = Self { tools, work, etcd };
        place.fill("/bench", keys);
        place
    }

    pub(crate) fn fill(&self, folder: &str, keys: usize) {
        thread::scope(|scope| {
            for first in 0..WRITERS {
                let url = &self.etcd.client_url;
                scope.spawn(move || {
                    let mut client = Client::new(url).unwrap();
                    for number in (first..keys).step_by(WRITERS) {
                        let (key, value) = (format!("{folder}/{number:06}"), value(number as u64));
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
        command.env("RCLONE_ENDPOINT", format!("r:{}", self.path("remote/ours").display()));
        command.env("ETCD2_BACKUP_RCLONE_RUNNER", "host").env("ETCD_DATA_DIR", "/var/lib/etcd2");
        command.env("ETCD_RESTORE_MASTER_ADV_PEER_URLS", &self.etcd.peer_url);
        command.arg("--root").arg(self.path("root")).arg(verb);
        command
    }
}

pub(crate) fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
