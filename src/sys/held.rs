//! Whether somebody holds a lock on a file. Asked without taking one, which could be in the way of who wants it next, and
//! without writing to the file.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};

/// Whether any process holds a lock on an open file, of flock(2) or of fcntl(2).
///
/// # Errors
/// /proc cannot be read: nothing is known then.
pub fn is_held(file: &File) -> Result<bool> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("reading {path}"));
    let meta = file.metadata().context("looking at the file")?;
    let (info, mounts) =
        (read(&format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?, read("/proc/self/mountinfo")?);
    // Of a file on btrfs stat(2) says another device than /proc/locks and the mount do.
    let device = mount_id(&info).and_then(|id| device_of(&mounts, id));
    let stat = || (rustix::fs::major(meta.dev()).into(), rustix::fs::minor(meta.dev()).into());
    Ok(names(&read("/proc/locks")?, device.unwrap_or_else(stat), meta.ino()))
}

/// The mount that an open file is on.
fn mount_id(fdinfo: &str) -> Option<&str> {
    fdinfo.lines().find_map(|line| line.strip_prefix("mnt_id:")).map(str::trim)
}

/// The device of a mount: major and minor number.
fn device_of(mountinfo: &str, id: &str) -> Option<(u64, u64)> {
    let mut lines = mountinfo.lines().map(str::split_whitespace);
    let device = lines.find_map(|mut words| (words.next() == Some(id)).then(|| words.nth(1)))??;
    let (major, minor) = device.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Whether a lock in /proc/locks is on this file: `1: OFDLCK ADVISORY WRITE -1 08:01:42 0 EOF`, the device
/// in hex.
fn names(locks: &str, (major, minor): (u64, u64), inode: u64) -> bool {
    let is_it = |word: &str| -> Option<bool> {
        let mut numbers = word.split(':');
        let mut hex = || u64::from_str_radix(numbers.next()?, 16).ok();
        let device = (hex()?, hex()?);
        Some(device == (major, minor) && numbers.next()?.parse() == Ok(inode))
    };
    locks.lines().any(|line| line.split_whitespace().nth(5).and_then(is_it) == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;

    #[test]
    fn a_file_is_held_as_long_as_somebody_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.wal");
        let locked = File::create(&path).unwrap();
        // As the unit of a backup may open it, and only that.
        let read = OpenOptions::new().read(true).open(&path).unwrap();
        let other = File::create(dir.path().join("1.wal")).unwrap();
        assert!(!is_held(&read).unwrap());
        locked.lock().unwrap();
        assert!(is_held(&read).unwrap() && !is_held(&other).unwrap());
        // The question took none.
        drop(locked);
        assert!(!is_held(&read).unwrap());
        File::options().write(true).open(&path).unwrap().try_lock().unwrap();
    }

    #[test]
    fn locks_are_told_by_device_and_inode() {
        let locks = "1: POSIX  ADVISORY  WRITE 811 00:19:900 0 EOF\n\
                     2: OFDLCK ADVISORY  WRITE -1 08:1a:131090 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 44 08:1a:131090 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 12 fd:00:77 0 EOF\n";
        let table = [
            ((8, 26), 131_090, true),
            ((8, 26), 131_091, false),
            ((8, 1), 131_090, false),
            ((0x19, 0), 900, false),
            ((0, 0x19), 900, true),
            ((253, 0), 77, true),
        ];
        for (device, inode, held) in table {
            assert_eq!(names(locks, device, inode), held, "{device:?} {inode}");
        }
        assert!(!names("", (0, 0), 0));
    }

    #[test]
    fn the_device_is_the_mounts() {
        let mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      36 22 0:31 /@data /var/lib rw,relatime shared:9 - btrfs /dev/sdb rw\n";
        let info = "pos:\t0\nflags:\t0100000\nmnt_id:\t36\nino:\t4\n";
        assert_eq!(mount_id(info), Some("36"));
        assert_eq!(device_of(mounts, "36"), Some((0, 31)));
        assert_eq!(device_of(mounts, "22"), Some((8, 1)));
        assert_eq!(device_of(mounts, "2"), None);
        assert_eq!(mount_id("pos:\t0\n"), None);
    }
}
