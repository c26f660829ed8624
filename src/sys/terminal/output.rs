//! What is printed: text, or JSON with one value a line. It may be closed at any time, by `head` or a pager.

use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

use anyhow::{Context, Result, bail};
use serde::Serialize;

/// stdout, and the first error it had.
#[derive(Debug)]
pub struct Output {
    /// Whether lists are to be JSON.
    pub json: bool,
    stdout: BufWriter<StdoutLock<'static>>,
    /// Kept from line to line, so that it grows once: musl's malloc is slow.
    line: Vec<u8>,
    failed: Option<io::Error>,
}

impl Output {
    /// Begins to print.
    pub fn new(json: bool) -> Self {
        Self { json, stdout: BufWriter::new(io::stdout().lock()), line: Vec::new(), failed: None }
    }

    /// Prints a text.
    ///
    /// # Errors
    /// It cannot be printed; [`Output::finish`] says why.
    pub fn text(&mut self, text: &str) -> Result<()> {
        let written = self.stdout.write_all(text.as_bytes());
        self.keep(written)
    }

    /// Prints a value on a line of its own.
    ///
    /// # Errors
    /// It cannot be printed; [`Output::finish`] says why.
    pub fn json(&mut self, value: &impl Serialize) -> Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, value)?;
        self.line.push(b'\n');
        let written = self.stdout.write_all(&self.line);
        self.keep(written)
    }

    fn keep(&mut self, written: io::Result<()>) -> Result<()> {
        let Err(e) = written else { return Ok(()) };
        self.failed = Some(e);
        bail!("the output is closed")
    }

    /// Prints what is left. `false`: somebody closed the output, and nobody reads it any more.
    ///
    /// # Errors
    /// It could not be printed.
    pub fn finish(mut self) -> Result<bool> {
        let flushed = self.stdout.flush();
        match self.failed.map_or(flushed, Err) {
            Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(false),
            done => done.map(|()| true).context("writing to stdout"),
        }
    }
}
