//! Old directories are set aside, never deleted: `member.before-join-20160131T235959Z`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::settings::Settings;
use crate::sys::fs::{create_dir_as, owner_and_mode, parent, sync_dir};
use crate::sys::time;

/// Moves `member`, `proxy` and a separate WAL directory aside, so that etcd starts as a new member. Nothing is deleted.
/// Returns the names they have now.
///
/// # Errors
/// A rename failed; running it again moves the rest.
pub fn set_aside(settings: &Settings, why: &str) -> Result<Vec<PathBuf>> {
    let mut moved = Vec::new();
    for name in ["member", "proxy"] {
        moved.extend(move_aside(&settings.data_dir.join(name), why)?);
    }
    if let Some(wal) = &settings.wal_dir
        && wal.exists()
        && fs::read_dir(wal).with_context(|| format!("listing {}", wal.display()))?.next().is_some()
    {
        let owner = owner_and_mode(wal)?;
        moved.extend(move_aside(wal, why)?);
        create_dir_as(wal, owner)?;
    }
    Ok(moved)
}

/// Moves one directory aside; `None` if it is not there.
///
/// # Errors
/// The rename failed.
pub fn move_aside(path: &Path, why: &str) -> Result<Option<PathBuf>> {
    if fs::symlink_metadata(path).is_err() {
        return Ok(None);
    }
    let new = kept_name(path, why);
    fs::rename(path, &new).with_context(|| format!("moving {} aside", path.display()))?;
    sync_dir(&parent(path))?;
    Ok(Some(new))
}

/// The name under which an old directory is kept: `<path>.before-<why>-<UTC time>`, not taken yet.
pub fn kept_name(path: &Path, why: &str) -> PathBuf {
    let time = time::compact(time::now());
    let plain = format!("{}.before-{why}-{time}", path.display());
    let numbered = (2..).map(|n| format!("{plain}.{n}"));
    [plain.clone()].into_iter().chain(numbered).map(PathBuf::from).find(|p| !p.exists()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_move_and_everything_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = crate::settings::tests::in_tree(&dir.path().join("data"));
        settings.wal_dir = Some(dir.path().join("wal"));
        for folder in ["data/member/snap", "data/proxy", "data/other", "wal"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        fs::File::create(dir.path().join("wal/0.wal")).unwrap();
        let moved = set_aside(&settings, "join").unwrap();
        let name =
            |p: &PathBuf| p.file_name().unwrap().to_string_lossy().split("-20").next().unwrap().to_owned();
        let names: Vec<String> = moved.iter().map(name).collect();
        assert_eq!(names, ["member.before-join", "proxy.before-join", "wal.before-join"]);
        assert!(dir.path().join("data/other").exists());
        assert_eq!(fs::read_dir(dir.path().join("wal")).unwrap().count(), 0);
        assert!(moved[2].join("0.wal").exists());
        assert!(set_aside(&settings, "join").unwrap().is_empty());
    }

    #[test]
    fn two_in_one_second_keep_both() {
        let dir = tempfile::tempdir().unwrap();
        let member = dir.path().join("member");
        let first = kept_name(&member, "restore");
        fs::create_dir(&first).unwrap();
        assert_ne!(kept_name(&member, "restore"), first);
    }
}
