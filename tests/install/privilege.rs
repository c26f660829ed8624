//! Who may run which command on the running node: one table of all of them, run as a user who is not root.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use etcd2_backup::commands::args;
use testkit::files::write;

use crate::PROGRAM;

/// Each command, with what its command line needs, and whether it is for root alone.
const COMMANDS: [(&str, bool); 25] = [
    ("install", true),
    ("uninstall", true),
    ("set-founder http://e1:2380", true),
    ("backup", true),
    ("base", true),
    ("doctor", true),
    ("restore --plan", true),
    ("undo --plan", true),
    ("join", true),
    ("migrate fedcba9876543210fedcba9876543210 --dry-run", true),
    ("list", true),
    ("sources", true),
    ("verify", true),
    ("rehearse", true),
    ("prune --dry-run", true),
    ("clean", true),
    ("export", true),
    ("report", true),
    ("stand-by", true),
    ("await --wait 1s", true),
    // They say what they may see.
    ("status", false),
    ("look --quiet", false),
    ("inspect /etc/hostname", false),
    // etcd's user runs it.
    ("guard", false),
    // It is for a workstation.
    ("recover", false),
];

/// Runs the program as somebody who is not root, where no other `sudo` than that of the folder is.
fn as_nobody(dir: &Path, line: &str) -> Output {
    let program = dir.join("etcd2-backup");
    let mut command = match rustix::process::geteuid().is_root() {
        true => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
            command
        }
        false => Command::new(&program),
    };
    let path = format!("{}:/usr/bin:/bin", dir.display());
    command.args(line.split(' ')).current_dir("/").env_remove("JOURNAL_STREAM").env("PATH", path);
    command.output().unwrap()
}

/// A folder that everybody may enter, with the program in it, and with this `sudo` if one is given.
fn folder(sudo: Option<&str>) -> tempfile::TempDir {
    // The folder for temporary files may be root's alone.
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    open(dir.path());
    fs::copy(PROGRAM, dir.path().join("etcd2-backup")).unwrap();
    if let Some(text) = sudo {
        write(&dir.path().join("sudo"), text);
        open(&dir.path().join("sudo"));
    }
    dir
}

#[test]
fn the_table_has_every_command() {
    let of = |line: &str| line.split(' ').next().unwrap().to_owned();
    let table: BTreeSet<String> = COMMANDS.iter().map(|(line, _)| of(line)).collect();
    let all: BTreeSet<String> =
        args::command().get_subcommands().map(|c| c.get_name().to_owned()).filter(|n| n != "help").collect();
    assert_eq!(table, all);
}

#[test]
fn whoever_needs_root_asks_sudo_for_it_in_the_same_way() {
    let dir = folder(Some("#!/bin/sh\necho \"sudo $*\"\nexit 77\n"));
    let program = dir.path().join("etcd2-backup");
    for (line, needs_root) in COMMANDS {
        let output = as_nobody(dir.path(), line);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let asked = format!("sudo -u root -- {} {line}\n", program.display());
        assert_eq!(said.contains(&asked), needs_root, "{line}: {output:?}");
        assert_eq!(output.status.code() == Some(77), needs_root, "{line}: {output:?}");
    }
}

#[test]
fn where_no_sudo_is_the_message_and_the_code_are_the_same() {
    let dir = folder(None);
    // Another one in /usr/bin would ask for a password.
    if Path::new("/usr/bin/sudo").exists() || Path::new("/bin/sudo").exists() {
        return;
    }
    for (line, _) in COMMANDS.iter().filter(|(_, needs_root)| *needs_root) {
        let output = as_nobody(dir.path(), line);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let expected = format!(
            "error: this needs root, and sudo cannot be started: No such file or directory (os error 2)\nhint: run \
             this as root: {} {line}\n",
            dir.path().join("etcd2-backup").display()
        );
        assert_eq!((output.status.code(), said), (Some(1), expected), "{line}");
    }
}
