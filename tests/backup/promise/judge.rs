//! What a backup said, and what a restore from the true remote would have.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use etcd2_backup::archive::chain;
use etcd2_backup::archive::names::GenerationName;
use etcd2_backup::archive::part::Part;
use etcd2_backup::archive::unpack::unpack;
use etcd2_backup::etcd::proto::LogPosition;
use etcd2_backup::etcd::wal::Extent;
use etcd2_backup::remote::Object;
use etcd2_backup::sys::room::Leave;
use testkit::replay::{self, Entry};

use super::etcd::Etcd;
use super::remote::list;

/// How far a generation reaches.
pub(super) enum Reach {
    /// Up to this entry it is what etcd wrote; `None`: there is not even a base.
    To(Option<LogPosition>),
    /// It is not.
    Altered(String),
}

/// The index that a backup says the remote has.
pub(super) fn index(log: &str) -> Option<u64> {
    let outcomes = ["sent: ", "nothing new: ", "held back: "];
    let summary = log.lines().rev().find(|line| outcomes.iter().any(|start| line.starts_with(start)))?;
    summary.split(' ').find_map(|word| word.strip_prefix("index="))?.parse().ok()
}

/// Puts together what the folder has of a generation, as a restore does, and compares it. Where it does not reach what a backup
/// said it may end with an entry that was replaced since.
pub(super) fn reach(folder: &Path, name: GenerationName, etcd: &Etcd, said: LogPosition) -> Reach {
    let objects: Vec<Object> = list(folder).into_iter().map(|(path, size)| Object { path, size }).collect();
    let Some(generation) = chain::generations(&objects).into_iter().find(|g| g.name == name) else {
        return Reach::To(None);
    };
    let Some(last) = generation.last() else { return Reach::To(None) };
    let end = LogPosition { index: last.last, term: last.term };
    let parts = || -> Result<Vec<Part>> {
        generation
            .parts
            .iter()
            .map(|part| Part::open(&folder.join(generation.path(part)), name, *part))
            .collect()
    };
    match parts().and_then(|parts| compare(&parts, last.last, (etcd, end != said))) {
        Ok(()) => Reach::To(Some(end)),
        Err(e) => Reach::Altered(format!("{e:#}")),
    }
}

fn compare(parts: &[Part], last: u64, (etcd, is_behind): (&Etcd, bool)) -> Result<()> {
    let work = tempfile::tempdir()?;
    let (dir, contents) = unpack(parts, work.path(), Leave::Nothing)?;
    let mut base = 0;
    for file in fs::read_dir(&dir.snap)? {
        let snapshot = replay::snapshot(&fs::read(file?.path())?)?;
        ensure!(etcd.had(&snapshot), "the snapshot {} of term {}", snapshot.index, snapshot.term);
        base = snapshot.index;
    }
    let mut entries: BTreeMap<u64, Entry> = BTreeMap::new();
    for Extent { mut from, to, .. } in contents.tail.extents {
        let segment = fs::read(from.segment.path(&dir.wal))?;
        for entry in replay::entries(&segment[from.offset as usize..to as usize], &mut from.crc)? {
            drop(entries.split_off(&entry.index));
            entries.insert(entry.index, entry);
        }
    }
    ensure!(
        entries.keys().next_back().is_none_or(|end| *end == last || last == base),
        "it does not end at {last}"
    );
    for index in base + 1..=last {
        let entry = entries.get(&index).with_context(|| format!("entry {index} of {last} is missing"))?;
        let written = etcd.entry(index);
        let same = written == Some(entry) || (is_behind && etcd.replaced.contains(&index));
        ensure!(same, "entry {index} of {last} is {entry:?}, not {written:?}");
    }
    Ok(())
}
