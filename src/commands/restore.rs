//! `restore`: make this node the founding member of a new cluster with the data of a source.
//!
//! Nothing of the old data is touched before the new member directory is written, read back and synced; and the old one
//! is kept. Killed at any moment, the node has the old data or the new, and the fence keeps etcd from starting in
//! between; running it again works.

use std::cell::RefCell;
use std::time::Instant;

use anyhow::Result;

use super::{args, both, undo};
use crate::archive::lineage::Record;
use crate::exit::{Exit, fault};
use crate::fleet::planned::Planned;
use crate::node::Node;
use crate::remote::rclone::Rclone;
use crate::restore::candidates::fresher;
use crate::restore::choose::{Chosen, choose};
use crate::restore::fetch::Wanted;
use crate::restore::options::{Data, Recorded, RestoreOptions};
use crate::restore::plan::Plan;
use crate::restore::point::Point;
use crate::restore::recovery::Recovery;
use crate::restore::{allowed, carry_out, installed, publish, text};
use crate::settings::source::Choice;
use crate::sys::room::Leave;
use crate::sys::root::Root;
use crate::sys::terminal;

pub(super) fn run(root: &Root, options: &args::Restore) -> Result<Exit> {
    let started = Instant::now();
    if options.undo {
        return undo::run(root, &undo::of_restore(options)?);
    }
    let asked = asked(options)?;
    let begun = allowed::begin(Node::open(root)?, &asked)?;
    let (node, settings) = (&begun.node, &begun.node.settings);
    let remote = asked.remote(node);
    let recovery = Recovery::of(&asked, settings, &remote)?;
    if let Some(record) = recovery.done_already(node, &remote, &asked)? {
        return done(options, &asked, record);
    }

    // While a plan is made, etcd may live here.
    let leave = if asked.only_plan { Leave::Reserve } else { Leave::Nothing };
    let Chosen { source, beyond, incoming } = choose(node, &remote, &recovery, leave)?;
    let present = source.contents.members()?;
    let etcd = source.contents.v3.is_some().then(|| installed::version(node)).flatten();
    allowed::with(&source, &present, (node, etcd), &asked, &recovery)?;
    let plan = match &recovery {
        Recovery::Begins { folder, .. } => {
            let present: Vec<u64> = present.into_keys().collect();
            let members = asked.members.as_deref();
            Plan::make(settings, &source, folder, (members, &present), (asked.family, asked.bump))?
        }
        Recovery::Began { record, .. } => Plan::follow(settings, &source, record, asked.family)?,
    };
    plan.say(&source, &begun.places)?;
    installed::lossy(etcd).into_iter().flatten().for_each(|line| log::warn!("{line}"));
    if let Some(beyond) = beyond {
        fresher::say(&Rclone::at_a_glance(&settings.remote), beyond, &settings.machine_id, &source);
    }
    if asked.only_plan {
        text::say_outlook(settings, &source)?;
        log::info!("nothing was changed");
        return done(options, &asked, &plan.record);
    }

    let prepared = carry_out::prepare(&begun, &source, &plan)?;
    let kept = carry_out::put_in_place(&begun, &plan, prepared)?;
    publish::publish(settings, &remote, &plan.record);
    drop(incoming);
    text::report(settings, &source, &plan, &kept, started.elapsed());
    done(options, &asked, &plan.record)
}

/// The end of a restore that changed all it had to, or of its plan.
fn done(options: &args::Restore, asked: &RestoreOptions, record: &Record) -> Result<Exit> {
    let json = match &asked.refusals {
        None if !options.json => return Ok(Exit::Done),
        None => serde_json::to_string_pretty(record)?,
        Some(refused) => {
            serde_json::to_string_pretty(&Planned { record: record.clone(), refused: refused.take() })?
        }
    };
    Ok(terminal::print(&(json + "\n")))
}

/// What is asked for, where the options do not contradict each other.
fn asked(options: &args::Restore) -> Result<RestoreOptions> {
    if options.refusals && !(options.plan && options.json) {
        return Err(fault(Exit::Usage, "--refusals belongs to a plan as JSON", "add --plan --json"));
    }
    Ok(RestoreOptions {
        only_plan: options.plan,
        refusals: options.refusals.then(RefCell::default),
        force: options.force,
        as_founder: options.as_founder,
        clone: options.clone,
        data: data(options)?,
        members: options.initial_cluster.clone().map(|list| list.0),
        family: options.for_etcd,
        bump: (options.bump || options.no_bump).then_some(options.bump),
    })
}

/// Which data is wanted.
fn data(options: &args::Restore) -> Result<Data> {
    let point = match (options.at, options.raft_index) {
        (Some(_), Some(_)) => return Err(both("--at", "--raft-index")),
        (Some(at), None) => Some(Point::At(at)),
        (None, Some(index)) => Some(Point::Index(index)),
        (None, None) => None,
    };
    let of_the_archive = options.generation.is_some() || options.from.is_some() || point.is_some();
    let elsewhere = options.source.is_some_and(|source| source != Choice::Archive);
    let chosen = of_the_archive || elsewhere || options.accept_older || options.initial_cluster.is_some();
    let record = match (&options.recovery, &options.recovery_file) {
        (None, None) => None,
        (Some(_), Some(_)) => return Err(begun_elsewhere()),
        (Some(token), None) => Some(Recorded::Token(token.clone())),
        (None, Some(file)) => Some(Recorded::File(file.clone())),
    };
    match (record, &options.source_file) {
        (Some(_), _) if chosen => Err(begun_elsewhere()),
        (Some(record), file) => Ok(Data::Recorded { record, file: file.clone() }),
        (None, Some(_)) => {
            let hint = "it belongs to a recovery that another node began: add --recovery-file FILE";
            Err(fault(Exit::Usage, "--source-file needs --recovery-file", hint))
        }
        (None, None) if of_the_archive && elsewhere => {
            Err(both("--source local or auto", "--generation, --at, --raft-index and --from"))
        }
        (None, None) => {
            // Some options are of the archive alone.
            let archive = (of_the_archive || options.accept_older).then_some(Choice::Archive);
            let wanted = Wanted { generation: options.generation, accept_older: options.accept_older, point };
            Ok(Data::Chosen { source: options.source.or(archive), folder: options.from.clone(), wanted })
        }
    }
}

fn begun_elsewhere() -> anyhow::Error {
    both("--recovery, --recovery-file", "any option that chooses the data")
}
