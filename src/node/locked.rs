//! A node while nobody else changes anything on it, and behind the fence.

use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::fence::{self, By, Fence};
use super::identity;
use super::member_dir::aside::{self, Aside};
use super::member_dir::exchange::{self, Exchange};
use super::member_dir::places::Places;
use super::{Node, guards};
use crate::etcd::in_use::Trace;
use crate::exit::{Exit, exit_of, fault};
use crate::sys::lock::Lock;

/// A node with the one lock of backup, restore and join, for as long as this lives.
#[derive(Debug)]
pub struct Locked {
    node: Node,
    /// How its fence was when the lock was taken.
    pub fence: Fence,
    _lock: Lock,
}

impl Deref for Locked {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl Node {
    /// Takes the lock, for which a backup is waited so long, and looks again at what may have changed meanwhile.
    ///
    /// # Errors
    /// [`Exit::Refused`]: somebody still has it; it could not be asked how the fence is.
    pub fn lock(self, patience: Duration) -> Result<Locked> {
        let lock = guards::wait_for_lock(&self.settings, patience)?;
        let fence = Fence::read(&self.root)?;
        let node = Self { stamp: identity::read(&self.root), ..self };
        Ok(Locked { node, fence, _lock: lock })
    }
}

impl Locked {
    /// Takes an exchange of directories that was interrupted back, and says whether there was one: nothing may be read of
    /// directories of which one is old and one is new.
    ///
    /// # Errors
    /// [`Exit::Refused`] where nothing may be changed (`only_plan`); it could not be asked, or cannot be taken back.
    pub fn take_back(&self, only_plan: bool) -> Result<bool> {
        match self.fence {
            Fence::UpBy(By::Restore | By::Undo) => {}
            // Behind another command's fence the directories are not where the journal left them any more.
            Fence::Down | Fence::UpBy(By::Join | By::Recover) | Fence::UpByAnother => return Ok(false),
        }
        if !exchange::is_interrupted(&self.settings.backup_dir)? {
            return Ok(false);
        }
        if only_plan {
            let what =
                "an earlier restore was interrupted while it exchanged directories, and etcd is fenced";
            return Err(fault(Exit::Refused, what, "run restore without --plan: it rolls that back first"));
        }
        exchange::take_back(&self.settings.backup_dir)?;
        log::info!("an earlier restore was interrupted while it exchanged directories: that was rolled back");
        Ok(true)
    }

    /// Puts the fence up for `by`, and asks again there: etcd may have been started in all the time since it was asked first, and
    /// behind the fence nobody starts it any more. `before` is what its log looked like then: an etcd that was stopped again may
    /// have acknowledged writes that the command knows nothing of.
    ///
    /// # Errors
    /// [`Exit::Refused`]: it was; then the fence is what it was before.
    pub fn fenced(&self, by: By, before: &Trace) -> Result<Fenced<'_>> {
        let may_be = || {
            guards::refuse_while_running(self).map_err(|e| match exit_of(&e) {
                Exit::Refused => guards::started_meanwhile(&self.settings, &format!("{e:#}")),
                _ => e,
            })?;
            guards::refuse_if_written(&self.settings, before)
        };
        let before = fence::raise_if(&self.root, by, may_be)?;
        Ok(Fenced { node: self, before })
    }

    /// Exchanges the directories behind the fence; gives where the old ones are now. Where nothing came of it, the fence is as
    /// it was before.
    ///
    /// # Errors
    /// As [`Locked::fenced`]; or a rename failed.
    pub fn exchange(
        &self,
        by: By,
        before: &Trace,
        exchange: &Exchange,
    ) -> Result<(Fenced<'_>, Vec<PathBuf>)> {
        let fenced = self.fenced(by, before).or_else(|e| exchange.forget().and(Err(e)))?;
        let held = |old_log: &std::path::Path| guards::refuse_if_old_log_is_held(&self.settings, old_log);
        match exchange.carry_out(held) {
            Ok(mut kept) => {
                kept.extend(exchange.set_others_aside()?);
                Ok((fenced, kept))
            }
            Err(e) => {
                if !exchange::is_interrupted(&self.settings.backup_dir)? {
                    fenced.as_before()?;
                }
                Err(e.context("exchanging the directories"))
            }
        }
    }

    /// Puts the fence up, without asking anything.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn raise_fence(&self, by: By) -> Result<()> {
        fence::raise(&self.root, by)
    }

    /// Lets etcd start again, whoever fenced it.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn lower_fence(&self) -> Result<()> {
        fence::lower(&self.root)
    }

    /// Writes down that this node is this member, for the guard: it must have that member's data.
    ///
    /// # Errors
    /// The stamp cannot be written.
    pub fn record(&self, cluster_id: u64, member_id: u64) -> Result<()> {
        identity::record(&self.root, &self.as_member(cluster_id, member_id))
    }

    /// Forgets who this node was, as it is to become another member.
    ///
    /// # Errors
    /// As [`identity::forget`].
    pub fn forget(&self) -> Result<()> {
        identity::forget(&self.root)
    }
}

/// A node whose etcd the fence keeps from starting. Dropped, it stays so: what was begun here has to be ended first.
#[derive(Debug)]
#[must_use]
pub struct Fenced<'a> {
    node: &'a Locked,
    before: Fence,
}

impl Fenced<'_> {
    /// Sets the member's directories aside.
    ///
    /// # Errors
    /// A rename failed; running it again moves the rest.
    pub fn set_aside(&self, why: &str) -> Result<Vec<Aside>> {
        aside::set_aside(&Places::of(&self.node.settings.etcd)?, why)
    }

    /// Nothing came of it: the fence is up only if it was before.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn as_before(self) -> Result<()> {
        if self.before.is_up() { Ok(()) } else { self.node.lower_fence() }
    }

    /// Lets etcd start again.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn lower(self) -> Result<()> {
        self.node.lower_fence()
    }
}
