//! `restore`: make this node the founding member of a new cluster with the data of a source.
//!
//! Nothing of the old data is touched before the new member directory is written, read back and synced; and the old one
//! is kept. Killed at any moment, the node has the old data or the new, and the fence keeps etcd from starting in
//! between; running it again works.

use std::time::Instant;

use anyhow::Result;

use super::{args, both, undo};
use crate::archive::lineage::Record;
use crate::exit::{Exit, fault};
use crate::node::Node;
use crate::remote::rclone::Rclone;
use crate::restore::candidates::fresher;
use crate::restore::choose::{Chosen, choose};
use crate::restore::fetch::Wanted;
use crate::restore::plan::Plan;
use crate::restore::point::Point;
use crate::restore::recovery::Recovery;
use crate::restore::wish::{Data, Recorded, Wish};
use crate::restore::{allowed, carry_out, publish, text};
use crate::settings::source::Choice;
use crate::sys::room::Leave;
use crate::sys::root::Root;
use crate::sys::terminal;

pub(super) fn run(root: &Root, options: &args::Restore) -> Result<Exit> {
    let started = Instant::now();
    if options.undo {
        return undo::run(root, &undo::of_restore(options)?);
    }
    let wish = wish(options)?;
    let begun = allowed::begin(Node::open(root)?, &wish)?;
    let (node, settings) = (&begun.node, &begun.node.settings);
    let remote = wish.remote(node);
    let recovery = Recovery::of(&wish, settings, &remote)?;
    if let Some(record) = recovery.done_already(node, &remote, &wish)? {
        return done(options, record);
    }

    // While a plan is made, etcd may live here.
    let leave = if wish.only_plan { Leave::Reserve } else { Leave::Nothing };
    let Chosen { source, beyond, incoming } = choose(node, &remote, &recovery, leave)?;
    let present = source.contents.members()?;
    allowed::with(&source, &present, node, &wish, &recovery)?;
    let plan = match &recovery {
        Recovery::Begins { folder, .. } => {
            let present: Vec<u64> = present.into_keys().collect();
            let members = wish.members.as_deref();
            Plan::make(settings, &source, folder, (members, &present), wish.family)?
        }
        Recovery::Began { record, .. } => Plan::follow(settings, &source, record, wish.family)?,
    };
    plan.say(&source, &begun.places)?;
    if let Some(beyond) = beyond {
        fresher::say(&Rclone::at_a_glance(settings, &node.root), beyond, &settings.machine_id, &source);
    }
    if wish.only_plan {
        text::say_outlook(settings, &source)?;
        log::info!("nothing was changed");
        return done(options, &plan.record);
    }

    let prepared = carry_out::prepare(&begun, &source, &plan)?;
    let kept = carry_out::put_in_place(&begun, &plan, prepared)?;
    publish::publish(settings, &remote, &plan.record);
    drop(incoming);
    text::report(settings, &source, &plan, &kept, started.elapsed());
    done(options, &plan.record)
}

/// The end of a restore that changed all it had to, or of its plan.
fn done(options: &args::Restore, record: &Record) -> Result<Exit> {
    if options.json {
        terminal::print(&(serde_json::to_string_pretty(record)? + "\n"));
    }
    Ok(Exit::Done)
}

/// What is asked for, where the options do not contradict each other.
fn wish(options: &args::Restore) -> Result<Wish> {
    Ok(Wish {
        only_plan: options.plan,
        force: options.force,
        as_founder: options.as_founder,
        clone: options.clone,
        data: data(options)?,
        members: options.initial_cluster.clone().map(|list| list.0),
        family: options.for_etcd,
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
