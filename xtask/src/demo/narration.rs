//! Telling what happens, step by step, and how long each step took.
#![expect(clippy::print_stdout, reason = "a task talks to whoever started it")]

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use etcd2_backup::sys::terminal::live;

/// Counts the steps and the time.
#[derive(Debug)]
pub(crate) struct Narration {
    started: Instant,
    steps: usize,
}

impl Narration {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), steps: 0 }
    }

    /// Says what is about to happen, does it, and says how long that took.
    pub(crate) fn step<T>(&mut self, text: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.told(&format!("{text:<72}"), work)
    }

    /// As [`Narration::step`], for work that says something itself.
    pub(crate) fn loud_step<T>(&mut self, text: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.told(&format!("{text}\n"), work)
    }

    fn told<T>(&mut self, text: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.steps += 1;
        let loud = text.ends_with('\n');
        let line = format!("{:2}. {text}", self.steps);
        // A terminal shows it while it runs, with its time; the line itself comes when it is over.
        let shown = !loud && std::io::stdout().is_terminal() && live::is_terminal();
        let step = shown.then(|| live::step(line.trim_end().to_owned()));
        if !shown {
            print!("{line}");
            // Whoever closed our output still wants the result.
            let _ = std::io::stdout().flush();
        }
        let begun = Instant::now();
        let outcome = work();
        if step.is_some() {
            drop(step);
            print!("{line}");
        }
        let mark = if outcome.is_ok() { "" } else { "  FAILED" };
        let indent = if loud { 76 } else { 0 };
        println!("{:indent$}{:>8}{mark}", "", seconds(begun.elapsed()));
        outcome.with_context(|| format!("step {}, {}", self.steps, text.trim_end()))
    }

    /// Adds a finding below the last step.
    #[expect(clippy::unused_self, reason = "only a narration may speak")]
    pub(crate) fn note(&self, text: impl Display) {
        println!("    {text}");
    }

    /// How long everything took so far.
    pub(crate) fn elapsed(&self) -> String {
        seconds(self.started.elapsed())
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}
