//! `uninstall` asks whoever sits at a terminal, and nobody else.

use std::process::Stdio;
use std::time::Duration;

use testkit::install_tree::{Bench, assert_same, read_tree, timeless};
use testkit::terminal::{Terminal, screen};
use testkit::wait::until;

use crate::PROGRAM;

/// Runs this at a terminal, and types when it asks. Gives its code, and the lines that stand there.
fn at_a_terminal(bench: &Bench, line: &str, typed: &str) -> (Option<i32>, Vec<String>) {
    let terminal = Terminal::new();
    let mut command = bench.command(line);
    command.stdin(terminal.stdio()).stderr(terminal.stdio()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    // It has them, and this must not: the terminal ends with the last one.
    drop(command);
    until("it asks", Duration::from_secs(30), || terminal.printed().contains("Continue? [y/N]"));
    terminal.types(typed);
    let code = child.wait().unwrap().code();
    (code, screen(&terminal.close()))
}

#[test]
fn uninstall_does_what_is_answered() {
    let bench = Bench::new(PROGRAM);
    let before = timeless(&read_tree(&bench.root()));
    bench.ok("install --from v1");
    bench.save();
    let installed = read_tree(&bench.root());
    // ^D is the end of what is typed.
    for typed in ["n\n", "\n", "yy\n", "\x04"] {
        let (code, lines) = at_a_terminal(&bench, "uninstall", typed);
        let said = lines.join(" ");
        assert_eq!(code, Some(10), "{typed:?}: {lines:?}");
        assert!(
            said.contains("stops the backups of this node") && said.contains("not confirmed"),
            "{lines:?}"
        );
        assert_same(&format!("{typed:?}"), &read_tree(&bench.root()), &installed);
    }
    let (code, lines) = at_a_terminal(&bench, "uninstall", "y\n");
    assert_eq!(code, Some(0), "{lines:?}");
    let uninstalled = timeless(&read_tree(&bench.root()));
    assert_same("uninstalled", &uninstalled, &before);

    // A script is not asked, and at a terminal nobody is who says so before.
    for line in ["uninstall", "uninstall --yes"] {
        bench.reset();
        let mut command = bench.command(line);
        let terminal = Terminal::new();
        command.stdin(if line == "uninstall" { Stdio::null() } else { terminal.stdio() });
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && !said.contains("Continue?"), "{line}: {said}");
        assert_same(line, &timeless(&read_tree(&bench.root())), &before);
    }
}
