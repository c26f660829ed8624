//! `cargo xtask fuzz`: libFuzzer over everything that reads bytes of others: etcd's files and answers, the archive's parts,
//! systemd's answers. `fuzz/` is laid out for cargo-fuzz, but built here without it, by the pinned compiler: what
//! cargo-fuzz and nightly add is the address sanitizer, which finds nothing in a program without `unsafe`.
#![expect(clippy::print_stdout, reason = "a task talks to whoever started it")]

use std::fs::{self, File};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;
use etcd2_backup::exit::{Exit, fault};

use crate::checkout::{self, cargo};
use crate::program::compile::GNU;

/// Each is a file in `fuzz/fuzz_targets`; the slowest come first.
const TARGETS: [&str; 13] = [
    "data_dir",
    "bolt",
    "segment",
    "snapshot",
    "archive_part",
    "pieces",
    "record",
    "proto",
    "members_json",
    "answers",
    "v3_answers",
    "unit_environment",
    "etcd_config",
];
/// How long each target runs as part of `cargo xtask test`.
const SMOKE_SECONDS: u64 = 10;
/// What cargo-fuzz gives to the compiler: counters at every branch, and what numbers are compared with.
const FLAGS: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "--cfg=fuzzing",
];
/// libFuzzer itself and the corpus take 30 MB; a reader that needs memory by what its input claims is found out.
const MEMORY_MB: u64 = 256;
/// Inputs are small: everything there is to find fits, and there are more of them in the time.
const MAX_BYTES: u64 = 16 << 10;

/// What `fuzz` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The targets to run; all unless some are named
    #[arg(value_name = "TARGET", value_parser = PossibleValuesParser::new(TARGETS))]
    targets: Vec<String>,
    /// How long each of them runs
    #[arg(long, value_name = "N", default_value_t = 300)]
    seconds: u64,
    /// What `cargo xtask test` does: check the targets' code, and run each of them for 10 s
    #[arg(long, conflicts_with_all = ["targets", "seconds"])]
    smoke: bool,
}

/// Runs the targets that were asked for.
///
/// # Errors
/// They cannot be built, or one of them found something.
pub(crate) fn main(options: &Options) -> Result<()> {
    if options.smoke {
        return smoke();
    }
    let named: Vec<&str> = options.targets.iter().map(String::as_str).collect();
    run(if named.is_empty() { &TARGETS } else { &named }, options.seconds, "release")
}

/// Checks the code of the targets, and runs each for a moment.
///
/// # Errors
/// As [`main`], or rustfmt or clippy has something to say.
fn smoke() -> Result<()> {
    let manifest = checkout::root().join("fuzz/Cargo.toml");
    ok(cargo().args(["fmt", "--check", "--manifest-path"]).arg(&manifest))?;
    let mut clippy = cargo();
    clippy.args(["clippy", "--all-targets", "--locked", "--manifest-path"]).arg(&manifest);
    ok(clippy.arg("--target-dir").arg(folder()).args(["--", "-D", "warnings"]))?;
    run(&TARGETS, SMOKE_SECONDS, "smoke")
}

/// Why this machine cannot build the targets, if so, and what to do.
pub(crate) fn obstacle() -> Option<&'static str> {
    let mut probe = Command::new("c++");
    probe.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    let found = probe.status().is_ok_and(|status| status.success());
    (!found).then_some("libFuzzer needs a C++ compiler (Debian: apt-get install g++)")
}

fn folder() -> PathBuf {
    checkout::target().join("fuzz")
}

/// Builds the targets by a profile of `fuzz/Cargo.toml`, and runs them.
fn run(targets: &[&'_ str], seconds: u64, profile: &str) -> Result<()> {
    if let Some(why) = obstacle() {
        return Err(fault(Exit::NotFound, "the fuzz targets cannot be built", why));
    }
    let programs = folder().join(GNU).join(profile);
    build(profile, &programs)?;
    let scratch = Scratch::new()?;
    let queue = Mutex::new(targets.iter());
    let failed = Mutex::new(Vec::new());
    let work = || {
        while let Some(target) = next(&queue) {
            match fuzz(target, seconds, &programs.join(target), &scratch.0) {
                Ok(summary) => println!("   {target}: {summary}"),
                Err(e) => failed.lock().expect("no thread panics").push(e),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(work);
        }
    });
    let mut failed = failed.into_inner().expect("no thread panics").into_iter();
    let first = failed.next();
    // The first is the task's error; the others must not be lost.
    failed.for_each(|e| println!("error: {e:#}"));
    first.map_or(Ok(()), Err)
}

fn next<'a>(queue: &Mutex<std::slice::Iter<'a, &'a str>>) -> Option<&'a str> {
    queue.lock().expect("no thread panics").next().copied()
}

/// Builds the targets, and makes the seeds anew.
fn build(profile: &str, programs: &Path) -> Result<()> {
    let mut targets = cargo();
    targets.args([
        "build",
        "--quiet",
        "--bins",
        "--locked",
        "--profile",
        profile,
        "--target",
        GNU,
        "--manifest-path",
    ]);
    targets.arg(checkout::root().join("fuzz/Cargo.toml")).arg("--target-dir").arg(folder());
    ok(targets.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f")))?;

    let seeds = folder().join("seeds");
    etcd2_backup::sys::fs::remove_dir_if_there(&seeds)?;
    let mut maker = Command::new(programs.join("seeds"));
    ok(maker.arg(&seeds))
}

/// Runs one target to the end of its time; what it did, for people.
fn fuzz(target: &str, seconds: u64, program: &Path, scratch: &Path) -> Result<String> {
    let dir = |name: &str| -> Result<PathBuf> {
        let dir = folder().join(name).join(target);
        fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        Ok(dir)
    };
    let (corpus, seeds, artifacts) = (dir("corpus")?, dir("seeds")?, dir("artifacts")?);
    let log = folder().join(format!("{target}.log"));
    let file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    let mut command = Command::new(program);
    command.arg(&corpus).arg(&seeds);
    let found = checkout::root().join("fuzz/regressions").join(target);
    if found.is_dir() {
        command.arg(found);
    }
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-rss_limit_mb={MEMORY_MB}"))
        .arg(format!("-max_len={MAX_BYTES}"))
        .args(["-timeout=10", "-print_final_stats=1"])
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .env("TMPDIR", scratch)
        .stdin(Stdio::null())
        .stdout(file.try_clone().context("opening the log twice")?)
        .stderr(file);
    let status = command.status().with_context(|| format!("starting {}", program.display()))?;
    let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if status.success() {
        return Ok(format!("{} in {seconds} s", executions(&said)));
    }
    let what = format!("the fuzz target {target}: {}", reason(&said));
    let hint = match artifact(&said) {
        Some(input) => format!("see it again: {} {input}", program.display()),
        None => format!("read {}", log.display()),
    };
    Err(fault(Exit::Failed, what, hint))
}

/// How many inputs libFuzzer tried.
fn executions(log: &str) -> String {
    let count = log.lines().find_map(|l| l.strip_prefix("stat::number_of_executed_units:"));
    format!("{} inputs", count.map_or("no", str::trim))
}

/// What went wrong: the panic's message, else libFuzzer's own words.
fn reason(log: &str) -> String {
    let mut lines = log.lines().skip_while(|l| !l.contains("panicked at"));
    match (lines.next(), lines.next()) {
        (Some(place), Some(message)) => format!("{} {message}", place.trim()),
        _ => log.lines().find(|l| l.contains("ERROR: libFuzzer")).unwrap_or("it ended early").to_owned(),
    }
}

/// The input that libFuzzer kept.
fn artifact(log: &str) -> Option<&str> {
    log.lines().find_map(|l| l.split_once("Test unit written to ")).map(|(_, path)| path.trim())
}

fn ok(command: &mut Command) -> Result<()> {
    let status = command.current_dir(checkout::root()).status();
    let status = status.with_context(|| format!("starting {}", command.get_program().to_string_lossy()))?;
    if status.success() {
        return Ok(());
    }
    let what = format!("{} for the fuzz targets: {status}", command.get_program().to_string_lossy());
    Err(fault(Exit::Failed, what, "its own output above says what is wrong"))
}

/// Where the targets put files: in memory if there is a file system for that. It goes when the run ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_path_buf() } else { folder() };
        let path = parent.join(format!("etcd2-backup-fuzz.{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It is empty or holds a few kilobytes; not worth an error.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_target_there_is_has_its_place_in_the_list() {
        let files = fs::read_dir(checkout::root().join("fuzz/fuzz_targets")).unwrap();
        let found: BTreeSet<String> =
            files.map(|f| f.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        assert_eq!(found, TARGETS.map(str::to_owned).into());
        let manifest = fs::read_to_string(checkout::root().join("fuzz/Cargo.toml")).unwrap();
        for target in TARGETS {
            assert!(manifest.contains(&format!("name = \"{target}\"\n")), "{target}");
        }
    }

    #[test]
    fn libfuzzers_words_are_understood() {
        let log = "#1\tINITED\n\nthread '<unnamed>' (7) panicked at fuzz_targets/proto.rs:9:9:\nno\n\
            ==1== ERROR: libFuzzer: deadly signal\n\
            artifact_prefix='a/'; Test unit written to a/crash-1\n";
        assert_eq!(reason(log), "thread '<unnamed>' (7) panicked at fuzz_targets/proto.rs:9:9: no");
        assert_eq!(artifact(log), Some("a/crash-1"));
        assert_eq!(
            reason("==1== ERROR: libFuzzer: timeout after 11 seconds\n"),
            "==1== ERROR: libFuzzer: timeout after 11 seconds"
        );
        assert_eq!((reason(""), artifact("")), ("it ended early".to_owned(), None));
        assert_eq!(executions("stat::number_of_executed_units: 97\n"), "97 inputs");
    }
}
