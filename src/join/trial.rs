//! Starts etcd once as a member that nobody has, before the cluster is asked for a new one: an addition to a cluster of one
//! member cannot be taken back, and the cluster takes no writes until the new member runs.
//!
//! What has to be seen is that the process which the unit starts, in whatever way, opens the log that was put there.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Join;
use crate::etcd::datadir::DataDir;
use crate::etcd::empty_log::NOBODY;
use crate::etcd::in_use;
use crate::etcd::wal::Reading;
use crate::exit::{Exit, fault};
use crate::node::fence::By;
use crate::node::guards;
use crate::node::member_dir::empty_log;
use crate::node::running::process::{self, Process};
use crate::node::running::{mounts, theirs};
use crate::settings::bootstrap;
use crate::sys::systemd;

/// A trial takes a hundredth of a second where etcd is a program of the node. A container's engine takes longer.
const OPENED_WITHIN: Duration = Duration::from_secs(30);
/// What a unit's processes need to end, once it is stopped.
const CLOSED_WITHIN: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);

impl Join {
    /// Sees to it that etcd here starts on the log that it is given. The fence is up before and behind it, and nothing of the
    /// trial is left.
    ///
    /// # Errors
    /// [`Exit::Settings`]: it does not; nothing was changed in the cluster.
    pub fn trial(&self) -> Result<()> {
        if !self.node.root.is_live() {
            return Ok(());
        }
        let unit = &self.node.settings.etcd.unit;
        log::info!("starting {unit} once for a trial, as a member of no cluster");
        empty_log::place(&self.node.settings.etcd, NOBODY)?;
        let dir =
            DataDir::open(&self.node.settings.etcd.data_dir, self.node.settings.etcd.wal_dir.as_deref())?;
        let opened = self.opens(&dir);
        self.node.raise_fence(By::Join)?;
        systemd::stop(unit)?;
        self.is_closed(&dir)?;
        let founded = opened.and_then(|()| self.founds_nothing(&dir));
        empty_log::take_away(&self.node.settings.etcd)?;
        founded
    }

    fn opens(&self, dir: &DataDir) -> Result<()> {
        self.node.lower_fence()?;
        systemd::start_no_block(&self.node.settings.etcd.unit)?;
        let deadline = Instant::now() + OPENED_WITHIN;
        while !in_use::is_held(&dir.wal)? {
            if Instant::now() >= deadline {
                return Err(self.does_not_open(dir));
            }
            thread::sleep(PAUSE);
        }
        self.is_given_no_objection(dir)
    }

    /// What a wrapper, an environment file or an image gives it is seen in its process alone.
    fn is_given_no_objection(&self, dir: &DataDir) -> Result<()> {
        let ours = mounts::ours()?;
        let all = process::writing_to_logs()?;
        let is_it = |p: &&Process| mounts::translate(&p.wal_dir, &p.mounts, &ours).as_ref() == Some(&dir.wal);
        let Some(process) = all.iter().find(is_it) else { return Ok(()) };
        match bootstrap::objection(&theirs::environment(process)) {
            None => Ok(()),
            Some(what) => Err(guards::bootstrap_refused(&self.node.settings.etcd.unit, what)),
        }
    }

    fn does_not_open(&self, dir: &DataDir) -> anyhow::Error {
        let unit = &self.node.settings.etcd.unit;
        let others = process::writing_to_logs().unwrap_or_default();
        let others = others.iter().filter(|p| p.group.split('/').any(|part| part == *unit));
        let others: Vec<String> = others.map(|p| p.wal_dir.display().to_string()).collect();
        let seen = match others.is_empty() {
            true => String::new(),
            false => format!("; it has the WAL in {} open", others.join(" and in ")),
        };
        let what = format!(
            "{unit}, started for a trial, did not open the WAL in {} within {} s{seen}; nothing was added \
             to the cluster",
            dir.wal.display(),
            OPENED_WITHIN.as_secs()
        );
        let hint = format!(
            "journalctl -u {unit} -n 30 says why it does not start; if it runs, set ETCD_DATA_DIR in \
             30-etcd2-backup-restore.conf to where it keeps its data. Then run join again"
        );
        fault(Exit::Settings, what, hint)
    }

    fn is_closed(&self, dir: &DataDir) -> Result<()> {
        let deadline = Instant::now() + CLOSED_WITHIN;
        while in_use::is_held(&dir.wal)? {
            if Instant::now() >= deadline {
                let unit = &self.node.settings.etcd.unit;
                let what = format!(
                    "{unit} was stopped, but a process still has the WAL in {} open",
                    dir.wal.display()
                );
                let hint = format!(
                    "end that process (sudo fuser -v {}/*.wal names it), then run join again",
                    dir.wal.display()
                );
                return Err(fault(Exit::Settings, what, hint));
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// A member that waits for a leader writes no entry.
    fn founds_nothing(&self, dir: &DataDir) -> Result<()> {
        let contents = dir.scan(Reading::Still)?;
        if contents.last().index == 0 {
            return Ok(());
        }
        let what = format!(
            "{}, started for a trial, formed a cluster of its own on the WAL that it was given; nothing \
             was added to the cluster",
            self.node.settings.etcd.unit
        );
        let hint = format!(
            "is force-new-cluster set for it, by a wrapper or an image? systemctl cat {}",
            self.node.settings.etcd.unit
        );
        Err(fault(Exit::Settings, what, hint))
    }
}
