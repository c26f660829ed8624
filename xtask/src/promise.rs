//! `cargo xtask promise`: the property of `tests/backup/promise`, with more seeds than the tests take, or with one of them again.
#![expect(clippy::print_stdout, reason = "a task talks to whoever started it")]

use anyhow::{Context as _, Result, ensure};
use testkit::tools::Tools;

use crate::checkout::{self, cargo, with_hint};

/// What `promise` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many seeds it plays
    #[arg(long, value_name = "N", default_value_t = 200)]
    seeds: u64,
    /// The first of them: a failure prints it. Without it others than the tests have
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// Plays them.
///
/// # Errors
/// The tests do not compile, or a seed breaks the promise.
pub(crate) fn main(options: &Options) -> Result<()> {
    // Small enough to be typed again.
    let first = options.seed.unwrap_or_else(|| u64::from(std::process::id()) * 1000);
    println!("seeds {first} to {}", first + options.seeds.max(1) - 1);
    let tools = checkout::target().join("tools");
    Tools::locate_or_fetch(&tools).map_err(with_hint)?;
    let mut command = cargo();
    command.args([
        "test",
        "--locked",
        "-p",
        "etcd2-backup",
        "--test",
        "backup",
        "--",
        "promise::",
        "--nocapture",
    ]);
    command.env("ETCD2_BACKUP_PROMISE", format!("{first}:{}", options.seeds.max(1)));
    // Without the tools the test would be skipped, and nothing said.
    command.env("CI", "true");
    let status = command.status().context("starting cargo")?;
    ensure!(status.success(), "the promise does not hold: what happened is above, and how to see it again");
    Ok(())
}
