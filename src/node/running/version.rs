//! What etcd's program says of its version. It is run with `--version`, which changes nothing.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use super::program::Program;
use crate::sys::command::CommandRunExt;
use crate::sys::container::Image;

/// What needs longer to say its version does not run.
const LIMIT: Duration = Duration::from_secs(30);

/// A version of etcd: major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// Reads `3.5.16`, also with something behind it (`3.6.0-rc.1`).
    pub fn parse(text: &str) -> Option<Self> {
        let numbers = text.trim().split(['-', '+']).next()?;
        let mut numbers = numbers.splitn(3, '.').map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self(next()?, next()?, next()?))
    }

    /// Its first two numbers: etcd starts on what another patch wrote.
    pub fn minor(self) -> (u32, u32) {
        (self.0, self.1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The version of a program or image; `None` where it cannot be told without running a script or downloading an image.
///
/// # Errors
/// It is not there, does not run, or the engine cannot be asked.
pub fn of(program: &Program) -> Result<Option<Version>> {
    match program {
        Program::Here(path) => of_program(path),
        Program::In(image) => of_image(image),
    }
}

/// What a program of this node says; `None` if it is a script, or says no version of etcd.
///
/// # Errors
/// It is not there, or does not run.
pub fn of_program(path: &Path) -> Result<Option<Version>> {
    let mut start = [0; 4];
    if let Err(e) = File::open(path).and_then(|mut file| file.read_exact(&mut start)) {
        bail!("etcd's program {}: {e}", path.display());
    }
    if start != *b"\x7fELF" {
        return Ok(None);
    }
    let mut version = Command::new(path);
    // Variables of etcd's would be read as its settings.
    version.arg("--version").env_clear();
    match version.run_ok(LIMIT) {
        Ok(output) => Ok(said(&output.text())),
        Err(e) => bail!("etcd does not run on this node: {e:#}"),
    }
}

/// What the etcd in an image says; `None` if that would have to be downloaded.
///
/// # Errors
/// The engine cannot be asked, or cannot run it.
pub fn of_image(image: &Image) -> Result<Option<Version>> {
    if !image.is_here()? {
        return Ok(None);
    }
    Ok(said(&image.run(&[]).arg("--version").run_ok(LIMIT)?.text()))
}

fn said(text: &str) -> Option<Version> {
    text.lines().find_map(|line| Version::parse(line.strip_prefix("etcd Version: ")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared_by_number() {
        let text = "etcd Version: 3.5.16\nGit SHA: 3.4.5\nGo Version: go1.2.3\n";
        assert_eq!(said(text), Some(Version(3, 5, 16)));
        assert_eq!(said("true (GNU coreutils) 9.1\n"), None);
        for (text, version) in [
            ("2.10.3", Some(Version(2, 10, 3))),
            ("3.6.0-rc.1", Some(Version(3, 6, 0))),
            ("3.5.1+git", Some(Version(3, 5, 1))),
            ("3.5", None),
            ("not_decided", None),
            ("", None),
        ] {
            assert_eq!(Version::parse(text), version, "{text}");
        }
        assert!(Version(3, 10, 0) > Version(3, 9, 9));
        assert_eq!((Version(3, 5, 1).to_string(), Version(3, 5, 1).minor()), ("3.5.1".into(), (3, 5)));
    }
}
