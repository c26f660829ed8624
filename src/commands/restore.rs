//! `restore`: make this node the founding member of a new cluster with the data of a source.
//!
//! Nothing of the old data is touched before the new member directory is written, read back and synced; and the old one
//! is kept. Killed at any moment, the node has the old data or the new, and the fence keeps etcd from starting in
//! between; running it again works.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{args, both, undo};
use crate::archive::lineage::Record;
use crate::backup::state::State;
use crate::etcd::in_use::Trace;
use crate::exit::{Exit, fault};
use crate::node::fence::By;
use crate::node::locked::Locked;
use crate::node::member_dir::exchange::{self, Exchange};
use crate::node::member_dir::places::Places;
use crate::node::member_dir::workshop;
use crate::node::{Node, guards, past_members};
use crate::remote::Remote;
use crate::remote::rclone::Rclone;
use crate::restore::candidates::fresher;
use crate::restore::expiry::Outlook;
use crate::restore::fetch::Wanted;
use crate::restore::plan::{Plan, own_of};
use crate::restore::point::Point;
use crate::restore::source::{Origin, Source};
use crate::restore::{build, from_record, has_run, living_cluster, open, publish};
use crate::settings::Settings;
use crate::settings::source::Choice;
use crate::sys::room::Leave;
use crate::sys::root::Root;
use crate::sys::{fs as files, terminal, time};

/// A backup takes seconds.
const PLAN_PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn run(root: &Root, options: &args::Restore) -> Result<Exit> {
    let started = Instant::now();
    if options.undo {
        return undo::run(root, &undo::of_restore(options)?);
    }
    let wanted = wanted(options)?;
    let node = Node::open(root)?;
    guards::unless_plan(options.plan, guards::refuse_other_place(&node, options.force))?;
    guards::unless_plan(options.plan, guards::refuse_bootstrap(&node.settings))?;
    files::create_dirs(&node.settings.restore_dir, 0o700)?;
    // The timer may be on while a plan is made.
    let node = node.lock(if options.plan { PLAN_PATIENCE } else { Duration::ZERO })?;
    let settings = &node.settings;
    guards::unless_plan(options.plan, guards::refuse_while_running(&node))?;
    if !(options.force || options.as_founder || options.follows()) {
        guards::unless_plan(options.plan, guards::refuse_unless_founder(settings))?;
    }
    let places = Places::of(settings)?;
    places.refuse_unmovable()?;
    node.take_back(options.plan)?;
    let before = Trace::of(&settings.effective_wal_dir())?;

    // Where all comes from files, the remote may be away: the record waits for the next backup.
    let files_only = options.source_file.is_some() && options.recovery_file.is_some();
    let root = &node.root;
    let remote = if files_only { Rclone::new(settings, root) } else { Rclone::for_recovery(settings, root) };
    let folder = options.from.as_ref().unwrap_or(&settings.machine_id);
    let followed = followed(settings, &remote, options)?;
    if let Some(record) = &followed
        && is_done(&node, &remote, record, options)?
    {
        return done(options, record);
    }
    // While a plan is made, etcd may live here.
    let leave = if options.plan { Leave::Reserve } else { Leave::Nothing };
    let incoming = open::incoming(settings, leave)?;
    let (source, beyond) = thread::scope(|scope| {
        let own = &settings.machine_id;
        let look = move |cluster| fresher::look(&Rclone::at_a_glance(settings, root), own, cluster);
        // Who takes part in a recovery goes by what its founding member decided. Where this node knows of which cluster the source
        // will be, one need not wait for the other.
        let likely = if followed.is_none() { likely_cluster(settings) } else { None };
        let beyond = likely.map(|cluster| scope.spawn(move || look(cluster)));
        let source = match (&followed, &options.source_file) {
            (None, _) => {
                let from = (&remote as &dyn Remote, &incoming);
                open::open(settings, from, source_of(options, settings), folder, wanted)?
            }
            (Some(record), None) => from_record::source(&remote, record, &incoming)?,
            (Some(record), Some(file)) => from_record::source_in(file, record, &incoming)?,
        };
        let cluster = source.contents.metadata.cluster_id;
        let beyond = beyond.filter(|_| likely == Some(cluster)).and_then(|beyond| beyond.join().ok());
        let beyond = beyond.or_else(|| followed.is_none().then(|| look(cluster)));
        anyhow::Ok((source, beyond))
    })?;
    let present = source.contents.members()?;
    if !options.force {
        let peer_urls = options.peer_urls(settings.own_peer_urls()?);
        let cluster_id = followed.as_ref().map(|r| r.cluster_id);
        // Who takes part in a recovery goes by what its founding member decided.
        let source_id = Some(source.contents.metadata.cluster_id);
        let instead_of = source_id.filter(|_| !options.clone && followed.is_none());
        let new = living_cluster::New { cluster_id, peer_urls: &peer_urls, instead_of };
        guards::unless_plan(options.plan, guards::refuse_clock_behind(source.synced(), time::now()))?;
        guards::unless_plan(
            options.plan,
            living_cluster::refuse_if_cluster_answers(settings, &present, new),
        )?;
    }
    let present: Vec<u64> = present.into_keys().collect();
    let plan = match &followed {
        None => {
            let members = options.initial_cluster.as_ref().map(|list| list.0.as_slice());
            Plan::make(settings, &source, folder, (members, &present), options.for_etcd)?
        }
        Some(record) => Plan::follow(settings, &source, record, options.for_etcd)?,
    };
    plan.say(&source, &places)?;
    if let Some(beyond) = beyond {
        fresher::say(&Rclone::at_a_glance(settings, root), beyond, &settings.machine_id, &source);
    }
    if options.plan {
        say_outlook(settings, &source)?;
        log::info!("nothing was changed");
        return done(options, &plan.record);
    }

    let record = &plan.record;
    // All that needs room comes before the exchange.
    let prepare = || {
        build::build(settings, &source, &plan.rewrite, plan.own.id, &places)
            .context("writing the new member directory")?;
        let staged = publish::note(settings, record)?;
        let exchange = Exchange::prepare(&settings.backup_dir, &places, workshop::new_dir)?;
        anyhow::Ok((staged, exchange))
    };
    let prepared = prepare();
    if prepared.is_err() {
        exchange::clear(&places)?;
    }
    let (staged, exchange) = prepared.context("the old data is untouched")?;
    let exchanged = node.exchange(By::Restore, &before, &exchange);
    if exchanged.is_err() && !exchange::is_interrupted(&settings.backup_dir)? {
        exchange::clear(&places)?;
    }
    let (fenced, kept) = exchanged?;
    exchange::clear(&places)?;
    node.record(record.cluster_id, plan.own.id)?;
    staged.add()?;
    fenced.lower()?;

    publish::publish(settings, &remote, record);
    drop(incoming);
    report(settings, &source, &plan, &kept, started);
    done(options, record)
}

/// The end of a restore that changed all it had to, or of its plan.
fn done(options: &args::Restore, record: &Record) -> Result<Exit> {
    if options.json {
        terminal::print(&(serde_json::to_string_pretty(record)? + "\n"));
    }
    Ok(Exit::Done)
}

/// The cluster that this node's disk is of, or that it backed up last.
fn likely_cluster(settings: &Settings) -> Option<u64> {
    let ids = past_members::local_ids(settings).ok().flatten();
    let state = || State::load(&settings.backup_dir).ok().flatten();
    ids.map(|(cluster, _)| cluster).or_else(|| state().map(|state| state.cluster_id))
}

/// The recovery to take part in, if it was begun elsewhere.
fn followed(settings: &Settings, remote: &Rclone, options: &args::Restore) -> Result<Option<Record>> {
    let record = match (&options.recovery, &options.recovery_file) {
        (None, None) => return Ok(None),
        (_, Some(file)) => from_record::load(file)?,
        (Some(token), None) => from_record::find(settings, remote, token)?,
    };
    log::info!("recovery {} makes cluster {:x}", record.token, record.cluster_id);
    Ok(Some(record))
}

/// Whether this node is the member that the recovery makes of it already. What it may have acknowledged since is never
/// written over.
fn is_done(node: &Locked, remote: &dyn Remote, record: &Record, options: &args::Restore) -> Result<bool> {
    let settings = &node.settings;
    let (own, only_plan) = (own_of(settings, record)?, options.plan);
    if past_members::local_ids(settings)? != Some((record.cluster_id, own.id)) {
        if !living_cluster::refuse_if_member_ran(node, record, own.id)? {
            // Where all comes from files, the remote need not be there.
            let may_be_away = options.source_file.is_some();
            let glance = Rclone::at_a_glance(settings, &node.root);
            let remote: &dyn Remote = if may_be_away { &glance } else { remote };
            let looked = has_run::refuse_if_cluster_ran(remote, record, time::now(), may_be_away);
            has_run::unless_forced(options.force, guards::unless_plan(only_plan, looked))?;
        }
        return Ok(false);
    }
    let (cluster_id, member_id) = (record.cluster_id, own.id);
    if !only_plan {
        exchange::clear(&Places::of(settings)?)?;
        node.record(cluster_id, member_id)?;
        node.lower_fence()?;
    }
    log::info!("this node is member {member_id:x} of that cluster already");
    Ok(true)
}

/// Which state is wanted.
fn wanted(options: &args::Restore) -> Result<Wanted> {
    let point = match (options.at, options.raft_index) {
        (Some(_), Some(_)) => return Err(both("--at", "--raft-index")),
        (Some(at), None) => Some(Point::At(at)),
        (None, Some(index)) => Some(Point::Index(index)),
        (None, None) => None,
    };
    let elsewhere = options.source.is_some_and(|source| source != Choice::Archive);
    let chosen = elsewhere || options.accept_older || options.initial_cluster.is_some();
    let chosen = chosen || options.generation.is_some() || options.from.is_some() || point.is_some();
    if options.follows() && chosen || options.recovery.is_some() && options.recovery_file.is_some() {
        return Err(both("--recovery, --recovery-file", "any option that chooses the data"));
    }
    if options.source_file.is_some() && !options.follows() {
        let hint = "it belongs to a recovery that another node began: add --recovery-file FILE";
        return Err(fault(Exit::Usage, "--source-file needs --recovery-file", hint));
    }
    let of_the_archive = options.generation.is_some() || options.from.is_some() || point.is_some();
    if of_the_archive && elsewhere {
        return Err(both("--source local or auto", "--generation, --at, --raft-index and --from"));
    }
    Ok(Wanted { generation: options.generation, accept_older: options.accept_older, point })
}

/// Where the data comes from: what is asked for, else what the settings say. Some options are of the archive alone.
fn source_of(options: &args::Restore, settings: &Settings) -> Choice {
    let of_the_archive = options.generation.is_some() || options.from.is_some() || options.accept_older;
    let in_the_past = options.at.is_some() || options.raft_index.is_some();
    let default = if of_the_archive || in_the_past { Choice::Archive } else { settings.source };
    options.source.unwrap_or(default)
}

/// What a plan says besides what is done: what one might not expect to be missing, and what it costs.
fn say_outlook(settings: &Settings, source: &Source) -> Result<()> {
    let (contents, now) = (&source.contents, time::now());
    let Outlook { keys, writes, synced } = Outlook::of(&source.dir, contents, source.point.index, now)?;
    let own = contents.metadata.cluster_id;
    if let Some(parent) = source.parent.as_ref().filter(|parent| parent.cluster_id != own) {
        log::info!("its cluster continues cluster {:x} from index {}", parent.cluster_id, parent.index);
    }
    let (what, time) = match (synced, &source.origin) {
        (Some(synced), _) => ("its last SYNC", Some(synced)),
        (None, Origin::Archive { time, .. }) => ("its capture", Some(*time)),
        _ => ("", None),
    };
    if let Some(time) = time {
        log::info!(
            "the restore point is {} s old, by {what} at {}",
            now.saturating_sub(time),
            time::rfc3339(time)
        );
    }
    let behind = contents.last().index - source.point.index;
    if behind > 0 {
        log::warn!("given up: {behind} entries of this source after the restore point");
    }
    log::info!(
        "expired: {keys} keys in the snapshot and up to {writes} writes in the WAL after it; etcd drops \
         them when it starts"
    );
    let written = contents.base_size()? + source.log_size();
    let (brought, data_dir) = (source.bytes, settings.data_dir.display());
    log::info!("{brought} bytes were downloaded from the remote; up to {written} are written in {data_dir}");
    Ok(())
}

fn report(settings: &Settings, source: &Source, plan: &Plan, kept: &[PathBuf], started: Instant) {
    let last = source.point;
    log::info!(
        "restored from {} up to index {} in {} ms: member {:x} of cluster {:x}",
        source.origin.describe(),
        last.index,
        started.elapsed().as_millis(),
        plan.own.id,
        plan.rewrite.cluster_id,
    );
    for path in kept {
        log::info!("the old data is in {}", path.display());
    }
    for given_up in &source.given_up {
        log::warn!("given up: {given_up}");
    }
    source.warn_of_v3_data();
    let (unit, token) = (&settings.etcd_unit, &plan.record.token);
    if plan.record.members.len() == 1 {
        log::info!(
            "next: sudo systemctl start {unit}; then, on each other node: sudo systemctl start \
             etcd2-join.service"
        );
    } else {
        log::info!("next: on each other node `sudo /opt/bin/etcd2-backup restore --recovery {token}`");
        log::info!("then on all of them, together: sudo systemctl start --no-block {unit}");
    }
    log::info!(
        "restart every client that watches etcd: the index went back, and a pending watch would wait forever"
    );
}
