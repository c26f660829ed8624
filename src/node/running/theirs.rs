//! The configuration file of a process, read where that process has it: in its container, if it is in one.
//!
//! Whoever runs a container says what lies in it, and this reads with root's rights. A link that leads to an absolute path is
//! followed from the root of the *reader*: so in another root than ours none is followed, in no folder on the way either.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{Mode, OFlags, open, openat};

use super::member::given;
use super::process::Process;
use crate::settings::UnitEnvironment;
use crate::settings::etcd_config::{self, ConfigFile, Problem};

/// What the configuration file of a process says; `None` if it was given none.
pub fn config_file(process: &Process) -> Option<ConfigFile> {
    let named = given(process).config_file()?.to_owned();
    let dir = Path::new("/proc").join(process.pid.to_string());
    let opened = whole(&dir, &named).and_then(|path| Ok((open_in(&dir.join("root"), &path)?, path)));
    Some(match opened {
        Ok((file, path)) => ConfigFile { path, values: etcd_config::read(&file) },
        Err(e) => ConfigFile { path: named, values: Err(Problem::unread(&e)) },
    })
}

/// What a process was given, with what its configuration file says.
pub fn environment(process: &Process) -> UnitEnvironment {
    UnitEnvironment { file: config_file(process), ..given(process) }
}

/// The whole path of what a process named.
fn whole(dir: &Path, named: &Path) -> Result<PathBuf> {
    if named.is_absolute() {
        return Ok(named.to_owned());
    }
    Ok(fs::read_link(dir.join("cwd")).context("its working directory")?.join(named))
}

/// Opens what `path` is in the root `root`.
fn open_in(root: &Path, path: &Path) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let inside = path.strip_prefix("/").context("its path is not absolute")?;
    if is_ours(root)? {
        return Ok(open(root.join(inside), flags, Mode::empty()).map_err(io::Error::from)?.into());
    }
    let mut at = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(io::Error::from)?;
    let mut names = inside.components().peekable();
    while let Some(name) = names.next() {
        let Component::Normal(name) = name else { bail!("its path has .. in it") };
        let flags = match names.peek() {
            Some(_) => OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            None => flags,
        };
        at = openat(&at, name, flags | OFlags::NOFOLLOW, Mode::empty()).map_err(io::Error::from)?;
    }
    Ok(at.into())
}

/// Whether a root is the one of this program.
pub(super) fn is_ours(root: &Path) -> io::Result<bool> {
    let (theirs, ours) = (fs::metadata(root)?, fs::metadata("/")?);
    Ok((theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs::write_atomic;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    #[test]
    fn in_another_root_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        fs::create_dir(&etc).unwrap();
        write_atomic(&etc.join("etcd.yml"), b"name: e1\n", 0o644).unwrap();
        symlink("etcd.yml", etc.join("link.yml")).unwrap();
        symlink("/etc", dir.path().join("abroad")).unwrap();
        let read = |root: &Path, path: &str| -> Result<String> {
            let mut text = String::new();
            open_in(root, Path::new(path))?.read_to_string(&mut text)?;
            Ok(text)
        };
        assert_eq!(read(dir.path(), "/etc/etcd.yml").unwrap(), "name: e1\n");
        for path in [
            "/etc/link.yml",
            "/abroad/hostname",
            "/abroad/passwd",
            "/etc/../etc/etcd.yml",
            "/none",
            "etc/etcd.yml",
        ] {
            assert!(read(dir.path(), path).is_err(), "{path}");
        }
        // In our own root a link is what it is for etcd.
        let link = etc.join("link.yml");
        assert_eq!(read(Path::new("/"), link.to_str().unwrap()).unwrap(), "name: e1\n");
        assert!(is_ours(Path::new("/proc/self/root")).unwrap() && !is_ours(dir.path()).unwrap());
    }
}
