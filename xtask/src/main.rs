//! The workstation's tasks: `cargo xtask init` makes a site, `cargo xtask build` makes its tarball. One file per task.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the user of these tasks sits at a terminal")]

#[cfg(test)]
mod bad_input;
mod build;
mod checkout;
mod demo;
mod docs;
mod fuzz;
mod init;
mod lab;
mod lint;
mod package;
mod picture;
mod program;
mod promise;
mod release;
mod site;
mod soak;
mod test;
mod units;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use etcd2_backup::exit::{exit_of, next_step_or};
use etcd2_backup::sys::terminal::live;

use site::faults::Several;

/// The workstation's tasks of etcd2-backup.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", term_width = 80)]
struct Cli {
    /// Work in this checkout instead of the one around the current folder
    #[arg(long, value_name = "DIR")]
    checkout: Option<PathBuf>,
    #[command(subcommand)]
    task: Task,
}

/// One task, one file.
#[derive(Debug, Subcommand)]
enum Task {
    /// Write a commented starter site: etcd2-backup.toml and rclone.conf.example
    Init(init::Options),
    /// Make the tarball of a site: dist/etcd2-backup.tgz
    Build(build::Options),
    /// Judge a site: its units by systemd, its templates against the built-in ones, the program
    Lint(lint::Options),
    /// Make what a tag publishes: dist/release
    Release(release::Options),
    /// Write man pages and shell completions of both programs: dist/man, dist/completions
    Docs(docs::Options),
    /// Show the whole walk on this machine: build, install, back up, lose everything, recover
    Demo,
    /// Draw what a terminal showed, from standard input, as an SVG on standard output
    Picture(picture::Options),
    /// Real nodes on this machine, and the scenarios that run on them
    Lab(lab::Options),
    /// Give the readers of others' bytes made-up ones, and see whether what they say holds
    Fuzz(fuzz::Options),
    /// A cluster under writes while etcd, backups and the remote are killed; each restore must have it all
    Soak(soak::Options),
    /// Sabotage between rclone and the remote, and of etcd's files: no backup may end well without its point
    Promise(promise::Options),
    /// Run every check and test, with the tools they need
    Test(test::Options),
}

/// The next step where an error names none.
const HINT: &str =
    "docs/testing.md and docs/installation.md say what the tasks need; cargo xtask help lists them";

fn main() -> ExitCode {
    let cli = Cli::parse();
    live::start_on_terminal();
    let outcome = checkout::enter(cli.checkout.as_deref()).and_then(|()| run(&cli.task));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            match e.downcast_ref::<Several>() {
                Some(Several(all)) => {
                    for one in all {
                        eprintln!("error: {one:#}\nhint: {}", next_step_or(one, HINT));
                    }
                    eprintln!("error: {e}");
                }
                None => eprintln!("error: {e:#}"),
            }
            eprintln!("hint: {}", next_step_or(&e, HINT));
            ExitCode::from(exit_of(&e) as u8)
        }
    }
}

fn run(task: &Task) -> anyhow::Result<()> {
    match task {
        Task::Init(options) => init::main(options),
        Task::Build(options) => build::main(options),
        Task::Lint(options) => lint::main(options),
        Task::Release(options) => release::main(options),
        Task::Docs(options) => docs::main(options, &Cli::command()),
        Task::Demo => {
            let (dir, tools) = (checkout::target().join("demo"), checkout::target().join("tools"));
            demo::run(&dir, &tools, |site, dist| build::run(site, dist).map(|b| b.tarball))
        }
        Task::Picture(options) => picture::main(options),
        Task::Lab(options) => lab::main(options),
        Task::Fuzz(options) => fuzz::main(options),
        Task::Soak(options) => soak::main(options),
        Task::Promise(options) => promise::main(options),
        Task::Test(options) => test::run(options),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_help_has_at_most_80_columns() {
        let mut cli = Cli::command();
        cli.build();
        let mut left = vec![cli];
        let mut seen = 0;
        while let Some(mut command) = left.pop() {
            left.extend(command.get_subcommands().cloned());
            for help in [command.render_help(), command.render_long_help()] {
                let help = help.to_string();
                let wide = help.lines().find(|line| line.trim_end().chars().count() > 80);
                assert_eq!(wide, None, "{}", command.get_name());
                seen += 1;
            }
        }
        assert!(seen > 30, "only {seen} were seen");
    }
}
