//! What is to be done to which file: worked out by looking, shown, and carried out by [`super::transaction`].

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::existing::{self, Found, look, our_user};
use super::leftovers;
use super::payload::{self, Content, Payload, Wanted, drop_in};
use super::record::{Entry, Record};
use crate::exit::{Exit, fault};
use crate::paths;
use crate::remote::conf::is_encrypted;
use crate::settings::our_units::{names, services};
use crate::sys::digest::to_hex;
use crate::sys::look as look_at;
use crate::sys::root::Root;

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is not there.
    Create,
    /// It is there with another content, mode or owner.
    Replace,
    /// It is there as it should be.
    Same,
    /// It is there and should not be.
    Remove,
    /// It should not be there, but was edited, and stays.
    Keep,
}

/// One file and what is done to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// The path on the node, without the root.
    pub target: String,
    /// What it should be; nothing if it should not be there.
    pub wanted: Option<Wanted>,
    /// Whether somebody edited it since it was placed.
    pub edited: bool,
    /// Why, if that is not plain.
    pub why: &'static str,
}

/// All of it, in the order in which it is carried out: what a file needs comes before it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// One for each file.
    pub steps: Vec<Step>,
    /// Folders to remove if that leaves them empty, the deepest first.
    pub prune: Vec<String>,
    /// Whether an edited file that is replaced or removed is kept beside, as `NAME.edited`.
    pub keep_edited: bool,
    /// What is installed then.
    pub record: Record,
}

const TOKENS: &str = "it has newer tokens, and is the same otherwise";
const ENCRYPTED_ANEW: &str = "it was encrypted anew on the node, as rclone does for each token";
const OUTDATED: &str = "an older version placed it";

impl Plan {
    /// The plan of an installation: the payload over what is there, of which `old` was placed before.
    ///
    /// # Errors
    /// [`Exit::Refused`]: something is in the way that is not ours to replace. Or a file cannot be read.
    pub fn install(root: &Root, payload: &Payload, old: &Record) -> Result<Self> {
        let mut plan = Self { keep_edited: true, ..Self::default() };
        let mut files = Vec::new();
        for (name, target, mode) in targets(root, payload) {
            // Of a payload that was verified only what is optional can be absent.
            let Some(digest) = payload.digest(name) else { continue };
            let wanted = Wanted { content: Content::Copy(payload.path(name)), digest, mode };
            let mut entry = Entry::of(&target, &wanted);
            let placed = old.entry(&target);
            let mut why = "";
            let mut chosen = wanted;
            if target == paths::RCLONE_CONF {
                let conf = payload.read(name)?;
                entry = entry.with_tokens_apart(&conf);
                // A tarball with other tokens than the last one: then the operator made them anew. What is encrypted
                // cannot be compared with what somebody else placed.
                let unchanged = placed.map_or(!is_encrypted(&conf), |p| p.sha256 == entry.sha256);
                if unchanged && let Some(own) = entry.tokens_of_the_node(root)? {
                    (chosen, why) =
                        (Wanted { mode, ..own }, if is_encrypted(&conf) { ENCRYPTED_ANEW } else { TOKENS });
                }
            }
            plan.put(root, target, chosen, placed, why)?;
            files.push(entry);
        }
        let kept: Vec<Entry> = old.files.iter().filter(|e| e.is_founders()).cloned().collect();
        for entry in
            old.files.iter().filter(|e| !e.is_founders() && files.iter().all(|f| f.target != e.target))
        {
            plan.remove(root, entry, OUTDATED, Action::Remove)?;
        }
        let of_join = leftovers::of_join(root, payload.etcd_unit());
        plan.steps.extend(of_join.map(|target| Step::removal(target, leftovers::NOT_NEEDED)));
        for target in
            leftovers::of_the_original(root, payload.data_dir(), |t| files.iter().any(|f| f.target == t))
        {
            plan.prune.extend(leftovers::folder(&target));
            plan.steps.push(Step::removal(target, leftovers::WHY));
        }
        files.extend(kept);
        plan.record = Record::new(files, old.folders.clone());
        plan.prune_recorded(old);
        Ok(plan)
    }

    /// The plan of an uninstallation: `old` is what was placed. What was edited stays, unless `force` is given.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn uninstall(root: &Root, old: &Record, force: bool) -> Result<Self> {
        let mut plan = Self::default();
        let edited = if force { Action::Remove } else { Action::Keep };
        // Backwards: the units go before the program they run.
        for entry in old.files.iter().rev() {
            plan.remove(root, entry, "", edited)?;
        }
        for target in enabled(root)? {
            plan.prune.extend(target.rsplit_once('/').map(|(folder, _)| folder.to_owned()));
            plan.steps.insert(0, Step::removal(target, "the unit is enabled by it"));
        }
        let stays = |e: &&Entry| plan.steps.iter().any(|s| s.action == Action::Keep && s.target == e.target);
        let files: Vec<Entry> = old.files.iter().filter(stays).cloned().collect();
        plan.record = Record { files, ..old.clone() };
        plan.prune_recorded(old);
        Ok(plan)
    }

    /// Adds a file that should be there.
    pub(super) fn put(
        &mut self,
        root: &Root,
        target: String,
        wanted: Wanted,
        placed: Option<&Entry>,
        why: &'static str,
    ) -> Result<()> {
        if let Some(reason) = existing::obstacle(root, &target)? {
            let hint = "move it away and run this again; no file has been changed";
            return Err(fault(Exit::Refused, format!("cannot place {target}: {reason}"), hint));
        }
        let (action, edited) = match look(&root.join(&target))? {
            Found::Nothing => (Action::Create, false),
            Found::File { digest, mode, owner } if digest == wanted.digest => {
                let same = mode == wanted.mode && owner == our_user();
                (if same { Action::Same } else { Action::Replace }, false)
            }
            _ => (Action::Replace, placed.map_or(Ok(false), |p| p.is_edited(root))?),
        };
        self.steps.push(Step { action, target, wanted: Some(wanted), edited, why });
        Ok(())
    }

    /// Adds a file that was placed and should not be there any more; one that is not there is nothing to do.
    fn remove(&mut self, root: &Root, entry: &Entry, why: &'static str, if_edited: Action) -> Result<()> {
        if look(&root.join(&entry.target))? == Found::Nothing {
            return Ok(());
        }
        let edited = entry.is_edited(root)?;
        let action = if edited { if_edited } else { Action::Remove };
        self.steps.push(Step { action, edited, ..Step::removal(entry.target.clone(), why) });
        Ok(())
    }

    /// The folders that were made for files which are not installed any more.
    pub(super) fn prune_recorded(&mut self, old: &Record) {
        let files = &self.record.files;
        let goes = |f: &&String| !files.iter().any(|e| Path::new(&e.target).starts_with(f.as_str()));
        self.prune.extend(old.folders.iter().filter(goes).cloned());
        // Deeper folders have longer paths than what they lie in.
        self.prune.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        self.prune.dedup();
    }

    /// Files that somebody edited, of those that are about to be replaced or removed.
    pub fn edited(&self) -> Vec<&str> {
        let lost = self.steps.iter().filter(|s| s.edited && s.action != Action::Keep);
        lost.map(|s| s.target.as_str()).collect()
    }

    /// How many steps do this.
    pub fn count(&self, action: Action) -> usize {
        self.steps.iter().filter(|s| s.action == action).count()
    }

    /// The plan for a program to read.
    pub fn json(&self) -> String {
        let line = |s: &Step| {
            let mut line = json!({ "action": s.action.name(), "target": s.target, "edited": s.edited });
            if let Some(wanted) = &s.wanted {
                line["mode"] = json!(format!("{:04o}", wanted.mode));
                line["sha256"] = json!(to_hex(&wanted.digest));
            }
            if !s.why.is_empty() {
                line["why"] = json!(s.why);
            }
            line
        };
        let steps: Vec<Value> = self.steps.iter().map(line).collect();
        let value = json!({ "format": 1, "version": 1, "steps": steps });
        format!("{value}\n")
    }
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Replace => "replace",
            Self::Same => "same",
            Self::Remove => "remove",
            Self::Keep => "keep",
        }
    }
}

impl Step {
    pub(super) fn removal(target: String, why: &'static str) -> Self {
        Self { action: Action::Remove, target, wanted: None, edited: false, why }
    }
}

/// Where a system may have a place for the man page and the completions: name in the tarball, directory, name there.
const PLACES: [(&str, &str, &str); 4] = [
    (payload::BASH, "/etc/bash_completion.d", "etcd2-backup"),
    (payload::FISH, "/etc/fish/completions", payload::FISH),
    (payload::ZSH, "/usr/local/share/zsh/site-functions", payload::ZSH),
    (payload::MAN, "/usr/local/share/man/man8", payload::MAN),
];

/// The places that this node has. None is made, and what is in `/usr` is the system's: on Fedora CoreOS `/usr/local` is a link
/// to `/var`.
fn places(root: &Root) -> impl Iterator<Item = (&'static str, String, u32)> {
    let is_place = |folder: &str| {
        let real = |path: &str| fs::canonicalize(root.join(path));
        let Ok(folder) = real(folder) else { return false };
        let of_the_system = real("/usr").is_ok_and(|usr| folder.starts_with(usr));
        let is_writable = rustix::fs::access(&folder, rustix::fs::Access::WRITE_OK).is_ok();
        !of_the_system && is_writable && look_at::is_dir(&folder).unwrap_or(false)
    };
    let all = PLACES.iter().filter(move |(_, folder, _)| is_place(folder));
    let all = all.map(|(name, folder, there)| (*name, format!("{folder}/{there}"), 0o644));
    // Nobody is kept from a backup by a completion that cannot be placed.
    all.filter(move |(_, target, _)| {
        existing::obstacle(root, target).is_ok_and(|obstacle| obstacle.is_none())
    })
}

/// Name in the tarball, path on the node and mode of every file: programs, settings, the units that use them, then what is for
/// people.
fn targets(root: &Root, payload: &Payload) -> Vec<(&'static str, String, u32)> {
    let mut all = vec![
        (payload::PROGRAM, paths::PROGRAM.to_owned(), 0o755),
        (payload::RCLONE, paths::BUNDLED_RCLONE.to_owned(), 0o755),
        (payload::RCLONE_CONF, paths::RCLONE_CONF.to_owned(), 0o600),
    ];
    all.extend(services().map(|unit| (payload::SETTINGS, drop_in(unit, payload::SETTINGS), 0o644)));
    all.extend(names().map(|unit| (unit, format!("{}/{unit}", paths::UNIT_DIR), 0o644)));
    all.push((payload::FENCE, drop_in(payload.etcd_unit(), payload::FENCE), 0o644));
    all.extend(places(root));
    all
}

/// The links that `systemctl enable` made for our units.
///
/// # Errors
/// A folder of systemd's cannot be looked into.
pub(super) fn enabled(root: &Root) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for units in [paths::UNIT_DIR, paths::RUNTIME_UNIT_DIR] {
        for folder in look_at::list_if_there(&root.join(units))?.unwrap_or_default() {
            let folder = folder.file_name().to_string_lossy().into_owned();
            if folder.ends_with(".wants") || folder.ends_with(".requires") {
                let links = names().map(|unit| format!("{units}/{folder}/{unit}"));
                for link in links {
                    if look_at::at_name(&root.join(&link))?.is_some_and(|found| found.is_symlink()) {
                        all.push(link);
                    }
                }
            }
        }
    }
    all.sort_unstable();
    Ok(all)
}
