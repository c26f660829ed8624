//! A folder in memory for what tests write: thousands of times they sync a file, and a disk makes each of them wait.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use etcd2_backup::sys::command::CommandRunExt as _;
use etcd2_backup::sys::fs::{create_dirs, write_atomic};

const PLACE: &str = "/dev/shm";
const PREFIX: &str = "etcd2-backup-test.";
/// Each etcd 3.x sets 128 MB of log aside, and two dozen may run.
const ROOM_KB: u64 = 8 << 20;

/// The folder, named after this process. It goes with this value; what a killed run left goes at the next run.
#[derive(Debug)]
pub(super) struct Memory(PathBuf);

impl Memory {
    /// Nothing where `TMPDIR` says another place, or memory has too little room, or lets no program run.
    pub(super) fn new() -> Option<Self> {
        let place = Path::new(PLACE);
        if env::var_os("TMPDIR").is_some() || free_kb(place)? < ROOM_KB {
            return None;
        }
        remove_leftovers(place);
        let this = Self(place.join(format!("{PREFIX}{}", std::process::id())));
        create_dirs(&this.0, 0o700).ok()?;
        runs_programs(&this.0).then_some(this)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // The next run tries again.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes folders of processes that are gone. What belongs to another user stays.
fn remove_leftovers(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if process.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn free_kb(dir: &Path) -> Option<u64> {
    let mut df = Command::new("df");
    df.args(["--output=avail", "-k"]).arg(dir);
    parse_df(&df.run_ok(Duration::from_secs(10)).ok()?.text())
}

fn parse_df(printed: &str) -> Option<u64> {
    printed.lines().nth(1)?.trim().parse().ok()
}

fn runs_programs(dir: &Path) -> bool {
    let probe = dir.join("probe");
    write_atomic(&probe, b"#!/bin/sh\n", 0o700).is_ok()
        && Command::new(probe).status().is_ok_and(|s| s.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_read_and_a_folder_that_runs_programs_is_told() {
        assert_eq!(parse_df("    Avail\n 24684096\n"), Some(24_684_096));
        assert_eq!(parse_df("df: /dev/shm: no such file\n"), None);
        let dir = tempfile::tempdir().unwrap();
        assert!(runs_programs(dir.path()) && free_kb(dir.path()).is_some());
        assert!(!runs_programs(&dir.path().join("absent")));
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |pid: &str| dir.path().join(format!("{PREFIX}{pid}"));
        let (gone, running) = (at("999999999"), at(&std::process::id().to_string()));
        for path in [&gone, &running, &dir.path().join("other")] {
            fs::create_dir_all(path.join("below")).unwrap();
        }
        remove_leftovers(dir.path());
        assert!(!gone.exists() && running.exists() && dir.path().join("other").exists());
    }
}
