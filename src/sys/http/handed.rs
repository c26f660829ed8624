//! Bytes for curl and from it, in a file that has no name and lies on no disk: a body of gRPC holds zeros, which curl's
//! configuration cannot, and passwords; its headers must not stand among the bytes of an answer.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result};
use rustix::fs::{MemfdFlags, memfd_create};

/// Such a file.
#[derive(Debug)]
pub(super) struct Handed(File);

impl Handed {
    /// One that holds this.
    pub(super) fn new(content: &[u8]) -> Result<Self> {
        // Open in every program that is started while it exists, of which all are ours; curl alone is told its number.
        let file = memfd_create("etcd2-backup", MemfdFlags::empty()).context("making a file in memory")?;
        let mut file = File::from(file);
        file.write_all(content).context("writing to a file in memory")?;
        Ok(Self(file))
    }

    /// How a program opens it that is started from here.
    pub(super) fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }

    /// What it holds now, up to so many bytes.
    pub(super) fn read(mut self, most: u64) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        self.0.seek(SeekFrom::Start(0))?;
        self.0.take(most).read_to_end(&mut content).context("reading a file in memory")?;
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;
    use crate::sys::command::CommandRunExt as _;

    #[test]
    fn a_child_reads_what_it_is_handed_and_writes_what_is_read() {
        let (given, taken) = (Handed::new(b"a\0b").unwrap(), Handed::new(b"what is replaced").unwrap());
        let script = format!("cat {} >{}", given.path(), taken.path());
        Command::new("/bin/sh").args(["-c", &script]).run_ok(Duration::from_secs(60)).unwrap();
        assert_eq!(taken.read(100).unwrap(), b"a\0b");
        assert_eq!(given.read(2).unwrap(), b"a\0");
    }
}
