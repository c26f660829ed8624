//! What commands say to people, at a terminal of 80 columns.

use std::fs;
use std::process::Stdio;

use testkit::keys;
use testkit::node::Node;
use testkit::terminal::{Terminal, screen};
use testkit::tools::Tools;

use crate::PROGRAM;

/// All that stands on the terminal after a run that ends with this code.
#[track_caller]
fn said(node: &Node, arguments: &[&str], code: i32) -> Vec<String> {
    let terminal = Terminal::new();
    let mut command = node.command(arguments);
    command.stdin(Stdio::null()).stdout(terminal.stdio()).stderr(terminal.stdio());
    let ended = command.status().unwrap();
    // It has the terminal, too.
    drop(command);
    let lines = screen(&terminal.close());
    assert_eq!(ended.code(), Some(code), "{arguments:?}: {lines:#?}");
    lines
}

/// No line is wider, but for a path that would be broken, which stands alone. And no number stands without its unit.
#[track_caller]
fn fits(node: &Node, arguments: &[&str], code: i32) {
    let lines = said(node, arguments, code);
    for line in &lines {
        // A path that is longer than the line, in a command that goes on.
        let is_word = line.trim_end_matches(" \\").split_whitespace().count() == 1;
        assert!(line.chars().count() <= 80 || is_word, "{arguments:?}: {line:?} of {lines:#?}");
    }
    for pair in lines.windows(2) {
        let unit = pair[1].split_whitespace().next().unwrap_or_default().trim_end_matches([',', ';', ':']);
        let is_split = pair[0].ends_with(|c: char| c.is_ascii_digit())
            && ["B", "kB", "MB", "GB", "s", "min", "h", "d"].contains(&unit);
        assert!(!is_split, "{arguments:?}: {pair:#?}");
    }
}

#[test]
fn every_line_fits_and_commands_can_be_pasted() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    fits(&node, &["status"], 19);
    fits(&node, &["verify"], 12);
    node.etcd.start().unwrap();
    keys::write_sample(&node.etcd.client_url).unwrap();
    fits(&node, &["backup"], 0);
    fits(&node, &["doctor"], 0);
    fits(&node, &["status"], 0);
    fits(&node, &["list", "--points"], 0);
    fits(&node, &["sources"], 0);
    fits(&node, &["verify"], 0);
    fits(&node, &["prune", "--dry-run"], 0);
    fits(&node, &["restore"], 10);
    fits(&node, &["clean"], 0);
    node.etcd.stop().unwrap();
    let etcd = tools.etcd.to_str().unwrap();
    fits(&node, &["rehearse", "--etcd", etcd], 0);
    fits(&node, &["restore", "--plan"], 0);
    fits(&node, &["restore", "--source", "local"], 0);
    fits(&node, &["undo", "--plan"], 0);
    let data_dir = node.path("/var/lib/etcd2");
    fits(&node, &["inspect", data_dir.to_str().unwrap()], 0);
    fs::remove_dir_all(&data_dir).unwrap();
    fits(&node, &["doctor"], 0);
    fits(&node, &["status"], 12);

    // The steps that an error names stand whole on a line.
    let lines = said(&node, &["status"], 12);
    assert!(lines.iter().any(|line| line == "next        sudo /opt/bin/etcd2-backup sources"), "{lines:#?}");
    assert!(
        lines.iter().any(|line| line.starts_with("    sudo rm -f ") && line.ends_with('\\')),
        "{lines:#?}"
    );
}
