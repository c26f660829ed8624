//! What a backup says of itself: one line in the journal, and numbers for a monitor.

use std::fmt;
use std::time::Instant;

use anyhow::Result;

use super::metrics;
use super::outcome::{Cycle, rehearsed};
use super::skipped::Skipped;
use super::state::State;
use super::status::bases::Bases;
use crate::archive::verified::Verified;
use crate::exit::{Exit, exit_of};
use crate::settings::Settings;
use crate::sys::time;

/// Says how a cycle ended: in the journal, and in the site's file for a monitor.
pub fn finish(settings: &Settings, cycle: &Cycle, started: Instant, ended: &Result<Exit>) {
    if ended.is_ok() && cycle.outcome.is_none() {
        return;
    }
    let now = time::now();
    let milliseconds = started.elapsed().as_millis();
    log::info!("{}", Summary { cycle, now, milliseconds });
    if let Some(path) = &settings.metrics_file {
        // It is only told: a monitor sees it grow old.
        let seen = Verified::load(&settings.backup_dir, &settings.folder()).unwrap_or_default().generations;
        let verified = seen.values().map(|seen| seen.time).max();
        let (rehearsed, skipped) = (rehearsed(&settings.backup_dir), Skipped::load(&settings.backup_dir));
        let rehearse_skipped = Some(u64::from(skipped.is_some()));
        let cycle = &Cycle { base: base(settings), verified, rehearsed, rehearse_skipped, ..cycle.clone() };
        let code = ended.as_ref().map_or_else(exit_of, |exit| *exit) as u8;
        // A monitor that is not told sees it by the age of what it was told.
        if let Err(e) = metrics::update(path, &metrics::values(cycle, code, now, milliseconds)) {
            log::warn!("{e:#}");
        }
    }
}

/// As [`Cycle::base`]; `None`: it cannot be read.
fn base(settings: &Settings) -> Option<[u64; 4]> {
    let state = State::load(&settings.backup_dir).ok()?.filter(|state| state.folder == settings.folder());
    let due = Bases::look(settings, state.as_ref()).ok()?.due.unwrap_or(0);
    let held = state.and_then(|state| Some([state.v3_time?, state.v3_base?, state.log_bytes, due]));
    Some(held.unwrap_or([0, 0, 0, due]))
}

/// `sent: generation=2 part=7 index=1234 …`
struct Summary<'a> {
    cycle: &'a Cycle,
    now: u64,
    milliseconds: u128,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = self.cycle;
        write!(f, "{}:", c.outcome.unwrap_or("failed"))?;
        for (name, value) in [
            ("generation", c.generation),
            ("part", c.part),
            ("index", c.index),
            ("entries", c.entries),
            ("read_bytes", c.read_bytes),
            ("sent_bytes", c.sent_bytes),
            ("lag_entries", c.lag_entries),
            ("lag_seconds", c.point.map(|point| self.now.saturating_sub(point))),
        ] {
            if let Some(value) = value {
                write!(f, " {name}={value}")?;
            }
        }
        write!(f, " duration_ms={}", self.milliseconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_says_what_is_known_and_nothing_else() {
        let sent = Cycle {
            outcome: Some("sent"),
            generation: Some(2),
            part: Some(7),
            index: Some(1234),
            entries: Some(12),
            read_bytes: Some(4096),
            sent_bytes: Some(512),
            point: Some(100),
            lag_entries: Some(0),
            synced: Some(99),
            base: None,
            verified: Some(98),
            rehearsed: Some(97),
            rehearse_skipped: Some(0),
        };
        let failed = Cycle { lag_entries: Some(5), ..Cycle::default() };
        for (cycle, want) in [
            (
                sent,
                "sent: generation=2 part=7 index=1234 entries=12 read_bytes=4096 sent_bytes=512 lag_entries=0 \
                 lag_seconds=3 duration_ms=250",
            ),
            (failed, "failed: lag_entries=5 duration_ms=250"),
            (Cycle::default(), "failed: duration_ms=250"),
        ] {
            assert_eq!(Summary { cycle: &cycle, now: 103, milliseconds: 250 }.to_string(), want);
        }
    }
}
