//! Reading what an operator wrote: regular files, of a size that makes sense, inside the folder they were said to be in.

use std::fmt;
use std::fs::{self, File, FileType};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use etcd2_backup::exit::{Exit, OrFault};

use super::validate::refuse;

/// The most a file may hold, and why nothing longer can be meant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    /// In bytes.
    pub(crate) bytes: u64,
    /// What is known of such files.
    pub(crate) why: &'static str,
}

/// The settings of a site, or a unit or drop-in that is imported.
pub(crate) const TEXT: Limit = Limit { bytes: 64 << 10, why: "such a file has a few kilobytes" };
/// rclone.conf: a remote takes some hundred bytes, a service account's key in it some thousand.
pub(crate) const CONF: Limit =
    Limit { bytes: 256 << 10, why: "an rclone.conf has some hundred bytes for each remote" };
/// rclone itself, or another program for the tarball.
pub(crate) const PROGRAM: Limit = Limit {
    bytes: 256 << 20,
    why: "rclone has about 60 MB, a node program 2 MB, and the tarball goes to every node",
};

/// A file's content; too long or too secret to be shown.
pub(crate) struct Content(pub(crate) Vec<u8>);

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

/// The file `name` of the folder `dir`, which it may not leave by a symbolic link. `missing` is the hint if there is none.
///
/// A name that is absolute or has `..` in it says openly where it leads; then only the file itself is looked at.
pub(crate) fn read(dir: &Path, name: &Path, limit: Limit, missing: &str) -> Result<Vec<u8>> {
    let path = dir.join(name);
    let shown = path.display();
    let meta = match fs::metadata(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
            return Err(refuse(format!("{shown} is a symbolic link that leads nowhere"), missing));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(refuse(format!("there is no {shown}"), missing));
        }
        other => other.or_fault(Exit::Settings, format!("looking at {shown}"), missing)?,
    };
    if name.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        check_inside(dir, &path)?;
    }
    // Before it is opened: opening a pipe waits for whoever writes into it.
    if !meta.is_file() {
        let what = format!("{shown} is {}, not a file", kind(meta.file_type()));
        return Err(refuse(what, "put the file itself there"));
    }
    let too_long = |bytes: u64| {
        let what = format!("{shown} has {bytes} bytes, more than {}: {}", limit.bytes, limit.why);
        refuse(what, "look at what is in it")
    };
    if meta.len() > limit.bytes {
        return Err(too_long(meta.len()));
    }
    let mut bytes = Vec::new();
    let hint = "look at its owner and its mode";
    let file = File::open(&path).or_fault(Exit::Settings, format!("reading {shown}"), hint)?;
    let read = file.take(limit.bytes + 1).read_to_end(&mut bytes);
    read.or_fault(Exit::Settings, format!("reading {shown}"), hint)?;
    // Files of /proc have no length until they are read.
    if bytes.len() as u64 > limit.bytes {
        return Err(too_long(bytes.len() as u64));
    }
    Ok(bytes)
}

/// The same, as text.
pub(crate) fn read_text(dir: &Path, name: &Path, limit: Limit, missing: &str) -> Result<String> {
    let bytes = read(dir, name, limit, missing)?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let line = e.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1;
        let what = format!("{} is not UTF-8: line {line}, byte {at}", dir.join(name).display());
        refuse(what, "save it as UTF-8")
    })
}

/// Refuses what a symbolic link leads out of the folder: whoever looks through the folder does not see it.
pub(crate) fn check_inside(dir: &Path, path: &Path) -> Result<()> {
    let real = |p: &Path| -> Result<PathBuf> {
        p.canonicalize().with_context(|| format!("following {}", p.display()))
    };
    let (home, target) = (real(dir)?, real(path)?);
    if target.starts_with(&home) {
        return Ok(());
    }
    let what = format!("{} is a symbolic link out of its folder, to {}", path.display(), target.display());
    Err(refuse(what, format!("copy the file into {}", dir.display())))
}

/// What lies there instead of a file.
fn kind(kind: FileType) -> &'static str {
    match () {
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    }
}
