//! Tables, and numbers as people read them. Pure, but for [`width`]. What is in a cell was made fit to be shown before
//! ([`super::text`]): no line breaks, no control characters.

use std::fmt::Display;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::time::Duration;

use unicode_width::UnicodeWidthStr as _;

use super::wrap::{INDENT, NARROWEST, USUAL, broken, columns, indented, paragraph};

#[cfg(test)]
mod tests;

/// Between two columns.
const GAP: usize = 2;

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// What stands above it. A table in which no column has a head has no line for them.
    pub head: &'static str,
    /// Its cells are flush right, as numbers are.
    pub right: bool,
    /// Its cells go on in another line where the table would be too wide.
    pub may_shrink: bool,
}

impl Column {
    /// Of IDs, states and other words: never broken.
    pub const fn left(head: &'static str) -> Self {
        Self { head, right: false, may_shrink: false }
    }

    /// Of numbers.
    pub const fn right(head: &'static str) -> Self {
        Self { head, right: true, may_shrink: false }
    }

    /// Of names and sentences.
    pub const fn prose(head: &'static str) -> Self {
        Self { head, right: false, may_shrink: true }
    }
}

/// A table without rows is empty. A row of one cell, in a table of more columns, is a note to the row above it: it stands
/// below that one, over the whole width. No line is wider than `width`, unless columns that must not shrink make it so.
pub fn table(columns: &[Column], rows: &[Vec<String>], width: usize) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let heads: Vec<String> = columns.iter().map(|c| c.head.to_owned()).collect();
    let is_note = |row: &[String]| row.len() == 1 && columns.len() > 1;
    let full: Vec<&[String]> =
        [&heads].into_iter().chain(rows).map(Vec::as_slice).filter(|row| !is_note(row)).collect();
    let widths = widths(columns, &full, width);
    let mut out = String::new();
    if heads.iter().any(|head| !head.is_empty()) {
        out += &line(columns, &widths, &heads);
    }
    for row in rows {
        out += &if is_note(row) {
            indented(&paragraph(&row[0], width.saturating_sub(INDENT)), INDENT)
        } else {
            line(columns, &widths, row)
        };
    }
    out
}

/// What each column has, the widest of those that may shrink cut down first.
fn widths(columns: &[Column], rows: &[&[String]], width: usize) -> Vec<usize> {
    let widest = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.width()).max();
    let mut widths: Vec<usize> = (0..columns.len()).map(|at| widest(at).unwrap_or(0)).collect();
    let wanted = widths.iter().sum::<usize>() + GAP * columns.len().saturating_sub(1);
    for _ in width..wanted {
        let may = widths.iter_mut().zip(columns).filter(|(w, c)| c.may_shrink && **w > NARROWEST);
        let Some((widest, _)) = may.max_by_key(|(w, _)| **w) else { break };
        *widest -= 1;
    }
    widths
}

/// A row, in as many lines as its longest cell needs.
fn line(columns: &[Column], widths: &[usize], row: &[String]) -> String {
    let cells: Vec<Vec<String>> = row
        .iter()
        .zip(columns.iter().zip(widths))
        .map(
            |(cell, (column, width))| {
                if column.may_shrink { broken(cell, *width) } else { vec![cell.clone()] }
            },
        )
        .collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    let mut out = String::new();
    for n in 0..height {
        let mut line = String::new();
        for (at, cell) in cells.iter().enumerate() {
            let text = cell.get(n).map_or("", String::as_str);
            let blank = " ".repeat(widths[at].saturating_sub(text.width()));
            let gap = if at == 0 { "" } else { "  " };
            line += &match columns[at].right {
                true => format!("{gap}{blank}{text}"),
                false => format!("{gap}{text}{blank}"),
            };
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

/// A size: `812 B`, `10.4 MB`.
pub fn bytes(n: u64) -> String {
    let mut scale = 1_u128;
    for unit in ["kB", "MB", "GB", "TB", "PB", "EB"] {
        if n < 1000 {
            break;
        }
        scale *= 1000;
        let tenths = (u128::from(n) * 10 + scale / 2) / scale;
        // What would be shown as 1000.0 is 1.0 of the next one.
        if tenths < 10_000 {
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{n} B")
}

/// How long something took or is to be kept: `43 s`, `3 h`, `5 d`. A unit begins where it says as much as the one before.
pub fn span(time: Duration) -> String {
    match time.as_secs() {
        s if s < 120 => format!("{s} s"),
        s if s < 120 * 60 => format!("{} min", s / 60),
        s if s < 48 * 3600 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}

/// How long ago something was: `12 s ago`.
pub fn age(time: Duration) -> String {
    format!("{} ago", span(time))
}

/// `1 key`, `2 keys`.
pub fn count<N: Copy + Display + PartialEq + From<u8>>(n: N, one: &str, many: &str) -> String {
    let is_one = n == N::from(1);
    format!("{n} {}", if is_one { one } else { many })
}

/// How wide tables may be: as the terminal, if this is one, else 80.
pub fn width(output: &(impl AsFd + IsTerminal)) -> usize {
    columns(output).unwrap_or(USUAL)
}
