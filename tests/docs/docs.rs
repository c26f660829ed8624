//! README and docs/ say what the code does: keys, files, variables, command lines, the archive's fields.
//!
//! The code is read as text where it has no list of its own names.

use std::fs;
use std::path::{Path, PathBuf};

use etcd2_backup::commands::args::{self, Parsed};
use etcd2_backup::install::payload;
use etcd2_backup::paths;
use etcd2_backup::settings::our_units;
use etcd2_backup::settings::table::{self, Lands};

const SETTINGS: &str = include_str!("../../docs/reference/settings.md");
const FILES: &str = include_str!("../../docs/reference/files.md");
const RUNBOOK: &str = include_str!("../../docs/recovery.md");
const INSPECT: &str = include_str!("../../docs/inspect.md");
const FORMAT: &str = include_str!("../../docs/format.md");
const FRAGMENT: &str = include_str!("../../xtask/src/site/fragment.rs");
const STARTER: &str = include_str!("../../xtask/src/init/starter/etcd2-backup.toml");
const DROP_IN: &str = include_str!(
    "../../templates/etc/systemd/system/etcd2-backup.service.d/30-etcd2-backup-restore.conf.tera"
);

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README, the other documents at the top, and docs/.
pub(crate) fn documents() -> Vec<(PathBuf, String)> {
    let top = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"].map(|name| root().join(name));
    let below = |folder| fs::read_dir(root().join(folder)).unwrap().map(|e| e.unwrap().path());
    let docs = below("docs").chain(below("docs/reference")).filter(|p| p.is_file());
    let all: Vec<_> =
        top.into_iter().chain(docs).map(|p| (p.clone(), fs::read_to_string(p).unwrap())).collect();
    assert!(all.len() >= 24, "{all:?}");
    all
}

/// The lines between the one that begins with `start` and the next `}`.
fn body<'a>(text: &'a str, start: &str) -> impl Iterator<Item = &'a str> {
    assert!(text.contains(start), "{start} is not there any more");
    text.lines().skip_while(move |l| !l.starts_with(start)).skip(1).take_while(|l| *l != "}").map(str::trim)
}

/// The names of a struct's fields.
fn fields<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    let all: Vec<&str> = body(text, start)
        .filter_map(|l| l.strip_prefix("pub(crate) ").or_else(|| l.strip_prefix("pub "))?.split_once(':'))
        .map(|(name, _)| name)
        .collect();
    assert!(!all.is_empty(), "{start}");
    all
}

/// The cells of the table row whose first cell has `first` in it as code.
fn row<'a>(text: &'a str, first: &str) -> Option<Vec<&'a str>> {
    let cells = |line: &'a str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
    let code = format!("`{first}`");
    text.lines().filter(|l| l.starts_with('|')).map(cells).find(|c| c[0].contains(&code))
}

#[test]
fn every_key_of_the_site_is_in_its_table_with_its_default() {
    let tables = [
        ("rclone", "RcloneFragment"),
        ("metrics", "MetricsFragment"),
        ("retention", "RetentionFragment"),
        ("verify", "VerifyFragment"),
        ("rehearse", "RehearseFragment"),
    ];
    let top = fields(FRAGMENT, "pub(crate) struct Fragment").into_iter();
    let top = top.filter(|k| !tables.iter().any(|(table, _)| k == table)).map(str::to_owned);
    let below = tables.iter().flat_map(|(table, name)| {
        let keys = fields(FRAGMENT, &format!("pub(crate) struct {name}")).into_iter();
        keys.map(|key| format!("{table}.{key}")).collect::<Vec<_>>()
    });
    let keys = top.chain(below);
    for key in keys {
        let cells = row(SETTINGS, &key).unwrap_or_else(|| panic!("no row for {key}"));
        let name = key.rsplit('.').next().unwrap();
        // What the starter says of its table.
        let table = key.split_once('.').map(|(table, _)| format!("\n[{table}]\n"));
        let starter = table.map_or(STARTER, |table| STARTER.split_once(&table).unwrap().1);
        let starter = starter.split_once("\n[").map_or(starter, |(own, _)| own);
        // A line of the starter that begins with "#" shows a default; these have none.
        let default = starter.lines().find_map(|l| l.strip_prefix(&format!("#{name} = ")));
        let none = ["bundle", "calendar", "password_file", "on_failure", "textfile"];
        match default.map(|d| d.trim_matches('"')).filter(|_| !none.contains(&name)) {
            Some(default) => assert_eq!(cells[1], format!("`{default}`"), "{key}"),
            None => assert!(cells[1].starts_with("none"), "{key}: {cells:?}"),
        }
    }
}

#[test]
fn every_value_of_the_templates_is_described() {
    let render = include_str!("../../xtask/src/units/render.rs");
    let customize = include_str!("../../docs/customize.md");
    let names: Vec<&str> = body(render, "struct Values")
        .filter(|l| !l.trim_start().starts_with("//"))
        .filter_map(|l| l.split_once(": ").map(|(name, _)| name))
        .collect();
    assert!(names.len() >= 20, "{names:?}");
    for name in names.into_iter().map(|n| if n == "vars" { "vars.NAME" } else { n }) {
        assert!(row(customize, name).is_some(), "{name}");
    }
    for filter in ["arg", "text", "safe"] {
        assert!(customize.contains(&format!("\\| {filter} }}}}")), "{filter}");
    }
}

#[test]
fn every_file_and_variable_is_in_its_table() {
    let files = our_units::names().chain([
        payload::PROGRAM,
        payload::SETTINGS,
        payload::FENCE,
        payload::RCLONE_CONF,
        payload::RCLONE,
        payload::MANIFEST,
        payload::SUMS,
        payload::MAN,
        payload::BASH,
        payload::ZSH,
        payload::FISH,
        paths::PROGRAM,
        paths::BUNDLED_RCLONE,
        paths::RCLONE_CONF,
        paths::FENCE,
        paths::IDENTITY,
        paths::ALLOW_EMPTY,
        paths::AUTH,
        paths::FOUNDER_DROP_IN,
        paths::RECORD,
        paths::INSTALL_JOURNAL,
    ]);
    for name in files {
        let written = [format!("`{name}`"), format!("/{name}`")];
        assert!(written.iter().any(|w| FILES.contains(w)), "{name}");
    }
    let own = DROP_IN.lines().filter_map(|l| Some(l.strip_prefix("Environment=\"")?.split_once('=')?.0));
    let set = table::SETTINGS.iter().filter_map(|row| match row.lands {
        Lands::Variable(name) => Some(name),
        Lands::Directive { .. } | Lands::Build => None,
    });
    let variables: Vec<&str> = set.chain(own.filter(|name| !name.starts_with("{{"))).collect();
    assert!(variables.len() >= 20, "{variables:?}");
    for name in variables {
        assert!(FILES.contains(&format!("`{name}`")), "{name}");
    }
}

/// The command lines in a text: behind the program's path, and code that begins with a verb.
fn command_lines(text: &str) -> Vec<String> {
    let end = |rest: &str| rest.find(['`', '&', ';', '|', '#', '"', '>', '\n']).unwrap_or(rest.len());
    let typed = text.match_indices("/opt/bin/etcd2-backup ").map(|(at, found)| &text[at + found.len()..]);
    let verbs = ["`restore --", "`join --", "`install --", "`uninstall --", "`set-founder --", "`recover --"];
    let spans = verbs.iter().flat_map(|v| text.match_indices(v).map(|(at, _)| &text[at + 1..]));
    let mut all: Vec<String> = typed.chain(spans).map(|rest| rest[..end(rest)].trim().to_owned()).collect();
    // The tables of options: the first cell of their head names the subcommand.
    let mut of = None;
    for line in text.lines().map(str::trim_start) {
        if let Some((head, _)) = line.strip_prefix("| option of `").and_then(|l| l.split_once('`')) {
            of = Some(if head == "recover" { "recover core@e1" } else { head });
        } else if !line.starts_with('|') {
            of = None;
        } else if let (Some(of), Some((option, _))) =
            (of, line.strip_prefix("| `--").and_then(|l| l.split_once('`')))
        {
            all.push(format!("{of} --{option}"));
        }
    }
    all
}

#[test]
fn every_command_line_is_understood() {
    let mut count = 0;
    for (path, text) in documents() {
        for line in command_lines(&text) {
            let parsed = args::parse(line.split_whitespace().map(Into::into));
            assert!(matches!(parsed, Ok(Parsed::Run(_))), "{}: {line:?}: {parsed:?}", path.display());
            count += 1;
        }
    }
    assert!(count >= 20, "only {count} command lines were found");
}

/// The messages that the runbook explains, each cut where it says `…`, which stands for what differs.
#[test]
fn every_message_of_the_runbook_is_one_of_the_programs() {
    // systemd's and the kernel's.
    let of_others = ["Assertion failed", "Permission denied", "Input/output error"];
    let mut sources = String::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            match path.is_dir() {
                true => folders.push(path),
                false => sources += &fs::read_to_string(&path).unwrap(),
            }
        }
    }
    // A text that goes on in the next line of the source.
    let lines = sources.split("\\\n").enumerate();
    let sources: String = lines.map(|(n, l)| if n == 0 { l } else { l.trim_start() }).collect();
    let said = |cell: &str| {
        ["restore", "join", "recover", "backup", "sources", "etcd", "`"]
            .iter()
            .any(|who| cell.starts_with(who))
    };
    let cells = RUNBOOK.lines().filter_map(|l| l.strip_prefix("| ")?.split_once(" | ")).map(|(cell, _)| cell);
    let quoted = cells.filter(|c| said(c)).flat_map(|c| c.split('`').skip(1).step_by(2));
    let quoted: Vec<&str> = quoted.filter(|q| !q.starts_with("--") && !of_others.contains(q)).collect();
    assert!(quoted.len() >= 40, "{quoted:?}");
    for text in quoted.iter().flat_map(|q| q.split('…')).map(str::trim).filter(|t| !t.is_empty()) {
        assert!(sources.contains(text), "the program does not say {text:?}");
    }
}

#[test]
fn every_field_of_the_archive_is_in_its_description() {
    let part = include_str!("../../src/archive/part.rs");
    let lineage = include_str!("../../src/archive/lineage.rs");
    let names = include_str!("../../src/archive/names.rs");
    for (text, start) in [
        (part, "pub struct Head"),
        (lineage, "pub struct Record "),
        (lineage, "pub struct RecordedMember"),
        (lineage, "pub struct Parent"),
    ] {
        for field in fields(text, start) {
            let written = [format!("`{field}`"), format!("\"{field}\"")];
            assert!(written.iter().any(|w| FORMAT.contains(w)), "{start}: {field}");
        }
    }
    for field in fields(names, "pub struct PartName") {
        assert!(FORMAT.contains(&format!("| {field} | ")), "{field}");
    }
}

#[test]
fn every_field_that_inspect_prints_is_in_its_table() {
    let report = include_str!("../../src/inspect/report.rs");
    let all = ["Report", "Damage", "Member", "Snapshot", "LogSummary", "PartPlace", "GenerationSummary"];
    let v3 = ["V3Summary", "V3Alarm", "V3Peer"];
    for field in all.iter().chain(&v3).flat_map(|name| fields(report, &format!("pub struct {name} "))) {
        assert!(INSPECT.contains(&format!("`{field}`")), "{field}");
    }
    let entries = include_str!("../../src/inspect/entries.rs");
    let v3_entry = include_str!("../../src/inspect/v3_entry.rs");
    let entry = body(entries, "pub struct Line<").chain(body(v3_entry, "pub struct V3Entry<"));
    let entry: Vec<&str> =
        entry.filter(|l| !l.starts_with(['#', '/'])).filter_map(|l| l.split_once(':')).map(|l| l.0).collect();
    assert!(entry.len() >= 32, "{entry:?}");
    // What a line says to people is no field.
    for field in entry.into_iter().filter(|field| *field != "told") {
        let api = field.strip_prefix("prev_").map(|f| format!("`prev{}{}`", f[..1].to_uppercase(), &f[1..]));
        assert!(INSPECT.contains(&api.unwrap_or_else(|| format!("`{field}`"))), "{field}");
    }
}
