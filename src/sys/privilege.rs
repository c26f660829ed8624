//! Being root, and becoming it.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context, Result};

use crate::exit::{Exit, OrFault};

/// Whether this process may do what root may.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Replaces this process by `sudo` running this same program with `arguments`.
///
/// # Errors
/// Returns only when it did not work: sudo is missing or cannot be started.
pub fn exec_with_sudo<S: AsRef<OsStr>>(arguments: &[S]) -> Result<std::convert::Infallible> {
    let program = std::env::current_exe().context("looking up the path of this program")?;
    // The user is named, since sudoers may have another default; else this would start itself for ever.
    let error = Command::new("sudo").args(["-u", "root", "--"]).arg(&program).args(arguments).exec();
    Err(error).or_fault(
        Exit::Failed,
        "starting sudo to become root",
        format!("run this as root: {} {}", program.display(), shown(arguments)),
    )
}

fn shown<S: AsRef<OsStr>>(arguments: &[S]) -> String {
    arguments.iter().map(|a| a.as_ref().to_string_lossy()).collect::<Vec<_>>().join(" ")
}
