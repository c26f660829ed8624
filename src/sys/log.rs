//! Log lines on stderr, with the priority prefix that the journal understands when the journal is listening.

use std::io::Write;

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::redact::redact;

#[derive(Debug)]
struct Stderr {
    journal: bool,
}

static JOURNAL: Stderr = Stderr { journal: true };
static TERMINAL: Stderr = Stderr { journal: false };

/// Starts logging: with sd-daemon(3) prefixes under systemd (`JOURNAL_STREAM` is set), plain otherwise.
pub fn start(verbose: bool) {
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let level = if verbose { LevelFilter::Debug } else { LevelFilter::Info };
    // Only a second call fails, and then the first one's logger serves.
    let _ = log::set_logger(if journal { &JOURNAL } else { &TERMINAL });
    log::set_max_level(level);
}

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let text = redact(&record.args().to_string());
        let mut stderr = std::io::stderr().lock();
        // Who closed our stderr does not want to read this.
        let _ = match (self.journal, record.level()) {
            (true, level) => writeln!(stderr, "{}{text}", prefix(level)),
            (false, Level::Error) => writeln!(stderr, "error: {text}"),
            (false, Level::Warn) => writeln!(stderr, "warning: {text}"),
            (false, _) => writeln!(stderr, "{text}"),
        };
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
