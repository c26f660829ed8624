//! What a variable of ours may be: set or not, a path.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::checks::path_problem;
use crate::exit::{Exit, fault};

/// Where an operator changes our settings.
pub(super) const OURS: &str = "30-etcd2-backup-restore.conf";

/// A variable that is set to something.
pub(super) fn get<'a>(ours: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    ours.get(name).map(|v| v.trim()).filter(|v| !v.is_empty())
}

/// An absolute path, without `..`.
pub(super) fn absolute(name: &str, value: &str) -> Result<PathBuf> {
    let control = value.chars().any(char::is_control).then_some("contains a control character");
    if let Some(why) = path_problem(value).or(control) {
        return Err(fault(
            Exit::Settings,
            format!("{name}={value:?} {why}"),
            "write the full path, beginning with / and without any ..",
        ));
    }
    // A trailing slash must not make two equal paths different.
    Ok(Path::new(value).components().collect())
}
