//! `sources`: what a recovery could begin with, on this disk and below the endpoint, and which of it is the freshest.

use std::io::stdout;

use anyhow::Result;
use serde::Serialize;

use super::args;
use crate::exit::{Exit, fault};
use crate::node::Node;
use crate::remote::rclone::Rclone;
use crate::restore::candidates::rank::{self, Verdict};
use crate::restore::candidates::{Source, find, text};
use crate::sys::root::Root;
use crate::sys::terminal::output::Output;
use crate::sys::terminal::table::width;
use crate::sys::time;

/// What is printed.
#[derive(Serialize)]
struct Answer<'a> {
    format: u32,
    sources: &'a [Source],
    /// Places in the list: one to begin with, or those that may be meant.
    freshest: &'a [usize],
    /// Whether that is one that nothing speaks against.
    clear: bool,
    /// Clusters that were made of a freshest one, and of which nothing is in sight.
    unseen: Vec<String>,
}

pub(super) fn run(root: &Root, options: &args::Sources) -> Result<Exit> {
    let settings = Node::open(root)?.settings;
    let (now, mut known) = (time::now(), find::noted(&settings));
    let mut sources = find::on_disk(&settings, now)?;
    let remote = Rclone::beside(&settings.remote, "sources");
    let away = match find::in_remote(&remote, &settings.machine_id, now, &mut known) {
        Ok(found) => {
            sources.extend(found);
            None
        }
        Err(e) => Some(e),
    };
    let verdict = rank::judge(&mut sources, &known);
    print(options, &sources, &verdict)?;
    if let Some(e) = away {
        return Err(e.context("this list has this disk only, as the remote could not be read"));
    }
    if verdict.candidates.is_empty() {
        let what =
            format!("there is nothing to recover from on this disk or in {}", settings.remote.endpoint);
        return Err(fault(Exit::NotFound, what, "is RCLONE_ENDPOINT right? look at the other nodes' disks"));
    }
    if !verdict.is_clear() {
        let what = "cannot tell which of these is meant";
        let hint = "they are unrelated clusters, or several recoveries of one: choose one and run its \
                    command";
        return Err(fault(Exit::Paused, what, hint));
    }
    if !settings.is_founder() {
        log::info!(
            "this node is not the founding member; to name another one, on all nodes: sudo \
             /opt/bin/etcd2-backup set-founder URL"
        );
    }
    Ok(Exit::Done)
}

fn print(options: &args::Sources, sources: &[Source], verdict: &Verdict) -> Result<()> {
    let mut out = Output::new(options.json);
    let printed = if options.json {
        let unseen = verdict.unseen.iter().map(|record| format!("{:x}", record.cluster_id)).collect();
        let (freshest, clear) = (&verdict.candidates[..], verdict.is_clear());
        out.json(&Answer { format: 1, sources, freshest, clear, unseen })
    } else {
        out.text(&text::render(sources, verdict, width(&stdout())))
    };
    // Who closed our output has seen enough.
    if out.finish()? { printed } else { Ok(()) }
}
