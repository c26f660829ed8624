//! Log lines on stderr, with the priority prefix that the journal understands when the journal is listening.

use std::io::Write;

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::redact::redact;
use super::terminal::live;

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
        live::above(|stderr| {
            // Who closed our stderr does not want to read this.
            let _ = match (self, record.level()) {
                (Self::Journal, level) => writeln!(stderr, "{}{text}", prefix(level)),
                (Self::Coloured, Level::Error) => writeln!(stderr, "\x1b[1;31merror:\x1b[0m {text}"),
                (Self::Coloured, Level::Warn) => writeln!(stderr, "\x1b[1;33mwarning:\x1b[0m {text}"),
                (Self::Plain, Level::Error) => writeln!(stderr, "error: {text}"),
                (Self::Plain, Level::Warn) => writeln!(stderr, "warning: {text}"),
                (Self::Coloured | Self::Plain, _) => writeln!(stderr, "{text}"),
            };
        });
    }

    fn flush(&self) {}
}

fn prefix(level: Level) -> &'static str {
    match level {
        Level::Error => "<3>",
        Level::Warn => "<4>",
        Level::Info => "<6>",
        Level::Debug | Level::Trace => "<7>",
    }
}
