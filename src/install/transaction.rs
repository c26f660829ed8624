//! Carrying out a plan: all of it, or nothing of it.
//!
//! A journal says what is about to change. Then every new file is written beside its place and every old one gets a
//! second name beside it; then the names are exchanged, the record last. Rewriting the journal as done is the moment from
//! which the new state holds. An error before it, or a run that finds the journal of a killed one, takes everything back;
//! after it, what is left over is removed.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};

use super::existing::{Found, look};
use super::payload::{Content, Wanted};
use super::plan::{Action, Plan, Step};
use super::record::Record;
use super::{json, sums};
use crate::exit::{Exit, OrFault, fault};
use crate::paths::{INSTALL_JOURNAL, RECORD, STAMP_DIR};
use crate::sys::digest::to_hex;
use crate::sys::fs::{create_dirs, parent, remove_if_there, sweep, sync_dir, write_atomic};
use crate::sys::lock::Lock;
use crate::sys::look as look_at;
use crate::sys::room::{self, Leave};
use crate::sys::root::Root;

/// Secret: it tells checksums of rclone.conf.
const MODE: u32 = 0o600;

#[derive(Debug)]
struct Journal {
    /// Whether the new state holds.
    done: bool,
    changes: Vec<Change>,
    /// Folders that are made, each behind the one it lies in.
    folders: Vec<String>,
    /// Folders that go if they are empty, the deepest first.
    prune: Vec<String>,
}

#[derive(Debug)]
struct Change {
    target: String,
    /// Whether there was anything.
    existed: bool,
    /// The checksum of what is placed; none if nothing is.
    sha256: Option<String>,
    /// Whether what was there is kept for the operator.
    keep: bool,
}

/// Begins the work on this node's files: nobody else may be at it, and what a killed run left is taken back or finished.
///
/// # Errors
/// [`Exit::Refused`]: another installation is at work. Or something cannot be taken back.
pub fn begin(root: &Root) -> Result<Lock> {
    let lock = Lock::try_take_folder(&root.join("/"))?.ok_or_else(|| {
        let what = "another installation or uninstallation is running on this node";
        fault(Exit::Refused, what, "wait until it ends, and run this again")
    })?;
    sweep(&root.join(INSTALL_JOURNAL));
    if let Some(journal) = Journal::load(root)? {
        if journal.done {
            journal.finish(root)
        } else {
            log::info!("rolling back an installation that was interrupted here");
            journal.undo(root)
        }
        .or_fault(
            Exit::Failed,
            "cleaning up after an interrupted installation",
            "fix the cause and run this again",
        )?;
    }
    Ok(lock)
}

/// Removes our folder if a run that was killed at the very end of uninstalling left it empty.
///
/// # Errors
/// It is empty and cannot be removed.
pub fn remove_empty_folder(root: &Root) -> Result<()> {
    remove_if_empty(&root.join(STAMP_DIR))
}

/// Whether a run was killed half-way, so that what lies here is neither the old nor the new.
///
/// # Errors
/// It could not be asked.
pub fn is_interrupted(root: &Root) -> Result<bool> {
    look_at::is_there(&root.join(INSTALL_JOURNAL))
}

/// Does what the plan says. Afterwards there is a record of it, or none if nothing is installed any more.
///
/// # Errors
/// Something failed; then every file and folder is as it was.
pub fn apply(root: &Root, plan: &Plan) -> Result<()> {
    let steps: Vec<&Step> =
        plan.steps.iter().filter(|s| !matches!(s.action, Action::Same | Action::Keep)).collect();
    let folders = missing_folders(root, &steps)?;
    let record = record_step(root, &plan.record, &folders)?;
    let mut changes = Vec::new();
    for step in steps.iter().copied().chain(&record) {
        changes.push(Change {
            target: step.target.clone(),
            existed: look_at::at_name(&root.join(&step.target))?.is_some(),
            sha256: step.wanted.as_ref().map(|w| to_hex(&w.digest)),
            keep: step.edited && plan.keep_edited,
        });
    }
    if changes.is_empty() {
        return Ok(());
    }
    let mut journal = Journal { done: false, changes, folders, prune: plan.prune.clone() };
    if plan.record.files.is_empty() {
        journal.prune.push(STAMP_DIR.to_owned());
    }
    let steps: Vec<&Step> = steps.into_iter().chain(&record).collect();
    check_room(root, &steps)?;
    let Err(error) = journal.carry_out(root, &steps) else {
        // The second try is for what passes; what is left then is tidied up by the next run.
        if let Err(e) = journal.finish(root).or_else(|_| journal.finish(root)) {
            log::warn!(
                "everything is in place, but temporary files remain, which the next run removes: {e:#}"
            );
        }
        return Ok(());
    };
    match journal.undo(root).or_else(|_| journal.undo(root)) {
        Ok(()) => Err(error).or_fault(
            Exit::Failed,
            "nothing was changed",
            "every file is as it was; fix the cause and run this again",
        ),
        Err(e) => Err(error).or_fault(
            Exit::Failed,
            format!("some files are old and some are new, as rolling back failed too ({e:#})"),
            "fix the cause and run this again: it starts by rolling back",
        ),
    }
}

/// Whether there is room for all that is written, beside what etcd may need there: the old files stay until the end.
fn check_room(root: &Root, steps: &[&Step]) -> Result<()> {
    let mut needs = Vec::new();
    for step in steps {
        let Some(wanted) = &step.wanted else { continue };
        let bytes = match &wanted.content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Copy(from) => from.metadata().map_err(|e| at(e, "looking at", from))?.len(),
        };
        needs.push((parent(&root.join(&step.target)), bytes));
    }
    let needs: Vec<(&Path, u64)> = needs.iter().map(|(dir, bytes)| (dir.as_path(), *bytes)).collect();
    room::check_all(&needs, Leave::Reserve, "the installation")
}

/// Parents that are not there yet, each behind the one it lies in.
fn missing_folders(root: &Root, steps: &[&Step]) -> Result<Vec<String>> {
    let targets = steps.iter().filter(|s| s.wanted.is_some()).map(|s| s.target.as_str()).chain([RECORD]);
    let mut all = Vec::new();
    for target in targets {
        let above: Vec<&Path> = Path::new(target).ancestors().skip(1).collect();
        for folder in above.into_iter().rev() {
            let name = folder.display().to_string();
            if !all.contains(&name) && !look_at::is_dir(&root.join(folder))? {
                all.push(name);
            }
        }
    }
    Ok(all)
}

/// The step that makes the record what it should be; none if it is so already.
fn record_step(root: &Root, record: &Record, new_folders: &[String]) -> Result<Option<Step>> {
    let there = look(&root.join(RECORD))?;
    if record.files.is_empty() {
        return Ok((there != Found::Nothing).then(|| Step::removal(RECORD.to_owned(), "")));
    }
    let mut record = record.clone();
    // A run that was killed before its journal was there may have made the last of them.
    record.folders.extend(new_folders.iter().cloned().chain([STAMP_DIR.to_owned()]));
    let targets = || record.files.iter().map(|e| e.target.as_str()).chain([RECORD]);
    let mut folders = record.folders.clone();
    folders.retain(|f| targets().any(|t| Path::new(t).starts_with(f)));
    folders.sort_unstable();
    folders.dedup();
    record.folders = folders;
    let content = record.text().into_bytes();
    let digest = sums::of_bytes(&content);
    if matches!(there, Found::File { digest: d, .. } if d == digest) {
        return Ok(None);
    }
    let wanted = Some(Wanted { content: Content::Bytes(content), digest, mode: MODE });
    Ok(Some(Step { action: Action::Replace, wanted, ..Step::removal(RECORD.to_owned(), "") }))
}

impl Change {
    fn json(&self) -> Value {
        let Self { target, existed, sha256, keep } = self;
        json!({ "target": target, "existed": existed, "sha256": sha256, "keep": keep })
    }

    fn parse(change: &Value) -> Result<Self> {
        Ok(Self {
            target: json::string(change, "target")?,
            existed: json::flag(change, "existed")?,
            sha256: json::string(change, "sha256").ok(),
            keep: json::flag(change, "keep")?,
        })
    }
}

impl Journal {
    fn load(root: &Root) -> Result<Option<Self>> {
        let path = root.join(INSTALL_JOURNAL);
        let read = || match fs::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            text => Self::parse(&text?).map(Some),
        };
        read().or_fault(
            Exit::Corrupt,
            format!("reading {}", path.display()),
            "use the etcd2-backup that wrote it; if it is damaged, remove it and install again",
        )
    }

    fn save(&self, root: &Root) -> Result<()> {
        let changes: Vec<Value> = self.changes.iter().map(Change::json).collect();
        let Self { done, folders, prune, .. } = self;
        let all =
            json!({ "version": 1, "done": done, "changes": changes, "folders": folders, "prune": prune });
        write_atomic(&root.join(INSTALL_JOURNAL), json::text(&all).as_bytes(), MODE)
    }

    fn parse(text: &[u8]) -> Result<Self> {
        let value = json::parse(text)?;
        Ok(Self {
            done: json::flag(&value, "done")?,
            changes: json::list(&value, "changes")?.iter().map(Change::parse).collect::<Result<_>>()?,
            folders: json::strings(&value, "folders")?,
            prune: json::strings(&value, "prune")?,
        })
    }

    fn carry_out(&mut self, root: &Root, steps: &[&Step]) -> Result<()> {
        create_dirs(&root.join(STAMP_DIR), 0o755)?;
        self.save(root)?;
        for folder in &self.folders {
            create_dirs(&root.join(folder), 0o755)?;
        }
        for step in steps {
            if let Some(wanted) = &step.wanted {
                stage(&beside(root, &step.target, NEW), wanted)?;
            }
        }
        for change in self.changes.iter().filter(|c| c.existed) {
            let old = beside(root, &change.target, OLD);
            remove_if_there(&old)?;
            fs::hard_link(root.join(&change.target), old)
                .map_err(|e| at(e, "keeping", change.target.as_ref()))?;
        }
        self.sync(root)?;
        for change in &self.changes {
            let target = root.join(&change.target);
            match change.sha256 {
                Some(_) => fs::rename(beside(root, &change.target, NEW), &target),
                None => fs::remove_file(&target),
            }
            .map_err(|e| at(e, "exchanging", &target))?;
        }
        self.sync(root)?;
        self.done = true;
        self.save(root)
    }

    /// Makes everything what it was.
    fn undo(&self, root: &Root) -> Result<()> {
        for change in self.changes.iter().rev() {
            let (target, old) = (root.join(&change.target), beside(root, &change.target, OLD));
            if look_at::at_name(&old)?.is_some() {
                fs::rename(&old, &target).map_err(|e| at(e, "putting back", &target))?;
                // Two names of one file: then rename does nothing.
                remove_if_there(&old)?;
            } else if !change.existed {
                // Only what was placed; since a kill somebody may have put another file there.
                let placed = match look(&target)? {
                    Found::File { digest, .. } => change.sha256.as_ref() == Some(&to_hex(&digest)),
                    _ => false,
                };
                if placed {
                    remove_if_there(&target)?;
                }
            }
            remove_if_there(&beside(root, &change.target, NEW))?;
        }
        let mut made = self.folders.clone();
        made.reverse();
        self.close(root, &made)
    }

    /// Removes what the way to the new state left over.
    fn finish(&self, root: &Root) -> Result<()> {
        for change in &self.changes {
            let old = beside(root, &change.target, OLD);
            if change.keep && look_at::is_there(&old)? {
                let kept = with_suffix(&root.join(&change.target), KEPT);
                fs::rename(&old, &kept).map_err(|e| at(e, "keeping", &kept))?;
            }
            remove_if_there(&old)?;
        }
        self.close(root, &self.prune)
    }

    /// Removes folders that are empty, and the journal. Its own folder is the last to go.
    fn close(&self, root: &Root, folders: &[String]) -> Result<()> {
        let prune = |own: bool| -> Result<()> {
            for folder in folders.iter().filter(|f| STAMP_DIR.starts_with(f.as_str()) == own) {
                remove_if_empty(&root.join(folder))?;
            }
            Ok(())
        };
        prune(false)?;
        self.sync(root)?;
        remove_if_there(&root.join(INSTALL_JOURNAL))?;
        if look_at::is_dir(&root.join(STAMP_DIR))? {
            sync_dir(&root.join(STAMP_DIR))?;
        }
        prune(true)
    }

    /// Makes the names in all folders that are changed durable.
    fn sync(&self, root: &Root) -> Result<()> {
        let targets = self.changes.iter().map(|c| parent(&root.join(&c.target)));
        let folders = self.folders.iter().chain(&self.prune).map(|f| parent(&root.join(f)));
        let mut all: Vec<PathBuf> = targets.chain(folders).collect();
        all.sort_unstable();
        all.dedup();
        for folder in all {
            if look_at::is_dir(&folder)? {
                sync_dir(&folder).map_err(|e| at(e, "syncing", &folder))?;
            }
        }
        Ok(())
    }
}

const NEW: &str = ".etcd2-backup-new";
const OLD: &str = ".etcd2-backup-old";
/// What an edited file is called once it was replaced: systemd reads no drop-in of that name.
pub const KEPT: &str = ".edited";

/// One function for all contexts: each closure of its own would cost the node program some.
fn at(error: io::Error, doing: &str, path: &Path) -> anyhow::Error {
    anyhow::Error::new(error).context(format!("{doing} {}", path.display()))
}

/// A hidden name beside a file.
fn beside(root: &Root, target: &str, suffix: &str) -> PathBuf {
    let target = root.join(target);
    let mut name = std::ffi::OsString::from(".");
    name.push(target.file_name().unwrap_or(OsStr::new("")));
    name.push(suffix);
    target.with_file_name(name)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn remove_if_empty(folder: &Path) -> Result<()> {
    match fs::remove_dir(folder) {
        Err(e)
            if !matches!(
                e.kind(),
                ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty | ErrorKind::NotADirectory
            ) =>
        {
            Err(at(e, "removing", folder))
        }
        _ => Ok(()),
    }
}

/// Writes a file's new content, durably.
fn stage(path: &Path, wanted: &Wanted) -> Result<()> {
    // Of a killed run whose journal somebody removed.
    remove_if_there(path)?;
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(wanted.mode).open(path)?;
        // The umask must not decide.
        file.set_permissions(fs::Permissions::from_mode(wanted.mode))?;
        match &wanted.content {
            Content::Bytes(bytes) => file.write_all(bytes)?,
            Content::Copy(from) => copy_listed(from, wanted, &mut file)?,
        }
        file.sync_all()
    };
    write().map_err(|e| at(e, "writing", path))
}

/// Checked again while it is copied: the folder is not ours alone, and what was verified is what gets placed.
fn copy_listed(from: &Path, wanted: &Wanted, to: &mut File) -> io::Result<()> {
    if sums::copy(File::open(from)?, to)? == wanted.digest {
        return Ok(());
    }
    Err(io::Error::other(format!("{} changed after it was checked", from.display())))
}
