//! `status`: what would be lost if this node's disk died now, why, and the one command for this situation.

use std::io::stdout;

use anyhow::{Error, Result};

use super::args;
use crate::archive::lineage::Parent;
use crate::archive::verified::Verified;
use crate::backup::no_member::no_member;
use crate::backup::skipped::Skipped;
use crate::backup::state::State;
use crate::backup::status::around::{Around, Installed, TIMERS, Timer};
use crate::backup::status::bases::Bases;
use crate::backup::status::{self, Facts, Judgement, New, Warning};
use crate::backup::{capture, outcome};
use crate::cluster::own::{self, Asked};
use crate::etcd::datadir::DataDir;
use crate::exit::{Exit, exit_of, fault};
use crate::fleet::overview;
use crate::fleet::ssh::Ssh;
use crate::install::record::Record;
use crate::node::Node;
use crate::node::fence::Fence;
use crate::node::running::note;
use crate::node::running::place::{self, Doubt};
use crate::remote::rclone::Rclone;
use crate::restore::candidates::fresher;
use crate::settings::Settings;
use crate::sys::root::Root;
use crate::sys::terminal::output::Output;
use crate::sys::terminal::table::width;
use crate::sys::{look, privilege, systemd, time, timer};

pub(super) fn run(root: &Root, options: &args::Status) -> Result<Exit> {
    match (options.all, options.nodes.is_empty()) {
        (true, false) => return of_all(options),
        (false, true) => {}
        (all, _) => {
            let what = if all { "--all needs the names of the nodes" } else { "nodes are for --all" };
            let hint = "name all of them: etcd2-backup status --all core@e1 core@e2 core@e3";
            return Err(fault(Exit::Usage, what, hint));
        }
    }
    super::look::before(root);
    let mut node = Node::open(root)?;
    let doubt = place::settle(&mut node)?;
    let around = around(&node)?;
    let etcd = &node.settings.etcd;
    let facts = match DataDir::open(&etcd.data_dir, etcd.wal_dir.as_deref()) {
        Ok(dir) => facts(&node, options, &dir, doubt),
        Err(e) => Err(e),
    };
    match facts {
        Ok(facts) => {
            let judgement = status::judge(&facts);
            say(options.json, &around, Ok((&facts, &judgement)), judgement.warnings.clone())
        }
        Err(e) if exit_of(&e) == Exit::NotFound => {
            let ended = no_member(&node, e);
            let lost = |e: &Error| {
                let hint = "if etcd runs, see where it writes: sudo /opt/bin/etcd2-backup look; else what a restore can \
                            begin with: sudo /opt/bin/etcd2-backup sources; then docs/recovery.md";
                Warning { kind: "no-data", text: format!("{e:#}"), hint }
            };
            let warnings = ended.as_ref().err().map(lost).into_iter().collect();
            say(options.json, &around, Err("etcd has no data here"), warnings)?;
            ended
        }
        // What root alone may read is asked of root; the rest is said.
        Err(e) if !privilege::is_root() && look::is_unread(&e) => {
            let unseen = format!("{e:#}");
            let text = "only root can read etcd's data and what was sent of it".to_owned();
            let hint = match root.is_live() {
                true => "root sees more: sudo /opt/bin/etcd2-backup status",
                false => "root sees more: run this as root",
            };
            say(options.json, &around, Err(&unseen), vec![Warning { kind: "unseen", text, hint }])
        }
        Err(e) => Err(e),
    }
}

/// Of every node that was named, by ssh.
fn of_all(options: &args::Status) -> Result<Exit> {
    let ssh = Ssh { command: options.ssh.split_whitespace().map(str::to_owned).collect() };
    let lines = overview::ask(&ssh, &options.nodes);
    let mut out = Output::new(options.json);
    let said = match options.json {
        true => out.json(&overview::json(&lines, time::now())),
        false => out.text(&overview::text(&lines, width(&stdout()))),
    };
    if out.finish()? {
        said?;
    }
    Ok(if overview::is_good(&lines) { Exit::Done } else { Exit::Warned })
}

/// Prints it, and says whether somebody has to look at something.
fn say(
    as_json: bool,
    around: &Around,
    data: Result<(&Facts, &Judgement), &str>,
    of_data: Vec<Warning>,
) -> Result<Exit> {
    let warnings = [around.warnings(), of_data].concat();
    let mut out = Output::new(as_json);
    let said = match as_json {
        true => out.json(&status::json(around, data, &warnings)),
        false => out.text(&status::text(around, data, &warnings, width(&stdout()))),
    };
    if out.finish()? {
        said?;
    }
    Ok(if warnings.is_empty() { Exit::Done } else { Exit::Warned })
}

fn around(node: &Node) -> Result<Around> {
    let Node { root, settings, .. } = node;
    let timer = |(unit, what)| {
        let runs = systemd::is_active(unit)?;
        // That a timer is on is worth saying even where its next time cannot be had.
        let next = if runs { timer::next(unit).ok().flatten() } else { None };
        anyhow::Ok(Timer { what, runs, next })
    };
    Ok(Around {
        now: time::now(),
        fence: Fence::read(root)?,
        timers: if root.is_live() {
            TIMERS.into_iter().map(timer).collect::<Result<_>>()?
        } else {
            Vec::new()
        },
        program: args::version(),
        installed: Installed::of(Record::load(root), root),
        is_founder: (!settings.etcd.peer_urls.is_empty()).then(|| settings.is_founder()),
        founder: settings.founder_urls.clone(),
    })
}

fn facts(node: &Node, options: &args::Status, dir: &DataDir, doubt: Option<Doubt>) -> Result<Facts> {
    let Node { root, settings, .. } = node;
    let folder = settings.folder();
    // Before the log: a backup that ends in between has sent no more than is read now.
    let state = State::load(&settings.backup_dir)?.filter(|s| s.folder == folder);
    // Before the log too, which then has what etcd had applied.
    let (etcd, new) = own::read_as_far(
        || own::ask(settings, dir),
        || new(dir, state.as_ref()),
        |new| (new.metadata, new.last),
    )?;
    let verified = Verified::load(&settings.backup_dir, &folder)?.generations.values().map(|s| s.time).max();
    Ok(Facts {
        now: time::now(),
        max_age: options.max_age,
        has_parent: Parent::of(&settings.backup_dir, new.metadata.cluster_id)?.is_some(),
        is_freshest: is_freshest(settings, &etcd, new.metadata.cluster_id),
        etcd,
        open: note::open(root, &dir.wal),
        doubt: doubt.map(|doubt| doubt.what),
        bases: Bases::look(settings, state.as_ref())?.beside(&dir.snap, state.as_ref()),
        verified,
        rehearsed: outcome::rehearsed(&settings.backup_dir),
        rehearse_skipped: Skipped::load(&settings.backup_dir).map(|skipped| skipped.why),
        moved: is_moved(settings, state.as_ref())?,
        folder,
        state,
        new,
    })
}

/// Who has no quorum may be the last one alive: then the remote is asked whose backup goes furthest.
fn is_freshest(settings: &Settings, etcd: &Asked, cluster_id: u64) -> Option<bool> {
    match etcd {
        Asked::Answered(own) if !own.is_healthy => {
            let looked =
                fresher::look(&Rclone::at_a_glance(&settings.remote), &settings.machine_id, cluster_id);
            fresher::is_furthest(&looked.ok()?, &settings.machine_id)
        }
        _ => None,
    }
}

/// Whether the next backup has to look first whether what was sent is where it goes. Of an encrypted rclone.conf that is not
/// known; variables and program are those of the unit, not of who asks.
fn is_moved(settings: &Settings, state: Option<&State>) -> Result<bool> {
    let Some(seen) = state.and_then(|s| s.seen.as_ref()) else { return Ok(false) };
    Ok(Rclone::new(&settings.remote).route(Some(&seen.route))?.settings != seen.route.settings)
}

/// What the next backup would send.
fn new(dir: &DataDir, state: Option<&State>) -> Result<New> {
    let capture = match (capture::next(dir, state)?.new, state) {
        (Some(capture), _) => capture,
        (None, Some(state)) => return Ok(New::nothing_behind(state)),
        // Cannot be: without a state all is new.
        (None, None) => capture::anew(dir, "")?,
    };
    Ok(New {
        metadata: capture.metadata,
        last: capture.last(),
        writes: capture.log.writes,
        sync_time: capture.log.sync_time,
        family: capture.family,
        begins: capture.begins,
    })
}
