//! What a backup asks of the node beside its files: what time it is, and whether etcd runs. A day of cycles is tested on a node
//! that is made up.

use anyhow::Result;

use super::note::When;
use crate::sys::root::Root;
use crate::sys::{systemd, time};

/// See the module.
pub trait Surroundings {
    /// The node's clock, in seconds since 1970.
    fn now(&self) -> u64;

    /// How etcd's unit runs at this moment; `None`: nothing runs here, as this is a tree.
    ///
    /// # Errors
    /// It cannot be asked.
    fn etcd(&self, unit: &str) -> Result<Option<Run>>;
}

/// How etcd's unit runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// When etcd was started, in microseconds after the boot; `None`: its unit is not active.
    pub started: Option<u64>,
    /// The boot, by the kernel's random number.
    pub boot: String,
    /// How long ago that was, in seconds.
    pub uptime: u64,
}

/// Where this program runs.
#[derive(Debug)]
pub struct Here<'a>(pub &'a Root);

impl Surroundings for Here<'_> {
    fn now(&self) -> u64 {
        time::now()
    }

    fn etcd(&self, unit: &str) -> Result<Option<Run>> {
        if !self.0.is_live() {
            return Ok(None);
        }
        let When { boot, uptime } = When::now()?;
        Ok(Some(Run { started: systemd::active_since(unit)?, boot, uptime }))
    }
}
