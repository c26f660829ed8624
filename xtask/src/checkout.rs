//! Where things are in the checkout, and the tools that the tasks are given.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::Result;
use etcd2_backup::exit::{Exit, OrFault as _, fault};
use testkit::checkout;
use testkit::tools::Missing;

static ROOT: OnceLock<PathBuf> = OnceLock::new();

/// Settles which checkout a task works in: the one around `named`, else the one around the working directory. It is not
/// the one in which this program was compiled: a clone that is copied or moved may bring the program along in its target/,
/// and what the program makes, a tarball with secrets above all, must not land in another clone.
///
/// # Errors
/// There is no checkout around that folder.
pub(crate) fn enter(named: Option<&Path>) -> Result<()> {
    const HINT: &str = "change into a clone of etcd2-backup and run cargo xtask there; a site elsewhere is named by --site DIR";
    let dir = named.unwrap_or(Path::new("."));
    let dir = dir.canonicalize().or_fault(Exit::NotFound, format!("looking at {}", dir.display()), HINT)?;
    let Some(found) = checkout::around(&dir) else {
        return Err(fault(
            Exit::NotFound,
            format!("{} lies in no clone of etcd2-backup", dir.display()),
            HINT,
        ));
    };
    ROOT.get_or_init(|| found.to_owned());
    Ok(())
}

/// The workspace's root. Every task has been through [`enter`] before; a test begins in its package's folder.
pub(crate) fn root() -> &'static Path {
    ROOT.get_or_init(checkout::root)
}

/// What the tasks make for the operator.
pub(crate) fn dist() -> PathBuf {
    root().join("dist")
}

/// What cargo makes for itself.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// What a build need not find out twice, each under the checksum of what it is about.
pub(crate) fn cache() -> PathBuf {
    target().join("cache")
}

/// The cargo that runs us, so that its toolchain is used throughout.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The error of a missing tool, with what to install as its hint.
pub(crate) fn with_hint(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<Missing>() {
        Ok(missing) => fault(Exit::NotFound, missing.what, missing.hint),
        Err(other) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_keeps_its_hint_and_other_errors_pass() {
        let missing = anyhow::Error::new(Missing { what: "rclone: none".into(), hint: "install it" });
        let error = with_hint(missing);
        assert_eq!(error.to_string(), "rclone: none");
        assert_eq!(etcd2_backup::exit::hint_of(&error), Some("install it"));
        assert_eq!(with_hint(anyhow::anyhow!("other")).to_string(), "other");
    }
}
