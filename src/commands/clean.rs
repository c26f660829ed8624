//! `clean`: what restores and joins kept of old data, and its end.

use std::io::stdout;
use std::time::Duration;

use anyhow::Result;

use super::args;
use crate::etcd::in_use;
use crate::exit::{Exit, fault};
use crate::node::member_dir::kept::{self, Kept};
use crate::node::member_dir::places::Places;
use crate::node::{Node, fence, guards};
use crate::paths::FENCE;
use crate::restore::open;
use crate::settings::Settings;
use crate::sys::root::Root;
use crate::sys::terminal::table::{Column, age, bytes, table, width};
use crate::sys::{terminal, time};

pub(super) fn run(root: &Root, options: &args::Clean) -> Result<Exit> {
    let settings = Node::open(root)?.settings;
    let places = Places::of(&settings.etcd)?;
    let now = time::now();
    // What another verb sets aside or removes meanwhile is not what was listed.
    let _lock = options.yes.then(|| guards::take_lock(&settings)).transpose()?;
    let mut chosen = kept::list(&places)?;
    let newest = chosen.last().map(|kept| kept.suffix.clone());
    chosen.retain(|kept| {
        options.older_than.is_none_or(|limit| now.saturating_sub(kept.time) > limit.as_secs())
    });
    terminal::print(&listed(&chosen, now, width(&stdout()))?);
    if chosen.is_empty() {
        log::info!("no old directories to remove");
        return Ok(Exit::Done);
    }
    if !options.yes {
        log::info!("nothing was removed; add --yes to remove them");
        return Ok(Exit::Done);
    }

    if fence::is_up(root)? {
        let hint = format!("finish that recovery first: {FENCE} names the command that resumes it");
        return Err(fault(Exit::Refused, "a recovery is in progress: the fence is up", hint));
    }
    let only_copy = unproven(&settings)?;
    if only_copy.is_some() {
        chosen.retain(|kept| Some(&kept.suffix) != newest.as_ref());
    }
    // An etcd that was there when it was set aside goes on in it, and has nothing else.
    chosen.iter().filter_map(|kept| kept.log(&places)).try_for_each(|log| guards::refuse_if_held(&log))?;
    for kept in &chosen {
        kept.remove()?;
        log::info!("removed *{}", kept.suffix);
    }
    match only_copy {
        Some(why) if chosen.is_empty() => {
            let what = format!("nothing was removed: {why}, so the newest of them may be the only copy");
            let hint = "start etcd and check its data first; to remove them anyway, delete the listed \
                        directories with rm -r";
            Err(fault(Exit::Refused, what, hint))
        }
        Some(why) => {
            log::warn!("keeping the newest: {why}");
            Ok(Exit::Done)
        }
        None => Ok(Exit::Done),
    }
}

/// Why nobody has seen yet that the present data is good.
fn unproven(settings: &Settings) -> Result<Option<String>> {
    if in_use::is_held(&settings.etcd.effective_wal_dir())? {
        return Ok(None);
    }
    Ok(match open::local(settings) {
        Err(e) => Some(format!("the current data cannot be read ({e:#})")),
        // What a restore wrote has no vote in it.
        Ok(present) if present.contents.log.hard_state.vote == 0 => {
            Some("etcd was never started on the current data".to_owned())
        }
        Ok(_) => None,
    })
}

/// What is kept, each with its directories below it.
fn listed(all: &[Kept], now: u64, width: usize) -> Result<String> {
    let columns =
        [Column::left("moved aside"), Column::left("age"), Column::right("size"), Column::left("by")];
    let mut rows = Vec::new();
    for kept in all {
        let ago = age(Duration::from_secs(now.saturating_sub(kept.time)));
        rows.push(vec![time::rfc3339(kept.time), ago, bytes(kept.bytes()?), kept.why.clone()]);
        rows.extend(kept.dirs.iter().map(|dir| vec![dir.display().to_string()]));
    }
    Ok(table(&columns, &rows, width))
}
