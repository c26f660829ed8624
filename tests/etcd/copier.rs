//! Copies of a live data directory, made by the product and looked at by the testkit.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use etcd2_backup::archive::names::{GenerationName, PartName};
use etcd2_backup::archive::part::{self, Head, Part};
use etcd2_backup::archive::unpack::unpack;
use etcd2_backup::backup::capture::{self, Look};
use etcd2_backup::backup::state::State;
use etcd2_backup::etcd::datadir::{Contents, DataDir};
use etcd2_backup::etcd::wal::Extent;
use etcd2_backup::sys::room::Leave;
use testkit::replay::{self, Entry};

/// What a copy holds: a snapshot's keys and the entries behind it, without a gap.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// Index and term of the base.
    pub(crate) base: (u64, u64),
    /// Keys and values that are in it, wherever they were read.
    pub(crate) keys: HashMap<String, String>,
    /// The entries behind the base.
    pub(crate) entries: Vec<Entry>,
    /// How often entries gave way to those of a later leader.
    pub(crate) overwrites: u64,
}

impl Content {
    fn of_base(file: &[u8]) -> Result<Self> {
        let base = replay::snapshot(file)?;
        let keys = base.keys.into_iter().collect();
        Ok(Self { base: (base.index, base.term), keys, ..Self::default() })
    }

    /// Index of the last entry.
    pub(crate) fn last(&self) -> u64 {
        self.base.0 + self.entries.len() as u64
    }

    fn add(&mut self, entry: Entry) -> Result<()> {
        let Some(at) = entry.index.checked_sub(self.base.0 + 1) else { return Ok(()) };
        ensure!(at <= self.entries.len() as u64, "entry {} follows {}", entry.index, self.last());
        for gone in self.entries.drain(at as usize..) {
            self.overwrites += 1;
            gone.put.map(|p| self.keys.remove(&p.key));
        }
        if let Some(put) = &entry.put {
            self.keys.insert(put.key.clone(), put.value.clone());
        }
        self.entries.push(entry);
        Ok(())
    }
}

/// One member's archive on the disk, and what must be in it.
pub(crate) struct Copier {
    work: PathBuf,
    state: Option<State>,
    generation: u64,
    parts: Vec<(PathBuf, GenerationName, PartName)>,
    crc: u32,
    /// What the last copy holds.
    pub(crate) content: Content,
    /// The entries that came with it.
    pub(crate) added: Vec<Entry>,
}

impl Copier {
    /// Keeps its parts in the folder `work`.
    pub(crate) fn new(work: &Path) -> Self {
        let content = Content::default();
        let (parts, added) = (Vec::new(), Vec::new());
        Self { work: work.into(), state: None, generation: 0, parts, crc: 0, content, added }
    }

    /// How many generations were begun.
    pub(crate) fn generations(&self) -> u64 {
        self.generation
    }

    /// Copies what is new, or all of it if told so, and looks at every byte that was copied. Gives whether there was
    /// something.
    pub(crate) fn copy(&mut self, dir: &DataDir, fresh: bool) -> Result<bool> {
        self.added.clear();
        let before = self.state.take().filter(|_| !fresh);
        let Look { new, unfinished } = capture::next(dir, before.as_ref())?;
        let Some(capture) = new else {
            self.state = before.map(|state| State { unfinished, ..state });
            return Ok(false);
        };
        if capture.begins.is_some() {
            self.generation += 1;
            self.parts.clear();
            self.content = Content::default();
        }
        let going_on = before.as_ref().filter(|_| capture.begins.is_none());
        let head = Head {
            generation: self.generation,
            sequence: going_on.map_or(0, |s| s.sequence + 1),
            cluster_id: capture.metadata.cluster_id,
            member_id: capture.metadata.member_id,
            writer: 1,
            member_name: String::new(),
            peer_urls: Vec::new(),
            family: capture.family,
            time: 0,
            first: capture.first,
            last: capture.last(),
            commit: None,
            start_state: capture.start_state,
            predecessor: going_on.map_or(String::new(), |s| s.link.clone()),
            marks: Vec::new(),
            parent: None,
            v3_data: false,
            db: None,
            snapshot: capture.base.as_ref().map(|b| (b.name.to_string(), b.size)),
            log: capture.tail.extents.clone(),
        };
        let folder = self.work.join(head.generation_name().to_string());
        fs::create_dir_all(&folder)?;
        let written = part::write(&folder, &head, |out| capture.write_payload(out))?;
        self.state = Some(capture.state_behind(before.as_ref(), "folder", &head, &written, 0));
        self.parts.push((folder.join(written.name.to_string()), head.generation_name(), written.name));
        self.look(&head).with_context(|| format!("part {} of {head:?}", head.sequence))?;
        let (says, holds) = (head.last.index, self.content.last());
        ensure!(says == holds, "the part says it ends at {says}, it ends at {holds}");
        Ok(true)
    }

    fn open_parts(&self) -> Result<Vec<Part>> {
        self.parts.iter().map(|(path, generation, name)| Part::open(path, *generation, *name)).collect()
    }

    /// Adds up what the newest part holds.
    fn look(&mut self, head: &Head) -> Result<()> {
        let (path, generation, name) = self.parts.last().context("no part")?;
        let mut payload = Vec::new();
        Part::open(path, *generation, *name)?.payload()?.read_to_end(&mut payload)?;
        let mut rest = &payload[..];
        if let Some((_, size)) = &head.snapshot {
            let (base, behind) = rest.split_at_checked(*size as usize).context("the base is cut off")?;
            self.content = Content::of_base(base)?;
            rest = behind;
        }
        for (i, extent) in head.log.iter().enumerate() {
            let length =
                extent.to.checked_sub(extent.from.offset).context("an extent that ends before it begins")?;
            let (records, behind) = rest.split_at_checked(length as usize).context("the log is cut off")?;
            rest = behind;
            // The first record of a generation has only its own word for what was before it.
            if head.sequence == 0 && i == 0 {
                self.crc = extent.from.crc;
            }
            for entry in replay::entries(records, &mut self.crc).with_context(|| extent.from.to_string())? {
                self.added.push(entry.clone());
                self.content.add(entry)?;
            }
        }
        ensure!(rest.is_empty(), "{} bytes more than announced", rest.len());
        Ok(())
    }

    /// Puts the generation's parts together as a restore does, and looks at the result once more.
    pub(crate) fn unpack(&self, target: &Path) -> Result<(DataDir, Contents)> {
        let (dir, contents) = unpack(&self.open_parts()?, target, Leave::Nothing)?;
        let mut again = match &contents.base {
            Some(base) => Content::of_base(&fs::read(&base.path)?)?,
            None => Content::default(),
        };
        for Extent { mut from, to, .. } in contents.tail.extents.iter().copied() {
            let segment = fs::read(from.segment.path(&dir.wal))?;
            for entry in replay::entries(&segment[from.offset as usize..to as usize], &mut from.crc)? {
                again.add(entry)?;
            }
        }
        ensure!(again == self.content, "unpacked it ends at {}, not {}", again.last(), self.content.last());
        Ok((dir, contents))
    }

    /// Removes what is not needed any more: the parts of earlier generations.
    pub(crate) fn tidy(&self) -> Result<()> {
        let current = self.parts.first().map(|(_, generation, _)| generation.to_string());
        for folder in fs::read_dir(&self.work)? {
            let path = folder?.path();
            if path.file_name().map(|n| n.to_string_lossy().into_owned()) != current {
                fs::remove_dir_all(path)?;
            }
        }
        Ok(())
    }
}
