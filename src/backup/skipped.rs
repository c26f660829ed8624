//! Why the timer's last rehearsal did not run, in `ETCD_BACKUP_DIR/rehearse-skipped.json`. It is there only as long as that is so.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::paths;
use crate::sys::fs::{remove_if_there, write_atomic};
use crate::sys::{look, summed, time};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Version of this form.
    pub format: u32,
    /// When it was first skipped for that reason, as RFC 3339.
    pub time: String,
    /// The reason, one line.
    pub why: String,
}

impl Skipped {
    /// What is noted. What cannot be read is noted anew by the next one.
    pub fn load(backup_dir: &Path) -> Option<Self> {
        let text = look::read_if_there(&paths::rehearse_skipped(backup_dir)).ok()??;
        summed::from_slice(&text).ok()
    }

    /// Notes that one was skipped at `now`, and whether that is another reason than the last time: numbers in it do not count, as
    /// free room differs each time.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn note(backup_dir: &Path, why: String, now: u64) -> Result<bool> {
        let words = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
        let is_known = Self::load(backup_dir).is_some_and(|last| words(&last.why) == words(&why));
        if !is_known {
            let skipped = Self { format: 1, time: time::rfc3339(now), why };
            write_atomic(&paths::rehearse_skipped(backup_dir), &summed::to_vec(&skipped)?, 0o600)?;
        }
        Ok(!is_known)
    }

    /// One was not skipped.
    ///
    /// # Errors
    /// The note cannot be removed.
    pub fn forget(backup_dir: &Path) -> Result<()> {
        remove_if_there(&paths::rehearse_skipped(backup_dir))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_new_once_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let note = |why: &str, now| Skipped::note(dir.path(), why.into(), now).unwrap();
        Skipped::forget(dir.path()).unwrap();
        assert_eq!(Skipped::load(dir.path()), None);
        assert!(note("there is no room: 100 bytes", 1));
        assert!(!note("there is no room: 2000 bytes", 2));
        let want = Skipped {
            format: 1,
            time: "1970-01-01T00:00:01Z".into(),
            why: "there is no room: 100 bytes".into(),
        };
        assert_eq!(Skipped::load(dir.path()), Some(want));
        assert!(note("there is no etcd", 3));
        Skipped::forget(dir.path()).unwrap();
        assert!(note("there is no etcd", 4));
        write_atomic(&paths::rehearse_skipped(dir.path()), b"{", 0o600).unwrap();
        assert_eq!(Skipped::load(dir.path()), None);
    }
}
