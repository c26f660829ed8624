//! How a part goes to the remote: what is looked at before and behind it.

use anyhow::{Context, Result};

use crate::archive::chain;
use crate::backup::arrival::{self, PATIENCE, Watch};
use crate::backup::capture::Capture;
use crate::backup::folder_check::{self, Demand, Finding, Trouble};
use crate::backup::spool::Spool;
use crate::backup::state::State;
use crate::node::running::place::Doubt;
use crate::node::running::surroundings::Surroundings;
use crate::remote::route::Route;
use crate::remote::{Object, Remote};
use crate::settings::Settings;
use crate::sys::random;

/// What a generation that begins has to know of the folder.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The number for it.
    pub(super) number: u64,
    /// Whether the folder holds generations of other clusters.
    pub(super) others: bool,
}

/// The number for a generation that begins, in a folder with these objects. If it is not as this node left it, somebody else may take
/// the same one at this moment.
fn next_number(objects: &[Object], state: Option<&State>) -> Result<u64> {
    let Some(state) = state else { return chain::next_number(objects, 0, 0) };
    let mut apart = 0;
    if let Err(Trouble::Found(finding)) = folder_check::look(objects, state, &[], Demand::LastLook) {
        if state.given_up.is_none() {
            log::warn!("{}: {}", finding.what, finding.next);
        }
        if finding.other_writer {
            [apart] = random::bytes()?;
        }
    }
    chain::next_number(objects, state.generation, apart)
}

/// The way that parts go, and what is looked at on it.
pub(super) struct Way<'a> {
    pub(super) node: &'a dyn Surroundings,
    /// Why what is read may not be what etcd wrote last.
    pub(super) doubt: Option<&'a Doubt>,
    pub(super) settings: &'a Settings,
    pub(super) remote: &'a dyn Remote,
    pub(super) spool: &'a Spool,
    /// The machine's folder, for people.
    pub(super) folder: &'a str,
    /// What decides now where they go.
    pub(super) route: Route,
}

impl Way<'_> {
    /// Looks into the folder, where that is due, before anything is sent to it; gives what it saw. If something of the
    /// generation is not there, it ends.
    pub(super) fn look_first(&self, state: Option<&mut State>) -> Result<Option<Vec<Object>>> {
        let now = self.node.now();
        let Some(state) = state else { return Ok(None) };
        let Some(demand) = folder_check::due(state, &self.route, now) else { return Ok(None) };
        let arrival::Look { objects, finding } = match self.watch().look(state, &[], demand) {
            Err(e) if demand == Demand::LastLook => {
                log::warn!("could not check the remote directory; will retry at the next backup: {e:#}");
                return Ok(None);
            }
            look => look.context("looking for what was sent before")?,
        };
        match finding {
            Some(finding) => self.give_up(state, &finding)?,
            None if demand == Demand::All => state.seen_whole(&self.route, false, now),
            None => state.looked_through(),
        }
        state.save(&self.settings.backup_dir)?;
        Ok(Some(objects))
    }

    /// What a generation that begins has to know; `None`: none begins. If the folder is not as this node left it, somebody
    /// else may take the same number.
    pub(super) fn place_for_a_generation(
        &self,
        state: Option<&State>,
        capture: &Capture,
        listed: Option<Vec<Object>>,
    ) -> Result<Option<Place>> {
        if capture.begins.is_none() {
            return Ok(None);
        }
        let objects = match listed {
            Some(objects) => objects,
            None => self.remote.list(&self.settings.machine_id).context("looking for earlier generations")?,
        };
        let generations = chain::generations(&objects);
        let others = generations.iter().any(|g| g.name.cluster_id != capture.metadata.cluster_id);
        Ok(Some(Place { number: next_number(&objects, state)?, others }))
    }

    /// Sends the spool in one call, sees that it arrived where that must be seen, and notes it; `false`: the generation ends,
    /// as something of it is not there.
    pub(super) fn send(&self, state: &mut State) -> Result<bool> {
        self.remote.put(self.spool.dir(), &self.settings.machine_id)?;
        if folder_check::must_arrive(state) {
            let look = self.watch().look(state, &self.spool.objects()?, Demand::All)?;
            if let Some(finding) = look.finding {
                self.give_up(state, &finding)?;
                return Ok(false);
            }
            state.arrived();
            state.seen_whole(&self.route, true, self.node.now());
        } else {
            state.arrived();
        }
        state.save(&self.settings.backup_dir)?;
        self.spool.clear().map(|()| true)
    }

    fn watch(&self) -> Watch<'_, dyn Remote + '_> {
        let Self { settings, remote, folder, .. } = *self;
        Watch {
            remote,
            folder: &settings.machine_id,
            place: folder,
            patience: PATIENCE.min(settings.remote.timeout),
        }
    }

    /// Ends the generation. What waits in the spool is in the next one as well.
    fn give_up(&self, state: &mut State, finding: &Finding) -> Result<()> {
        log::warn!("{}: {}", finding.what, finding.next);
        self.lose(state, &finding.what)
    }

    /// Ends the generation for a reason that was told.
    pub(super) fn lose(&self, state: &mut State, why: &str) -> Result<()> {
        state.give_up(why);
        state.save(&self.settings.backup_dir)?;
        self.spool.drop_parts()
    }
}
