//! The processes that write to a log: what `/proc` says of them. Only root sees those of others, and only with all of its
//! capabilities.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result};
use rustix::io::Errno;

use super::mounts::{self, Mount};
use crate::etcd::wal::SegmentName;

/// How the command lines that are shown to people end, if they are longer.
const SHOWN: usize = 200;

/// A process that has segments of a log open for writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its program and arguments.
    pub command: Vec<String>,
    /// Its variables.
    pub variables: BTreeMap<String, String>,
    /// Its control group: `/system.slice/etcd2.service`.
    pub group: String,
    /// The folder of the newest segment that it has open, as it names it.
    pub wal_dir: PathBuf,
    /// The folder of its `snap/db`, which etcd 3 has open, as it names it.
    pub snap_dir: Option<PathBuf>,
    /// What it sees mounted.
    pub mounts: Vec<Mount>,
}

impl Process {
    /// Its command line for people, cut where it is long.
    pub fn shown(&self) -> String {
        let line = self.command.join(" ");
        match line.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }
}

/// All processes that write to a log.
///
/// # Errors
/// `/proc` cannot be listed, or a process that is there may not be looked at: then it is not known which do.
pub fn writing_to_logs() -> Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("listing /proc")? {
        let entry = entry.context("listing /proc")?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        match of(pid) {
            Ok(process) => found.extend(process),
            // It ended while it was looked at.
            Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::NOENT | Errno::SRCH)) => {}
            Err(e) => return Err(e).with_context(|| format!("looking at the open files of process {pid}")),
        }
    }
    Ok(found)
}

/// One process; `None` if it writes to no log.
///
/// # Errors
/// It is not there any more ([`io::ErrorKind::NotFound`]), or may not be looked at.
pub fn of(pid: u32) -> io::Result<Option<Process>> {
    let dir = Path::new("/proc").join(pid.to_string());
    let (mut newest, mut snap_dir): (Option<(SegmentName, PathBuf)>, _) = (None, None);
    for entry in fs::read_dir(dir.join("fd"))? {
        let entry = entry?;
        let Some(path) = unless_closed(fs::read_link(entry.path()))? else { continue };
        let (Some(name), Some(folder)) = (path.file_name(), path.parent()) else { continue };
        let segment = name.to_str().and_then(SegmentName::parse);
        if segment.is_none() && !(name == "db" && folder.ends_with("snap")) {
            continue;
        }
        let info = fs::read_to_string(dir.join("fdinfo").join(entry.file_name()));
        let Some(info) = unless_closed(info)? else { continue };
        if !writes(&info) {
            continue;
        }
        match segment {
            Some(segment) if newest.as_ref().is_none_or(|(known, _)| *known < segment) => {
                newest = Some((segment, folder.to_owned()));
            }
            Some(_) => {}
            None => snap_dir = Some(folder.to_owned()),
        }
    }
    let Some((_, wal_dir)) = newest else { return Ok(None) };
    let words = |file: &str| fs::read(dir.join(file)).map(|bytes| words(&bytes));
    let environment = words("environ")?;
    let variables = environment.iter().filter_map(|word| word.split_once('='));
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Ok(Some(Process {
        pid,
        command: words("cmdline")?,
        variables,
        group: group(&fs::read_to_string(dir.join("cgroup"))?).to_owned(),
        wal_dir,
        snap_dir,
        mounts: mounts::parse(&fs::read_to_string(dir.join("mountinfo"))?),
    }))
}

/// What was found of an open file; `None` if it was closed meanwhile.
fn unless_closed<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// Whether a file is open for writing, by its `/proc/PID/fdinfo/N`: `flags: 0100001`, octal as in open(2).
fn writes(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.and_then(|f| u32::from_str_radix(f.trim(), 8).ok()).is_some_and(|flags| flags & 0o3 != 0)
}

/// The control group that systemd put a process into, in either version of the file.
fn group(text: &str) -> &str {
    let mut lines = text.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        Some((parts.next()?, parts.next()?, parts.next()?))
    });
    let named = lines.clone().find(|(_, controllers, _)| *controllers == "name=systemd");
    named.or_else(|| lines.find(|(number, ..)| *number == "0")).map_or("", |(_, _, path)| path)
}

/// Words that end with a zero byte each.
fn words(bytes: &[u8]) -> Vec<String> {
    let mut all: Vec<_> = bytes.split(|b| *b == 0).collect();
    if all.last().is_some_and(|last| last.is_empty()) {
        all.pop();
    }
    all.into_iter().map(|word| OsStr::from_bytes(word).to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_systemds_in_either_version() {
        let first = "12:cpu,cpuacct:/docker/x\n1:name=systemd:/system.slice/etcd2.service\n0::/other\n";
        for (text, expected) in [
            (first, "/system.slice/etcd2.service"),
            ("0::/system.slice/docker-ab.scope\n", "/system.slice/docker-ab.scope"),
            ("3:cpu:/x\n", ""),
            ("", ""),
        ] {
            assert_eq!(group(text), expected, "{text}");
        }
    }

    #[test]
    fn what_may_not_be_looked_at_is_not_closed() {
        let of = |kind: io::ErrorKind| unless_closed::<()>(Err(kind.into())).map_err(|e| e.kind());
        assert_eq!(of(io::ErrorKind::NotFound), Ok(None));
        assert_eq!(of(io::ErrorKind::PermissionDenied), Err(io::ErrorKind::PermissionDenied));
        assert_eq!(unless_closed(Ok(1)).unwrap(), Some(1));
    }

    #[test]
    fn what_is_open_for_writing_is_told_by_its_flags() {
        for (info, expected) in [
            ("pos:\t0\nflags:\t0100001\nmnt_id:\t29\n", true),
            ("flags:\t0102002\n", true),
            ("flags:\t0100000\n", false),
            ("pos:\t0\n", false),
        ] {
            assert_eq!(writes(info), expected, "{info}");
        }
    }

    #[test]
    fn who_writes_to_a_segment_is_found_and_who_reads_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let wal = dir.path().join("member/wal");
        fs::create_dir_all(&wal).unwrap();
        let paths =
            ["0000000000000000-0000000000000000.wal", "0000000000000001-0000000000000010.wal", "1.tmp"];
        let open: Vec<_> = paths.iter().map(|name| fs::File::create(wal.join(name)).unwrap()).collect();
        let found = || of(std::process::id()).unwrap();
        let own = found().unwrap();
        assert_eq!((own.wal_dir.as_path(), own.snap_dir.as_ref()), (wal.as_path(), None));
        assert!(own.command[0].contains("etcd2") && !own.mounts.is_empty(), "{own:?}");
        assert_eq!(mounts::translate(&wal, &own.mounts, &own.mounts), Some(wal.clone()));
        drop(open);
        let read: Vec<_> = paths.iter().map(|name| fs::File::open(wal.join(name)).unwrap()).collect();
        assert_eq!(found(), None);
        drop(read);
    }
}
