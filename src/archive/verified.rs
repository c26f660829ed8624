//! What was read again from the remote and found to be whole, in `ETCD_BACKUP_DIR/verified.json`. Where it is not there, nothing
//! was verified. Where it is damaged, it may have said of a generation that it is: then the shares start over, and until they
//! are through nobody can say which generation has to be kept for another one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::names::GenerationName;
use crate::exit::{Exit, fault};
use crate::sys::fs::write_atomic;
use crate::sys::{look, summed};

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Format of this file, [`Verified::VERSION`]; another one counts as lost.
    pub version: u32,
    /// The folder it is of, `<endpoint>/<machine-id>`.
    pub folder: String,
    /// The newest part of a generation that was verified, with all parts before it; by the generation's whole name.
    pub generations: BTreeMap<String, Seen>,
    /// The first part of a generation that was found to be damaged.
    pub damaged: BTreeMap<String, Seen>,
    /// The shares read so far of the archive as it was at the first of them.
    pub round: Option<Round>,
    /// What it said before was lost, and not all has been read again since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
}

/// A part, and when it was read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its sequence.
    pub part: u64,
    /// Seconds since 1970.
    pub time: u64,
}

/// Shares of one size, read one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// How many shares make the whole.
    pub of: u64,
    /// How many were read.
    pub done: u64,
    /// When the first one was read, and the newest part of each generation then: verified with the last share.
    pub began: BTreeMap<String, Seen>,
}

impl Verified {
    /// The current format.
    pub const VERSION: u32 = 1;

    /// The path of the file in the backup directory.
    pub fn path(backup_dir: &Path) -> PathBuf {
        backup_dir.join("verified.json")
    }

    /// What is known of a folder; nothing if the file is not there, is damaged, or is of another folder.
    ///
    /// # Errors
    /// It is there and cannot be read: it may say of a generation that it is damaged.
    pub fn load(backup_dir: &Path, folder: &str) -> Result<Self> {
        let path = Self::path(backup_dir);
        let nothing = Self { version: Self::VERSION, folder: folder.to_owned(), ..Self::default() };
        let Some(bytes) = look::read_if_there(&path)? else { return Ok(nothing) };
        let why = match summed::from_slice::<Self>(&bytes) {
            Ok(read) if read.version != Self::VERSION => format!("has format {}", read.version),
            Ok(read) if read.folder == folder => {
                return Ok(if summed::has_sum(&bytes) { read } else { read.of_an_earlier_version(&path) });
            }
            Ok(_) => return Ok(nothing),
            Err(e) => format!("cannot be read ({e})"),
        };
        log::warn!("{} {why}: the results of earlier verify runs are lost", path.display());
        Ok(Self { lost: true, ..nothing })
    }

    /// What a version wrote that knows no parts of format 2: it takes the base of a v3 store for missing, and calls the generation
    /// damaged. So nothing that it calls so is believed, nor held to be whole, until all was read again.
    fn of_an_earlier_version(self, path: &Path) -> Self {
        if self.damaged.is_empty() {
            return self;
        }
        log::warn!(
            "{} is of an earlier version, which calls backups corrupt that it cannot read: all are read again before any is \
             removed; to read them now: sudo /opt/bin/etcd2-backup verify",
            path.display()
        );
        Self { damaged: BTreeMap::new(), round: None, lost: true, ..self }
    }

    /// Sees to it that nothing is removed as long as it is not known what is damaged.
    ///
    /// # Errors
    /// [`Exit::Corrupt`]: it is not.
    pub fn refuse_if_lost(&self, backup_dir: &Path) -> Result<()> {
        if !self.lost {
            return Ok(());
        }
        let path = Self::path(backup_dir);
        let what = format!(
            "{} was damaged, or is of an earlier version, so it is not known which generations are corrupt",
            path.display()
        );
        Err(fault(Exit::Corrupt, what, "read all of them again: sudo /opt/bin/etcd2-backup verify"))
    }

    /// Writes it, durably.
    ///
    /// # Errors
    /// It cannot be written; the old one is still there then.
    pub fn save(&self, backup_dir: &Path) -> Result<()> {
        write_atomic(&Self::path(backup_dir), &summed::to_vec(self)?, 0o600)
    }

    /// The newest part of a generation that was verified.
    pub fn newest_of(&self, generation: GenerationName) -> Option<Seen> {
        self.generations.get(&generation.to_string()).copied()
    }

    /// The first part of a generation that is damaged.
    pub fn damage_of(&self, generation: GenerationName) -> Option<Seen> {
        self.damaged.get(&generation.to_string()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::summed::tests::with_each_bit_flipped;

    #[test]
    fn it_is_read_as_it_is_written_and_anything_else_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let name = GenerationName { number: 1, cluster_id: 2, member_id: 3, writer: 4 };
        let lost = Verified::load(dir.path(), "r:p/m").unwrap();
        assert_eq!(lost, Verified { version: 1, folder: "r:p/m".into(), ..Verified::default() });
        let mut some = lost.clone();
        some.generations.insert(name.to_string(), Seen { part: 7, time: 8 });
        some.round = Some(Round { of: 7, done: 2, began: some.generations.clone() });
        some.save(dir.path()).unwrap();
        assert_eq!(Verified::load(dir.path(), "r:p/m").unwrap(), some);
        assert_eq!((some.newest_of(name), some.damage_of(name)), (Some(Seen { part: 7, time: 8 }), None));
        assert_eq!(Verified::load(dir.path(), "r:p/n").unwrap().generations, BTreeMap::new());
        for bad in ["", "{", "[]", r#"{"version":2,"folder":"r:p/m","generations":{},"damaged":{}}"#] {
            write_atomic(&Verified::path(dir.path()), bad.as_bytes(), 0o600).unwrap();
            let read = Verified::load(dir.path(), "r:p/m").unwrap();
            assert_eq!(read, Verified { lost: true, ..lost.clone() }, "{bad}");
            assert!(read.refuse_if_lost(dir.path()).is_err() && lost.refuse_if_lost(dir.path()).is_ok());
        }
        some.save(dir.path()).unwrap();
        with_each_bit_flipped(&Verified::path(dir.path()), |text| {
            let read = Verified::load(dir.path(), "r:p/m").unwrap();
            assert!(read == some || read.lost, "{text}");
        });
    }

    /// As the version before format 2 writes it: without a sum.
    #[test]
    fn what_an_earlier_version_calls_damaged_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let [whole, other] =
            [1, 2].map(|number| GenerationName { number, cluster_id: 2, member_id: 3, writer: 4 });
        let mut said = Verified::load(dir.path(), "r:p/m").unwrap();
        said.generations.insert(whole.to_string(), Seen { part: 7, time: 8 });
        let written = |said: &Verified| {
            write_atomic(&Verified::path(dir.path()), &serde_json::to_vec_pretty(said).unwrap(), 0o600)
                .unwrap();
            Verified::load(dir.path(), "r:p/m").unwrap()
        };
        assert_eq!(written(&said), said);
        let before = said.clone();
        said.damaged.insert(other.to_string(), Seen { part: 0, time: 9 });
        said.round = Some(Round { of: 7, done: 2, began: said.generations.clone() });
        let read = written(&said);
        assert_eq!(read, Verified { lost: true, ..before });
        assert!(read.damage_of(other).is_none() && read.refuse_if_lost(dir.path()).is_err());
        // With a sum it is this version's, and stays.
        said.save(dir.path()).unwrap();
        assert_eq!(Verified::load(dir.path(), "r:p/m").unwrap(), said);
    }
}
