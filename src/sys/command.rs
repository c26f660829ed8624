//! Running another program: always with a time limit, with its stderr in the error.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How much of a child's stderr is kept, from its end.
const MAX_STDERR_BYTES: usize = 2048;
/// How much is read at once.
const PIECE_BYTES: usize = 64 << 10;

/// What a finished child left behind.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its stdout.
    pub stdout: Vec<u8>,
    /// The end of its stderr, trimmed.
    pub stderr: String,
}

impl Output {
    /// Stdout as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Runs commands to their end, bounded in time.
pub trait CommandRunExt {
    /// Runs to the end, whatever the exit status. `input` goes to stdin (secrets belong there, never in argv).
    ///
    /// # Errors
    /// The program cannot be started, or `limit` passed: then its whole process group was killed.
    fn run_limited(&mut self, input: &[u8], limit: Duration) -> Result<Output>;

    /// The same with stdout in pieces, as they come, and none of it in the output.
    ///
    /// # Errors
    /// As above.
    fn run_read(&mut self, input: &[u8], limit: Duration, read: &mut dyn FnMut(&[u8])) -> Result<Output>;

    /// As [`CommandRunExt::run_limited`], and a non-zero exit status is an error with the tail of stderr.
    ///
    /// # Errors
    /// As above, and a status that is not success.
    fn run_ok(&mut self, limit: Duration) -> Result<Output>;
}

impl CommandRunExt for Command {
    fn run_limited(&mut self, input: &[u8], limit: Duration) -> Result<Output> {
        let mut stdout = Vec::new();
        let output = self.run_read(input, limit, &mut |bytes| stdout.extend_from_slice(bytes))?;
        Ok(Output { stdout, ..output })
    }

    fn run_read(&mut self, input: &[u8], limit: Duration, read: &mut dyn FnMut(&[u8])) -> Result<Output> {
        let name = self.get_program().to_string_lossy().into_owned();
        let deadline = Instant::now() + limit;
        // A group of its own, so that what the child started dies with it at the time limit.
        let mut child = self
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let stdout = pieces(child.stdout.take());
        let stderr = end_of(child.stderr.take());
        if let Some(mut stdin) = child.stdin.take() {
            let input = input.to_vec();
            // A child that does not read its input is no error of ours: its exit status says what it thinks.
            thread::spawn(move || stdin.write_all(&input));
        }
        let done = wait_until(&mut child, &stdout, read, &stderr, deadline);
        match done {
            Some((status, stderr)) => {
                let stderr = String::from_utf8_lossy(&stderr).trim().to_owned();
                Ok(Output { status, stdout: Vec::new(), stderr })
            }
            None => {
                kill_group(&child);
                child.wait().with_context(|| format!("waiting for {name} after its time limit"))?;
                bail!("{name} did not end within {} and was killed", humantime::format_duration(limit))
            }
        }
    }

    fn run_ok(&mut self, limit: Duration) -> Result<Output> {
        let output = self.run_limited(&[], limit)?;
        if !output.status.success() {
            let name = self.get_program().to_string_lossy();
            let verb = self.get_args().next().map(|a| a.to_string_lossy().into_owned()).unwrap_or_default();
            bail!("{name} {verb} ended with {}: {}", output.status, last_lines(&output.stderr));
        }
        Ok(output)
    }
}

fn wait_until(
    child: &mut Child,
    stdout: &mpsc::Receiver<Vec<u8>>,
    read: &mut dyn FnMut(&[u8]),
    stderr: &mpsc::Receiver<Vec<u8>>,
    deadline: Instant,
) -> Option<(ExitStatus, Vec<u8>)> {
    let left = || deadline.saturating_duration_since(Instant::now());
    loop {
        match stdout.recv_timeout(left()) {
            Ok(piece) => read(&piece),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => return None,
        }
    }
    let err = stderr.recv_timeout(left()).ok()?;
    // Both pipes are closed: the child is gone, or about to be.
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some((status, err));
        }
        if left().is_zero() {
            return None;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// What comes out of a pipe, in pieces. Of a reader that is slower than the child only so much is ahead.
fn pieces(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::sync_channel(4);
    thread::spawn(move || {
        let Some(mut pipe) = pipe else { return };
        let mut buffer = vec![0; PIECE_BYTES];
        while let Ok(n @ 1..) = pipe.read(&mut buffer) {
            // Nobody listens any more once the time limit has passed.
            if sender.send(buffer[..n].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// The end of what comes out of a child's stderr, once that is closed; it is read all the while, so that the child never waits.
pub fn end_of(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    let pieces = pieces(pipe);
    thread::spawn(move || {
        let mut all: Vec<u8> = Vec::new();
        for piece in pieces {
            all.extend(piece);
            all.drain(..all.len().saturating_sub(MAX_STDERR_BYTES));
        }
        let _ = sender.send(all);
    });
    receiver
}

fn kill_group(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    // It may have ended in between; then there is no group left to kill.
    let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
}

/// The last lines of a child's stderr, on one line.
fn last_lines(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut c = Command::new("/bin/sh");
        c.args(["-c", script]);
        c
    }

    #[test]
    fn output_status_and_stdin_arrive() {
        let out = sh("cat; echo problem >&2; exit 3").run_limited(b"hello", Duration::from_secs(20)).unwrap();
        assert_eq!((out.text().as_str(), out.stderr.as_str()), ("hello", "problem"));
        assert_eq!(out.status.code(), Some(3));
    }

    #[test]
    fn a_failure_shows_the_end_of_stderr() {
        let error = sh("echo a >&2; echo b >&2; exit 1").run_ok(Duration::from_secs(20)).unwrap_err();
        assert!(error.to_string().ends_with("a | b"), "{error}");
    }

    #[test]
    fn the_time_limit_kills_the_whole_group() {
        let started = Instant::now();
        // The grandchild holds stdout open: killing only the shell would leave us reading.
        let error = sh("sleep 600 & sleep 600").run_limited(&[], Duration::from_millis(100)).unwrap_err();
        assert!(error.to_string().contains("did not end within 100ms"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Command::new("/no/such/program").run_ok(Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.to_string(), "starting /no/such/program");
    }
}
