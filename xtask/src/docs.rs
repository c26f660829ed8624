//! `docs`: man pages and shell completions of both programs.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Command;
use clap_complete::Shell;
use etcd2_backup::install::payload;
use etcd2_backup::sys::fs::{create_dirs, write_atomic};

use crate::checkout;
use crate::package::manual::{completions, of_the_node, page};

/// The options of the task.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where to leave them, in man/ and completions/, instead of the checkout's dist
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// The task; `own` is the command line of this program.
pub(crate) fn main(options: &Options, own: &Command) -> Result<()> {
    let out = options.out.clone().unwrap_or_else(checkout::dist);
    for (path, text) in all(own)? {
        let path = out.join(path);
        create_dirs(path.parent().unwrap_or(&out), 0o755)?;
        write_atomic(&path, &text, 0o644)?;
        println!("{}", path.display());
    }
    Ok(())
}

/// Every file and its content.
fn all(own: &Command) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut all = Vec::new();
    for (name, text) in of_the_node()? {
        let folder = if name == payload::MAN { "man" } else { "completions" };
        all.push((Path::new(folder).join(name), text));
    }
    // `man cargo-xtask` is what `cargo help xtask` shows.
    all.push(("man/cargo-xtask.1".into(), page(own, ("cargo-xtask", "cargo xtask"), "1")?));
    // A shell completes programs, and `cargo xtask` is an alias of cargo's: these are for an alias of the shell's.
    for (name, shell) in [("xtask.bash", Shell::Bash), ("_xtask", Shell::Zsh), ("xtask.fish", Shell::Fish)] {
        all.push((Path::new("completions").join(name), completions(own, "xtask", shell)?));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn own() -> Command {
        crate::Cli::command()
    }

    #[test]
    fn pages_and_completions_have_what_people_type_and_no_plumbing() {
        for (path, text) in all(&own()).unwrap() {
            let text = String::from_utf8(text).unwrap().replace("\\-", "-");
            let of_the_node = path.to_str().unwrap().contains("etcd2-backup");
            let (there, hidden) = match of_the_node {
                true => (["set-founder", "accept-older"], ["stand-by", "recovery-file"]),
                false => (["release", "checkout"], ["stand-by", "recovery-file"]),
            };
            for word in there {
                assert!(text.contains(word), "{}: {word}", path.display());
            }
            for word in hidden {
                assert!(!text.contains(word), "{}: {word}", path.display());
            }
        }
    }

    #[test]
    fn they_are_the_same_each_time() {
        assert_eq!(all(&own()).unwrap(), all(&own()).unwrap());
    }
}
