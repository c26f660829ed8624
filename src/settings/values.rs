//! What a variable of ours may be: set or not, a path, a switch.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use anyhow::Result;

use crate::exit::{Exit, fault};

/// Where an operator changes our settings.
pub(super) const OURS: &str = "30-etcd2-backup-restore.conf";

/// A variable that is set to something.
pub(super) fn get<'a>(ours: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    ours.get(name).map(|v| v.trim()).filter(|v| !v.is_empty())
}

/// An absolute path, without `..`.
pub(super) fn absolute(name: &str, value: &str) -> Result<PathBuf> {
    let path = Path::new(value);
    let strange = value.chars().any(char::is_control)
        || path.components().any(|c| c == Component::ParentDir)
        || path.parent().is_none();
    if !path.is_absolute() || strange {
        return Err(fault(
            Exit::Settings,
            format!("{name}={value:?} is not an absolute path"),
            "write the full path, beginning with / and without any ..",
        ));
    }
    // A trailing slash must not make two equal paths different.
    Ok(path.components().collect())
}

/// A switch, off when it is not set.
pub(super) fn truth(ours: &BTreeMap<String, String>, name: &str) -> Result<bool> {
    match get(ours, name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => {
            let hint = format!("write true or false in {OURS}");
            Err(fault(Exit::Settings, format!("{name}={other:?} is neither true nor false"), hint))
        }
    }
}
