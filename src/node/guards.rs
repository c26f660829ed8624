//! What keeps a recovery from doing harm, each with what to do about it. Nothing was changed when one of them refuses.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::etcd::in_use::{self, Trace};
use crate::exit::{Exit, exit_of, fault, next_step};
use crate::node::Node;
use crate::node::running::place;
use crate::settings::Settings;
use crate::sys::http::is_unasked;
use crate::sys::lock::Lock;
use crate::sys::terminal::live;
use crate::sys::terminal::table::span;
use crate::sys::{systemd, time};

/// Clocks of two machines are believed not to differ by more, in seconds.
const CLOCK_SLACK: u64 = 3600;

/// One at a time.
///
/// # Errors
/// [`Exit::Refused`], or there is no folder for the lock.
pub fn take_lock(settings: &Settings) -> Result<Lock> {
    settings.try_lock()?.ok_or_else(|| {
        let hint = "stop the timer (sudo systemctl stop etcd2-backup.timer), wait until it has finished, \
                    and try again";
        fault(Exit::Refused, "a backup or another recovery is in progress on this node", hint)
    })
}

/// The same, for who may wait until a backup has ended.
///
/// # Errors
/// As [`take_lock`], after `limit`.
pub fn wait_for_lock(settings: &Settings, limit: Duration) -> Result<Lock> {
    let deadline = Instant::now() + limit;
    let _step = live::step("waiting until a backup has ended");
    loop {
        match take_lock(settings) {
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(50)),
            taken => return taken,
        }
    }
}

/// Sees to it that etcd does not run.
///
/// # Errors
/// [`Exit::Refused`].
pub fn refuse_while_running(node: &Node) -> Result<()> {
    let unit = &node.settings.etcd.unit;
    if node.root.is_live() && systemd::is_active(unit)? {
        let hint = format!("stop it on all nodes first: sudo systemctl stop {unit} etcd2-backup.timer");
        return Err(fault(Exit::Refused, format!("{unit} is running"), hint));
    }
    refuse_if_held(&node.settings.etcd.effective_wal_dir())
}

/// Sees to it that no process holds a log, however it was started.
///
/// # Errors
/// [`Exit::Refused`], or it cannot be asked.
pub fn refuse_if_held(wal_dir: &Path) -> Result<()> {
    let Some(path) = in_use::held(wal_dir)? else { return Ok(()) };
    let what = format!("a running etcd has {} open", path.display());
    Err(fault(Exit::Refused, what, "stop it first: sudo systemctl stop etcd2.service (or the unit you use)"))
}

/// Sees to it that etcd's log is as it was.
///
/// # Errors
/// [`Exit::Refused`]: somebody wrote to it; or it cannot be asked.
pub(super) fn refuse_if_written(settings: &Settings, before: &Trace) -> Result<()> {
    let wal_dir = settings.etcd.effective_wal_dir();
    if Trace::of(&wal_dir)? == *before {
        return Ok(());
    }
    let what = format!(
        "etcd ran here in the meantime and wrote to its WAL in {}: nothing was changed",
        wal_dir.display()
    );
    Err(fault(Exit::Refused, what, "run the same command again: it will start from what is on the disk now"))
}

/// Sees to it that no process holds a log that was moved aside: an etcd that was started by hand, past the fence, goes on in it.
///
/// # Errors
/// [`Exit::Refused`], or it cannot be asked.
pub fn refuse_if_old_log_is_held(settings: &Settings, old_log: &Path) -> Result<()> {
    match in_use::held(old_log)? {
        Some(path) => Err(started_meanwhile(settings, &format!("it has {} open", path.display()))),
        None => Ok(()),
    }
}

/// The error of who finds behind the fence that etcd runs.
pub(super) fn started_meanwhile(settings: &Settings, seen: &str) -> anyhow::Error {
    let what = format!("etcd was started here in the meantime ({seen}): nothing was changed");
    let hint = format!(
        "stop it, and whatever starts it: sudo systemctl stop {}; then run the same command again",
        settings.etcd.unit
    );
    fault(Exit::Refused, what, hint)
}

/// Sees to it that data is written to where etcd was last seen to have it: started with its data elsewhere, it would be empty.
///
/// # Errors
/// [`Exit::Refused`], unless `force` is given.
pub fn refuse_other_place(node: &Node, force: bool) -> Result<()> {
    let what = match place::other_than_seen(node) {
        Ok(Some((_, what))) => what,
        Ok(None) => return Ok(()),
        Err(e) => {
            log::warn!("could not determine where etcd last had its data: {e:#}");
            return Ok(());
        }
    };
    let unit = &node.settings.etcd.unit;
    if force {
        log::warn!("{what}");
        return Ok(());
    }
    let hint = format!(
        "if {unit} was changed on purpose since then, add --force; otherwise correct the unit, or \
         ETCD_DATA_DIR in \
         30-etcd2-backup-restore.conf: systemctl cat {unit} etcd2-backup.service"
    );
    Err(fault(Exit::Refused, what, hint))
}

/// Sees to it that etcd, started on the data that it is given, becomes the member that the data says.
///
/// # Errors
/// [`Exit::Refused`].
pub fn refuse_bootstrap(settings: &Settings) -> Result<()> {
    match &settings.etcd.bootstrap {
        None => Ok(()),
        Some(what) => Err(bootstrap_refused(&settings.etcd.unit, what.clone())),
    }
}

/// The error of [`refuse_bootstrap`].
pub fn bootstrap_refused(unit: &str, what: String) -> anyhow::Error {
    let hint = format!(
        "take it out of {unit} (systemctl cat {unit}), or of what that starts, and run `sudo systemctl daemon-reload`; \
         then try again"
    );
    fault(Exit::Refused, what, hint)
}

/// Sees to it that this is the node to restore on.
///
/// # Errors
/// [`Exit::Refused`].
pub fn refuse_unless_founder(settings: &Settings) -> Result<()> {
    if settings.is_founder() {
        return Ok(());
    }
    let what = format!(
        "this node ({}) is not the founding member ({})",
        settings.etcd.own_peer_urls()?.join(","),
        settings.founder()?.join(",")
    );
    let hint = "if its cluster is running, or was restored on the founding member, on this node: sudo \
                systemctl start etcd2-join.service; if it is lost, on the founding member: sudo systemctl \
                start etcd2-restore.service; to restore here anyway, add --as-founder";
    Err(fault(Exit::Refused, what, hint))
}

/// A plan changes nothing, so it only says what would keep a restore from being done now.
///
/// # Errors
/// What was found, unless it is only a plan.
pub fn unless_plan(only_plan: bool, found: Result<()>) -> Result<()> {
    if !only_plan {
        return found;
    }
    if let Some(error) = refusal(found)? {
        log::warn!("a restore would be refused now: {error:#}");
        log::info!("hint: {}", next_step(&error));
    }
    Ok(())
}

/// What was found, if it only keeps a recovery from being done now.
///
/// # Errors
/// What was found, if there is no plan of a recovery either.
pub fn refusal(found: Result<()>) -> Result<Option<anyhow::Error>> {
    match found {
        Err(error) if exit_of(&error) == Exit::Refused || is_unasked(&error) => Ok(Some(error)),
        found => found.map(|()| None),
    }
}

/// A clock that is behind the data, whose newest SYNC is `synced`: etcd would let keys live that long after their time, and lineages and moments would
/// be told wrong.
///
/// # Errors
/// [`Exit::Refused`].
pub fn refuse_clock_behind(synced: Option<u64>, now: u64) -> Result<()> {
    let Some(synced) = synced.filter(|synced| *synced > now.saturating_add(CLOCK_SLACK)) else {
        return Ok(());
    };
    let what = format!(
        "this node's clock says {}, but the newest SYNC of the source is from {}: the clock is {} \
         slow",
        time::rfc3339(now),
        time::rfc3339(synced),
        span(Duration::from_secs(synced - now))
    );
    Err(fault(Exit::Refused, what, "set the clock (timedatectl), or restore anyway with --force"))
}
