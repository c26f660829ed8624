//! Old directories are set aside, never deleted: `member.before-join-20160131T235959Z`.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result};

use super::places::Places;
use crate::sys::folder::{self, Folder};
use crate::sys::{look, time};

/// A directory that was moved aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// What it was called.
    pub was: PathBuf,
    /// What it is called now.
    pub now: PathBuf,
}

/// Moves `member`, `proxy` and a separate WAL directory aside, so that etcd starts as a new member. Nothing is deleted.
/// Returns the names they have now.
///
/// # Errors
/// A rename failed; running it again moves the rest.
pub fn set_aside(places: &Places, why: &str) -> Result<Vec<Aside>> {
    let suffix = suffix(why, places)?;
    let mut moved = Vec::new();
    let mut go = |dir: &Path| -> Result<()> {
        moved.extend(move_aside(dir, &suffix)?.map(|now| Aside { was: dir.to_path_buf(), now }));
        Ok(())
    };
    for dir in [&places.member].into_iter().chain(&places.others) {
        go(dir)?;
    }
    if let Some(wal) = &places.wal
        && look::list_if_there(wal)?.is_some_and(|found| !found.is_empty())
    {
        let owner = Folder::open(wal)?.owner_and_mode()?;
        go(wal)?;
        folder::create_as(wal, owner)?;
    }
    Ok(moved)
}

/// Gives directories that were moved aside their names again. An empty one that has such a name by now goes.
///
/// # Errors
/// A name is taken by something that is not empty, or a rename failed.
pub fn put_back(moved: &[Aside]) -> Result<()> {
    for Aside { was, now } in moved {
        let again = || -> Result<()> {
            let (above, name) = Folder::above(was)?;
            match fs::remove_dir(above.at(name)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e)?,
                _ => folder::rename(now, was)?,
            }
            above.sync()
        };
        again().with_context(|| format!("giving {} the name {} again", now.display(), was.display()))?;
    }
    Ok(())
}

/// Moves one directory aside; `None` if it is not there.
///
/// # Errors
/// The rename failed, or it could not be asked whether it is there.
pub fn move_aside(path: &Path, suffix: &str) -> Result<Option<PathBuf>> {
    if look::at_name(path)?.is_none() {
        return Ok(None);
    }
    let new = with_suffix(path, suffix);
    folder::rename(path, &new).with_context(|| format!("moving {} aside", path.display()))?;
    folder::sync_above(path)?;
    Ok(Some(new))
}

/// What is put behind the names of old directories: `.before-<why>-<UTC time>`, the same for all that belong together,
/// and not taken yet.
///
/// # Errors
/// It could not be asked which ones are taken.
pub fn suffix(why: &str, places: &Places) -> Result<String> {
    let time = time::compact(time::now());
    let plain = format!(".before-{why}-{time}");
    let (mut suffix, mut number) = (plain.clone(), 1);
    while is_taken(&suffix, places)? {
        number += 1;
        suffix = format!("{plain}.{number}");
    }
    Ok(suffix)
}

fn is_taken(suffix: &str, places: &Places) -> Result<bool> {
    for place in places.all() {
        if look::at_name(&with_suffix(place, suffix))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A directory's name with that behind it.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::EtcdConfig;

    fn places(dir: &Path) -> Places {
        let wal_dir = Some(dir.join("wal"));
        Places::of(&EtcdConfig { wal_dir, ..crate::settings::tests::in_tree(&dir.join("data")).etcd })
            .unwrap()
    }

    #[test]
    fn members_move_and_everything_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["data/member/snap", "data/proxy", "data/other", "wal"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        fs::File::create(dir.path().join("wal/0.wal")).unwrap();
        let places = places(dir.path());
        let moved = set_aside(&places, "join").unwrap();
        let name =
            |p: &Aside| p.now.file_name().unwrap().to_string_lossy().split("-20").next().unwrap().to_owned();
        let names: Vec<String> = moved.iter().map(name).collect();
        assert_eq!(names, ["member.before-join", "proxy.before-join", "wal.before-join"]);
        let time = |p: &Aside| p.now.to_string_lossy().rsplit('-').next().unwrap().to_owned();
        assert!(moved.iter().all(|p| time(p) == time(&moved[0])), "{moved:?}");
        assert!(dir.path().join("data/other").exists());
        assert_eq!(fs::read_dir(dir.path().join("wal")).unwrap().count(), 0);
        assert!(moved[2].now.join("0.wal").exists());
        assert!(set_aside(&places, "join").unwrap().is_empty());
        // All of it gets its name again; what is in the way is not removed.
        fs::File::create(dir.path().join("wal/1.wal")).unwrap();
        assert!(put_back(&moved).unwrap_err().to_string().contains("wal"));
        fs::remove_file(dir.path().join("wal/1.wal")).unwrap();
        put_back(&moved[2..]).unwrap();
        assert!(["data/member/snap", "data/proxy", "wal/0.wal"].iter().all(|p| dir.path().join(p).exists()));
        assert_eq!(fs::read_dir(dir.path().join("data")).unwrap().count(), 3);
    }

    #[test]
    fn two_in_one_second_keep_both() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let first = suffix("restore", &places).unwrap();
        // One of them is enough: those that belong together have one name.
        fs::create_dir(with_suffix(&dir.path().join("wal"), &first)).unwrap();
        assert_ne!(suffix("restore", &places).unwrap(), first);
    }
}
