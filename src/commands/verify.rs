//! `verify`: read again what lies in the remote, and say what could not be restored from it.

use std::io::stdout;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;

use super::args;
use crate::archive::chain::{self, Generation};
use crate::exit::{Exit, fault};
use crate::node::{Node, fence};
use crate::remote::Remote;
use crate::remote::rclone::Rclone;
use crate::sys::fs::create_dirs;
use crate::sys::lock::Lock;
use crate::sys::room::{Leave, Scratch};
use crate::sys::root::Root;
use crate::sys::terminal::live;
use crate::sys::terminal::output::Output;
use crate::sys::terminal::table::{self, count};
use crate::sys::terminal::wrap;
use crate::sys::time;
use crate::verify::check::{Checked, Noted};
use crate::verify::finding::{Finding, Kind};
use crate::verify::outcome;
use crate::verify::plan::Scope;
use crate::verify::read::Reader;

/// The answer as JSON.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    format: u32,
    folder: &'a str,
    time: String,
    milliseconds: u64,
    generations: &'a [Checked],
}

pub(super) fn run(root: &Root, options: &args::Verify) -> Result<Exit> {
    let started = Instant::now();
    refuse_contradictions(options)?;
    let Node { root, settings, .. } = Node::open(root)?;
    create_dirs(&settings.backup_dir, 0o700)?;
    // Not the lock of the backups: they must not wait for the hour that this may take.
    let Some(_lock) = Lock::try_take(&settings.backup_dir.join("verify.lock"))? else {
        log::info!("nothing done: another verify is in progress");
        return Ok(Exit::Done);
    };
    if fence::is_up(&root)? {
        log::info!("nothing done: a recovery is in progress");
        return Ok(Exit::Done);
    }
    let machine_id = options.from.as_ref().unwrap_or(&settings.machine_id);
    let folder = settings.folder_of(machine_id);
    let noted = Noted::load(&settings, &folder)?;
    let scope = options.share.map_or(Scope::Whole, |share| outcome::next_share(&noted.verified, share));

    let remote = Rclone::beside(&settings.remote, "verify");
    let objects = remote.list(machine_id)?;
    let all = chain::generations(&objects);
    let chosen = choose(options, &all, &folder)?;
    let scratch = Scratch::new(settings.backup_dir.join("verify"), Leave::Reserve)?;
    let reader = Reader { remote: &remote, folder: machine_id, scratch: &scratch };
    let of = |g: &Generation| g.parts.iter().filter(|p| scope.has(p)).map(|p| g.bytes_of(p)).sum::<u64>();
    let step = live::downloads("verifying", chosen.iter().map(|generation| of(generation)).sum());
    let checked = noted.check(&chosen, &objects, &reader, scope, &step)?;
    drop(step);

    let findings: Vec<Finding> = checked.iter().flat_map(|c| c.findings.clone()).collect();
    if options.from.is_none() {
        noted.note(&settings, &all, &chosen, scope, &findings)?;
    }
    say(options.json, &folder, &checked, started)?;
    verdict(&findings)
}

fn refuse_contradictions(options: &args::Verify) -> Result<()> {
    let given = [options.newest, options.share.is_some(), options.generation.is_some()];
    let what = match given.iter().filter(|g| **g).count() {
        0 | 1 if options.share.is_none() || options.from.is_none() => return Ok(()),
        0 | 1 => "--share works on this machine's own archive, --from on another machine's",
        _ => "--newest, --share and --generation exclude each other",
    };
    Err(fault(Exit::Usage, what, "leave one of them out"))
}

fn choose<'a>(options: &args::Verify, all: &'a [Generation], folder: &str) -> Result<Vec<&'a Generation>> {
    let newest = all.last().map(|g| g.name);
    let wanted = |g: &&Generation| match options.generation {
        Some(number) => g.name.number == number,
        None => !options.newest || Some(g.name) == newest,
    };
    let chosen: Vec<&Generation> = all.iter().filter(wanted).collect();
    if chosen.is_empty() {
        let what = match options.generation {
            Some(number) if newest.is_some() => format!("generation {number} is not in {folder}"),
            _ => format!("{folder} holds no generation"),
        };
        return Err(fault(Exit::NotFound, what, "is RCLONE_ENDPOINT right, and was there a backup?"));
    }
    Ok(chosen)
}

fn say(json: bool, folder: &str, generations: &[Checked], started: Instant) -> Result<()> {
    let milliseconds = u64::try_from(started.elapsed().as_millis())?;
    let answer = Answer { format: 1, folder, time: time::rfc3339(time::now()), milliseconds, generations };
    let mut out = Output::new(json);
    let said =
        if json { out.json(&answer) } else { out.text(&wrap::lines(&text(&answer), wrap::width(&stdout()))) };
    if out.finish()? { said } else { Ok(()) }
}

fn text(answer: &Answer<'_>) -> String {
    let mut text = String::new();
    for Checked { generation, parts, bytes, findings, .. } in answer.generations {
        let found = match findings.len() {
            0 => "intact".to_owned(),
            n => format!("{} corrupt or missing", count(n, "object", "objects")),
        };
        let (parts, size) = (count(*parts, "part", "parts"), table::bytes(*bytes));
        text += &format!("generation {generation}: {parts}, {size} read: {found}\n");
        for finding in findings {
            text += &format!("  {finding}\n");
        }
    }
    text
}

/// How it ends: what was read and is damaged weighs more than what could not be read.
fn verdict(findings: &[Finding]) -> Result<Exit> {
    let Some(first) = findings.first() else { return Ok(Exit::Done) };
    let more = match findings.len() {
        1 => String::new(),
        n => format!(", and {} more", n - 1),
    };
    if findings.iter().all(|f| f.kind == Kind::Unreadable) {
        let what = format!("the remote lists objects that cannot be read: {first}{more}");
        return Err(fault(Exit::Remote, what, "retry; if this persists, a restore will fail too"));
    }
    Err(fault(
        Exit::Corrupt,
        format!("the archive is corrupt: {first}{more}"),
        "all other restore points are usable. If the newest one is lost, run a backup, which begins a new \
         generation: sudo systemctl start etcd2-backup.service",
    ))
}
