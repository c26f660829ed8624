//! The workstation's tasks: `cargo xtask init` makes a site, `cargo xtask build` makes its tarball. One file per task.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the user of these tasks sits at a terminal")]

mod build;
mod check;
mod demo;
mod elf;
mod facts;
mod fragment;
mod fuzz;
mod init;
mod lab;
mod paths;
mod rclone_conf;
mod render;
mod site;
mod span;
mod tarball;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use etcd2_backup::exit::{exit_of, hint_of};

/// The workstation's tasks of etcd2-backup.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 80)]
struct Cli {
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
    /// Show the whole walk on this machine: build, install, back up, lose everything, recover
    Demo,
    /// Real nodes on this machine, and the scenarios that run on them
    Lab(lab::Options),
    /// Give the readers of others' bytes made-up ones, and see whether what they say holds
    Fuzz(fuzz::Options),
    /// Run every check and test, with the tools they need
    Test,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Init(options) => init::main(&options),
        Task::Build(options) => build::main(&options),
        Task::Demo => {
            let (dir, tools) = (paths::target().join("demo"), paths::target().join("tools"));
            demo::run(&dir, &tools, |site, dist| build::run(site, dist).map(|b| b.tarball))
        }
        Task::Lab(options) => lab::main(&options),
        Task::Fuzz(options) => fuzz::main(&options),
        Task::Test => test::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            if let Some(hint) = hint_of(&e) {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(exit_of(&e) as u8)
        }
    }
}
