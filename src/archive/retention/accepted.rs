//! What somebody looked at and accepted with `prune --accept`, in `ETCD_BACKUP_DIR/accepted.json`. Losing it means to be
//! asked again.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};

use crate::sys::fs::write_atomic;
use crate::sys::summed;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Clusters that may be here though they do not say what they continue.
    pub clusters: Vec<u64>,
    /// Up to this generation the store may have shrunk.
    pub generation: u64,
}

impl Accepted {
    fn path(backup_dir: &Path) -> PathBuf {
        backup_dir.join("accepted.json")
    }

    /// What was accepted of this folder (`<endpoint>/<machine-id>`); nothing where it cannot be read.
    pub fn load(backup_dir: &Path, folder: &str) -> Self {
        let text = std::fs::read(Self::path(backup_dir)).unwrap_or_default();
        summed::from_slice::<Value>(&text)
            .ok()
            .and_then(|value| Self::parse(&value, folder))
            .unwrap_or_default()
    }

    fn parse(value: &Value, folder: &str) -> Option<Self> {
        if value["version"] != 1 || value["folder"] != folder {
            return None;
        }
        let id = |id: &Value| u64::from_str_radix(id.as_str()?, 16).ok();
        let clusters = value["clusters"].as_array()?.iter().map(id).collect::<Option<_>>()?;
        Some(Self { clusters, generation: value["generation"].as_u64()? })
    }

    /// Writes it down.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self, backup_dir: &Path, folder: &str) -> Result<()> {
        let clusters: Vec<String> = self.clusters.iter().map(|id| format!("{id:016x}")).collect();
        let value = json!({
            "version": 1, "folder": folder, "clusters": clusters, "generation": self.generation,
        });
        write_atomic(&Self::path(backup_dir), &summed::to_vec(&value)?, 0o600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::summed::tests::with_each_bit_flipped;

    #[test]
    fn it_is_for_one_folder_and_whatever_cannot_be_read_was_not_accepted() {
        let dir = tempfile::tempdir().unwrap();
        let load = |folder| Accepted::load(dir.path(), folder);
        assert_eq!(load("r:p/m"), Accepted::default());
        let accepted = Accepted { clusters: vec![1, u64::MAX], generation: 7 };
        accepted.save(dir.path(), "r:p/m").unwrap();
        assert_eq!((load("r:p/m"), load("r:q/m")), (accepted.clone(), Accepted::default()));
        for damaged in ["", "{", "[]", r#"{"version":2}"#, r#"{"version":1,"folder":"r:p/m","clusters":[1]}"#]
        {
            write_atomic(&Accepted::path(dir.path()), damaged.as_bytes(), 0o600).unwrap();
            assert_eq!(load("r:p/m"), Accepted::default(), "{damaged}");
        }
        accepted.save(dir.path(), "r:p/m").unwrap();
        with_each_bit_flipped(&Accepted::path(dir.path()), |text| {
            let believed = load("r:p/m");
            assert!([&accepted, &Accepted::default()].contains(&&believed), "{text}");
        });
    }
}
