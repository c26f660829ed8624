//! Looking at a path: it is there, it is not, or that could not be asked. What may not be looked at, or lies on a disk that
//! does not read, is never taken for what is not there.
//!
//! `Path::exists` and its like say no in all of these cases, so nothing that decides asks them: `tests/docs/asked.rs`.

use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::path::Path;

use anyhow::{Error, Result};

use crate::exit::{Exit, because};

/// What is at a path, where a link leads to; `None` if nothing is.
///
/// # Errors
/// It could not be asked.
pub fn at(path: &Path) -> Result<Option<Metadata>> {
    answer(fs::metadata(path)).map_err(|e| unseen("looking at", path, e))
}

/// The same of the name itself: a link is something, wherever it leads.
///
/// # Errors
/// It could not be asked.
pub fn at_name(path: &Path) -> Result<Option<Metadata>> {
    answer(fs::symlink_metadata(path)).map_err(|e| unseen("looking at", path, e))
}

/// Whether something is there.
///
/// # Errors
/// It could not be asked.
pub fn is_there(path: &Path) -> Result<bool> {
    at(path).map(|found| found.is_some())
}

/// Whether a folder is there.
///
/// # Errors
/// It could not be asked.
pub fn is_dir(path: &Path) -> Result<bool> {
    at(path).map(|found| found.is_some_and(|m| m.is_dir()))
}

/// Whether a regular file is there.
///
/// # Errors
/// It could not be asked.
pub fn is_file(path: &Path) -> Result<bool> {
    at(path).map(|found| found.is_some_and(|m| m.is_file()))
}

/// What is in a folder, in any order.
///
/// # Errors
/// It is not there ([`is_absence`]), or could not be listed.
pub fn list(dir: &Path) -> Result<Vec<DirEntry>> {
    let entries = fs::read_dir(dir).and_then(Iterator::collect);
    entries.map_err(|e| unseen("listing", dir, e))
}

/// The same; `None` if there is no such folder.
///
/// # Errors
/// It could not be listed.
pub fn list_if_there(dir: &Path) -> Result<Option<Vec<DirEntry>>> {
    if_there(list(dir))
}

/// The bytes of a file; `None` if it is not there.
///
/// # Errors
/// It could not be read.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    answer(fs::read(path)).map_err(|e| unseen("reading", path, e))
}

/// `None` for what fails since something is not there.
///
/// # Errors
/// Any other one.
pub fn if_there<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Err(e) if is_absence(&e) => Ok(None),
        found => found.map(Some),
    }
}

/// Whether an error is that something is not there.
pub fn is_absence(error: &Error) -> bool {
    error.chain().filter_map(|e| e.downcast_ref::<io::Error>()).any(says_no)
}

/// Whether an error is the system's: it says nothing of what was looked for, neither that it is not there nor that it is
/// damaged.
pub fn is_unread(error: &Error) -> bool {
    let systems = |e: &io::Error| e.raw_os_error().is_some() && !says_no(e);
    error.chain().filter_map(|e| e.downcast_ref::<io::Error>()).any(systems)
}

/// A file where a folder should be: then what should be in it is not there either.
fn says_no(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn answer<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(e) if says_no(&e) => Ok(None),
        found => found.map(Some),
    }
}

fn unseen(doing: &str, path: &Path, error: io::Error) -> Error {
    let what = format!("{doing} {}", path.display());
    let hint = match error.kind() {
        _ if says_no(&error) => return Error::new(error).context(what),
        io::ErrorKind::PermissionDenied => "this user may not see what is there: run this as root (sudo)",
        _ => "it is not known what is there: check the disk (journalctl -k), then run this again",
    };
    because(error, Exit::Failed, what, hint)
}

/// Makes an error of the system that is not ours to keep into one that is.
pub fn copied(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{exit_of, hint_of};
    use crate::sys::fs::write_atomic;
    use std::os::unix::fs::symlink;

    #[test]
    fn there_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("folder")).unwrap();
        write_atomic(&path("file"), b"x", 0o600).unwrap();
        symlink(path("folder"), path("link")).unwrap();
        symlink(path("nothing"), path("dangling")).unwrap();
        for (name, there, is_folder, is_regular, named) in [
            ("folder", true, true, false, true),
            ("file", true, false, true, true),
            ("link", true, true, false, true),
            ("dangling", false, false, false, true),
            ("nothing", false, false, false, false),
            // A file where a folder should be.
            ("file/x", false, false, false, false),
            ("nothing/x", false, false, false, false),
        ] {
            let path = path(name);
            let found = (is_there(&path).unwrap(), is_dir(&path).unwrap(), is_file(&path).unwrap());
            assert_eq!(found, (there, is_folder, is_regular), "{name}");
            assert_eq!(at_name(&path).unwrap().is_some(), named, "{name}");
            assert_eq!(list_if_there(&path).unwrap().is_some(), is_folder, "{name}");
        }
        assert_eq!(read_if_there(&path("file")).unwrap().as_deref(), Some(&b"x"[..]));
        assert_eq!(read_if_there(&path("file/x")).unwrap(), None);
        assert_eq!(list(dir.path()).unwrap().len(), 4);
        let error = list(&path("nothing")).unwrap_err();
        assert!(is_absence(&error) && !is_unread(&error), "{error:#}");
    }

    /// Links that lead to each other cannot be followed: like a right that is missing, this says nothing of what is there.
    /// Root, who runs the tests in CI, has every right.
    #[test]
    fn what_cannot_be_asked_is_neither() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        symlink(dir.path().join("b"), &path).unwrap();
        symlink(&path, dir.path().join("b")).unwrap();
        let errors = [
            is_there(&path).err(),
            is_dir(&path).err(),
            is_file(&path.join("x")).err(),
            at_name(&path.join("x")).err(),
            list_if_there(&path).err(),
            read_if_there(&path).err(),
        ];
        for error in errors {
            let error = error.unwrap();
            assert!(is_unread(&error) && !is_absence(&error), "{error:#}");
            assert!(format!("{error:#}").contains(path.to_str().unwrap()), "{error:#}");
            assert!(exit_of(&error) == Exit::Failed && hint_of(&error).is_some(), "{error:#}");
        }
    }

    #[test]
    fn each_of_the_systems_errors_is_told_apart() {
        use io::ErrorKind::{
            Interrupted, InvalidData, NotADirectory, NotFound, PermissionDenied, UnexpectedEof,
        };
        let denied = unseen("listing", Path::new("/x"), io::Error::from_raw_os_error(13));
        assert!(hint_of(&denied).unwrap().contains("run this as root"));
        let broken = unseen("listing", Path::new("/x"), io::Error::from_raw_os_error(5));
        assert!(hint_of(&broken).unwrap().contains("check the disk"));
        // ENOENT, ENOTDIR, EACCES, EIO, ESTALE, ETIMEDOUT, ENOMEM, EMFILE.
        for (code, absent) in [
            (2, true),
            (20, true),
            (13, false),
            (5, false),
            (116, false),
            (110, false),
            (12, false),
            (24, false),
        ] {
            let error = Error::new(io::Error::from_raw_os_error(code)).context("reading it").context("all");
            assert_eq!((is_absence(&error), is_unread(&error)), (absent, !absent), "{code}");
            assert_eq!(copied(&io::Error::from_raw_os_error(code)).raw_os_error(), Some(code));
        }
        // What a parser says of bytes that it has is an answer.
        for kind in [InvalidData, UnexpectedEof] {
            assert!(!is_unread(&Error::new(io::Error::new(kind, "bad bytes"))), "{kind}");
        }
        assert!(says_no(&NotFound.into()) && says_no(&NotADirectory.into()));
        assert!(!says_no(&PermissionDenied.into()) && !says_no(&Interrupted.into()));
    }
}
