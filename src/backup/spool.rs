//! What is on its way to the remote: `ETCD_BACKUP_DIR/spool` mirrors the machine's folder there. A file leaves it once
//! the remote has it, so that an upload that failed, or whose end was not seen, is repeated as it was.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result};

use crate::archive::lineage::Record;
use crate::archive::names::{GenerationName, PartName};
use crate::archive::part::Part;
use crate::remote::Object;
use crate::sys::fs::{create_dirs, parent, remove_dir_if_there, remove_if_there, sync_dir, write_atomic};
use crate::sys::look;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool(PathBuf);

/// A small object that is written, and not on its way yet.
#[derive(Debug)]
pub struct Staged {
    staged: PathBuf,
    object: PathBuf,
}

impl Staged {
    /// Puts it on its way.
    ///
    /// # Errors
    /// It cannot be moved into the spool.
    pub fn add(self) -> Result<()> {
        let add = || fs::rename(&self.staged, &self.object).and_then(|()| sync_dir(&parent(&self.object)));
        add().with_context(|| format!("putting {} into the spool", self.object.display()))
    }
}

impl Spool {
    /// The spool in a backup directory; makes both when they are not there.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn open(backup_dir: &Path) -> Result<Self> {
        let dir = backup_dir.join("spool");
        create_dirs(&dir, 0o700)?;
        Ok(Self(dir))
    }

    /// The folder to send.
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// The folder for a generation's parts, made when it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn generation(&self, name: GenerationName) -> Result<PathBuf> {
        let dir = self.0.join(name.to_string());
        create_dirs(&dir, 0o700)?;
        Ok(dir)
    }

    /// Prepares a small object, so that [`Staged::add`] needs no room any more. It replaces one that was not added.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn stage(&self, folder: &str, name: &str, content: &[u8]) -> Result<Staged> {
        let dir = self.0.join(folder);
        create_dirs(&dir, 0o700)?;
        let staged = self.0.with_extension("staged");
        write_atomic(&staged, content, 0o600)?;
        Ok(Staged { staged, object: dir.join(name) })
    }

    /// Why what waits at `path` is not the part of this generation and checksum any more; `None`: it is, to its last byte. It
    /// may have waited for weeks, on a disk of which nobody knows why it waits.
    ///
    /// # Errors
    /// It cannot be looked for.
    pub fn objection(
        &self,
        path: &str,
        generation: GenerationName,
        checksum: &str,
    ) -> Result<Option<String>> {
        let file = self.0.join(path);
        if !look::is_file(&file)? {
            return Ok(Some("is no longer in the spool".into()));
        }
        let Some(name) = file.file_name().and_then(|name| PartName::parse(name.to_str()?)) else {
            return Ok(Some("is not named like a part".into()));
        };
        Ok(match Part::open(&file, generation, name) {
            Ok(part) if part.checksum == checksum => None,
            Ok(_) => Some("is not the part that was written".into()),
            Err(e) => Some(format!("was altered ({})", e.root_cause())),
        })
    }

    /// Removes recovery records that are not as they were written: nobody would believe them, wherever they lie.
    ///
    /// # Errors
    /// They cannot be read, or removed.
    pub fn drop_damaged_records(&self) -> Result<()> {
        for file in look::list_if_there(&self.0.join("recovery"))?.unwrap_or_default() {
            let path = file.path();
            let Some(text) = look::read_if_there(&path)? else { continue };
            let why = match serde_json::from_slice::<Record>(&text) {
                Ok(record) if record.is_derived() => continue,
                Ok(_) => "its IDs do not match its content".to_owned(),
                Err(e) => e.to_string(),
            };
            log::warn!(
                "dropping the recovery record {}, which was waiting to be sent: it was altered ({why}). \
                 Nodes that join begin without a seed; a recovery of several members has to start again",
                path.display()
            );
            remove_if_there(&path)?;
        }
        Ok(())
    }

    /// All that is in it, as the machine's folder lists it once it has arrived.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn objects(&self) -> Result<Vec<Object>> {
        let mut all = Vec::new();
        add_objects(&self.0, "", &mut all).with_context(|| format!("listing {}", self.0.display()))?;
        Ok(all)
    }

    /// Removes everything: it has arrived.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn clear(&self) -> Result<()> {
        remove_dir_if_there(&self.0)?;
        create_dirs(&self.0, 0o700)
    }

    /// Removes parts that were never accounted for: a run was killed between writing one and noting it.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn drop_parts(&self) -> Result<()> {
        for folder in fs::read_dir(&self.0).with_context(|| format!("listing {}", self.0.display()))? {
            let folder = folder?;
            if folder.file_name().to_str().and_then(GenerationName::parse).is_some() {
                remove_dir_if_there(&folder.path())?;
            }
        }
        Ok(())
    }
}

fn add_objects(dir: &Path, above: &str, all: &mut Vec<Object>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let (meta, path) = (entry.metadata()?, format!("{above}{}", entry.file_name().to_string_lossy()));
        if meta.is_dir() {
            add_objects(&entry.path(), &format!("{path}/"), all)?;
        } else {
            all.push(Object { path, size: meta.len() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_empty(spool: &Spool) -> bool {
        fs::read_dir(spool.dir())
            .unwrap()
            .all(|folder| fs::read_dir(folder.unwrap().path()).unwrap().next().is_none())
    }

    #[test]
    fn parts_that_nobody_knows_go_and_other_objects_stay() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path()).unwrap();
        assert!(is_empty(&spool));
        let generation = GenerationName { number: 1, cluster_id: 2, member_id: 3, writer: 4 };
        write_atomic(&spool.generation(generation).unwrap().join("x.part"), b"x", 0o600).unwrap();
        spool.drop_parts().unwrap();
        assert!(is_empty(&spool));
        let staged = spool.stage("recovery", "token", b"{}").unwrap();
        assert!(is_empty(&spool));
        staged.add().unwrap();
        spool.drop_parts().unwrap();
        assert!(!is_empty(&spool));
        assert_eq!(spool.objects().unwrap(), [Object { path: "recovery/token".into(), size: 2 }]);
        spool.clear().unwrap();
        assert!(is_empty(&spool));
    }
}
