//! Runs what waits beside what computes: each section is a program of its own, whose lines are told as they come.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use etcd2_backup::exit::{Exit, fault};

/// A part of the checks.
#[derive(Debug)]
pub(super) struct Section {
    /// What a developer types for it alone.
    pub(super) name: String,
    /// Stands before each of its lines; nothing: they stay as they are.
    pub(super) prefix: &'static str,
    /// What runs it.
    pub(super) command: Command,
}

/// Runs lanes beside each other, and the sections of a lane one after the other. A section that fails ends its lane; the
/// others go on, since what they find is worth having.
///
/// # Errors
/// A section failed: the names of all that did.
pub(super) fn run(lanes: Vec<Vec<Section>>) -> Result<()> {
    let failed: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = lanes.into_iter().map(|lane| scope.spawn(|| run_lane(lane))).collect();
        let ended = threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Some("a lane panicked".into())));
        ended.flatten().collect()
    });
    if failed.is_empty() {
        return Ok(());
    }
    Err(fault(Exit::Failed, failed.join("; "), "their own output above says what is wrong"))
}

/// What failed, if something did.
fn run_lane(lane: Vec<Section>) -> Option<String> {
    for section in lane {
        println!("== {}", section.name);
        let begun = Instant::now();
        let name = section.name.clone();
        match run_section(section) {
            Ok(()) => println!("== {name}: ok, {:.1} s", begun.elapsed().as_secs_f64()),
            Err(e) => {
                println!("== {name}: FAILED after {:.1} s", begun.elapsed().as_secs_f64());
                return Some(format!("{name}: {e:#}"));
            }
        }
    }
    None
}

fn run_section(section: Section) -> Result<()> {
    let Section { prefix, mut command, .. } = section;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", command.get_program().to_string_lossy()))?;
    let (out, err) = (child.stdout.take().context("no stdout")?, child.stderr.take().context("no stderr")?);
    thread::scope(|scope| {
        scope.spawn(move || tell(out, prefix));
        scope.spawn(move || tell(err, prefix));
    });
    let status = child.wait().context("waiting for it")?;
    if status.success() { Ok(()) } else { Err(anyhow!("{status}")) }
}

/// Line by line, so that lines of two sections do not mix.
fn tell(stream: impl Read, prefix: &str) {
    for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
        println!("{prefix}{}", String::from_utf8_lossy(&line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(name: &str, script: &str) -> Section {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Section { name: name.into(), prefix: "test | ", command }
    }

    #[test]
    fn a_failure_ends_its_lane_and_no_other_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (behind, beside) = (dir.path().join("behind"), dir.path().join("beside"));
        let touch = |path: &std::path::Path| format!("echo made; : >{}", path.display());
        let lanes = vec![
            vec![section("one", "exit 3"), section("two", &touch(&behind))],
            vec![section("three", "true"), section("four", &touch(&beside))],
        ];
        let error = run(lanes).unwrap_err();
        assert_eq!(error.to_string(), "one: exit status: 3");
        assert!(!behind.exists() && beside.exists());
        run(vec![vec![section("five", "true")]]).unwrap();
    }
}
