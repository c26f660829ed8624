//! The old directories that were kept, in groups of those that were set aside together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result};

use super::aside;
use super::places::Places;
use crate::sys::fs::parent;
use crate::sys::{folder, look, time};

/// Directories that one restore or join set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// When, in seconds since 1970.
    pub time: u64,
    /// By which verb: `restore` or `join`.
    pub why: String,
    /// What all their names end with.
    pub suffix: String,
    /// Where they are.
    pub dirs: Vec<PathBuf>,
}

impl Kept {
    /// Whether all that makes up a member is among them.
    pub fn is_whole(&self, places: &Places) -> bool {
        places.data().all(|place| self.dirs.contains(&aside::with_suffix(place, &self.suffix)))
    }

    /// The folder of the log among them, if there is one.
    pub fn log(&self, places: &Places) -> Option<PathBuf> {
        let of = |place: &PathBuf| aside::with_suffix(place, &self.suffix);
        let log = places.wal.as_ref().map_or_else(|| of(&places.member).join("wal"), of);
        self.dirs.iter().any(|dir| log.starts_with(dir)).then_some(log)
    }

    /// Bytes of the files in them.
    ///
    /// # Errors
    /// They cannot be read through.
    pub fn bytes(&self) -> Result<u64> {
        let size = |dir: &PathBuf| size(dir).with_context(|| format!("looking into {}", dir.display()));
        self.dirs.iter().map(size).sum()
    }

    /// Removes them for good.
    ///
    /// # Errors
    /// One cannot be removed.
    pub fn remove(&self) -> Result<()> {
        for dir in &self.dirs {
            folder::remove(dir)?;
            folder::sync_above(dir)?;
        }
        Ok(())
    }
}

/// Everything that was kept of these places, the oldest first.
///
/// # Errors
/// A folder cannot be listed.
pub fn list(places: &Places) -> Result<Vec<Kept>> {
    let mut groups: BTreeMap<(u64, u64, String), Kept> = BTreeMap::new();
    for place in places.all() {
        let folder = parent(place);
        let Some(entries) = look::list_if_there(&folder)? else { continue };
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        for entry in entries {
            let file_name = entry.file_name().to_string_lossy().into_owned();
            let Some(suffix) = file_name.strip_prefix(&*name) else { continue };
            let Some((why, time, number)) = parse(suffix) else { continue };
            // Nobody of us keeps a link, nor takes one for what was kept.
            if !look::at_name(&entry.path())?.is_some_and(|found| found.is_dir()) {
                continue;
            }
            let group = groups.entry((time, number, suffix.to_owned())).or_insert_with(|| Kept {
                time,
                why: why.to_owned(),
                suffix: suffix.to_owned(),
                dirs: Vec::new(),
            });
            group.dirs.push(entry.path());
        }
    }
    Ok(groups.into_values().collect())
}

/// `.before-<why>-<time>`, and `.2` and so on behind it for more in one second.
fn parse(suffix: &str) -> Option<(&str, u64, u64)> {
    let (why, rest) = suffix.strip_prefix(".before-")?.split_once('-')?;
    let (time, number) = rest.split_once('.').unwrap_or((rest, "1"));
    Some((why, time::parse_compact(time)?, number.parse().ok()?))
}

fn size(path: &Path) -> io::Result<u64> {
    let meta = fs::symlink_metadata(path)?;
    if !meta.is_dir() {
        return Ok(meta.len());
    }
    fs::read_dir(path)?.map(|entry| size(&entry?.path())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::EtcdConfig;

    #[test]
    fn what_was_set_aside_together_is_one_group_and_the_oldest_is_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let wal_dir = Some(path("log"));
        let etcd = EtcdConfig { wal_dir, ..crate::settings::tests::in_tree(&path("data")).etcd };
        let places = Places::of(&etcd).unwrap();
        assert_eq!(list(&places).unwrap(), []);
        let (old, new) = ("before-join-20160131T235959Z", "before-restore-20161231T235959Z");
        for name in [
            format!("data/member.{new}.10"),
            format!("log.{new}.10"),
            format!("data/member.{new}.2"),
            format!("data/member.{new}"),
            format!("log.{new}"),
            format!("data/proxy.{new}"),
            format!("data/member.{old}"),
            format!("data/other.{old}"),
            "data/member".into(),
            "data/member.restoring".into(),
            "data/member.before-lunch".into(),
            "data/member.before-restore-20161231".into(),
        ] {
            fs::create_dir_all(path(&name)).unwrap();
        }
        std::os::unix::fs::symlink(path("data"), path("data/member.before-restore-20170131T235959Z"))
            .unwrap();
        crate::sys::fs::write_atomic(&path(&format!("log.{new}/0.wal")), b"12345", 0o600).unwrap();
        let all = list(&places).unwrap();
        let told: Vec<_> = all.iter().map(|k| (k.why.as_str(), k.dirs.len(), k.is_whole(&places))).collect();
        assert_eq!(
            told,
            [("join", 1, false), ("restore", 3, true), ("restore", 1, false), ("restore", 2, true)]
        );
        assert_eq!((all[1].bytes().unwrap(), all[1].suffix.clone()), (5, format!(".{new}")));
        assert_eq!(all[0].log(&places), None);
        assert_eq!(all[1].log(&places), Some(path(&format!("log.{new}"))));
        let single = Places { wal: None, ..places.clone() };
        assert_eq!(all[0].log(&single), Some(path(&format!("data/member.{old}/wal"))));
        assert_eq!(time::rfc3339(all[0].time), "2016-01-31T23:59:59Z");
        all[1].remove().unwrap();
        assert_eq!(list(&places).unwrap().len(), 3);
    }
}
