//! The part that begins a generation with a base: the snapshot and the log that were kept beside the store, and the log behind them up
//! to now. So the generation begins where the one before it has ended, or further.

use anyhow::{Result, bail};

use super::prepared::{Prepared, longer};
use crate::archive::lineage::Parent;
use crate::archive::link;
use crate::archive::part::{Head, Part, Written};
use crate::backup::capture::{Capture, Follow};
use crate::backup::spool::Spool;
use crate::backup::state::{Checked, State};
use crate::etcd::datadir::DataDir;

/// A base that waits for its generation to begin, and the log behind it.
#[derive(Debug)]
pub struct Ready {
    /// The base.
    pub prepared: Prepared,
    /// The snapshot and the log that were kept.
    kept: Part,
    /// What the log has become since.
    pub more: Option<Box<Capture>>,
}

impl Ready {
    /// One of which the remote has all of the store.
    ///
    /// # Errors
    /// It cannot begin a generation any more: what was kept is damaged, or the log does not go on there.
    pub fn load(prepared: Prepared, dir: &DataDir) -> Result<Self> {
        let kept = prepared.part()?;
        let more = match prepared.follow(dir)? {
            Follow::On(more) => Some(more),
            Follow::Nothing(_) => None,
            Follow::Broken(why) => bail!(why),
        };
        Ok(Self { prepared, kept, more })
    }

    /// Writes the part into the spool; gives the state behind it, in which it is still to be sent. `before` is that of the generation
    /// that ends.
    ///
    /// # Errors
    /// The part cannot be written.
    pub fn begin(
        &self,
        spool: &Spool,
        before: Option<&State>,
        parent: Option<Parent>,
        looked: u64,
    ) -> Result<(State, Written)> {
        let (prepared, kept, more) = (&self.prepared, &self.kept, self.more.as_deref());
        let head = Head {
            parent,
            predecessor: prepared.progress.pieces().link,
            db: Some(prepared.progress.size),
            marks: before.map(|before| before.marks.clone()).unwrap_or_default(),
            ..longer(&kept.head, more, looked)
        };
        let to = spool.generation(head.generation_name())?;
        let written = prepared.write(kept, &head, more, &to)?;
        let log = &prepared.log.state;
        let behind = match more {
            Some(more) => more.state_behind(Some(log), &log.folder, &head, &written, looked),
            None => log.clone(),
        };
        let state = State {
            checksum: written.checksum.clone(),
            link: written.link.clone(),
            content: link::content("", &written.checksum),
            time: head.time,
            clock: looked,
            checked: Checked { sequence: 0, link: written.link.clone() },
            sent: before.and_then(|before| before.sent),
            pending: Some(format!("{}/{}", head.generation_name(), written.name)),
            ..behind
        };
        Ok((state, written))
    }
}
