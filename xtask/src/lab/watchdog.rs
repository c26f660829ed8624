//! Takes a lab down when its run dies, however it dies: a child that waits for the end of its standard input.

use std::io::{Read as _, Write as _, stdin};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::place::Lab;

/// What the run says when it has taken the lab down itself, or means to keep it.
const CALM: u8 = b'.';

/// The other end of the watchdog's leash.
#[derive(Debug)]
pub(super) struct Watchdog(Child);

impl Watchdog {
    /// Starts it; from now on the lab goes when this process goes.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(program: &Path, lab: &Lab) -> Result<Self> {
        let child = Command::new(program)
            .args(["lab", "--lab", &lab.name, "watchdog"])
            .stdin(Stdio::piped())
            // Ctrl-C ends the run; the watchdog then has work to do.
            .process_group(0)
            .spawn()
            .context("starting the watchdog")?;
        Ok(Self(child))
    }

    /// Lets it go without doing anything.
    pub(super) fn dismiss(mut self) {
        if let Some(mut leash) = self.0.stdin.take() {
            // If it is gone, nobody needs to be told.
            let _ = leash.write_all(&[CALM]);
        }
        let _ = self.0.wait();
    }
}

/// The watchdog's own life.
pub(super) fn main(lab: &Lab) -> Result<()> {
    let mut said = Vec::new();
    stdin().read_to_end(&mut said).context("waiting for the run to end")?;
    if said.last() == Some(&CALM) {
        return Ok(());
    }
    eprintln!("the run ended early: taking lab {} down", lab.name);
    super::down(lab)
}
