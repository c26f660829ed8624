//! Opens etcd's files, and nothing else under their names. The directory is etcd's, and whoever may write there must neither
//! make us read another file nor wait for one: a backup would send what it was shown.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::exit::{Exit, fault};

/// Opens a file that was there before.
///
/// # Errors
/// It is gone; else as [`open`].
pub fn reopen(path: &Path) -> Result<File> {
    open(path)?.with_context(|| format!("{} is gone", path.display()))
}

/// Opens a file for reading; `None` if it is not there. A link is not followed, and a pipe not waited for.
///
/// # Errors
/// [`Exit::Corrupt`] if it is no regular file; it cannot be opened.
pub fn open(path: &Path) -> Result<Option<File>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let code = |e: &std::io::Error| Errno::from_io_error(e);
    let file = match file {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) if code(&e) == Some(Errno::LOOP) => return Err(irregular(path, "a symbolic link")),
        Err(e) if code(&e) == Some(Errno::NXIO) => return Err(irregular(path, "a socket or a device")),
        file => file.with_context(|| format!("opening {}", path.display()))?,
    };
    let kind = file.metadata().with_context(|| format!("looking at {}", path.display()))?.file_type();
    if kind.is_file() {
        Ok(Some(file))
    } else if kind.is_dir() {
        Err(irregular(path, "a directory"))
    } else if kind.is_fifo() {
        Err(irregular(path, "a named pipe"))
    } else {
        Err(irregular(path, "a device"))
    }
}

fn irregular(path: &Path, kind: &str) -> anyhow::Error {
    let what = format!("{} is {kind}, not a regular file", path.display());
    fault(
        Exit::Corrupt,
        what,
        "etcd never creates one: find out who did, and put the file back or move this aside",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::exit_of;
    use crate::sys::fs::write_atomic;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_a_regular_file_is_opened_and_nothing_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        write_atomic(&path("file"), b"bytes", 0o600).unwrap();
        let mut read = String::new();
        open(&path("file")).unwrap().unwrap().read_to_string(&mut read).unwrap();
        assert_eq!(read, "bytes");
        assert!(open(&path("nothing")).unwrap().is_none());

        symlink(path("file"), path("link")).unwrap();
        symlink(path("nothing"), path("dangling")).unwrap();
        symlink("/dev/zero", path("device")).unwrap();
        std::fs::create_dir(path("dir")).unwrap();
        mknodat(CWD, path("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        for (name, kind) in [
            ("link", "a symbolic link"),
            ("dangling", "a symbolic link"),
            ("device", "a symbolic link"),
            ("dir", "a directory"),
            ("pipe", "a named pipe"),
            ("socket", "a socket or a device"),
        ] {
            let error = open(&path(name)).unwrap_err();
            assert_eq!(error.to_string(), format!("{} is {kind}, not a regular file", path(name).display()));
            assert_eq!(exit_of(&error), Exit::Corrupt, "{name}");
        }
        assert_eq!(
            open(Path::new("/dev/null")).unwrap_err().to_string(),
            "/dev/null is a device, not a regular file"
        );
        // The directory itself may be behind a link: /var/lib/etcd2 often is.
        symlink(dir.path(), path("way")).unwrap();
        assert!(open(&path("way/file")).unwrap().is_some());
    }
}
