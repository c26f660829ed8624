//! `inspect`: show what a data directory, an archive or one of their files holds. Nothing is changed.

use std::io::stdout;

use anyhow::Result;

use super::args;
use crate::exit::{Exit, fault};
use crate::inspect::report::{Report, State};
use crate::inspect::subject::Subject;
use crate::inspect::{entries, keys, table};
use crate::sys::terminal::output::Output;
use crate::sys::terminal::table::width;

pub(super) fn run(options: &args::Inspect) -> Result<Exit> {
    if options.keys && options.entries.is_some() {
        let what = "--entries and --keys exclude each other";
        return Err(fault(Exit::Usage, what, "use one at a time"));
    }
    let subject = Subject::find(&options.path, options.wal_dir.as_deref())?;
    let (report, damage) = Report::of(&subject)?;

    let mut out = Output::new(options.json);
    let listed = match options.entries {
        Some(range) => entries::list(&subject, range, options.values, &mut out),
        None if options.keys => keys::list(&subject, options.values, &mut out),
        None if options.json => out.json(&report),
        None => out.text(&table::render(&report, width(&stdout()))),
    };
    if !out.finish()? {
        // Who closed our output has seen enough.
        return Ok(Exit::Done);
    }
    match (damage, report.state) {
        (Some(damage), _) => Err(damage),
        // What was read to its end a moment ago is being changed, or purged.
        (None, _) if listed.is_err() => listed.map(|()| Exit::Failed),
        (None, State::Torn) => Ok(Exit::Torn),
        (None, _) => Ok(Exit::Done),
    }
}
