//! What another node says, made fit to be read here. It may be broken, or broken into: what it says is shown, and steers
//! neither the terminal nor the eye. And its shell may greet before the program answers.

use std::io::{self, BufRead, Read as _};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The last thing that a node's shell says before the program.
pub const MARK: &str = "----- etcd2-backup answers: -----";
/// A shell that greets with more than this is no shell.
const GREETING_BYTES: usize = 1 << 20;
/// So many characters of what is no answer are shown.
const SHOWN: usize = 120;

/// A text on one line: what would steer a terminal, end a line or turn the direction of writing is shown as an escape.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_hidden(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}

/// Characters that are not seen, or move others.
fn is_hidden(c: char) -> bool {
    let moves =
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    c.is_control() || moves
}

/// The end of what was said on stderr, on one line.
pub fn last_words(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(3)..];
    last.iter().map(|line| visible(line)).collect::<Vec<_>>().join("; ")
}

/// An answer, with all its texts made [`visible`].
///
/// # Errors
/// It is no such answer; with its beginning.
pub fn answer<T: DeserializeOwned>(stdout: &[u8]) -> Result<T> {
    let text = behind_the_mark(stdout);
    let begins = || {
        let first: String = String::from_utf8_lossy(text).trim().chars().take(SHOWN).collect();
        format!("it begins with \"{}\"", visible(&first))
    };
    let value = serde_json::from_slice(text).with_context(begins)?;
    of_value(&cleaned(value))
}

/// What a value says. By way of its text: a second reader of each type, for values, would make the program larger by a third of it.
///
/// # Errors
/// It is no such answer.
pub fn of_value<T: DeserializeOwned>(value: &Value) -> Result<T> {
    Ok(serde_json::from_slice(&serde_json::to_vec(value)?)?)
}

fn cleaned(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(visible(&text)),
        Value::Array(all) => all.into_iter().map(cleaned).collect(),
        Value::Object(all) => all.into_iter().map(|(name, value)| (name, cleaned(value))).collect(),
        other => other,
    }
}

/// What the program said; all of it where there is no mark, as something else than a shell may stand at the other end.
pub fn behind_the_mark(stdout: &[u8]) -> &[u8] {
    let mark = MARK.as_bytes();
    let at = stdout.windows(mark.len()).position(|window| window == mark);
    at.map_or(stdout, |at| {
        let rest = &stdout[at + mark.len()..];
        rest.strip_prefix(b"\n").unwrap_or(rest)
    })
}

/// The same of a stream: reads up to the mark. Gives what was read, if there is none.
///
/// # Errors
/// It cannot be read.
pub fn skip_greeting(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    while read.len() < GREETING_BYTES {
        let line = stream.take((GREETING_BYTES - read.len()) as u64).read_until(b'\n', &mut read)?;
        let own = read.strip_suffix(b"\n").unwrap_or(&read);
        if own.ends_with(MARK.as_bytes()) {
            return Ok(Vec::new());
        }
        if line == 0 {
            break;
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_said_steers_a_terminal_or_makes_a_line_of_its_own() {
        for (said, shown) in [
            ("e1", "e1"),
            ("größer", "größer"),
            ("\x1b[2Jgone", "\\u{1b}[2Jgone"),
            ("a\rplan: all is well", "a\\rplan: all is well"),
            ("a\nplan: all is well", "a\\nplan: all is well"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}lla\u{200b}", "\\u{202e}lla\\u{200b}"),
        ] {
            assert_eq!(visible(said), shown);
        }
        let value: Value =
            answer(b"{\"a\":[\"\\u001b[2J\", {\"b\": \"x\\ny\"}], \"c\": 18446744073709551615}").unwrap();
        assert_eq!(value.to_string(), r#"{"a":["\\u{1b}[2J",{"b":"x\\ny"}],"c":18446744073709551615}"#);
        assert_eq!(last_words("a\n\nb\nc \n\x1bd\n"), "b; c; \\u{1b}d");
    }

    #[test]
    fn a_greeting_is_no_answer() {
        let greeted = format!("Hello {{core}}!\nlast login: today{MARK}\n");
        for (before, said) in [("", "7"), (&*greeted, "7"), (&*greeted, "null")] {
            let stdout = format!("{before}{said}");
            assert_eq!(answer::<Option<u64>>(stdout.as_bytes()).unwrap(), said.parse().ok(), "{stdout}");
            let mut stream = stdout.as_bytes();
            let mut all = skip_greeting(&mut stream).unwrap();
            all.extend(stream);
            assert_eq!(all, said.as_bytes());
        }
        let error = format!("{:#}", answer::<u64>(b"Hello\n\x1b[2J").unwrap_err());
        assert!(error.starts_with(r#"it begins with "Hello\n\u{1b}[2J": "#), "{error}");
    }
}
