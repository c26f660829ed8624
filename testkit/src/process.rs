//! Other programs, run to their end within a time limit.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often something that is awaited is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// Runs a program to its end and gives what it printed, stdout and stderr in one.
///
/// # Errors
/// As [`run_any`], and a status that is not success; the error ends with the last lines printed.
pub fn run(command: &mut Command, limit: Duration) -> Result<String> {
    let (status, printed) = run_any(command, limit)?;
    if !status.success() {
        let name = command.get_program().to_string_lossy();
        let verb = command.get_args().next().map(|a| a.to_string_lossy().into_owned()).unwrap_or_default();
        bail!("{name} {verb} ended with {status}: {}", last_lines(&printed, 3).join(" | "));
    }
    Ok(printed)
}

/// Runs a program to its end, however that is, and gives its status and what it printed, stdout and stderr in one.
///
/// # Errors
/// It cannot be started, or `limit` passes: then it was killed.
pub fn run_any(command: &mut Command, limit: Duration) -> Result<(ExitStatus, String)> {
    let mut file = captured()?;
    command.stdout(file.try_clone()?).stderr(file.try_clone()?);
    let status = status_of(command, limit)?;
    Ok((status, String::from_utf8_lossy(&read_back(&mut file)?).into_owned()))
}

/// Runs a program to its end, however that is, and gives its status and what it printed, stdout and stderr apart.
///
/// # Errors
/// As [`run_any`].
pub fn output_of(command: &mut Command, limit: Duration) -> Result<Output> {
    let (mut out, mut err) = (captured()?, captured()?);
    command.stdout(out.try_clone()?).stderr(err.try_clone()?);
    let status = status_of(command, limit)?;
    Ok(Output { status, stdout: read_back(&mut out)?, stderr: read_back(&mut err)? })
}

/// Where a program prints to: a file, as no pipe can fill up and block it.
fn captured() -> Result<File> {
    tempfile::tempfile().context("creating a temporary file")
}

fn read_back(file: &mut File) -> Result<Vec<u8>> {
    let mut printed = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut printed)?;
    Ok(printed)
}

fn status_of(command: &mut Command, limit: Duration) -> Result<ExitStatus> {
    let name = command.get_program().to_string_lossy().into_owned();
    let deadline = Instant::now() + limit;
    let mut child = spawn(command.stdin(Stdio::null())).with_context(|| format!("starting {name}"))?;
    // Most programs end in milliseconds.
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait().with_context(|| format!("waiting for {name}"))? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("{name} did not end within {} s and was killed", limit.as_secs());
        }
        thread::sleep(pause);
        pause = (pause * 2).min(POLL);
    }
}

/// Starts a program that may just have been written: a child that another thread forks at that moment holds it open
/// for writing until it runs its own program.
fn spawn(command: &mut Command) -> io::Result<Child> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match command.spawn() {
            Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && Instant::now() < deadline => {
                thread::sleep(POLL);
            }
            other => return other,
        }
    }
}

/// The last lines of a log file, for an error message.
pub fn tail(log: &Path, lines: usize) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    last_lines(&String::from_utf8_lossy(&text), lines).join("\n")
}

/// The text of a program's last lines that are not empty.
fn last_lines(text: &str, count: usize) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> Result<String> {
        run(Command::new("/bin/sh").args(["-c", script]), limit)
    }

    #[test]
    fn output_failure_and_time_limit() {
        let long = Duration::from_secs(60);
        assert_eq!(sh("echo out; echo err >&2", long).unwrap(), "out\nerr\n");
        let failed = sh("echo a; echo b >&2; exit 3", long).unwrap_err().to_string();
        assert!(failed.contains("exit status: 3") && failed.ends_with("a | b"), "{failed}");
        let late = sh("exec sleep 600", Duration::ZERO).unwrap_err().to_string();
        assert!(late.contains("did not end within 0 s"), "{late}");
        let missing = run(&mut Command::new("/no/such/program"), long).unwrap_err().to_string();
        assert_eq!(missing, "starting /no/such/program");
    }
}
