//! The generated parts of docs/reference/: what the code says now. `UPDATE_GOLDEN=1` writes them.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use etcd2_backup::backup::metrics::{FAMILIES, PREFIX};
use etcd2_backup::settings::table::{self, SETTINGS, Setting};
use etcd2_backup::sys::fs::write_atomic;

use crate::PROGRAM;
use crate::docs::root;

const BEGIN: &str = "<!-- Generated from ";
const END: &str = "<!-- End of the generated part -->\n";
const EXIT: &str = include_str!("../../src/exit.rs");

/// Compares the generated part of a page with what it should be, or writes it.
fn is(page: &str, wanted: &str) {
    let path = root().join("docs/reference").join(page);
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (from, rest) = rest.split_once('\n').unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let new = format!("{before}{BEGIN}{from}\n\n{wanted}\n{END}{after}");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        write_atomic(&path, new.as_bytes(), 0o644).unwrap();
    }
    let now = fs::read_to_string(&path).unwrap();
    assert_eq!(now, new, "{page}: UPDATE_GOLDEN=1 cargo test --test docs reference");
}

/// Number, name and meaning of each exit code, in the code's order.
fn exit_codes() -> Vec<(u8, &'static str, String)> {
    let (_, body) = EXIT.split_once("\npub enum Exit {\n").unwrap();
    let (body, _) = body.split_once("\n}\n").unwrap();
    let (mut all, mut meaning) = (Vec::new(), Vec::new());
    for line in body.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            meaning.push(text);
        } else {
            let (name, number) = line.strip_suffix(',').unwrap().split_once(" = ").unwrap();
            all.push((number.parse().unwrap(), name, std::mem::take(&mut meaning).join(" ")));
        }
    }
    all
}

/// What the program prints to stdout.
fn printed(arguments: &[&str]) -> String {
    let output = Command::new(PROGRAM).args(arguments).env_remove("JOURNAL_STREAM").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The subcommands in the program's help: the first words of the list below the heading.
fn subcommands(help: &str) -> Vec<&str> {
    let list = help.lines().skip_while(|line| !matches!(*line, "Verbs:" | "Commands:")).skip(1);
    let list = list.take_while(|line| line.starts_with(' '));
    let names =
        list.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    names.filter(|name| *name != "help").collect()
}

#[test]
fn the_exit_codes_are_those_of_the_code() {
    let codes = exit_codes();
    assert!(codes.len() >= 14, "{codes:?}");
    let mut table = "| code | name | meaning |\n|---|---|---|\n".to_owned();
    for (number, name, meaning) in codes {
        writeln!(table, "| {number} | `{name}` | {meaning} |").unwrap();
    }
    is("exit-codes.md", &table);
}

#[test]
fn the_settings_are_those_of_the_code() {
    let mut table = "| key | default | meaning |\n|---|---|---|\n".to_owned();
    for Setting { key, default, required, doc, .. } in SETTINGS {
        let default = match (default, required) {
            (Some(default), _) => format!("`{default}`"),
            (None, true) => "none, required".to_owned(),
            (None, false) => "none".to_owned(),
        };
        writeln!(table, "| `{key}` | {default} | {doc} |").unwrap();
    }
    is("settings.md", &table);
}

#[test]
fn every_variable_that_the_node_reads_is_a_setting() {
    let folder = root().join("src/settings");
    let texts = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).filter(|path| path.is_file());
    let mut seen = 0;
    for path in texts.filter(|path| !path.ends_with("table.rs")) {
        let text = fs::read_to_string(&path).unwrap();
        let named = text.split('"').filter(|word| {
            word.starts_with("ETCD2_BACKUP_") && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        });
        for name in named {
            seen += 1;
            assert!(
                table::of_variable(name).is_some(),
                "{}: {name} is in no row of the table",
                path.display()
            );
        }
    }
    assert!(seen >= 15, "only {seen} variables were found");
}

#[test]
fn the_metrics_are_those_of_the_code() {
    let mut table = "| metric | type | meaning |\n|---|---|---|\n".to_owned();
    for (name, kind, help) in FAMILIES {
        writeln!(table, "| `{PREFIX}{name}` | {kind} | {help} |").unwrap();
    }
    is("metrics.md", &table);
}

#[test]
fn the_commands_are_what_the_program_prints() {
    let help = printed(&["help"]);
    let names = subcommands(&help);
    assert!(names.contains(&"backup") && names.contains(&"recover"), "{names:?}");
    let mut text = format!("```text\n{help}```\n");
    for name in names {
        write!(text, "\n## {name}\n\n```text\n{}```\n", printed(&["help", name])).unwrap();
    }
    is("commands.md", &text);
}
