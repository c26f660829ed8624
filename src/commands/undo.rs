//! `undo`: the data back that the last restore set aside. What is there now is set aside in its turn, so that
//! undoing that brings it back.

use std::time::Duration;

use anyhow::{Context, Result};

use super::args::{Restore, Undo};
use crate::archive::lineage::Parent;
use crate::etcd::datadir::{Contents, DataDir};
use crate::etcd::in_use::Trace;
use crate::etcd::wal::Reading;
use crate::exit::{Exit, fault};
use crate::node::fence::{By, Fence};
use crate::node::locked::Locked;
use crate::node::member_dir::aside;
use crate::node::member_dir::exchange::Exchange;
use crate::node::member_dir::kept::{self, Kept};
use crate::node::member_dir::places::Places;
use crate::node::{Node, guards};
use crate::restore::{living_cluster, open};
use crate::sys::look;
use crate::sys::root::Root;
use crate::sys::terminal::table::count;

/// What `restore --undo` asks for, as scripts call it that are older than `undo`.
pub(super) fn of_restore(options: &Restore) -> Result<Undo> {
    let &Restore { plan, force, .. } = options;
    if *options != (Restore { undo: true, plan, force, ..Restore::default() }) {
        let what = "--undo swaps back the data on this disk";
        return Err(fault(Exit::Usage, what, "leave out everything but --plan and --force"));
    }
    Ok(Undo { force, plan })
}

pub(super) fn run(root: &Root, options: &Undo) -> Result<Exit> {
    let node = Node::open(root)?.lock(Duration::ZERO)?;
    let settings = &node.settings;
    guards::unless_plan(options.plan, guards::refuse_while_running(&node))?;
    if !options.force {
        guards::unless_plan(options.plan, guards::refuse_unless_founder(settings))?;
    }
    let places = Places::of(&settings.etcd)?;
    places.refuse_unmovable()?;

    let mine = node.fence == Fence::UpBy(By::Undo);
    let taken_back = node.take_back(options.plan)?;
    // An interrupted restore is undone by that, and an exchange of mine that is not in the journal any more is done.
    if mine != taken_back {
        return if options.plan { unfinished() } else { finish(&node) };
    }

    let before = Trace::of(&settings.etcd.effective_wal_dir())?;
    let kept = newest(&places)?;
    let old = of(&kept, &places)?;
    // What is damaged can be given up, what cannot be read may be good.
    let present = match open::local(settings) {
        Err(e) if look::is_unread(&e) => return Err(e.context("reading the data that is there now")),
        present => present.ok(),
    };
    if !options.force {
        // Of data that is damaged or gone nobody knows the members; some of those before may be in its cluster, too.
        let mut members = old.members()?;
        if let Some(present) = &present {
            members.extend(present.contents.members()?);
        }
        let own = old.metadata.cluster_id;
        let new = living_cluster::New {
            cluster_id: Some(own),
            peer_urls: settings.etcd.own_peer_urls()?,
            instead_of: None,
        };
        guards::unless_plan(
            options.plan,
            living_cluster::refuse_if_cluster_answers(settings, &members, new),
        )?;
    }
    say(&kept, &old, present.as_ref().map(|source| &source.contents), &places)?;
    if options.plan {
        log::info!("nothing was changed");
        return Ok(Exit::Done);
    }

    let own = old.metadata.cluster_id;
    let known = match node.stamp() {
        Ok(stamp) => stamp.identity.as_ref(),
        Err(e) => {
            log::warn!("could not determine which cluster is given up, so it is not recorded: {e:#}");
            None
        }
    };
    let present = present.map(|source| source.contents.metadata.cluster_id);
    let given_up = present.or(known.map(|identity| identity.cluster_id));
    if let Some(given_up) = given_up.filter(|&given_up| given_up != own) {
        Parent::save_undone(&settings.backup_dir, own, old.last().index, given_up)?;
    }
    let from = |place: &_| aside::with_suffix(place, &kept.suffix);
    let exchange = Exchange::prepare(&settings.backup_dir, &places, from)?;
    let (_fenced, kept) = node.exchange(By::Undo, &before, &exchange)?;
    for path in kept {
        log::info!("the data that was there until now is in {}", path.display());
    }
    finish(&node)
}

fn unfinished() -> Result<Exit> {
    log::info!(
        "an earlier run put the data back and was then interrupted: the next one only removes the fence"
    );
    Ok(Exit::Done)
}

/// What the last restore set aside.
fn newest(places: &Places) -> Result<Kept> {
    let all = kept::list(places)?;
    let newest = all.into_iter().rfind(|kept| kept.why == "restore");
    newest.filter(|kept| kept.is_whole(places)).ok_or_else(|| {
        let what = format!(
            "there is no member directory that a restore moved aside next to {}",
            places.member.display()
        );
        let hint = "to list what is kept: sudo /opt/bin/etcd2-backup clean; to restore an older state from \
                    the archive: sudo /opt/bin/etcd2-backup restore --generation N";
        fault(Exit::NotFound, what, hint)
    })
}

fn of(kept: &Kept, places: &Places) -> Result<Contents> {
    let at = |place| aside::with_suffix(place, &kept.suffix);
    let member = at(&places.member);
    let wal = places.wal.as_ref().map_or_else(|| member.join("wal"), |wal| at(wal));
    DataDir { snap: member.join("snap"), wal }
        .scan(Reading::Still)
        .context("reading the data that was moved aside")
}

fn say(kept: &Kept, old: &Contents, present: Option<&Contents>, places: &Places) -> Result<()> {
    let dirs: Vec<_> = kept.dirs.iter().map(|dir| dir.display().to_string()).collect();
    log::info!("put back: {}", dirs.join(", "));
    log::info!("{}", describe(old));
    match present {
        Some(present) => log::warn!("given up instead: {}", describe(present)),
        None => log::info!("there is no readable data in its place now"),
    }
    for place in places.data() {
        if look::is_there(place)? {
            log::info!("{} is kept", place.display());
        }
    }
    Ok(())
}

fn describe(contents: &Contents) -> String {
    let (metadata, last) = (contents.metadata, contents.last());
    let (member, cluster) = (metadata.member_id, metadata.cluster_id);
    format!("member {member:x} of cluster {cluster:x}, up to index {} of term {}", last.index, last.term)
}

/// From the moment on that the old data is in its place.
fn finish(node: &Locked) -> Result<Exit> {
    let settings = &node.settings;
    guards::refuse_if_held(&settings.etcd.effective_wal_dir())?;
    let now = open::local(settings).context("etcd stays fenced")?.contents;
    node.record(now.metadata.cluster_id, now.metadata.member_id)?;
    node.lower_fence()?;
    log::info!("undone: this node is {}", describe(&now));
    let members = count(now.members()?.len(), "member", "members");
    log::info!("next: sudo systemctl start {}; this cluster has {members}", settings.etcd.unit);
    Ok(Exit::Done)
}
