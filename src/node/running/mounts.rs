//! What a path of another process is called here: a container sees the node's folders under other names.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A line of `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Of the file system, `major:minor`.
    device: String,
    /// The folder of the file system that is mounted.
    root: PathBuf,
    /// Where.
    at: PathBuf,
}

/// The mounts that a process sees, in the order in which they were made; lines that are none are left out.
pub fn parse(mountinfo: &str) -> Vec<Mount> {
    let mount = |line: &str| -> Option<Mount> {
        let mut words = line.split(' ').skip(2);
        let device = words.next()?.to_owned();
        Some(Mount { device, root: unescape(words.next()?), at: unescape(words.next()?) })
    };
    mountinfo.lines().filter_map(mount).collect()
}

/// What this program sees mounted.
///
/// # Errors
/// `/proc` cannot be read.
pub fn ours() -> Result<Vec<Mount>> {
    Ok(parse(&fs::read_to_string("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?))
}

/// A path that another process names, as it is called here; `None` if its file system is not mounted here, or covered.
pub fn translate(path: &Path, theirs: &[Mount], ours: &[Mount]) -> Option<PathBuf> {
    let mount = of(path, theirs)?;
    let inside = mount.root.join(path.strip_prefix(&mount.at).ok()?);
    let mut names: Vec<PathBuf> = ours
        .iter()
        .filter(|own| own.device == mount.device)
        .filter_map(|own| {
            let here: PathBuf = own.at.join(inside.strip_prefix(&own.root).ok()?).components().collect();
            // Something else may be mounted over it.
            (of(&here, ours) == Some(own)).then_some(here)
        })
        .collect();
    // The plainest: a file system may be mounted in several places, one container's folder below another's.
    names.sort_by_key(|name| (name.components().count(), name.clone()));
    names.into_iter().next()
}

/// The mount that a path leads into: the innermost, and of two at one place the later one.
fn of<'a>(path: &Path, mounts: &'a [Mount]) -> Option<&'a Mount> {
    mounts.iter().filter(|m| path.starts_with(&m.at)).max_by_key(|m| m.at.components().count())
}

/// Space, tab, newline and backslash are written as `\040` and the like.
fn unescape(word: &str) -> PathBuf {
    let bytes = word.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let octal = (byte == b'\\').then(|| bytes.get(at + 1..at + 4)).flatten();
        let code = octal.and_then(|o| u8::from_str_radix(std::str::from_utf8(o).ok()?, 8).ok());
        out.push(code.unwrap_or(byte));
        at += if code.is_some() { 4 } else { 1 };
    }
    OsString::from_vec(out).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                        30 22 8:17 / /mnt/fast\\040disk rw - ext4 /dev/sdb1 rw\n\
                        31 22 0:31 /@data /var/lib/etcd2 rw - btrfs /dev/sdc rw\n\
                        32 22 0:40 / /tmp rw - tmpfs tmpfs rw\n\
                        33 22 8:1 /srv/a /var/lib/containers/volume rw - ext4 /dev/sda1 rw\n";
    const CONTAINER: &str = "90 80 0:55 / / rw - overlay overlay rw\n\
                             91 90 0:31 /@data /data rw - btrfs /dev/sdc rw\n\
                             92 90 8:17 /etcd/wal /wal rw - ext4 /dev/sdb1 rw\n\
                             93 90 8:1 /srv/a /srv rw - ext4 /dev/sda1 rw\n\
                             94 90 0:77 / /private rw - tmpfs tmpfs rw\n\
                             95 90 8:1 /tmp/x /covered rw - ext4 /dev/sda1 rw\n";

    #[test]
    fn a_containers_paths_are_found_on_the_node() {
        let (theirs, ours) = (parse(CONTAINER), parse(NODE));
        for (path, expected) in [
            ("/data/member/wal", Some("/var/lib/etcd2/member/wal")),
            ("/data", Some("/var/lib/etcd2")),
            ("/wal", Some("/mnt/fast disk/etcd/wal")),
            ("/srv/b", Some("/srv/a/b")),
            ("/database", None),
            ("/private/x", None),
            ("/covered/y", None),
        ] {
            assert_eq!(
                translate(Path::new(path), &theirs, &ours).as_deref(),
                expected.map(Path::new),
                "{path}"
            );
        }
    }

    #[test]
    fn a_process_with_our_mounts_names_paths_as_we_do() {
        let ours = parse(NODE);
        for path in ["/", "/var/lib/etcd2/member/wal", "/mnt/fast disk/x", "/tmp", "/srv/a/x", "/etc"] {
            assert_eq!(translate(Path::new(path), &ours, &ours).as_deref(), Some(Path::new(path)));
        }
    }

    #[test]
    fn of_two_mounts_at_one_place_the_later_one_counts() {
        let theirs = parse("1 0 8:1 / / rw - x y z\n2 1 0:31 / /d rw - x y z\n3 1 8:17 / /d rw - x y z\n");
        let ours = parse(NODE);
        let got = translate(Path::new("/d/wal"), &theirs, &ours);
        assert_eq!(got.as_deref(), Some(Path::new("/mnt/fast disk/wal")));
        assert_eq!(parse("nonsense\n\n"), []);
    }
}
