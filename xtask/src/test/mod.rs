//! `cargo xtask test`: every check there is, with the tools it needs. `.ci/run` calls this and nothing else.
//!
//! Side by side: clippy, then the tests, most of which wait; the scenarios of the lab, which wait too; and a release made
//! twice, and fuzzing.
#![expect(clippy::print_stdout, reason = "a task talks to whoever started it")]

mod memory;
mod programs;
mod side_by_side;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context, Result};
use etcd2_backup::exit::{Exit, fault};
use testkit::tools::monitoring::Monitoring;
use testkit::tools::{FOLDER_VARIABLE, Tools, nextest_or_fetch, strace_or_fetch};

use crate::checkout::{self, cargo, with_hint};
use crate::{fuzz, lab, release};
use memory::Memory;
use side_by_side::Section;

/// `test`: run every check and test.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only what is quick, for the inner loop: lints, units, and what shows that each part still works
    #[arg(long)]
    quick: bool,
}

/// A check that computes: the arguments of cargo, and the component without which there is nothing to run.
struct Check {
    arguments: &'static [&'static str],
    needs: Component,
}

/// A cargo subcommand that is installed separately.
struct Component {
    probe: &'static str,
    hint: &'static str,
    /// Whether CI may go on without it.
    optional: bool,
}

const CHECKS: [Check; 3] = [
    Check {
        arguments: &["fmt", "--all", "--check"],
        needs: Component { probe: "fmt", hint: "rustup component add rustfmt", optional: false },
    },
    Check {
        arguments: &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
        needs: Component { probe: "clippy", hint: "rustup component add clippy", optional: false },
    },
    Check {
        arguments: &["deny", "--workspace", "check", "bans", "licenses", "sources"],
        needs: Component { probe: "deny", hint: "cargo install --locked cargo-deny", optional: true },
    },
];

/// What became of a check that was not run, or that it is to be run.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Run,
    Skip(String),
    Fail(String),
}

/// What the tests are given.
struct Given {
    /// The folder of the tools that were fetched.
    folder: PathBuf,
    nextest: Option<PathBuf>,
    /// Where they put files, if not where `TMPDIR` says.
    memory: Option<Memory>,
}

impl Given {
    /// Sets what the tests find in their environment.
    fn to(&self, command: &mut Command) {
        command.env(FOLDER_VARIABLE, &self.folder);
        if let Some(memory) = &self.memory {
            command.env("TMPDIR", memory.path());
        }
    }
}

/// Fetches the tools, then runs every check.
///
/// # Errors
/// A tool or (in CI) a component is missing, or a check failed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let started = Instant::now();
    let root = checkout::root();
    let given = find_tools()?;
    if options.quick {
        return run_quick(root, &given, started);
    }
    let Some(nextest) = &given.nextest else {
        return run_without_nextest(root, &given, started);
    };
    let plain = |name: &str, command| Section { name: name.into(), prefix: "", command };
    let mut own = Vec::new();
    for check in &CHECKS {
        own.extend(wanted(check, root)?.map(|(name, command)| plain(&name, command)));
    }
    let mut build = tests(nextest, root, &given);
    build.arg("--no-run");
    own.push(plain("building the tests", build));
    own.push(plain("cargo nextest run", tests(nextest, root, &given)));
    // The lab makes its image, and the release compiles, before the tests need the processors.
    let mut lanes = other_lanes()?;
    lanes.push(own);
    side_by_side::run(lanes)?;
    tell_end(started);
    Ok(())
}

fn tell_end(started: Instant) {
    println!("== all checks passed in {}", seconds(started.elapsed()));
}

/// The tests of the workspace under nextest; `.config/nextest.toml` says how.
fn tests(nextest: &Path, root: &Path, given: &Given) -> Command {
    let mut command = Command::new(nextest);
    command.args(["nextest", "run", "--workspace", "--locked"]).current_dir(root);
    given.to(&mut command);
    command
}

fn run_quick(root: &Path, given: &Given, started: Instant) -> Result<()> {
    run_checks(root)?;
    match &given.nextest {
        Some(nextest) => {
            let mut command = tests(nextest, root, given);
            run_command("cargo nextest run --profile quick", command.args(["--profile", "quick"]))?;
        }
        None => programs::run(root, given, true)?,
    }
    println!("== the quick checks passed in {}; all of them: cargo xtask test", seconds(started.elapsed()));
    Ok(())
}

/// The programs use all processors, so the rest follows them.
fn run_without_nextest(root: &Path, given: &Given, started: Instant) -> Result<()> {
    run_checks(root)?;
    println!("== the test programs");
    programs::run(root, given, false)?;
    side_by_side::run(other_lanes()?)?;
    tell_end(started);
    Ok(())
}

fn run_checks(root: &Path) -> Result<()> {
    for check in &CHECKS {
        if let Some((name, mut command)) = wanted(check, root)? {
            run_command(&name, &mut command)?;
        }
    }
    Ok(())
}

/// A check's name and command; `None` if it is skipped, which is said.
fn wanted(check: &Check, root: &Path) -> Result<Option<(String, Command)>> {
    let name = format!("cargo {}", check.arguments.join(" "));
    match decide(check, is_installed, env::var_os("CI").is_some()) {
        Decision::Run => {
            let mut command = cargo();
            command.args(check.arguments).current_dir(root);
            Ok(Some((name, command)))
        }
        Decision::Skip(why) => {
            println!("== {name}: SKIPPED, {why}");
            Ok(None)
        }
        Decision::Fail(hint) => {
            Err(fault(Exit::NotFound, format!("{name}: not installed, and this is CI"), hint))
        }
    }
}

fn run_command(name: &str, command: &mut Command) -> Result<()> {
    println!("== {name}");
    let begun = Instant::now();
    let status = command.status().context("starting cargo")?;
    if !status.success() {
        let what = format!("{name}: {status}");
        return Err(fault(Exit::Failed, what, "its own output above says what is wrong"));
    }
    println!("   ok, {}", seconds(begun.elapsed()));
    Ok(())
}

/// What runs beside the tests, where this machine allows.
fn other_lanes() -> Result<Vec<Vec<Section>>> {
    let own = own_copy()?;
    let in_ci = env::var_os("CI").is_some();
    let task = |prefix, arguments: &[&str], obstacle: Option<&str>, must: bool| -> Result<Option<Section>> {
        let name = format!("cargo xtask {}", arguments.join(" "));
        match decide_section(obstacle, must) {
            Decision::Run => {
                let mut command = Command::new(&own);
                // It looks for its checkout from there.
                command.args(arguments).current_dir(checkout::root());
                Ok(Some(Section { name, prefix, command }))
            }
            Decision::Skip(why) => {
                println!("== {name}: SKIPPED, {why}");
                Ok(None)
            }
            Decision::Fail(why) => {
                Err(fault(Exit::NotFound, format!("{name}: not possible, and this is CI"), why))
            }
        }
    };
    let lab = task("lab | ", &["lab", "--lab", "test", "run", "all", "--short"], lab::obstacle(), in_ci)?;
    // What is not committed cannot be made twice anywhere.
    let release = task("release | ", &["release", "--verify"], release::obstacle()?.as_deref(), false)?;
    let fuzz = task("fuzz | ", &["fuzz", "--smoke"], fuzz::obstacle(), in_ci)?;
    Ok(vec![lab.into_iter().collect(), release.into_iter().chain(fuzz).collect()])
}

/// This program under another name: the tests build it again. The kernel still has the file that runs.
fn own_copy() -> Result<PathBuf> {
    let copy = checkout::target().join("test-xtask");
    if let Err(e) = fs::remove_file(&copy)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        return Err(e).context("removing an earlier copy of this program");
    }
    fs::copy("/proc/self/exe", &copy).context("copying this program")?;
    Ok(copy)
}

/// Finds or fetches etcd, etcdctl, rclone; a current rclone, etcd 3.5.1, a later 3.5, strace and Prometheus, without
/// which some tests skip; and nextest, without which they take longer.
fn find_tools() -> Result<Given> {
    println!(
        "== etcd, etcdctl, rclone, strace, Prometheus, nextest: from PATH, else fetched to target/tools (nothing is installed)"
    );
    let folder = checkout::target().join("tools");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let tools = Tools::locate_or_fetch(&folder).map_err(with_hint)?;
    for path in [&tools.etcd, &tools.etcdctl, &tools.rclone] {
        println!("   {}", path.display());
    }
    let current = tools.clone().with_current_rclone(&folder).map(|t| t.rclone);
    let monitoring = Monitoring::locate_or_fetch(&folder).map(|m| m.prometheus);
    let first_3_5 = tools.clone().with_etcd_3_5(&folder).map(|t| t.etcd);
    let newer_3_5 = tools.with_etcd_newer_3_5(&folder).map(|t| t.etcd);
    for found in [current, first_3_5, newer_3_5, strace_or_fetch(&folder), monitoring] {
        match found {
            Ok(path) => println!("   {}", path.display()),
            Err(e) if env::var_os("CI").is_some() => return Err(with_hint(e)),
            Err(e) => println!("   {e:#}: the tests that need it will say SKIPPED"),
        }
    }
    let nextest = match nextest_or_fetch(&folder) {
        Ok(path) => Some(path),
        Err(e) if env::var_os("CI").is_some() => return Err(with_hint(e)),
        Err(e) => {
            println!("   {e:#}: the test programs are run without it, which takes longer");
            None
        }
    };
    nextest.iter().for_each(|path| println!("   {}", path.display()));
    let memory = Memory::new();
    match &memory {
        Some(memory) => println!("   files of the tests: {}", memory.path().display()),
        None => println!(
            "   files of the tests: {} (in memory they take a third of the time)",
            env::temp_dir().display()
        ),
    }
    Ok(Given { folder, nextest, memory })
}

fn decide(check: &Check, is_installed: impl Fn(&str) -> bool, ci: bool) -> Decision {
    let part = &check.needs;
    if is_installed(part.probe) {
        Decision::Run
    } else if ci && !part.optional {
        Decision::Fail(part.hint.to_owned())
    } else {
        Decision::Skip(format!("not installed (to get it: {})", part.hint))
    }
}

fn decide_section(obstacle: Option<&str>, ci: bool) -> Decision {
    match obstacle {
        None => Decision::Run,
        Some(why) if ci => Decision::Fail(why.to_owned()),
        Some(why) => Decision::Skip(why.to_owned()),
    }
}

fn is_installed(subcommand: &str) -> bool {
    let mut probe = cargo();
    probe.args([subcommand, "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_component_is_a_skip_here_and_an_error_in_ci() {
        let skip = |hint: &str| Decision::Skip(format!("not installed (to get it: {hint})"));
        for (index, installed, ci, expected) in [
            (0, true, true, Decision::Run),
            (0, false, false, skip("rustup component add rustfmt")),
            (0, false, true, Decision::Fail("rustup component add rustfmt".into())),
            (1, false, true, Decision::Fail("rustup component add clippy".into())),
            (2, false, true, skip("cargo install --locked cargo-deny")),
        ] {
            assert_eq!(decide(&CHECKS[index], |_| installed, ci), expected, "{index} {installed} {ci}");
        }
    }

    #[test]
    fn lab_and_fuzz_run_where_they_can_and_always_in_ci() {
        let why = "it needs root";
        for (obstacle, ci, expected) in [
            (None, false, Decision::Run),
            (None, true, Decision::Run),
            (Some(why), false, Decision::Skip(why.into())),
            (Some(why), true, Decision::Fail(why.into())),
        ] {
            assert_eq!(decide_section(obstacle, ci), expected, "{obstacle:?} {ci}");
        }
    }
}
