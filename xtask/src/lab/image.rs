//! What all nodes are made of: one base image a machine, made once by `image.sh`.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use etcd2_backup::exit::{Exit, fault};
use etcd2_backup::sys::fs::{create_dirs, remove_dir_if_there, write_atomic};
use etcd2_backup::sys::lock::Lock;

use super::place::all_labs;

/// The recipe; a base of another one is made anew.
const RECIPE: &str = include_str!("image.sh");

/// Makes the base image unless it is there.
///
/// # Errors
/// Another process makes it right now, or debootstrap or apt failed.
pub(super) fn make() -> Result<()> {
    let dir = all_labs();
    create_dirs(&dir, 0o755)?;
    let made_by = dir.join("base.recipe");
    let is_current = || fs::read_to_string(&made_by).is_ok_and(|r| r == RECIPE);
    if is_current() {
        return Ok(());
    }
    let lock = Lock::try_take(&dir.join("base.lock"))?;
    let _only = lock.ok_or_else(|| {
        fault(Exit::Refused, "another lab is making the base image", "try again when it is done")
    })?;
    println!("making the base image of the nodes (once, about 2 minutes): {}", dir.join("base").display());
    let started = Instant::now();
    remove_dir_if_there(&dir.join("base"))?;
    let script = dir.join("image.sh");
    write_atomic(&script, RECIPE.as_bytes(), 0o755)?;
    let log = dir.join("image.log");
    let out = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    let status = Command::new("bash")
        .arg(&script)
        .arg(&dir)
        .stdin(Stdio::null())
        .stdout(out.try_clone().context("using the log twice")?)
        .stderr(out)
        .status()
        .context("starting bash")?;
    if !status.success() {
        let what = format!("making the base image: image.sh ended with {status}");
        return Err(fault(Exit::Failed, what, format!("read {}", log.display())));
    }
    write_atomic(&made_by, RECIPE.as_bytes(), 0o644)?;
    println!("   done, {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}
