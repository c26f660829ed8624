//! Files that are there completely or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::look;

/// Writes `path` through a temporary file in the same folder: write, sync, rename, sync the folder.
///
/// # Errors
/// Any of these steps fails; then `path` is as it was.
pub fn write_atomic(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    write_atomic_with(path, mode, |file| file.write_all(content))
}

/// Removes what killed processes left of their attempts at this file: it may be a copy of secrets.
pub fn sweep(path: &Path) {
    let (dir, name) = (parent(path), path.file_name().unwrap_or_default().to_string_lossy());
    let prefix = format!(".{name}.tmp");
    // The new file is there; that something old is as well does no harm but to tidiness.
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let other = entry.file_name();
        let pid = other.to_str().and_then(|n| n.strip_prefix(&prefix)?.parse().ok());
        if pid.is_some_and(|pid| !may_still_write(pid)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether this is a process of our program. After a reboot another one may have the number.
fn may_still_write(pid: u32) -> bool {
    let name = |pid: u32| fs::read(format!("/proc/{pid}/comm")).ok();
    let own = name(std::process::id());
    own.is_none() || name(pid) == own
}

/// As [`write_atomic`], for content that is better not held in memory: `fill` writes it.
///
/// # Errors
/// As above, and what `fill` says; then `path` is as it was.
pub fn write_atomic_with(
    path: &Path,
    mode: u32,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<()> {
    let dir = parent(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = dir.join(format!(".{name}.tmp{}", std::process::id()));
    let write = || -> io::Result<()> {
        // A leftover of a process that had our number before a reboot.
        remove_old(&temporary)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        // The umask must not decide.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        fill(&mut file)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sweep(path);
        sync_dir(&dir)
    };
    write()
        .or_else(|e| remove_old(&temporary).and(Err(e)))
        .with_context(|| format!("writing {}", path.display()))
}

/// Creates a file that must not exist yet, for its owner alone.
///
/// # Errors
/// It exists, or cannot be created.
pub fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Makes the names in a folder durable.
///
/// # Errors
/// The folder cannot be opened or synced.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The folder a path is in; `.` for a bare name.
pub fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Creates a folder and its parents durably, all with `mode` when new, whatever the umask.
///
/// # Errors
/// A parent cannot be created.
pub fn create_dirs(dir: &Path, mode: u32) -> Result<()> {
    if look::is_dir(dir)? {
        return Ok(());
    }
    let above = parent(dir);
    create_dirs(&above, mode)?;
    let create = || -> Result<()> {
        match fs::DirBuilder::new().mode(mode).create(dir) {
            // Somebody else was faster.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && look::is_dir(dir)? => return Ok(()),
            other => other?,
        }
        fs::set_permissions(dir, fs::Permissions::from_mode(mode))?;
        Ok(sync_dir(&above)?)
    };
    create().with_context(|| format!("creating {}", dir.display()))
}

/// Removes a file; one that is not there is fine.
///
/// # Errors
/// It is there and cannot be removed.
pub fn remove_if_there(path: &Path) -> Result<()> {
    remove_old(path).with_context(|| format!("removing {}", path.display()))
}

fn remove_old(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Removes a folder with all that is in it; one that is not there is fine.
///
/// # Errors
/// It is there and cannot be removed.
pub fn remove_dir_if_there(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Whether a folder lies on another file system than its parent, so that it cannot be renamed.
///
/// # Errors
/// It could not be asked.
pub fn is_mount_point(dir: &Path) -> Result<bool> {
    let (own, above) = (look::at(dir)?, look::at(&parent(dir))?);
    Ok(own.zip(above).is_some_and(|(own, above)| own.dev() != above.dev()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_atomic_replaces_and_sets_the_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write_atomic(&path, b"one", 0o644).unwrap();
        write_atomic(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn write_atomic_removes_what_killed_processes_left_of_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        // No process has a number above 2^22; number 1 is another program; the others are not of this file.
        for name in [".x.tmp4194305", ".x.tmp1", ".x.tmpfs", ".xx.tmp4194305"] {
            File::create(dir.path().join(name)).unwrap();
        }
        write_atomic(&dir.path().join("x"), b"one", 0o600).unwrap();
        let mut left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, [".x.tmpfs", ".xx.tmp4194305", "x"]);
        assert!(may_still_write(std::process::id()));
    }

    #[test]
    fn write_atomic_leaves_nothing_behind_when_it_fails() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::create_dir(&path).unwrap();
        assert!(write_atomic(&path, b"one", 0o644).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_fill_that_fails_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write_atomic(&path, b"one", 0o644).unwrap();
        let half = |file: &mut File| file.write_all(b"tw").and_then(|()| Err(io::Error::other("broken")));
        assert!(write_atomic_with(&path, 0o644, half).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn new_folders_have_the_mode_and_old_ones_keep_theirs() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().mode() & 0o7777;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        // No umask leaves the group's write bit in: only a mode set afterwards does.
        create_dirs(&dir.path().join("a/b"), 0o777).unwrap();
        create_dirs(&dir.path().join("a/b/c"), 0o755).unwrap();
        let modes = ["", "a", "a/b", "a/b/c"].map(|p| mode(&dir.path().join(p)));
        assert_eq!(modes, [0o700, 0o777, 0o777, 0o755]);
        write_atomic(&dir.path().join("file"), b"", 0o644).unwrap();
        assert!(create_dirs(&dir.path().join("file/x"), 0o755).is_err());
    }
}
