//! Whether there is room for what is about to be written beside somebody who dies of a full disk.
//!
//! What is written is announced first, in bytes: it is compared with what is free, less a reserve, before the first of them.
//! And what is not to stay lies in a [`Scratch`], which is gone however the work ends.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::fs::{parent, remove_dir_if_there};
use crate::exit::{Exit, fault};
use crate::sys::terminal::table::bytes;

/// The most that is reserved: a database preallocates its log in pieces of this size.
const MOST_RESERVED: u64 = 64 << 20;
/// Which part of a file system is the most that is reserved on it.
const SHARE: u64 = 16;
/// What folders, names and the ends of files take beside the bytes that are announced for one folder.
const BESIDE: u64 = 64 << 10;

/// What must stay free beside what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Nothing: nobody else needs that room now.
    Nothing,
    /// As much as is written, but no more than a sixteenth of the file system, and than 64 MiB. So a small part is still
    /// written where little is left, and a large one takes nobody's room away.
    Reserve,
    /// So many bytes.
    Bytes(u64),
}

/// A file system's room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// All of it in bytes; 0 where it does not say that.
    pub size: u64,
    /// Bytes an unprivileged process may still write.
    pub free: u64,
}

impl Room {
    /// That of the file system of `path`, or of where it would be made.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn of(path: &Path) -> Result<Self> {
        let asked = nearest(path).map(|(there, _)| rustix::fs::statvfs(&there));
        let stat = asked.and_then(|stat| Ok(stat?));
        let stat = stat.with_context(|| format!("asking for the free space of {}", path.display()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Self { size: bytes(stat.f_blocks), free: bytes(stat.f_bavail) })
    }

    /// What stays free beside `wanted` bytes.
    fn left(self, wanted: u64, leave: Leave) -> u64 {
        match leave {
            Leave::Nothing => 0,
            Leave::Reserve => wanted.min(self.size / SHARE).min(MOST_RESERVED),
            Leave::Bytes(bytes) => bytes,
        }
    }

    /// How many bytes are missing for `wanted` to be written; 0: they fit. Where a file system does not say how large it is,
    /// what it says of its free room is nothing either, and whoever writes finds out.
    pub fn missing(self, wanted: u64, leave: Leave) -> u64 {
        match self.size {
            0 => 0,
            _ => wanted.saturating_add(self.left(wanted, leave)).saturating_sub(self.free),
        }
    }
}

/// Sees to it that so many bytes can be written below `dir`, which need not be there yet. `what` they are, for people.
///
/// # Errors
/// [`Exit::NoSpace`] if not; or that cannot be asked.
pub fn check(dir: &Path, bytes: u64, leave: Leave, what: &str) -> Result<()> {
    check_all(&[(dir, bytes)], leave, what)
}

/// The same of several folders: those on one file system share its room.
///
/// # Errors
/// As [`check`].
pub fn check_all(needs: &[(&Path, u64)], leave: Leave, what: &str) -> Result<()> {
    let mut of_devices = Vec::new();
    for (dir, bytes) in needs {
        let (_, device) =
            nearest(dir).with_context(|| format!("looking for the file system of {}", dir.display()))?;
        of_devices.push((device, *dir, bytes.saturating_add(BESIDE)));
    }
    for (_, dir, wanted) in together(of_devices) {
        let room = Room::of(dir)?;
        let missing = room.missing(wanted, leave);
        if missing > 0 {
            return Err(short(dir, room, wanted, room.left(wanted, leave), missing, what));
        }
    }
    Ok(())
}

/// What is wanted of each file system, with the first of its folders.
fn together(needs: Vec<(u64, &Path, u64)>) -> Vec<(u64, &Path, u64)> {
    let mut all: Vec<(u64, &Path, u64)> = Vec::new();
    for (device, dir, bytes) in needs {
        match all.iter_mut().find(|one| one.0 == device) {
            Some(one) => one.2 = one.2.saturating_add(bytes),
            None => all.push((device, dir, bytes)),
        }
    }
    all
}

fn short(dir: &Path, room: Room, wanted: u64, left: u64, missing: u64, what: &str) -> anyhow::Error {
    let others = if left > 0 { format!(", and {} stay free for others", bytes(left)) } else { String::new() };
    let what = format!(
        "there is no room in {}: {what} may need {}{others}; {} are free",
        dir.display(),
        bytes(wanted),
        bytes(room.free)
    );
    let hint = format!(
        "free at least {} there: `sudo /opt/bin/etcd2-backup clean` lists what restores and joins kept, \
         `df -h {}` the rest; nothing was changed",
        bytes(missing),
        dir.display()
    );
    fault(Exit::NoSpace, what, hint)
}

/// The path, or the nearest folder above it that is there, and its device.
///
/// # Errors
/// Something else than a folder is in the way, or it cannot be asked.
pub fn nearest(path: &Path) -> io::Result<(PathBuf, u64)> {
    let mut path = path.to_path_buf();
    loop {
        match fs::metadata(&path) {
            Ok(meta) => return Ok((path, meta.dev())),
            Err(e) if e.kind() != ErrorKind::NotFound || path == parent(&path) => return Err(e),
            Err(_) => path = parent(&path),
        }
    }
}

/// A folder for what is not to stay. It goes with this value, and what an earlier one left there is gone before.
#[derive(Debug)]
pub struct Scratch {
    dir: PathBuf,
    leave: Leave,
}

impl Scratch {
    /// One that nobody else uses. The folder itself is made by whoever writes into it.
    ///
    /// # Errors
    /// What an earlier one left cannot be removed.
    pub fn new(dir: PathBuf, leave: Leave) -> Result<Self> {
        let this = Self { dir, leave };
        this.empty().map(|()| this)
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What must stay free beside what is in it.
    pub fn leave(&self) -> Leave {
        self.leave
    }

    /// Removes all that is in it.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn empty(&self) -> Result<()> {
        remove_dir_if_there(&self.dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(e) = self.empty() {
            log::warn!("could not remove leftover files: {e:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::exit::{exit_of, hint_of};

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_is_missing_is_what_is_wanted_and_what_stays_free_less_what_is_free() {
        use Leave::{Bytes, Nothing, Reserve};
        for (size, free, wanted, leave, missing) in [
            // To the byte, where nobody else is there.
            (48 * MIB, 10, 10, Nothing, 0),
            (48 * MIB, 10, 11, Nothing, 1),
            (48 * MIB, 10, 0, Nothing, 0),
            // Little is wanted: as much again; else a sixteenth; else a piece of a log.
            (48 * MIB, 2 * MIB, MIB, Reserve, 0),
            (48 * MIB, 2 * MIB - 1, MIB, Reserve, 1),
            (48 * MIB, 33 * MIB, 30 * MIB, Reserve, 0),
            (48 * MIB, 18 * MIB, 30 * MIB, Reserve, 15 * MIB),
            (1 << 40, 94 * MIB, 30 * MIB, Reserve, 0),
            (1 << 40, 1064 * MIB, 1000 * MIB, Reserve, 0),
            (1 << 40, 1063 * MIB, 1000 * MIB, Reserve, MIB),
            (1 << 40, 250 * MIB, 60 * MIB, Bytes(192 * MIB), 2 * MIB),
            (48 * MIB, 0, 0, Reserve, 0),
            // It does not say how large it is; somebody announces more than there is in the world.
            (0, 0, MIB, Reserve, 0),
            (1 << 40, 1 << 39, u64::MAX, Reserve, u64::MAX - (1 << 39)),
        ] {
            let room = Room { size, free };
            assert_eq!(room.missing(wanted, leave), missing, "{room:?} {wanted} {leave:?}");
        }
    }

    fn any_leave() -> impl Strategy<Value = Leave> {
        prop_oneof![Just(Leave::Nothing), Just(Leave::Reserve), any::<u64>().prop_map(Leave::Bytes)]
    }

    proptest! {
        #[test]
        fn who_has_more_room_or_wants_less_is_never_refused_what_another_one_gets(
            size in 1..u64::MAX,
            (free, more) in any::<(u64, u64)>(),
            (wanted, less) in any::<(u64, u64)>(),
            leave in any_leave(),
        ) {
            let (room, larger) = (Room { size, free }, Room { size, free: free.max(more) });
            let missing = room.missing(wanted, leave);
            prop_assert!(larger.missing(wanted, leave) <= missing);
            prop_assert!(room.missing(wanted.min(less), leave) <= missing);
            prop_assert!(room.missing(wanted, Leave::Nothing) <= missing);
        }

        #[test]
        fn what_fits_leaves_its_reserve_and_nothing_that_fits_with_it_is_refused(
            size in 1..1_u64 << 50,
            free in 0..1_u64 << 50,
            wanted in 0..1_u64 << 50,
            leave in any_leave(),
        ) {
            let room = Room { size, free };
            let left = room.left(wanted, leave);
            let fits = u128::from(wanted) + u128::from(left) <= u128::from(free);
            prop_assert_eq!(room.missing(wanted, leave) == 0, fits);
            if leave == Leave::Reserve {
                prop_assert!(left <= wanted && left <= size / 16 && left <= 64 * MIB);
            }
        }
    }

    #[test]
    fn folders_on_one_file_system_share_its_room() {
        let path = Path::new;
        let needs = vec![(1, path("/a"), 10), (2, path("/b"), 5), (1, path("/c"), 20)];
        assert_eq!(together(needs), [(1, path("/a"), 30), (2, path("/b"), 5)]);
        let needs = vec![(1, path("/a"), u64::MAX), (1, path("/c"), 20)];
        assert_eq!(together(needs), [(1, path("/a"), u64::MAX)]);
    }

    #[test]
    fn a_real_file_system_is_asked_also_for_a_folder_that_is_not_there_yet() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("a/b/c");
        let room = Room::of(&absent).unwrap();
        assert!(room.size >= room.free && room.size == Room::of(dir.path()).unwrap().size, "{room:?}");
        check(&absent, 0, Leave::Nothing, "nothing").unwrap();
        let error = check(&absent, room.size, Leave::Nothing, "all of it").unwrap_err();
        assert_eq!(exit_of(&error), Exit::NoSpace);
        assert!(error.to_string().contains("all of it may need "), "{error:#}");
        assert!(hint_of(&error).unwrap().starts_with("free "), "{error:#}");
        // Half of it twice.
        let (one, half) = (dir.path().join("one"), room.size / 2);
        assert!(check_all(&[(&one, half), (&absent, half)], Leave::Nothing, "both").is_err());
        // Whatever cannot be asked has no answer.
        super::super::fs::write_atomic(&one, b"", 0o600).unwrap();
        let error = check(&one.join("below"), 0, Leave::Nothing, "nothing").unwrap_err();
        assert_eq!(exit_of(&error), Exit::Failed);
        assert!(!absent.exists() && !dir.path().join("a").exists());
    }

    #[test]
    fn a_scratch_is_empty_at_first_and_gone_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("scratch");
        let fill = || super::super::fs::create_dirs(&path.join("a/b"), 0o700).unwrap();
        fill();
        let scratch = Scratch::new(path.clone(), Leave::Reserve).unwrap();
        assert!(!path.exists());
        fill();
        drop(scratch);
        assert!(!path.exists());
    }
}
