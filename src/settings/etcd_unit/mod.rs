//! What etcd's process gets: the variables of its unit, and the flags of its command line over them; or, in place of both, a
//! configuration file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use glob::MatchOptions;
use sha2::{Digest as _, Sha256};

use super::engine;
use super::etcd_config::{ConfigFile, Problem};
use super::seen::Setup;
use crate::exit::{Exit, OrFault, fault};
use crate::sys::digest::to_hex;
use crate::sys::look;
use crate::sys::root::Root;
use crate::sys::systemd::{self, ServiceUnit};

/// The effective environment and command line of etcd's unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitEnvironment {
    /// Its variables, files over `Environment=`.
    pub variables: BTreeMap<String, String>,
    /// Program and arguments, variables expanded; empty if they are not known (a tree instead of the running node).
    pub command: Vec<String>,
    /// The user etcd runs as, empty for root.
    pub user: String,
    /// The configuration file that one of these names: nothing else counts then.
    pub file: Option<ConfigFile>,
    /// What the running etcd was seen to be given, by flag, in this node's paths: it is right where the text of a unit says
    /// another thing, or nothing.
    pub seen: BTreeMap<String, String>,
    /// Who owned its log when it was last seen to run, uid and gid; else whom a container's engine is told to run it as. Neither
    /// is the user of the unit, which may be the engine's.
    pub owner: Option<(u32, u32)>,
}

impl UnitEnvironment {
    /// Reads what systemd has loaded for `unit`, and the environment files it names.
    ///
    /// # Errors
    /// systemd cannot be asked, the unit starts nothing, or an environment file cannot be read.
    pub fn load(unit: &str, root: &Root) -> Result<Self> {
        let service = systemd::service_unit(unit).or_fault(
            Exit::Settings,
            format!("asking systemd about {unit}"),
            "run this as root on the node itself, or name a directory tree with --root",
        )?;
        if service.command.is_empty() {
            return Err(fault(
                Exit::Settings,
                format!("{unit} starts nothing: it has no ExecStart"),
                "set ETCD2_BACKUP_ETCD_UNIT to the unit that runs etcd",
            ));
        }
        let mut files = Vec::new();
        for (path, may_be_missing) in &service.environment_files {
            let read = |path: &PathBuf| std::fs::read_to_string(path);
            let texts = matching(&root.join(path))
                .and_then(|paths| Ok(paths.iter().map(read).collect::<std::io::Result<Vec<String>>>()?));
            let texts = texts.with_context(|| format!("reading {}, as {unit} does", path.display()))?;
            if texts.is_empty() && !may_be_missing {
                return Err(fault(
                    Exit::Settings,
                    format!("{unit} reads its variables from {}, which does not exist", path.display()),
                    format!("see: systemctl cat {unit}"),
                ));
            }
            files.extend(texts);
        }
        Ok(Self::effective(&service, &files).with_file(root))
    }

    /// Reads the configuration file, where one is named; what it says is not judged yet.
    #[must_use]
    pub fn with_file(mut self, root: &Root) -> Self {
        self.file = self.config_file().map(|path| ConfigFile::load(path, &root.join(path)));
        self
    }

    /// Puts variables, files and command together; pure.
    pub fn effective(service: &ServiceUnit, files: &[String]) -> Self {
        let mut variables: BTreeMap<String, String> = service
            .environment
            .iter()
            .filter_map(|v| v.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        for text in files {
            variables.extend(parse_environment_file(text));
        }
        let command = expand(&service.command, &variables);
        variables.extend(engine::variables(&command));
        // Flatcar's unit runs as root, and its wrapper becomes this user.
        let wrapper = || variables.get("ETCD_USER").cloned().unwrap_or_default();
        let user = if service.user.is_empty() { wrapper() } else { service.user.clone() };
        let owner = engine::owner(&command);
        Self { variables, command, user, owner, ..Self::default() }
    }

    /// What etcd was seen to have; else what its configuration file says; else, without one, a flag of the command line, else the
    /// variable etcd takes for it. Empty values count as not set, as in etcd.
    pub fn get(&self, flag: &str) -> Option<&str> {
        let place = ["data-dir", "wal-dir"].contains(&flag) && !self.seen.is_empty();
        if let Some(seen) = self.seen.get(flag) {
            return Some(seen);
        }
        if place {
            return None;
        }
        match &self.file {
            Some(file) => return file.values.as_ref().ok()?.get(flag).map(String::as_str),
            // It was seen to read one that its unit does not name.
            None if self.seen.contains_key(CONFIG_FILE) => return None,
            None => {}
        }
        let variable = variable_of(flag);
        let value =
            flag_value(&self.command, flag).or_else(|| self.variables.get(&variable).map(String::as_str));
        value.filter(|v| !v.is_empty())
    }

    /// Takes what the running etcd was last seen to be given, if its unit says the same as then.
    pub fn see(&mut self, setup: Result<Option<Setup>>) {
        match setup {
            Ok(Some(setup)) if setup.unit == self.digest() && self.may_be(&setup) => {
                self.seen = setup.settings;
                self.owner = setup.owner.or(self.owner);
            }
            Ok(_) => {}
            Err(e) => log::warn!("cannot read how etcd was last seen to run: {e:#}"),
        }
    }

    /// The file that etcd reads instead of flags and variables: the flag, else the variable.
    pub fn config_file(&self) -> Option<&Path> {
        let flag = flag_value(&self.command, CONFIG_FILE).filter(|path| !path.is_empty());
        let variable = || self.variables.get(&variable_of(CONFIG_FILE)).map(String::as_str);
        flag.or_else(variable).filter(|path| !path.is_empty()).map(Path::new)
    }

    /// Refuses a configuration file that is not known. Where etcd was seen to run with one that is not here, what was seen of it
    /// counts; nothing else takes its place.
    ///
    /// # Errors
    /// [`Exit::Settings`]: it cannot be read, and etcd was not seen; or it is not what etcd could start from.
    pub fn refuse_unknown_file(&self, unit: &str) -> Result<()> {
        match self.file.as_ref().map(|file| (file, &file.values)) {
            Some((file, Err(Problem::Unread(why)))) if self.seen.contains_key(CONFIG_FILE) => {
                log::warn!(
                    "etcd's configuration file {} is not here ({why}): using what the running etcd was last \
                     seen to read from it",
                    file.path.display()
                );
                Ok(())
            }
            Some((file, Err(problem))) => Err(file.refusal(problem, unit)),
            _ => Ok(()),
        }
    }

    /// What tells one content of the configuration file from another; `None` if there is none, or it is not known here.
    pub fn file_digest(&self) -> Option<String> {
        let mut sum = Sha256::new();
        for (flag, value) in self.file.as_ref()?.values.as_ref().ok()? {
            [flag, value].iter().for_each(|word| {
                sum.update(word.as_bytes());
                sum.update([0]);
            });
        }
        Some(to_hex(&sum.finalize()))
    }

    /// Whether etcd would be set up like that if it were started now, as far as its configuration file can be read here.
    fn may_be(&self, setup: &Setup) -> bool {
        self.file_digest().is_none_or(|digest| setup.file.as_ref() == Some(&digest))
    }

    /// What tells one text of a unit from another: the SHA-256, in hex, of all that its process gets.
    pub fn digest(&self) -> String {
        let mut sum = Sha256::new();
        let variables = self.variables.iter().map(|(name, value)| format!("{name}={value}"));
        for word in self.command.iter().cloned().chain([self.user.clone()]).chain(variables) {
            sum.update(word.as_bytes());
            sum.update([0]);
        }
        to_hex(&sum.finalize())
    }
}

/// The files that an `EnvironmentFile=` names, a path or a pattern, in the order of their names, as systemd reads them.
fn matching(path: &Path) -> Result<Vec<PathBuf>> {
    let pattern = path.to_str().context("it is not UTF-8")?;
    let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::default() };
    let found = glob::glob_with(pattern, options)?.collect::<Result<Vec<_>, _>>()?;
    // A link to nothing is found too.
    let mut all = Vec::new();
    for path in found {
        all.extend(look::is_there(&path)?.then_some(path));
    }
    Ok(all)
}

/// Names a file in place of all other flags and variables.
pub(crate) const CONFIG_FILE: &str = "config-file";

/// etcd's variable for a flag: `data-dir` is `ETCD_DATA_DIR`.
pub(super) fn variable_of(flag: &str) -> String {
    format!("ETCD_{}", flag.replace('-', "_").to_ascii_uppercase())
}

/// The last value a flag has in `command`: `--flag value`, `--flag=value`, and both with one dash.
pub(super) fn flag_value<'a>(command: &'a [String], flag: &str) -> Option<&'a str> {
    let mut found = None;
    let mut words = command.iter().skip(1);
    while let Some(word) = words.next() {
        match as_flag(word) {
            Some((name, value)) if name == flag => {
                found = value.or_else(|| words.next().map(String::as_str)).or(found);
            }
            _ => {}
        }
    }
    found
}

/// A word as a flag: its name and the value behind `=`.
pub fn as_flag(word: &str) -> Option<(&str, Option<&str>)> {
    let bare = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    Some(match bare.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (bare, None),
    })
}

/// Expands variables as systemd does: `${X}` anywhere in a word; `$X` only as a whole word, split at white space outside of
/// quotes, which go.
fn expand(command: &[String], variables: &BTreeMap<String, String>) -> Vec<String> {
    let value = |name: &str| variables.get(name).map_or("", String::as_str);
    let mut words = Vec::new();
    for (i, word) in command.iter().enumerate() {
        match word.strip_prefix('$').filter(|n| i > 0 && is_name(n)) {
            Some(name) => words.extend(split(value(name))),
            None => words.push(expand_braces(word, &value)),
        }
    }
    words
}

fn expand_braces<'a>(word: &str, value: &impl Fn(&str) -> &'a str) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let behind = &rest[at + 1..];
        let braced = behind.strip_prefix('{').and_then(|b| b.split_once('}')).filter(|(n, _)| is_name(n));
        if let Some((name, after)) = braced {
            out.push_str(value(name));
            rest = after;
        } else {
            out.push('$');
            rest = behind.strip_prefix('$').unwrap_or(behind);
        }
    }
    out + rest
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The variables of an environment file, as systemd reads it: comments, quotes, a backslash before a line's end.
fn parse_environment_file(text: &str) -> Vec<(String, String)> {
    let joined = text.replace("\\\n", "");
    let variable = |line: &str| -> Option<(String, String)> {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            return None;
        }
        let (name, value) = line.split_once('=')?;
        is_name(name.trim()).then(|| (name.trim().to_owned(), without_quotes(value.trim())))
    };
    joined.lines().filter_map(variable).collect()
}

/// The words of a variable that stands alone in a command line.
fn split(value: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => {
                words.extend(word.take());
                continue;
            }
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(q)) if c == q => quote = None,
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(chars.next()),
            (c, _) => word.get_or_insert_default().push(c),
        }
        word.get_or_insert_default();
    }
    words.extend(word);
    words
}

fn without_quotes(value: &str) -> String {
    let mut out = String::new();
    let mut quote = None;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(q)) if c == q => quote = None,
            ('\\', None | Some('"')) => out.extend(chars.next()),
            (c, _) => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests;
