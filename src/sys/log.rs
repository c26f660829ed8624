//! Log lines on stderr, with the priority prefix that the journal understands when the journal is listening.

use std::io::Write;

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::redact::redact;
use super::terminal::{live, wrap};

#[derive(Debug, Clone, Copy)]
enum Stderr {
    Journal,
    Plain,
    Coloured,
}

static JOURNAL: Stderr = Stderr::Journal;
static PLAIN: Stderr = Stderr::Plain;
static COLOURED: Stderr = Stderr::Coloured;

/// Starts logging: with sd-daemon(3) prefixes under systemd (`JOURNAL_STREAM` is set), in colours on a terminal (unless `NO_COLOR`
/// is set), plain otherwise. Work that takes long is shown from now on.
pub fn start(verbose: bool) {
    let has = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let stderr = match live::is_terminal() {
        true if has("NO_COLOR") => &PLAIN,
        true => &COLOURED,
        false if has("JOURNAL_STREAM") => &JOURNAL,
        false => &PLAIN,
    };
    let level = if verbose { LevelFilter::Debug } else { LevelFilter::Info };
    // Only a second call fails, and then the first one's logger serves.
    let _ = log::set_logger(stderr);
    log::set_max_level(level);
    live::start();
}

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let text = redact(&record.args().to_string());
        let lines = self.lines(record.level(), &text, wrap::width(&std::io::stderr()));
        // Who closed our stderr does not want to read this.
        live::above(|stderr| drop(stderr.write_all(lines.as_bytes())));
    }

    fn flush(&self) {}
}

impl Stderr {
    /// What is written, in lines of at most `width` where somebody reads along.
    fn lines(self, level: Level, text: &str, width: usize) -> String {
        let (word, colour) = match level {
            Level::Error => ("error:", "1;31"),
            Level::Warn => ("warning:", "1;33"),
            Level::Info | Level::Debug | Level::Trace if text.is_empty() => return "\n".into(),
            Level::Info | Level::Debug | Level::Trace => ("", ""),
        };
        if matches!(self, Self::Journal) {
            return format!("{}{text}\n", prefix(level));
        }
        let said = if word.is_empty() { text.to_owned() } else { format!("{word} {text}") };
        let lines = wrap::lines(&said, width);
        match (self, lines.strip_prefix(word)) {
            (Self::Coloured, Some(rest)) if !word.is_empty() => format!("\x1b[{colour}m{word}\x1b[0m{rest}"),
            _ => lines,
        }
    }
}

fn prefix(level: Level) -> &'static str {
    match level {
        Level::Error => "<3>",
        Level::Warn => "<4>",
        // A notice: systemd's own lines about each start and end are less, and are left out (`LogLevelMax=notice`).
        Level::Info => "<5>",
        Level::Debug | Level::Trace => "<7>",
    }
}
