//! The file that a copy is written to. It goes with this value unless it is kept.

use std::fs::{File, OpenOptions, Permissions};
use std::num::NonZeroU64;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{Advice, fadvise};

use crate::etcd::bolt::sum;
use crate::sys::fs::{create_private, remove_if_there, sync_dir};
use crate::sys::room::{self, Leave};

/// What etcdctl calls it until it has all of it.
const BEGUN: &str = "db.part";
/// 32 MB/s: what the disks of small machines take beside what etcd writes.
const WRITTEN_BACK: NonZeroU64 = NonZeroU64::new(1 << 20).unwrap();
const PAUSE: Duration = Duration::from_millis(32);

/// See the module.
#[derive(Debug)]
pub(super) struct Target {
    folder: PathBuf,
    /// About how long it becomes.
    size: u64,
    kept: bool,
}

impl Target {
    /// `db` in this folder. What an earlier attempt left there is gone.
    pub(super) fn new(folder: &Path, size: u64) -> Result<Self> {
        let this = Self { folder: folder.to_owned(), size, kept: false };
        this.remove().map(|()| this)
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.join("db")
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Refuses if there is no room for it. What etcd writes meanwhile makes it longer, but not by much.
    pub(super) fn refuse_if_no_room(&self) -> Result<()> {
        let bytes = self.size.saturating_add(self.size / 16);
        room::check(&self.folder, bytes, Leave::Reserve, "the copy of etcd's v3 store")
    }

    /// An empty file, for its owner alone.
    pub(super) fn create(&self) -> Result<File> {
        let path = self.path();
        create_private(&path).with_context(|| format!("creating {}", path.display()))
    }

    /// Makes durable what was written, a little at a time. If the disk were given the whole file at once, every other sync on it would
    /// wait for that, and etcd syncs for each write.
    pub(super) fn write_back(&self, file: &File) -> Result<()> {
        let length = file.metadata()?.len();
        let mut at = 0;
        while at < length {
            // For a range that is not on the disk yet this means: begin to write it.
            fadvise(file, at, Some(WRITTEN_BACK), Advice::DontNeed)?;
            at += WRITTEN_BACK.get();
            thread::sleep(PAUSE);
        }
        self.sync(file)
    }

    /// Makes it durable.
    pub(super) fn sync(&self, file: &File) -> Result<()> {
        let sync = || file.sync_all().and_then(|()| sync_dir(&self.folder));
        sync().with_context(|| format!("syncing {}", self.path().display()))
    }

    /// What etcd sent ends with the SHA-256 of the rest: that is compared, and cut off.
    pub(super) fn end_of_snapshot(&self) -> Result<()> {
        let path = self.path();
        let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        let length = file.metadata()?.len();
        match sum::check(&mut file)? {
            Some(true) => {}
            Some(false) => anyhow::bail!("what etcd sent is not what its SHA-256 says"),
            None => anyhow::bail!("what etcd sent is not whole: {length} bytes do not end with a SHA-256"),
        }
        file.set_len(sum::content_length(length)).with_context(|| format!("cutting {}", path.display()))?;
        ensure!(!sum::has_sum(file.metadata()?.len()), "{} still has its sum", path.display());
        self.write_back(&file)
    }

    /// It stays.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }

    fn remove(&self) -> Result<()> {
        remove_if_there(&self.path())?;
        remove_if_there(&self.folder.join(BEGUN))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.kept
            && let Err(e) = self.remove()
        {
            log::warn!("could not remove a copy that is of no use: {e:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::exit::{Exit, exit_of};

    #[test]
    fn what_etcd_sent_loses_its_sum_if_that_is_right() {
        let dir = tempfile::tempdir().unwrap();
        let db = vec![7; 8192];
        let summed = [&db[..], &Sha256::digest(&db)].concat();
        let end = |bytes: &[u8]| {
            let target = Target::new(dir.path(), 0).unwrap();
            target.create().unwrap().write_all(bytes).unwrap();
            let ended = target.end_of_snapshot().map(|()| std::fs::read(target.path()).unwrap());
            drop(target);
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
            ended
        };
        assert_eq!(end(&summed).unwrap(), db);
        let mut flipped = summed.clone();
        flipped[5000] ^= 1;
        for (bytes, said) in [
            (&flipped[..], "not what its SHA-256 says"),
            (&summed[512..], "not what its SHA-256 says"),
            (&summed[..summed.len() - 1], "not whole: 8223 bytes"),
            (&db, "not whole: 8192 bytes"),
            (b"", "not whole: 0 bytes"),
        ] {
            let error = end(bytes).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_copy_for_which_there_is_no_room_is_not_begun() {
        let dir = tempfile::tempdir().unwrap();
        let error = Target::new(dir.path(), 1 << 60).unwrap().refuse_if_no_room().unwrap_err();
        assert_eq!(exit_of(&error), Exit::NoSpace);
        Target::new(dir.path(), 0).unwrap().refuse_if_no_room().unwrap();
    }
}
