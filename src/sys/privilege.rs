//! Being root, and becoming it.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context, Result};

use crate::exit::{Exit, OrFault};
use crate::sys::root::Root;

/// Whether this process may do what root may.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Goes on as root on the running node: replaces this process by `sudo` running the same command line, if need be. What
/// works on a tree needs no more than the tree's owner may do.
///
/// # Errors
/// [`Exit::Failed`], as sudo's own refusals: sudo is missing or cannot be started.
pub fn become_root(root: &Root) -> Result<()> {
    if root.is_live() && !is_root() {
        exec_with_sudo(&std::env::args_os().skip(1).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Replaces this process by `sudo` running this same program with `arguments`.
fn exec_with_sudo<S: AsRef<OsStr>>(arguments: &[S]) -> Result<std::convert::Infallible> {
    let program = std::env::current_exe().context("looking up the path of this program")?;
    // The user is named, since sudoers may have another default; else this would start itself for ever.
    let error = Command::new("sudo").args(["-u", "root", "--"]).arg(&program).args(arguments).exec();
    Err(error).or_fault(
        Exit::Failed,
        "this needs root, and sudo cannot be started",
        format!("run this as root: {} {}", program.display(), shown(arguments)),
    )
}

fn shown<S: AsRef<OsStr>>(arguments: &[S]) -> String {
    arguments.iter().map(|a| a.as_ref().to_string_lossy()).collect::<Vec<_>>().join(" ")
}
