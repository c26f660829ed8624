//! What the program says about its own command line: which stream, which exit code.

use std::process::Command;

use etcd2_backup::commands::args;

use crate::PROGRAM;

#[test]
fn help_and_version_go_to_stdout_and_usage_errors_to_stderr() {
    let version = concat!("etcd2-backup ", env!("CARGO_PKG_VERSION"), " (commit ");
    for (arguments, code, out, err) in [
        (&["--version"][..], 0, version, ""),
        (&["restore", "-V"], 0, version, ""),
        (&["help", "restore"], 0, "Restore this node as the founding member of a new cluster\n", ""),
        (&[], 2, "", "error: no command is given\nhint: one of install, "),
        (&["restore", "--plam"], 2, "", "error: there is no option --plam\nhint: did you mean --plan? "),
    ] {
        let mut program = Command::new(PROGRAM);
        let output = program.args(arguments).env_remove("JOURNAL_STREAM").output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        for (said, wanted) in [(output.stdout, out), (output.stderr, err)] {
            let said = String::from_utf8(said).unwrap();
            assert!(said.starts_with(wanted), "{arguments:?}: {said:?}");
            assert_eq!(said.is_empty(), wanted.is_empty(), "{arguments:?}: {said:?}");
        }
    }
}

/// Without a terminal too, whatever the shell says of it.
#[test]
fn every_help_has_at_most_80_columns() {
    let command = args::command();
    let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    assert!(names.len() > 20, "{names:?}");
    let of_one = names.iter().flat_map(|name| [vec!["help", name], vec![name, "--help"], vec![name, "-h"]]);
    for arguments in of_one.chain([vec!["help"], vec!["--help"]]) {
        let output = Command::new(PROGRAM).args(&arguments).env("COLUMNS", "200").output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let widest = said.lines().max_by_key(|line| line.chars().count()).unwrap();
        assert!(output.status.success() && widest.chars().count() <= 80, "{arguments:?}: {widest}");
    }
}
