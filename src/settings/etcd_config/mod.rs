//! etcd's configuration file (`--config-file`, from etcd 3.0 on; `ETCD_CONFIG_FILE`, from 3.4 on). An etcd that is given one
//! reads no other flag and no variable.
//!
//! What is read is what the program asks for, by the names of etcd's flags. etcd makes JSON of the file (Go's yaml.v2, then
//! encoding/json), and this follows it: names match in any case, the last of two equal ones counts, a number or a truth value
//! without quotes is text where text is wanted, unknown names are passed over, and only the first document counts.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Error, Result, ensure};
use rustix::fs::OFlags;

use self::yaml::{Document, Node, Wrong};
use crate::exit::{Exit, fault};

mod yaml;

/// Settings by the names of etcd's flags, none of them empty.
pub type Values = BTreeMap<String, String>;

/// etcd's own sample has 5 kB. What comes of a file in memory is up to 60 times as large.
const MAX_BYTES: u64 = 256 << 10;
/// What is text to etcd.
const TEXTS: [&str; 13] = [
    "name",
    "data-dir",
    "wal-dir",
    "initial-advertise-peer-urls",
    "advertise-client-urls",
    "listen-client-urls",
    "initial-cluster",
    "initial-cluster-state",
    "discovery",
    "discovery-srv",
    "discovery-fallback",
    "discovery-proxy",
    "proxy",
];
/// What is on or off.
const SWITCHES: [&str; 1] = ["force-new-cluster"];
/// Maps of their own, and what is put before their names to make them flags.
const SECTIONS: [(&str, &str); 2] = [("client-transport-security", ""), ("peer-transport-security", "peer-")];
const SECTION_TEXTS: [&str; 4] = ["cert-file", "key-file", "trusted-ca-file", "ca-file"];
const SECTION_SWITCHES: [&str; 1] = ["client-cert-auth"];
/// Written out in etcd's sample, and the same as not set.
const DEFAULTS: [(&str, &str); 2] = [("proxy", "off"), ("discovery-fallback", "proxy")];

/// A configuration file that etcd is given, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    /// Where it is, as whoever named it sees it.
    pub path: PathBuf,
    /// What it says, or why that is not known.
    pub values: Result<Values, Problem>,
}

/// Why it is not known what a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// It cannot be read from here: a container, or a sandbox, may have it where this node has not.
    Unread(String),
    /// It was read, and etcd would not take it either.
    Wrong(String),
}

impl ConfigFile {
    /// Reads a file that is named `path`, with `place` as where that is here.
    pub fn load(path: &Path, place: &Path) -> Self {
        let values = match path.is_absolute() {
            true => open(place).map_err(|e| Problem::unread(&e)).and_then(|file| read(&file)),
            false => Err(Problem::Unread("its path is not absolute".into())),
        };
        Self { path: path.to_owned(), values }
    }

    /// The error that says why this file is not known; `unit` is what names it.
    pub fn refusal(&self, problem: &Problem, unit: &str) -> Error {
        let path = self.path.display();
        let (why, hint) = match problem {
            Problem::Unread(why) => (
                why,
                format!(
                    "etcd reads it instead of flags and variables: sudo ls -l {path}; if only a container \
                     has that file, start etcd, then read it there: sudo /opt/bin/etcd2-backup look"
                ),
            ),
            Problem::Wrong(why) => (
                why,
                format!(
                    "etcd cannot start from it either; correct it (see etcd.conf.yml.sample): sudoedit {path}"
                ),
            ),
        };
        fault(Exit::Settings, format!("{unit}: reading etcd's configuration file {path}: {why}"), hint)
    }
}

impl Problem {
    /// What kept a file from being read.
    pub fn unread(e: &Error) -> Self {
        Self::Unread(format!("{e:#}"))
    }
}

/// Opens a regular file; no pipe is waited for.
fn open(path: &Path) -> Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    Ok(OpenOptions::new().read(true).custom_flags(flags).open(path)?)
}

/// What an open file says.
///
/// # Errors
/// It is none, is not read, or is not understood.
pub fn read(file: &File) -> Result<Values, Problem> {
    let bytes = || -> Result<Vec<u8>> {
        ensure!(file.metadata()?.is_file(), "it is not a regular file");
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).context("its bytes")?;
        Ok(bytes)
    };
    parse(&bytes().map_err(|e| Problem::unread(&e))?).map_err(Problem::Wrong)
}

/// What the bytes of a file say.
///
/// # Errors
/// Why etcd would not take them, or not as they are meant. It shows no value: there may be a secret among them.
pub fn parse(bytes: &[u8]) -> Result<Values, String> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("it has more than {} KiB", MAX_BYTES >> 10));
    }
    let text =
        std::str::from_utf8(bytes).map_err(|e| format!("byte {}: it is not UTF-8", e.valid_up_to()))?;
    let document = Document::parse(text.strip_prefix('\u{feff}').unwrap_or(text))?;
    let mut values = Values::new();
    let Some(root) = document.root() else { return Ok(values) };
    if root.is_null() {
        return Ok(values);
    }
    let take =
        |values: &mut Values, name: String, value: Result<Option<String>, Wrong>| -> Result<(), String> {
            if let Some(value) = value.map_err(|wrong| wrong.of(&name))? {
                values.insert(name, value);
            }
            Ok(())
        };
    for (name, node) in entries(root).map_err(|wrong| wrong.of("the document"))? {
        if let Some(flag) = known(&TEXTS, &name) {
            take(&mut values, flag.to_owned(), node.text())?;
        } else if let Some(flag) = known(&SWITCHES, &name) {
            take(&mut values, flag.to_owned(), switch(node))?;
        } else if let Some((section, prefix)) = SECTIONS.iter().find(|(s, _)| s.eq_ignore_ascii_case(&name)) {
            if node.is_null() {
                continue;
            }
            for (name, node) in entries(node).map_err(|wrong| wrong.of(section))? {
                if let Some(key) = known(&SECTION_TEXTS, &name) {
                    take(&mut values, format!("{prefix}{key}"), node.text())?;
                } else if let Some(key) = known(&SECTION_SWITCHES, &name) {
                    take(&mut values, format!("{prefix}{key}"), switch(node))?;
                }
            }
        }
    }
    values.retain(|name, value| !value.is_empty() && !DEFAULTS.contains(&(name, value)));
    Ok(values)
}

/// Names and values of a map in the order in which etcd takes them: the last of equal names, then sorted.
fn entries<'a>(map: Node<'a>) -> Result<BTreeMap<String, Node<'a>>, Wrong> {
    let mut all = BTreeMap::new();
    for (key, value) in map.pairs()? {
        if key.is_merge() {
            return Err(
                key.wrong("has a merge key (<<), which is not supported here: write out what it stands for")
            );
        }
        // A name that is no text is none of etcd's.
        if let Ok(Some(name)) = key.text() {
            all.insert(name, value);
        }
    }
    Ok(all)
}

fn known<'a>(names: &[&'a str], name: &str) -> Option<&'a str> {
    names.iter().find(|known| known.eq_ignore_ascii_case(name)).copied()
}

/// `false` is what it is without being written.
fn switch(node: Node<'_>) -> Result<Option<String>, Wrong> {
    Ok(node.truth()?.filter(|on| *on).map(|on| on.to_string()))
}

#[cfg(test)]
mod tests;
