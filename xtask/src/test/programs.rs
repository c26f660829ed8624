//! Where cargo-nextest cannot be had: the test programs themselves, some at a time, the output of each in one piece.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use etcd2_backup::exit::{Exit, fault};
use serde_json::Value;
use testkit::process::run_any;

use super::Given;
use crate::checkout::cargo;

/// Programs at once. Each runs as many tests at once as there are processors, and most of these wait.
const AT_ONCE: usize = 6;
/// Of one program.
const LIMIT: Duration = Duration::from_secs(1800);

/// A test program and the folder of its package, where cargo would start it.
#[derive(Debug, PartialEq, Eq)]
struct Program {
    path: PathBuf,
    folder: PathBuf,
}

/// Builds the programs and runs them all.
///
/// # Errors
/// One cannot be built, or has a test that fails.
pub(super) fn run(root: &Path, given: &Given, only_libraries: bool) -> Result<()> {
    let mut build = cargo();
    build.args(["test", "--workspace", "--locked", "--no-run", "--message-format=json-render-diagnostics"]);
    if only_libraries {
        build.args(["--lib", "--bins"]);
    }
    let output = build.current_dir(root).stderr(Stdio::inherit()).output().context("starting cargo")?;
    ensure!(output.status.success(), "cargo test --no-run: {}", output.status);
    let programs = parse(&String::from_utf8_lossy(&output.stdout));
    ensure!(!programs.is_empty(), "cargo built no test program");
    let queue = Mutex::new(programs.into_iter().collect::<VecDeque<_>>());
    let failed = Mutex::new(Vec::new());
    let next = || queue.lock().expect("no thread panics").pop_front();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(program) = next() {
                    let begun = Instant::now();
                    let name = program.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    let mut command = Command::new(&program.path);
                    given.to(command.current_dir(&program.folder));
                    let (good, printed) = match run_any(&mut command, LIMIT) {
                        Ok((status, printed)) => (status.success(), printed),
                        Err(e) => (false, format!("{e:#}\n")),
                    };
                    println!("{name}, {:.1} s:\n{printed}", begun.elapsed().as_secs_f64());
                    if !good {
                        failed.lock().expect("no thread panics").push(name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no thread panics");
    if failed.is_empty() {
        return Ok(());
    }
    let what = format!("tests failed in {}", failed.join(", "));
    Err(fault(Exit::Failed, what, "their own output above says what is wrong"))
}

/// The test programs in what cargo says about a build, one JSON value a line.
fn parse(messages: &str) -> Vec<Program> {
    let built = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    built
        .filter(|m| m["profile"]["test"] == true)
        .filter_map(|m| {
            let (path, manifest) = (m["executable"].as_str()?, m["manifest_path"].as_str()?);
            Some(Program { path: path.into(), folder: Path::new(manifest).parent()?.into() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_told_from_what_else_is_built() {
        let messages = r#"{"reason":"compiler-artifact","manifest_path":"/w/Cargo.toml","profile":{"test":false},"executable":"/t/etcd2-backup"}
{"reason":"compiler-artifact","manifest_path":"/w/x/Cargo.toml","profile":{"test":true},"executable":"/t/deps/x-1"}
{"reason":"compiler-artifact","manifest_path":"/w/Cargo.toml","profile":{"test":true},"executable":null}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(parse(messages), [Program { path: "/t/deps/x-1".into(), folder: "/w/x".into() }]);
    }
}
