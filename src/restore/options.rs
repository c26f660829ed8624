//! What is asked of a restore.

use std::cell::RefCell;
use std::path::PathBuf;

use anyhow::Result;

use super::fetch::Wanted;
use crate::etcd::datadir::Family;
use crate::node::{Node, guards};
use crate::remote::rclone::Rclone;
use crate::settings::names::MachineId;
use crate::settings::source::Choice;

/// See the module. It contradicts itself nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Nothing is to be changed, and what would keep a restore from being done now is only told.
    pub only_plan: bool,
    /// Where that is collected, if a program asked for it; else it is said to people.
    pub refusals: Option<RefCell<Vec<String>>>,
    /// Somebody knows better than what may be overruled.
    pub force: bool,
    /// It is meant to be this node, though another one is the founding member.
    pub as_founder: bool,
    /// The cluster of the data lives on elsewhere.
    pub clone: bool,
    /// Which data, and so whose recovery it is.
    pub data: Data,
    /// Names and peer URLs of the new cluster's members; `None`: this node alone.
    pub members: Option<Vec<(String, Vec<String>)>>,
    /// Which etcd is to run, if not the one of the data.
    pub family: Option<Family>,
    /// Whether the revision of the v3 store is moved beyond what clients have seen; `None`: where the keys are Kubernetes's.
    pub bump: Option<bool>,
}

/// Data to restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// This is chosen, and begins a recovery.
    Chosen {
        /// Where it is looked for, if not where the settings say.
        source: Option<Choice>,
        /// Whose folder of the remote, if not this machine's.
        folder: Option<MachineId>,
        /// Which state.
        wanted: Wanted,
    },
    /// What the recovery takes that another node began.
    Recorded {
        /// Its record.
        record: Recorded,
        /// The data in a file, if it is not to be brought from the remote.
        file: Option<PathBuf>,
    },
}

/// Where the record of a recovery is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// In the remote under this token; an empty one: the only one that names this node.
    Token(String),
    /// In this file.
    File(PathBuf),
}

impl RestoreOptions {
    /// The remote, for that. Where all comes from files it may be away: the record waits for the next backup.
    pub fn remote(&self, node: &Node) -> Rclone {
        match &self.data {
            Data::Recorded { record: Recorded::File(_), file: Some(_) } => Rclone::new(&node.settings.remote),
            Data::Recorded { .. } | Data::Chosen { .. } => Rclone::for_recovery(&node.settings.remote),
        }
    }

    /// A plan changes nothing, so it only says what would keep a restore from being done now.
    ///
    /// # Errors
    /// What was found, unless it is only a plan.
    pub fn unless_plan(&self, found: Result<()>) -> Result<()> {
        match &self.refusals {
            Some(refusals) if self.only_plan => {
                let refusal = guards::refusal(found)?;
                refusals.borrow_mut().extend(refusal.map(|error| format!("{error:#}")));
                Ok(())
            }
            Some(_) | None => guards::unless_plan(self.only_plan, found),
        }
    }

    /// Whether it takes part in a recovery that was begun elsewhere.
    pub fn follows(&self) -> bool {
        matches!(self.data, Data::Recorded { .. })
    }

    /// The peer URLs of the cluster that it makes, those of the node itself first.
    pub fn peer_urls(&self, own: &[String]) -> Vec<String> {
        let members = self.members.iter().flatten();
        own.iter().chain(members.flat_map(|(_, urls)| urls)).cloned().collect()
    }
}
