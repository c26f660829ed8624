//! `rehearse`: restore the newest point beside the data, start an etcd on it, and compare.

use std::io::stdout;
use std::path;

use anyhow::{Error, Result};

use super::args;
use crate::backup::skipped::Skipped;
use crate::exit::{Exit, exit_of, fault, next_step};
use crate::node::running::program::{self, Program};
use crate::node::{Node, guards};
use crate::paths;
use crate::settings::Settings;
use crate::settings::source::Choice;
use crate::sys::fs::{create_dirs, write_atomic};
use crate::sys::lock::Lock;
use crate::sys::room::{Leave, Scratch};
use crate::sys::root::Root;
use crate::sys::terminal::output::Output;
use crate::sys::terminal::table::count;
use crate::sys::terminal::wrap;
use crate::sys::{summed, time};
use crate::verify::drill::process::Stage;
use crate::verify::drill::run::{self, Drilled};
use crate::verify::drill::v3::ComparedV3;

pub(super) fn run(root: &Root, options: &args::Rehearse) -> Result<Exit> {
    if !options.scheduled {
        // Its unit has looked, with rights that it does not have itself.
        super::look::before(root);
    }
    let choice = options.source.unwrap_or(Choice::Archive);
    let node = Node::open(root)?;
    guards::refuse_other_place(&node, options.force)?;
    let found = match &options.etcd {
        Some(path) => Ok(Program::Here(path::absolute(path)?)),
        None => program::find(&node),
    };
    let stage = found.and_then(Stage::set);
    let settings = &node.settings;
    create_dirs(&settings.backup_dir, 0o700)?;
    // Backups go on meanwhile.
    let Some(_lock) = Lock::try_take(&settings.backup_dir.join("rehearse.lock"))? else {
        log::info!("nothing done: another rehearsal is in progress");
        return Ok(Exit::Done);
    };
    let stage = match stage {
        Err(why) if options.scheduled => return skip(settings, &why),
        stage => stage?,
    };
    let scratch = Scratch::new(settings.restore_dir.join("rehearsal"), Leave::Reserve)?;
    create_dirs(scratch.dir(), 0o700)?;
    let ended = run::rehearse(&node, choice, &scratch, stage, options.wait);
    drop(scratch);
    let answer = match ended {
        Err(why) if options.scheduled && exit_of(&why) == Exit::NoSpace => return skip(settings, &why),
        ended => {
            Skipped::forget(&settings.backup_dir)?;
            ended?
        }
    };
    // What a disk gives says nothing of the archive.
    if choice == Choice::Archive {
        write_atomic(&paths::rehearsed(&settings.backup_dir), &summed::to_vec(&answer)?, 0o600)?;
    }
    say(options.json, &answer)?;
    match answer.differences.first() {
        None => Ok(Exit::Done),
        Some(first) => {
            let what = format!(
                "the restored etcd differs from {} in {}: {first}",
                if choice == Choice::Archive { "the archive" } else { "its source" },
                count(answer.wrong, "place", "places")
            );
            Err(fault(
                Exit::Corrupt,
                what,
                "check the archive (sudo /opt/bin/etcd2-backup verify), and try another generation",
            ))
        }
    }
}

/// A node that has no room, or no etcd that can be started, is not to have a failed unit every week.
fn skip(settings: &Settings, why: &Error) -> Result<Exit> {
    if Skipped::note(&settings.backup_dir, format!("{why:#}"), time::now())? {
        log::warn!("restores cannot be rehearsed on this node: {why:#}");
        log::warn!("hint: {}", next_step(why));
    }
    Ok(Exit::Done)
}

fn say(json: bool, answer: &Drilled) -> Result<()> {
    let mut out = Output::new(json);
    let text = || {
        let Drilled { source, index, keys, compared_with_snapshot, compared_with_log, .. } = answer;
        let Drilled { read_ms, write_ms, start_ms, digest, differences, .. } = answer;
        let mut text = format!(
            "{source}, index {index}\n\
             etcd has {}; compared with the snapshot: {compared_with_snapshot}, with the WAL: \
             {compared_with_log}\nSHA-256 of keys, values and indexes: {digest}\n\
             a restore takes {} ms: {read_ms} to download and check, {write_ms} to write, {start_ms} to \
             start etcd\n",
            count(*keys, "key", "keys"),
            read_ms + write_ms + start_ms,
        );
        if let Some(ComparedV3 { revision, hash, .. }) = &answer.v3 {
            text += &match hash {
                Some(hash) => format!("the v3 store at revision {revision}: HashKV {hash}\n"),
                None => format!("the v3 store at revision {revision}: not compared, the WAL compacts it\n"),
            };
        }
        differences.iter().for_each(|d| text += &format!("wrong: {d}\n"));
        text
    };
    let said = if json { out.json(answer) } else { out.text(&wrap::lines(&text(), wrap::width(&stdout()))) };
    if out.finish()? { said } else { Ok(()) }
}
