//! One file per verb: what happens, in order. The mechanisms are elsewhere.

use anyhow::Result;

use crate::cli::{Cli, Verb};
use crate::exit::Exit;
use crate::paths::Root;

mod backup;
mod guard;
mod inspect;
mod install;
mod join;
mod restore;

/// Runs the verb of a command line.
///
/// # Errors
/// Whatever the verb says; [`crate::exit`] tells code and hint.
pub fn run(cli: &Cli) -> Result<Exit> {
    let root = Root::new(&cli.root);
    match &cli.verb {
        Verb::Install(options) => install::run(&root, options),
        Verb::Backup => backup::run(&root),
        Verb::Restore(options) => restore::run(&root, options),
        Verb::Join(options) => join::run(&root, options),
        Verb::Inspect(options) => inspect::run(options),
        Verb::Guard => guard::run(&root),
    }
}
