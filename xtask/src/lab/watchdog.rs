//! Takes a lab down when its run dies, however it dies: a child that waits for the end of its standard input. It has a
//! session of its own, since time limits of shells and of CI kill whole groups, and prints nothing that could fail: the
//! terminal or the pipe of the run may be gone as well.

use std::io::{BufRead as _, BufReader, Read as _, Write as _, stderr, stdin, stdout};
use std::os::unix::process::parent_id;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::place::Lab;

/// What the run says when it has taken the lab down itself, or means to keep it.
const CALM: u8 = b'.';
/// What the watchdog says once nothing that kills its run kills it.
const READY: &str = "on guard\n";
/// Between two looks whether the run is gone.
const PAUSE: Duration = Duration::from_millis(10);

/// The other end of the watchdog's leash.
#[derive(Debug)]
pub(super) struct Watchdog(Child);

impl Watchdog {
    /// Starts it; from now on the lab goes when this process goes.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(program: &Path, lab: &Lab) -> Result<Self> {
        let mut child = Command::new("setsid")
            .arg(program)
            .args(["lab", "--lab", &lab.name, "watchdog"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the watchdog")?;
        let mut said = String::new();
        let out = child.stdout.take().context("the watchdog has no standard output")?;
        BufReader::new(out).read_line(&mut said).context("waiting for the watchdog")?;
        ensure!(said == READY, "the watchdog does not run: it said {said:?}");
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
    let run = parent_id();
    stdout().write_all(READY.as_bytes()).context("telling that the watchdog is ready")?;
    let mut said = Vec::new();
    stdin().read_to_end(&mut said).context("waiting for the run to end")?;
    if said.last() == Some(&CALM) {
        return Ok(());
    }
    // The pipe may be closed a moment before the lock is: both are gone when the run has no child any more.
    while parent_id() == run {
        thread::sleep(PAUSE);
    }
    let _ = writeln!(stderr(), "the run ended early: taking lab {} down", lab.name);
    // Who has the lock takes down what it finds, and makes what must not be taken down.
    let Some(_only) = lab.try_lock()? else { return Ok(()) };
    super::remove(lab)
}
