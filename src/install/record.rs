//! What was placed on this node: the installer's memory, for the next version, for `--check` and for `uninstall`.

use std::{fs, io};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::existing::{Found, look, our_user};
use super::json;
use super::payload::{Content, Wanted};
use super::sums::of_bytes;
use crate::exit::{Exit, OrFault};
use crate::paths::{FOUNDER_DROP_IN, RECORD};
use crate::remote::conf::digest_of_the_operators;
use crate::sys::digest::to_hex;
use crate::sys::root::Root;

/// All that was placed, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The version of the program that placed it.
    pub program: String,
    /// Its commit.
    pub commit: String,
    /// Every file, in the order in which they were placed.
    pub files: Vec<Entry>,
    /// Folders that were made for them, sorted.
    pub folders: Vec<String>,
}

/// One file that was placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path on the node.
    pub target: String,
    /// The checksum of what was placed.
    pub sha256: String,
    /// For rclone.conf, the checksum of what counts: rclone writes tokens into it.
    pub sha256_without_tokens: Option<String>,
    /// Its mode, in octal.
    pub mode: String,
}

/// One way in which the node differs from the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The file.
    pub target: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Default for Record {
    fn default() -> Self {
        Self::new(Vec::new(), Vec::new())
    }
}

impl Record {
    /// The record of what this program places.
    pub fn new(files: Vec<Entry>, folders: Vec<String>) -> Self {
        let commit = option_env!("ETCD2_BACKUP_COMMIT").unwrap_or("unknown").to_owned();
        Self { program: env!("CARGO_PKG_VERSION").to_owned(), commit, files, folders }
    }

    /// The record of this node; `None` if there is none.
    ///
    /// # Errors
    /// [`Exit::Corrupt`]: there is one that cannot be read or understood.
    pub fn load(root: &Root) -> Result<Option<Self>> {
        let path = root.join(RECORD);
        let read = || match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            text => parse(&text?).map(Some),
        };
        read().or_fault(
            Exit::Corrupt,
            format!("reading {}", path.display()),
            "it lists what was installed here; if it is damaged, remove it and install again: that replaces \
             every file of etcd2-backup, edited or not",
        )
    }

    /// As a file.
    pub fn text(&self) -> String {
        let files: Vec<Value> = self.files.iter().map(Entry::json).collect();
        let Self { program, commit, folders, .. } = self;
        json::text(
            &json!({ "version": 1, "program": program, "commit": commit, "files": files, "folders": folders }),
        )
    }

    /// What `differences` found, for a program to read.
    pub fn checked_json(&self, found: &[Difference]) -> String {
        let found: Vec<Value> =
            found.iter().map(|d| json!({ "target": d.target, "problem": d.problem })).collect();
        let Self { program, commit, .. } = self;
        let value =
            json!({ "format": 1, "version": 1, "program": program, "commit": commit, "differences": found });
        format!("{value}\n")
    }

    /// What was placed at a path.
    pub fn entry(&self, target: &str) -> Option<&Entry> {
        self.files.iter().find(|e| e.target == target)
    }

    /// Every way in which the node differs from it.
    ///
    /// # Errors
    /// A file is there and cannot be read.
    pub fn differences(&self, root: &Root) -> Result<Vec<Difference>> {
        let mut all = Vec::new();
        for entry in &self.files {
            let mut add = |problem: String| all.push(Difference { target: entry.target.clone(), problem });
            match look(&root.join(&entry.target))? {
                Found::Nothing => add("is missing".to_owned()),
                Found::Other => add("is not a regular file".to_owned()),
                Found::File { mode, owner, .. } => {
                    if entry.is_edited(root)? {
                        add("is altered".to_owned());
                    }
                    if format!("{mode:04o}") != entry.mode {
                        add(format!("has mode {mode:04o} instead of {}", entry.mode));
                    }
                    if owner != our_user() {
                        add(format!("belongs to user {owner}"));
                    }
                }
            }
        }
        Ok(all)
    }
}

impl Entry {
    /// The entry of a file that is placed.
    pub fn of(target: &str, wanted: &Wanted) -> Self {
        let mode = format!("{:04o}", wanted.mode);
        Self { target: target.to_owned(), sha256: to_hex(&wanted.digest), sha256_without_tokens: None, mode }
    }

    /// The same for a rclone.conf of this content.
    pub fn with_tokens_apart(self, content: &[u8]) -> Self {
        Self { sha256_without_tokens: Some(to_hex(&digest_of_the_operators(content))), ..self }
    }

    fn json(&self) -> Value {
        let Self { target, sha256, mode, .. } = self;
        let mut entry = json!({ "target": target, "sha256": sha256, "mode": mode });
        if let Some(sha256) = &self.sha256_without_tokens {
            entry["sha256_without_tokens"] = json!(sha256);
        }
        entry
    }

    fn parse(entry: &Value) -> Result<Self> {
        let string = |key| json::string(entry, key);
        let sha256_without_tokens = string("sha256_without_tokens").ok();
        Ok(Self {
            target: string("target")?,
            sha256: string("sha256")?,
            sha256_without_tokens,
            mode: string("mode")?,
        })
    }

    /// Whether `set-founder` placed it.
    pub fn is_founders(&self) -> bool {
        self.target.ends_with(FOUNDER_DROP_IN)
    }

    /// Whether what lies there is not what was placed; rclone's tokens do not count. Nothing there is no edit.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn is_edited(&self, root: &Root) -> Result<bool> {
        Ok(match look(&root.join(&self.target))? {
            Found::Nothing => false,
            Found::Other => true,
            Found::File { digest, .. } => {
                to_hex(&digest) != self.sha256 && self.tokens_of_the_node(root)?.is_none()
            }
        })
    }

    /// The rclone.conf on the node, if it is this one with other tokens.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn tokens_of_the_node(&self, root: &Root) -> Result<Option<Wanted>> {
        let Some(expected) = &self.sha256_without_tokens else { return Ok(None) };
        let path = root.join(&self.target);
        let Found::File { digest, mode, .. } = look(&path)? else { return Ok(None) };
        if to_hex(&digest) == self.sha256 {
            return Ok(None);
        }
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let same = to_hex(&digest_of_the_operators(&bytes)) == *expected;
        Ok(same.then(|| Wanted { digest: of_bytes(&bytes), content: Content::Bytes(bytes), mode }))
    }
}

fn parse(text: &[u8]) -> Result<Record> {
    let value = json::parse(text)?;
    let record = Record {
        program: json::string(&value, "program")?,
        commit: json::string(&value, "commit")?,
        files: json::list(&value, "files")?.iter().map(Entry::parse).collect::<Result<_>>()?,
        folders: json::strings(&value, "folders")?,
    };
    // Files are removed by this list.
    let ours = |p: &String| {
        ["/etc/", "/opt/", "/usr/local/share/"].iter().any(|top| p.starts_with(top))
            && p.split('/').all(|part| part != "..")
    };
    let targets = record.files.iter().map(|e| &e.target);
    if let Some(bad) =
        targets.chain(record.folders.iter().filter(|f| *f != "/etc" && *f != "/opt")).find(|p| !ours(p))
    {
        anyhow::bail!("it lists {bad:?}, where etcd2-backup installs nothing");
    }
    Ok(record)
}
