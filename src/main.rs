//! The node program: parse, start the log, call the library, map the outcome to an exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use etcd2_backup::commands::args::{self, Parsed};
use etcd2_backup::sys::terminal::print;
use etcd2_backup::{commands, exit, sys};

fn main() -> ExitCode {
    let given = match sys::leash::take_over(std::env::args_os()) {
        Ok(given) => given,
        Err(exit) => return exit,
    };
    let parsed = args::parse(arguments(given));
    sys::log::start(matches!(&parsed, Ok(Parsed::Run(args)) if args.verbose));
    let outcome = match parsed {
        Ok(Parsed::Run(args)) => commands::run(&args),
        Ok(Parsed::Help(text)) => Ok(print(&text)),
        Ok(Parsed::Version) => Ok(print(&format!("{}\n", args::version()))),
        Err(e) => Err(e),
    };
    let exit = outcome.unwrap_or_else(|e| {
        exit::tell(&e);
        exit::exit_of(&e)
    });
    ExitCode::from(exit as u8)
}

/// Under the name `etcd2-backup-install`, as it is in the tarball, the program is its own `install`. Started again
/// through sudo it has the command already.
fn arguments(given: Vec<OsString>) -> impl Iterator<Item = OsString> {
    let mut arguments = given.into_iter().peekable();
    let program = std::path::PathBuf::from(arguments.next().unwrap_or_default());
    let ours = program.ends_with("etcd2-backup-install") && arguments.peek().is_none_or(|a| a != "install");
    ours.then(|| "install".into()).into_iter().chain(arguments)
}
