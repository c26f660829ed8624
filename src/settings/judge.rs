//! A value against its row of the table, in the words of the place where it was written. Pure.

use std::collections::BTreeMap;

use anyhow::Result;

use super::checks::{Problem, Read, Write, one_line};
use super::table::{Kind, Lands, SETTINGS, Setting, default, row};
use super::values::OURS;
use crate::exit::{Exit, fault};

/// Where a value was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In `etcd2-backup.toml`.
    Key,
    /// In a drop-in of our services, or in the environment.
    Variable,
}

/// Why a value was not taken, as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The setting, the value and the reason.
    pub what: String,
    /// What to write instead.
    pub hint: String,
    /// All that can be written, where those are few.
    pub choices: &'static [&'static str],
}

impl From<Refusal> for anyhow::Error {
    fn from(refusal: Refusal) -> Self {
        fault(Exit::Settings, refusal.what, refusal.hint)
    }
}

/// What a value means; spaces around it mean nothing.
///
/// # Errors
/// Why it means nothing.
pub fn read<T>(
    row: &Setting,
    place: Place,
    raw: &str,
    reader: impl FnOnce(&str, Write<'_>) -> Read<T>,
) -> Result<T, Refusal> {
    let text = raw.trim();
    let name = match (place, row.lands) {
        (Place::Variable, Lands::Variable(name)) => name,
        _ => row.key,
    };
    let write = |value: &str| match (place, row.kind) {
        (Place::Variable, _) => format!("{name}={value}"),
        (Place::Key, Kind::Text | Kind::List(',')) => format!("{} = {value:?}", row.name()),
        (Place::Key, Kind::List(_)) => format!("{} = [{value:?}]", row.name()),
        (Place::Key, Kind::Number | Kind::Switch) => format!("{} = {value}", row.name()),
    };
    let problem = match one_line(raw).and_then(|()| reader(text, &write)) {
        Ok(value) => return Ok(value),
        Err(problem) => problem,
    };
    let Problem { why, hint, hides, choices } = problem;
    let what = match (place, row.kind) {
        // It begins with the name of a flag.
        _ if hides && why.starts_with('"') => format!("{name}: {why}"),
        _ if hides => format!("{name} {why}"),
        (Place::Variable, _) => format!("{name}={text:?} {why}"),
        (Place::Key, Kind::Number) => format!("{name} = {text} {why}"),
        (Place::Key, _) => format!("{name} {text:?} {why}"),
    };
    let hint = match place {
        Place::Key => hint,
        Place::Variable => format!("{hint} (in {OURS})"),
    };
    Err(Refusal { what, hint, choices })
}

/// What a variable means, if it is set.
pub(super) fn set<T>(
    ours: &BTreeMap<String, String>,
    key: &str,
    reader: impl FnOnce(&str, Write<'_>) -> Read<T>,
) -> Result<Option<T>> {
    let row = row(key);
    let Lands::Variable(name) = row.lands else { return Ok(None) };
    // Set to nothing is not set.
    let raw = ours.get(name).filter(|raw| !raw.trim().is_empty());
    raw.map(|raw| Ok(read(row, Place::Variable, raw, reader)?)).transpose()
}

/// What a variable means, or the default of its row.
///
/// # Panics
/// There is no default.
pub(super) fn value<T>(
    ours: &BTreeMap<String, String>,
    key: &str,
    reader: fn(&str, Write<'_>) -> Read<T>,
) -> Result<T> {
    match set(ours, key, reader)? {
        Some(value) => Ok(value),
        None => Ok(read(row(key), Place::Key, default(key), reader)?),
    }
}

/// Every variable that is set can be what it is set to, also one that nobody asks for.
pub(super) fn every_variable(ours: &BTreeMap<String, String>) -> Result<()> {
    SETTINGS.iter().try_for_each(|row| set(ours, row.key, row.check).map(drop))
}
