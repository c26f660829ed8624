//! Placing files: only those that differ, each completely or not at all.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::payload::digest_of;
use super::plan::Placement;
use super::sums;
use crate::exit::{Exit, OrFault, fault};
use crate::paths::Root;
use crate::sys::fs::{create_dirs, parent, write_atomic_with};

/// What placing a file came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It was not there.
    New,
    /// It was there with another content, mode or owner.
    Replaced,
    /// It was there already, as it should be.
    Same,
}

/// Whether every file could be placed, as far as looking can tell. Changes nothing.
///
/// # Errors
/// [`Exit::Refused`]: something is in the way that is not ours to replace.
pub fn check(root: &Root, plan: &[Placement]) -> Result<()> {
    let top = root.join("/");
    let real_top = fs::canonicalize(&top).with_context(|| format!("looking up {}", top.display()))?;
    for placement in plan {
        if let Some(reason) = obstacle(&real_top, &root.join(&placement.target)) {
            let hint = "move it away and install again; no file has been changed";
            return Err(fault(Exit::Refused, format!("cannot place {}: {reason}", placement.target), hint));
        }
    }
    Ok(())
}

fn obstacle(real_top: &Path, target: &Path) -> Option<String> {
    if let Ok(found) = fs::symlink_metadata(target) {
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
    if !real.is_dir() {
        return Some(format!("{} is not a folder", folder.display()));
    }
    // An absolute link inside a tree means a place on the machine that holds the tree.
    let outside = !real.starts_with(real_top);
    outside.then(|| format!("{} leads out of the root, to {}", folder.display(), real.display()))
}

/// Places all files in order, and says of each what was done.
///
/// # Errors
/// One cannot be placed: the message says which are in place and which are not.
pub fn place_all(root: &Root, plan: &[Placement]) -> Result<Vec<Placed>> {
    let mut done = Vec::with_capacity(plan.len());
    for (n, placement) in plan.iter().enumerate() {
        let placed = place(root, placement).or_fault(
            Exit::Failed,
            format!("placing {} ({})", placement.target, halfway(&plan[..n], &plan[n..])),
            "remove the cause and install again: what is in place stays, the rest follows",
        )?;
        let word = match placed {
            Placed::New => "placed  ",
            Placed::Replaced => "replaced",
            Placed::Same => "same    ",
        };
        log::info!("{word} {}", placement.target);
        done.push(placed);
    }
    Ok(done)
}

fn halfway(placed: &[Placement], missing: &[Placement]) -> String {
    let list = |all: &[Placement]| match all {
        [] => "nothing".to_owned(),
        all => all.iter().map(|p| p.target.as_str()).collect::<Vec<_>>().join(" "),
    };
    format!("in place: {}; not placed: {}", list(placed), list(missing))
}

fn place(root: &Root, placement: &Placement) -> Result<Placed> {
    let target = root.join(&placement.target);
    let there = is_there(&target, placement).with_context(|| format!("reading {}", target.display()))?;
    if there == Some(true) {
        return Ok(Placed::Same);
    }
    create_dirs(&parent(&target), 0o755)?;
    write_atomic_with(&target, placement.mode, |file| copy_listed(placement, file))?;
    Ok(if there.is_some() { Placed::Replaced } else { Placed::New })
}

/// Whether the file is there (`Some`), and is what it should be.
fn is_there(target: &Path, placement: &Placement) -> io::Result<Option<bool>> {
    let found = match fs::symlink_metadata(target) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    // An old owner could read rclone.conf and write the program, whatever the mode.
    let ours = found.uid() == rustix::process::geteuid().as_raw();
    let same =
        ours && found.mode() & 0o7777 == placement.mode && digest_of(target)? == Some(placement.digest);
    Ok(Some(same))
}

/// Checked again while it is copied: the folder is not ours alone, and what was verified is what gets placed.
fn copy_listed(placement: &Placement, to: &mut File) -> io::Result<()> {
    let digest = sums::copy(File::open(&placement.source)?, to)?;
    if digest == placement.digest {
        return Ok(());
    }
    Err(io::Error::other(format!("{} changed after it was checked", placement.source.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{exit_of, hint_of};
    use crate::sys::fs::write_atomic;
    use std::os::unix::fs::symlink;

    struct Case {
        dir: tempfile::TempDir,
        root: Root,
    }

    impl Case {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let root = Root::new(dir.path().join("root"));
            create_dirs(&root.join("/"), 0o755).unwrap();
            Self { dir, root }
        }

        fn placement(&self, name: &str) -> Placement {
            let source = self.dir.path().join(name);
            write_atomic(&source, name.as_bytes(), 0o600).unwrap();
            let digest = digest_of(&source).unwrap().unwrap();
            Placement { source, digest, target: format!("/etc/{name}"), mode: 0o644 }
        }
    }

    #[test]
    fn a_file_is_placed_once_and_again_only_when_it_differs() {
        let case = Case::new();
        let p = case.placement("a");
        let target = case.root.join("/etc/a");
        assert_eq!(place(&case.root, &p).unwrap(), Placed::New);
        let inode = fs::metadata(&target).unwrap().ino();
        assert_eq!(place(&case.root, &p).unwrap(), Placed::Same);
        assert_eq!(fs::metadata(&target).unwrap().ino(), inode);
        assert_eq!(place(&case.root, &Placement { mode: 0o600, ..p.clone() }).unwrap(), Placed::Replaced);
        write_atomic(&target, b"other", 0o644).unwrap();
        assert_eq!(place(&case.root, &p).unwrap(), Placed::Replaced);
        assert_eq!(fs::read(&target).unwrap(), b"a");
    }

    #[test]
    fn a_failure_says_what_is_in_place_and_what_is_not() {
        let case = Case::new();
        let plan = ["a", "b", "c"].map(|n| case.placement(n));
        write_atomic(&plan[1].source, b"swapped", 0o600).unwrap();
        let error = place_all(&case.root, &plan).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.starts_with("placing /etc/b (in place: /etc/a; not placed: /etc/b /etc/c): "), "{text}");
        assert!(text.ends_with("changed after it was checked"), "{text}");
        assert_eq!(exit_of(&error), Exit::Failed);
        assert!(hint_of(&error).is_some());
        let names = fs::read_dir(case.root.join("/etc")).unwrap().count();
        assert_eq!(names, 1, "only a is there, and no temporary file");
    }

    #[test]
    fn what_is_in_the_way_is_found_before_anything_is_placed() {
        let case = Case::new();
        let plan = [case.placement("a"), case.placement("b")];
        check(&case.root, &plan).unwrap();
        assert!(!case.root.join("/etc").exists());
        let target = case.root.join("/etc/b");
        let refused = |reason: &str| {
            let error = check(&case.root, &plan).unwrap_err();
            assert_eq!(exit_of(&error), Exit::Refused);
            assert!(error.to_string().contains(reason), "{error}");
        };
        create_dirs(&target, 0o755).unwrap();
        refused("cannot place /etc/b: it is not a regular file");
        fs::remove_dir(&target).unwrap();
        symlink("/dev/null", &target).unwrap();
        refused("a symbolic link to /dev/null");
        fs::remove_dir_all(case.root.join("/etc")).unwrap();
        write_atomic(&case.root.join("/etc"), b"", 0o644).unwrap();
        refused("is not a folder");
        fs::remove_file(case.root.join("/etc")).unwrap();
        symlink(case.dir.path(), case.root.join("/etc")).unwrap();
        refused("leads out of the root");
        fs::remove_file(case.root.join("/etc")).unwrap();
        symlink("nowhere", case.root.join("/etc")).unwrap();
        refused("cannot be followed");
    }
}
