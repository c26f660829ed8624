//! Texts in lines that fit the terminal. Pure, but for [`width`].
//!
//! A command that can be pasted is never broken so that half of it can be: it goes on a line of its own. A number stays with its
//! unit.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use unicode_width::UnicodeWidthStr as _;

#[cfg(test)]
mod tests;

/// What must be broken keeps so many characters in a line.
pub(super) const NARROWEST: usize = 12;
/// What goes on in a line after the first is indented by so much, and a note below a row of a table.
pub(super) const INDENT: usize = 4;
/// Where nothing says how wide the output is.
pub(super) const USUAL: usize = 80;
/// What begins a command wherever it stands.
const ROOT: &str = "sudo ";
/// What begins one behind a colon, a bracket, another command, or at the beginning of a text.
const PROGRAMS: [&str; 6] =
    ["journalctl ", "systemctl ", "etcdctl ", "ssh ", "etcd2-backup ", "/opt/bin/etcd2-backup "];
/// What a number is said in.
const UNITS: [&str; 13] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ms", "s", "min", "h", "d", "%"];

/// How wide lines for people may be: as the terminal. Whoever reads them elsewhere, as a journal or a program does, breaks them
/// himself.
pub fn width(output: &(impl AsFd + IsTerminal)) -> usize {
    columns(output).unwrap_or(usize::MAX)
}

/// The columns of a terminal; `None` if it is none.
pub(super) fn columns(output: &(impl AsFd + IsTerminal)) -> Option<usize> {
    if !output.is_terminal() {
        return None;
    }
    let asked = rustix::termios::tcgetwinsize(output).map_or(0, |size| usize::from(size.ws_col));
    let said = || std::env::var("COLUMNS").ok()?.parse().ok();
    Some(Some(asked).filter(|n| *n > 0).or_else(said).filter(|n| *n > 0).unwrap_or(USUAL))
}

/// Each line of a text in lines of at most `width`: what does not fit is indented by more than the line was. A word that is longer
/// stays whole, since a path that somebody copies must.
pub fn lines(text: &str, width: usize) -> String {
    let whole = |word: &str, _: usize| vec![word.to_owned()];
    let line = |line: &str| {
        let words = line.trim_start_matches(' ');
        let by = line.len() - words.len();
        indented(&hanging(words, width.saturating_sub(by), whole), by)
    };
    text.lines().map(line).collect()
}

/// A text of its own: in lines of at most `width`, all but the first indented.
pub fn paragraph(text: &str, width: usize) -> String {
    hanging(text, width, cut)
}

fn hanging(text: &str, width: usize, long: impl Fn(&str, usize) -> Vec<String>) -> String {
    if text.width() <= width {
        return format!("{text}\n");
    }
    let lines = split(text, width.saturating_sub(INDENT).max(NARROWEST), long);
    let text = indented(&(lines.join("\n") + "\n"), INDENT);
    text.trim_start().to_owned()
}

/// Each line of it, so far to the right.
pub fn indented(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{:by$}{line}\n", "")).collect()
}

/// A text in lines of at most `width`, broken at blanks and after commas, and within a word only where it is longer than a
/// line. A command (`sudo …`) stands on one line; one that is too long goes on as a shell reads it, since who pastes what stands
/// on a line must not run half a command.
pub(super) fn broken(text: &str, width: usize) -> Vec<String> {
    split(text, width, cut)
}

/// The same, with what becomes of a word that is longer than a line.
fn split(text: &str, width: usize, long: impl Fn(&str, usize) -> Vec<String>) -> Vec<String> {
    if text.width() <= width {
        return vec![text.to_owned()];
    }
    let mut lines = Vec::new();
    let mut line = String::new();
    for Piece { blanks, text, is_command } in pieces(text) {
        let blanks = if line.is_empty() { "" } else { blanks };
        if line.width() + blanks.len() + text.width() <= width {
            line = line + blanks + text;
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        let mut parts = if is_command { continued(text, width) } else { long(text, width) };
        line = parts.pop().unwrap_or_default();
        lines.append(&mut parts);
    }
    lines.push(line);
    lines
}

/// What stays on one line if it can.
struct Piece<'a> {
    /// What stands before it.
    blanks: &'a str,
    text: &'a str,
    is_command: bool,
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let all = text.trim_end_matches(' ');
    let mut rest = all;
    while !rest.is_empty() {
        let word = rest.trim_start_matches(' ');
        let blanks = &rest[..rest.len() - word.len()];
        let behind_command = pieces.last().is_some_and(|piece: &Piece<'_>| piece.is_command);
        let is_command = begins_command(word, &all[..all.len() - rest.len()], behind_command);
        let end = if is_command { end_of_command(word) } else { end_of_word(word) };
        let (text, behind) = word.split_at(end);
        pieces.push(Piece { blanks, text, is_command });
        rest = behind;
    }
    pieces
}

/// Whether a command begins here, by what stands before it.
fn begins_command(word: &str, before: &str, behind_command: bool) -> bool {
    let bare = word.trim_start_matches(['(', '`']);
    let may = before.is_empty() || before.ends_with(':') || bare.len() < word.len();
    let may = may || behind_command && before.ends_with(';');
    // A name with a version behind it is not called.
    let called = |program: &str| {
        bare.strip_prefix(program).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    bare.starts_with(ROOT) || may && PROGRAMS.into_iter().any(called)
}

/// Before a blank, or behind a comma: of a list of URLs. A number's unit belongs to it.
fn end_of_word(text: &str) -> usize {
    let next = |text: &str| {
        text.find([' ', ',']).map_or(text.len(), |at| at + usize::from(text[at..].starts_with(',')))
    };
    let end = next(text);
    let (number, rest) = text.split_at(end);
    let is_number = number.ends_with(|c: char| c.is_ascii_digit())
        && number.trim_start_matches('(').starts_with(|c: char| c.is_ascii_digit());
    match rest.strip_prefix(' ') {
        Some(unit) if is_number => {
            let with_unit = next(unit);
            let unit = unit[..with_unit].trim_end_matches([',', ';', ':', '.', ')']).trim_end_matches("/s");
            if UNITS.contains(&unit) { end + 1 + with_unit } else { end }
        }
        _ => end,
    }
}

/// Behind the word that ends it, and what it stands in.
fn end_of_command(text: &str) -> usize {
    let ends = text.match_indices(' ').map(|(at, _)| at);
    ends.into_iter().find(|at| text[..*at].ends_with([',', ';', ':', ')', '`'])).unwrap_or(text.len())
}

/// A command that is longer than a line; its words stay whole.
fn continued(command: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in command.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => *line += word,
            Some(line) if line.width() + word.width() + " ".len() + " \\".len() <= width => {
                *line = format!("{line} {word}");
            }
            Some(line) => {
                *line += " \\";
                lines.push(word.to_owned());
            }
            None => {}
        }
    }
    lines
}

/// A word that is longer than a line.
fn cut(word: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for c in word.chars() {
        let mut bytes = [0; 4];
        let c: &str = c.encode_utf8(&mut bytes);
        match lines.last_mut() {
            Some(line) if line.is_empty() || line.width() + c.width() <= width => *line += c,
            _ => lines.push(c.to_owned()),
        }
    }
    lines
}
