//! Which of two places is read: the one that the settings say, or the one where etcd was last seen to have its data. What was
//! acknowledged lies where etcd last wrote, until it is seen to write elsewhere.

use std::path::PathBuf;

use anyhow::Result;

use super::note;
use crate::etcd::datadir::DataDir;
use crate::etcd::in_use;
use crate::exit::{Exit, exit_of, fault};
use crate::node::Node;
use crate::settings::{EtcdConfig, Settings};

/// Nobody has seen etcd write to the log that is read, and the one that it was seen to write to is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Both places.
    pub what: String,
    unit: String,
}

impl Doubt {
    /// Why what is read is not to be taken for what etcd has.
    pub fn refusal(&self) -> anyhow::Error {
        let Self { what, unit } = self;
        let hint = format!(
            "mount what is missing; if the data was moved, start etcd, and its new place is found (sudo \
             systemctl start {unit}); otherwise correct the unit, or ETCD_DATA_DIR in \
             30-etcd2-backup-restore.conf: systemctl cat {unit} etcd2-backup.service"
        );
        fault(Exit::Settings, what.clone(), hint)
    }
}

/// Data directory and WAL directory.
type Places = (PathBuf, PathBuf);

/// Where etcd was last seen to have its data, if the settings say another place.
///
/// # Errors
/// What was seen cannot be read.
pub fn other_than_seen(node: &Node) -> Result<Option<(Places, String)>> {
    let (root, settings) = (&node.root, &node.settings);
    let Some(setup) = &node.stamp()?.setup else { return Ok(None) };
    let (seen, now) = (
        setup.places(),
        (root.strip(&settings.etcd.data_dir), root.strip(&settings.etcd.effective_wal_dir())),
    );
    if seen == now {
        return Ok(None);
    }
    let shown = |(data, wal): &Places| format!("{} (its WAL in {})", data.display(), wal.display());
    let what =
        format!("etcd last ran with its data in {}, but the settings now say {}", shown(&seen), shown(&now));
    Ok(Some((seen, what)))
}

/// Has the settings name the place that is to be read. Gives a doubt where that is the settings' own, and nothing but them says
/// that etcd has its data there.
///
/// # Errors
/// It could not be asked what lies in these places.
pub fn settle(node: &mut Node) -> Result<Option<Doubt>> {
    let (seen, what) = match other_than_seen(node) {
        Ok(Some(other)) => other,
        Ok(None) => return Ok(None),
        Err(e) => {
            log::warn!("could not determine where etcd last had its data: {e:#}");
            return Ok(None);
        }
    };
    let (root, settings) = (&node.root, &mut node.settings);
    let now = log_in(settings)?;
    // Somebody has it open: etcd runs there as the settings say, and was not looked at since.
    if now.as_ref().is_some_and(|dir| in_use::is_held(&dir.wal).unwrap_or(false)) {
        return Ok(None);
    }
    let (data_dir, wal_dir) = (root.join(&seen.0), root.join(&seen.1));
    let wal_dir = Some(wal_dir).filter(|wal_dir| *wal_dir != data_dir.join("member/wal"));
    let last =
        Settings { etcd: EtcdConfig { data_dir, wal_dir, ..settings.etcd.clone() }, ..settings.clone() };
    if let Some(dir) = log_in(&last)? {
        // Two names of one place.
        if now.is_some_and(|now| note::is_same(&now.wal, &dir.wal).unwrap_or(false)) {
            return Ok(None);
        }
        log::warn!("{what}: until etcd is seen running there, the data that it wrote last is used");
        *settings = last;
        return Ok(None);
    }
    Ok(Some(Doubt {
        what: format!("{what}; the WAL that it had is no longer there"),
        unit: settings.etcd.unit.to_string(),
    }))
}

fn log_in(settings: &Settings) -> Result<Option<DataDir>> {
    match DataDir::open(&settings.etcd.data_dir, settings.etcd.wal_dir.as_deref()) {
        Err(e) if exit_of(&e) == Exit::NotFound => Ok(None),
        dir => dir.map(Some),
    }
}
