//! The help texts, out of the tables that parsing uses.

use super::option::{Opt, VerbTable};
use super::{ABOUT, GLOBALS, PROGRAM, VERBS};

/// No line is longer: terminals on a node's console are not either.
const COLUMNS: usize = 80;

/// The help of a verb, or of the program.
pub(super) fn text(verb: Option<&VerbTable>) -> String {
    let mut out = String::new();
    match verb {
        Some(verb) => {
            let argument = verb.argument.as_ref();
            let name = argument.map_or(String::new(), |a| match verb.any_number {
                true => format!(" [{}]…", a.value),
                false => format!(" {}", a.value),
            });
            out += &format!("{}\n\nUsage: {PROGRAM} {} [OPTIONS]{name}\n", verb.summary, verb.name);
            if let Some(argument) = argument {
                out += "\nArgument:\n";
                write_table(&mut out, &[(argument.value.to_owned(), argument.help.to_owned())]);
            }
        }
        None => {
            out += &format!("{ABOUT}\n\nUsage: {PROGRAM} [OPTIONS] VERB\n\nVerbs:\n");
            let shown = VERBS.iter().filter(|v| !v.hidden);
            let mut rows: Vec<Row> = shown.map(|v| (v.name.to_owned(), v.summary.to_owned())).collect();
            rows.push(("help".to_owned(), "Print this help, or that of a verb: help VERB".to_owned()));
            write_table(&mut out, &rows);
        }
    }
    out += "\nOptions:\n";
    let own = verb.map_or(&[][..], |v| v.options);
    let rows: Vec<Row> = own.iter().chain(GLOBALS).flat_map(rows).collect();
    write_table(&mut out, &rows);
    out
}

/// The left column and the right one.
type Row = (String, String);

fn rows(option: &Opt) -> Vec<Row> {
    let short = option.short.map_or("    ".to_owned(), |s| format!("-{s}, "));
    let value = if option.value.is_empty() { String::new() } else { format!(" {}", option.value) };
    let default = option.default.map_or(String::new(), |d| format!(" [default: {d}]"));
    let mut rows = vec![(format!("{short}--{}{value}", option.name), format!("{}{default}", option.help))];
    rows.extend(option.choices.iter().map(|(name, help)| (String::new(), format!("- {name}: {help}"))));
    rows
}

fn write_table(out: &mut String, rows: &[Row]) {
    let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0) + 4;
    for (left, right) in rows {
        let mut line = format!("  {left}");
        line += &" ".repeat(width - 1 - line.len());
        for word in right.split(' ') {
            if line.len() + 1 + word.len() > COLUMNS {
                *out += &line;
                *out += "\n";
                line = " ".repeat(width - 1);
            }
            line += " ";
            line += word;
        }
        *out += &line;
        *out += "\n";
    }
}
