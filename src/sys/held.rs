//! Whether somebody holds a lock on a file. Asked without taking one, which could be in the way of who wants it next, and
//! without writing to the file.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};

/// What is shorter than this, in bytes, is less than a page and came in one piece.
const ONE_PIECE: usize = 2048;
/// How often the kernel's list is read before it is believed that it does not name a file.
const READINGS: u32 = 20;

/// Whether any process holds a lock on an open file, of flock(2) or of fcntl(2).
///
/// The kernel hands its list out by the page, and a lock that goes between two pages takes the first of the next one
/// with it. So "no" is said only by a list that came in one piece, by two equal ones in a row, or by [`READINGS`] of them.
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
    let (device, inode) = (device.unwrap_or_else(stat), meta.ino());
    let mut before = None;
    for _ in 0..READINGS {
        let list = listed().context("reading /proc/locks")?;
        if names(&String::from_utf8_lossy(&list), device, inode) {
            return Ok(true);
        }
        if list.len() < ONE_PIECE || before.as_ref() == Some(&list) {
            break;
        }
        before = Some(list);
    }
    Ok(false)
}

/// The kernel's list, read by pieces that hold a page: `fs::read` begins with one of 32 bytes.
fn listed() -> io::Result<Vec<u8>> {
    let (mut file, mut list) = (File::open("/proc/locks")?, Vec::new());
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(list),
            n => list.extend_from_slice(&piece[..n]),
        }
    }
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
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::Relaxed;
    use std::thread;

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

    /// Enough locks for several pages, most of which come and go meanwhile.
    #[test]
    fn a_file_is_held_however_many_other_locks_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: String| File::create(dir.path().join(name)).unwrap();
        let others: Vec<_> = (0..400).map(|n| file(format!("other {n}"))).collect();
        others.iter().for_each(|other| other.lock().unwrap());
        let held = file("0.wal".to_owned());
        held.lock().unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    others.iter().for_each(|other| other.unlock().unwrap());
                    others.iter().for_each(|other| other.lock().unwrap());
                }
            });
            let missed = (0..300).filter(|_| !is_held(&held).unwrap()).count();
            done.store(true, Relaxed);
            assert_eq!(missed, 0);
        });
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
