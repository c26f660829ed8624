//! Whose recovery a restore is: one that it begins, or one that another node began and this one takes part in.

use std::path::Path;

use anyhow::Result;

use super::fetch::Wanted;
use super::options::{Data, Recorded, RestoreOptions};
use super::plan::own_of;
use super::{from_record, has_run, living_cluster};
use crate::archive::lineage::Record;
use crate::node::locked::Locked;
use crate::node::member_dir::exchange;
use crate::node::member_dir::places::Places;
use crate::node::past_members;
use crate::remote::Remote;
use crate::remote::rclone::Rclone;
use crate::settings::Settings;
use crate::settings::source::Choice;
use crate::sys::time;

/// See the module.
#[derive(Debug)]
pub enum Recovery<'a> {
    /// It begins here, with the data that is wanted.
    Begins {
        /// Where that is looked for.
        source: Choice,
        /// Whose folder of the remote.
        folder: &'a str,
        /// Which state.
        wanted: Wanted,
    },
    /// It began elsewhere.
    Began {
        /// What it says of itself.
        record: Box<Record>,
        /// The data in a file, if it is not to be brought from the remote.
        file: Option<&'a Path>,
    },
}

impl<'a> Recovery<'a> {
    /// Finds out, and reads its record if there is one.
    ///
    /// # Errors
    /// The record cannot be had, or is not one to take part in.
    pub fn of(asked: &'a RestoreOptions, settings: &'a Settings, remote: &dyn Remote) -> Result<Self> {
        let (record, file) = match &asked.data {
            Data::Chosen { source, folder, wanted } => {
                let source = source.unwrap_or(settings.source);
                let folder = folder.as_ref().unwrap_or(&settings.machine_id);
                return Ok(Self::Begins { source, folder, wanted: *wanted });
            }
            Data::Recorded { record: Recorded::File(record), file } => (from_record::load(record)?, file),
            Data::Recorded { record: Recorded::Token(token), file } => {
                (from_record::find(settings, remote, token)?, file)
            }
        };
        log::info!("recovery {} makes cluster {:x}", record.token, record.cluster_id);
        Ok(Self::Began { record: Box::new(record), file: file.as_deref() })
    }

    /// The record of one that began elsewhere, if this node is the member already that it makes of it: then there is nothing to
    /// write. What such a member may have acknowledged since is never written over.
    ///
    /// # Errors
    /// [`Exit::Refused`](crate::exit::Exit::Refused): it was that member, and is not any more; or it could not be asked.
    pub fn done_already(
        &self,
        node: &Locked,
        remote: &dyn Remote,
        asked: &RestoreOptions,
    ) -> Result<Option<&Record>> {
        let Self::Began { record, file } = self else { return Ok(None) };
        let (cluster_id, member_id) = (record.cluster_id, own_of(&node.settings, record)?.id);
        if past_members::local_ids(&node.settings.etcd)? != Some((cluster_id, member_id)) {
            if !living_cluster::refuse_if_member_ran(node, record, member_id)? {
                // Where all comes from files, the remote need not be there.
                let may_be_away = file.is_some();
                let glance = Rclone::at_a_glance(&node.settings.remote);
                let remote: &dyn Remote = if may_be_away { &glance } else { remote };
                let looked = has_run::refuse_if_cluster_ran(remote, record, time::now(), may_be_away);
                has_run::unless_forced(asked.force, asked.unless_plan(looked))?;
            }
            return Ok(None);
        }
        if !asked.only_plan {
            exchange::clear(&Places::of(&node.settings.etcd)?)?;
            node.record(cluster_id, member_id)?;
            node.lower_fence()?;
        }
        log::info!("this node is member {member_id:x} of that cluster already");
        Ok(Some(record))
    }
}
