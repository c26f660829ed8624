//! `cargo xtask test`: every check there is, with the tools it needs. `.ci/run` calls this and nothing else.
#![expect(clippy::print_stdout, reason = "a task talks to whoever started it")]

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use etcd2_backup::exit::{Exit, fault};
use testkit::tools::{FOLDER_VARIABLE, Missing, Tools, default_folder, strace_or_fetch};

use crate::{fuzz, lab, release};

/// One check: the arguments of cargo, and the component without which there is nothing to run.
struct Check {
    arguments: &'static [&'static str],
    needs: Option<Component>,
}

/// A cargo subcommand that is installed separately.
struct Component {
    probe: &'static str,
    hint: &'static str,
    /// Whether CI may go on without it.
    optional: bool,
}

const CHECKS: [Check; 4] = [
    Check {
        arguments: &["fmt", "--all", "--check"],
        needs: Some(Component { probe: "fmt", hint: "rustup component add rustfmt", optional: false }),
    },
    Check {
        arguments: &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
        needs: Some(Component { probe: "clippy", hint: "rustup component add clippy", optional: false }),
    },
    Check {
        arguments: &["deny", "--workspace", "check", "bans", "licenses", "sources"],
        needs: Some(Component { probe: "deny", hint: "cargo install --locked cargo-deny", optional: true }),
    },
    Check { arguments: &["test", "--workspace", "--locked"], needs: None },
];

/// What became of a check that was not run, or that it is to be run.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Run,
    Skip(String),
    Fail(String),
}

/// Fetches the tools, then runs every check; the first one that fails ends it.
///
/// # Errors
/// A tool or (in CI) a component is missing, or a check failed.
pub(crate) fn run() -> Result<()> {
    let started = Instant::now();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let tools = find_tools()?;
    for check in &CHECKS {
        let name = format!("cargo {}", check.arguments.join(" "));
        match decide(check, is_installed, env::var_os("CI").is_some()) {
            Decision::Run => println!("== {name}"),
            Decision::Skip(why) => {
                println!("== {name}: SKIPPED, {why}");
                continue;
            }
            Decision::Fail(hint) => {
                return Err(fault(Exit::NotFound, format!("{name}: not installed, and this is CI"), hint));
            }
        }
        let begun = Instant::now();
        let mut command = cargo();
        command.args(check.arguments).current_dir(&root).env(FOLDER_VARIABLE, &tools);
        let status = command.status().context("starting cargo")?;
        if !status.success() {
            let what = format!("{name}: {status}");
            return Err(fault(Exit::Failed, what, "its own output above says what is wrong"));
        }
        println!("   ok, {}", seconds(begun.elapsed()));
    }
    run_fuzz()?;
    run_release()?;
    run_lab()?;
    println!("== all checks passed in {}", seconds(started.elapsed()));
    Ok(())
}

/// Each fuzz target for a moment, where the machine allows.
fn run_fuzz() -> Result<()> {
    let name = format!("cargo xtask fuzz --seconds {}", fuzz::SMOKE_SECONDS);
    match decide_section(fuzz::obstacle(), env::var_os("CI").is_some()) {
        Decision::Run => println!("== {name}"),
        Decision::Skip(why) => {
            println!("== {name}: SKIPPED, {why}");
            return Ok(());
        }
        Decision::Fail(why) => {
            return Err(fault(Exit::NotFound, format!("{name}: not possible, and this is CI"), why));
        }
    }
    let begun = Instant::now();
    fuzz::smoke()?;
    println!("   ok, {}", seconds(begun.elapsed()));
    Ok(())
}

/// The same bytes in another folder with another HOME, once there is a commit to make them of.
fn run_release() -> Result<()> {
    let name = "cargo xtask release --verify";
    if let Some(why) = release::obstacle()? {
        println!("== {name}: SKIPPED, {why}");
        return Ok(());
    }
    println!("== {name}");
    let begun = Instant::now();
    release::verify()?;
    println!("   ok, {}", seconds(begun.elapsed()));
    Ok(())
}

/// The scenarios on real nodes, where the machine allows.
fn run_lab() -> Result<()> {
    let name = "cargo xtask lab run all --short";
    match decide_section(lab::obstacle(), env::var_os("CI").is_some()) {
        Decision::Run => println!("== {name}"),
        Decision::Skip(why) => {
            println!("== {name}: SKIPPED, {why}");
            return Ok(());
        }
        Decision::Fail(why) => {
            let what = format!("{name}: {why}, and this is CI");
            return Err(fault(Exit::Failed, what, "run CI as root, where namespaces can be made"));
        }
    }
    let begun = Instant::now();
    lab::run_short()?;
    println!("   ok, {}", seconds(begun.elapsed()));
    Ok(())
}

/// Finds or fetches etcd, etcdctl, rclone; a current rclone, etcd 3.5.1 and strace, without which some tests skip; gives
/// the folder for fetched ones.
fn find_tools() -> Result<PathBuf> {
    println!(
        "== etcd, etcdctl, rclone, strace: from PATH, else fetched to target/tools (nothing is installed)"
    );
    let folder = default_folder();
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let folder = folder.canonicalize().context("resolving target/tools")?;
    let tools = Tools::locate_or_fetch(&folder).map_err(with_hint)?;
    for path in [&tools.etcd, &tools.etcdctl, &tools.rclone] {
        println!("   {}", path.display());
    }
    let current = tools.clone().with_current_rclone(&folder).map(|t| t.rclone);
    for found in [current, tools.with_etcd_3_5(&folder).map(|t| t.etcd), strace_or_fetch(&folder)] {
        match found {
            Ok(path) => println!("   {}", path.display()),
            Err(e) if env::var_os("CI").is_some() => return Err(with_hint(e)),
            Err(e) => println!("   {e:#}: the tests that need it will say SKIPPED"),
        }
    }
    Ok(folder)
}

/// The error of a missing tool, with what to install as its hint.
pub(crate) fn with_hint(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<Missing>() {
        Ok(missing) => fault(Exit::NotFound, missing.what, missing.hint),
        Err(other) => other,
    }
}

fn decide(check: &Check, is_installed: impl Fn(&str) -> bool, ci: bool) -> Decision {
    match &check.needs {
        Some(part) if !is_installed(part.probe) => {
            if ci && !part.optional {
                Decision::Fail(part.hint.to_owned())
            } else {
                Decision::Skip(format!("not installed (to get it: {})", part.hint))
            }
        }
        _ => Decision::Run,
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

/// The cargo that runs us, so that its toolchain is used throughout.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
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
            (3, false, true, Decision::Run),
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

    #[test]
    fn a_missing_tool_keeps_its_hint_and_other_errors_pass() {
        let missing = anyhow::Error::new(Missing { what: "rclone: none".into(), hint: "install it" });
        let error = with_hint(missing);
        assert_eq!(error.to_string(), "rclone: none");
        assert_eq!(etcd2_backup::exit::hint_of(&error), Some("install it"));
        assert_eq!(with_hint(anyhow::anyhow!("other")).to_string(), "other");
    }
}
