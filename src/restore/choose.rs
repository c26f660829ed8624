//! The data of a restore, read through; and meanwhile a look at what the remote has beyond it.

use std::thread;

use anyhow::Result;

use super::candidates::fresher::{self, Beyond};
use super::recovery::Recovery;
use super::source::Source;
use super::{from_record, open};
use crate::backup::state::State;
use crate::node::{Node, past_members};
use crate::remote::Remote;
use crate::remote::rclone::Rclone;
use crate::settings::Settings;
use crate::sys::room::{Leave, Scratch};

/// Data that was chosen.
#[derive(Debug)]
pub struct Chosen {
    /// It.
    pub source: Source,
    /// What there is beyond it, where that was looked for.
    pub beyond: Option<Result<Beyond>>,
    /// Where it lies, if it was brought; it goes with this value.
    pub incoming: Scratch,
}

/// Reads it. Who takes part in a recovery goes by what its founding member decided, and looks for nothing else.
///
/// # Errors
/// It is not there, or not as it should be.
pub fn choose(node: &Node, remote: &dyn Remote, recovery: &Recovery<'_>, leave: Leave) -> Result<Chosen> {
    let incoming = open::incoming(&node.settings, leave)?;
    let (source, beyond) = match recovery {
        Recovery::Begins { source, folder, wanted } => {
            let read = || open::open(&node.settings, (remote, &incoming), *source, folder, *wanted);
            let (mut source, beyond) = beside_a_look(node, read)?;
            if let Ok(beyond) = &beyond {
                source.came_to(beyond.end());
            }
            (source, Some(beyond))
        }
        Recovery::Began { record, file: None } => (from_record::source(remote, record, &incoming)?, None),
        Recovery::Began { record, file: Some(file) } => {
            (from_record::source_in(file, record, &incoming)?, None)
        }
    };
    Ok(Chosen { source, beyond, incoming })
}

/// Reads data, and looks beyond it at the same time where this node knows of which cluster it will be.
fn beside_a_look(node: &Node, read: impl FnOnce() -> Result<Source>) -> Result<(Source, Result<Beyond>)> {
    let settings = &node.settings;
    let look = |cluster| fresher::look(&Rclone::at_a_glance(&settings.remote), &settings.machine_id, cluster);
    thread::scope(|scope| {
        let likely = likely_cluster(settings);
        let beyond = likely.map(|cluster| scope.spawn(move || look(cluster)));
        let source = read()?;
        let cluster = source.contents.metadata.cluster_id;
        let beyond = beyond.filter(|_| likely == Some(cluster)).and_then(|beyond| beyond.join().ok());
        Ok((source, beyond.unwrap_or_else(|| look(cluster))))
    })
}

/// The cluster that this node's disk is of, or that it backed up last.
fn likely_cluster(settings: &Settings) -> Option<u64> {
    let ids = past_members::local_ids(&settings.etcd).ok().flatten();
    let state = || State::load(&settings.backup_dir).ok().flatten();
    ids.map(|(cluster, _)| cluster).or_else(|| state().map(|state| state.cluster_id))
}
