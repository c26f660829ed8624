//! What lies on the node where a file of ours goes.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::{fs, io};

use anyhow::{Context, Result};

use super::payload::digest_of;
use super::sums::Digest;
use crate::sys::fs::parent;
use crate::sys::look as look_at;
use crate::sys::root::Root;

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A regular file.
    File {
        /// Its checksum.
        digest: Digest,
        /// Its permissions.
        mode: u32,
        /// Its user.
        owner: u32,
    },
    /// A link, a folder, a pipe.
    Other,
}

/// Looks at a path without following a link.
///
/// # Errors
/// It is there and cannot be read.
pub fn look(path: &Path) -> Result<Found> {
    let look = || -> io::Result<Found> {
        let meta = match fs::symlink_metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            // A file where a folder should be: then this is not there either, and the folder is in the way.
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => return Ok(Found::Nothing),
            meta => meta?,
        };
        Ok(digest_of(path)?.map_or(Found::Other, |digest| Found::File {
            digest,
            mode: meta.mode() & 0o7777,
            owner: meta.uid(),
        }))
    };
    look().with_context(|| format!("reading {}", path.display()))
}

/// Whose our files are. An old owner could read rclone.conf and write the program, whatever the mode.
pub fn our_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Why no file can be placed at a path of the node, as far as looking can tell.
///
/// # Errors
/// The root itself cannot be looked up.
pub fn obstacle(root: &Root, target: &str) -> Result<Option<String>> {
    let top = root.join("/");
    let real_top = fs::canonicalize(&top).with_context(|| format!("looking up {}", top.display()))?;
    Ok(in_the_way(&real_top, &root.join(target)))
}

/// Whether a folder that is there is one of the root's, wherever links lead.
pub fn is_inside(root: &Root, folder: &Path) -> bool {
    let real_top = fs::canonicalize(root.join("/"));
    fs::canonicalize(folder).is_ok_and(|real| real_top.is_ok_and(|top| real.starts_with(top)))
}

fn in_the_way(real_top: &Path, target: &Path) -> Option<String> {
    let found = match look_at::at_name(target) {
        Ok(found) => found,
        Err(e) => return Some(format!("{e:#}")),
    };
    if let Some(found) = found {
        if found.is_symlink() {
            // Most likely `systemctl mask`: somebody does not want this unit.
            let to = fs::read_link(target).unwrap_or_default();
            return Some(format!("it is a symbolic link to {}", to.display()));
        }
        if !found.is_file() {
            return Some("it is not a regular file".to_owned());
        }
    }
    let mut folder = parent(target);
    while fs::symlink_metadata(&folder).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        folder = parent(&folder);
    }
    let real = match fs::canonicalize(&folder) {
        Ok(real) => real,
        Err(e) => return Some(format!("{} cannot be followed: {e}", folder.display())),
    };
    match look_at::is_dir(&real) {
        Ok(true) => {}
        Ok(false) => return Some(format!("{} is not a directory", folder.display())),
        Err(e) => return Some(format!("{e:#}")),
    }
    // An absolute link inside a tree means a place on the machine that holds the tree.
    let outside = !real.starts_with(real_top);
    outside.then(|| format!("{} leads out of the root, to {}", folder.display(), real.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs::{create_dirs, write_atomic};
    use std::os::unix::fs::symlink;

    #[test]
    fn files_and_nothing_else_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        assert_eq!(look(&path).unwrap(), Found::Nothing);
        write_atomic(&path, b"a", 0o640).unwrap();
        let digest = super::super::sums::of_bytes(b"a");
        assert_eq!(look(&path).unwrap(), Found::File { digest, mode: 0o640, owner: our_user() });
        assert_eq!(look(&path.join("y")).unwrap(), Found::Nothing);
        assert_eq!(look(dir.path()).unwrap(), Found::Other);
        symlink(&path, dir.path().join("link")).unwrap();
        assert_eq!(look(&dir.path().join("link")).unwrap(), Found::Other);
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path().join("root"));
        create_dirs(&root.join("/"), 0o755).unwrap();
        let target = root.join("/etc/b");
        let reason = || obstacle(&root, "/etc/b").unwrap().unwrap_or_default();
        assert_eq!(reason(), "");
        write_atomic(&dir.path().join("outside"), b"", 0o644).unwrap();
        create_dirs(&target, 0o755).unwrap();
        assert_eq!(reason(), "it is not a regular file");
        fs::remove_dir(&target).unwrap();
        symlink("/dev/null", &target).unwrap();
        assert_eq!(reason(), "it is a symbolic link to /dev/null");
        fs::remove_dir_all(root.join("/etc")).unwrap();
        write_atomic(&root.join("/etc"), b"", 0o644).unwrap();
        assert!(reason().ends_with("is not a directory"), "{}", reason());
        fs::remove_file(root.join("/etc")).unwrap();
        symlink(dir.path(), root.join("/etc")).unwrap();
        assert!(reason().contains("leads out of the root"), "{}", reason());
        fs::remove_file(root.join("/etc")).unwrap();
        symlink("nowhere", root.join("/etc")).unwrap();
        assert!(reason().contains("cannot be followed"), "{}", reason());
    }
}
