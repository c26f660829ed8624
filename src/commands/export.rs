//! `export`: write the data that a recovery took from this node's disk to stdout, for the other nodes of the recovery.

use std::io;

use anyhow::Result;

use super::args;
use crate::exit::{Exit, fault};
use crate::node::Node;
use crate::restore::{export, from_record};
use crate::sys::root::Root;

pub(super) fn run(root: &Root, options: &args::Export) -> Result<Exit> {
    let Some(file) = &options.recovery_file else {
        let hint = "give its record with --recovery-file FILE; `restore --json` prints it";
        return Err(fault(Exit::Usage, "no recovery was named", hint));
    };
    let settings = Node::open(root)?.settings;
    let record = from_record::load(file)?;
    export::write(&settings, &record, io::stdout().lock())?;
    Ok(Exit::Done)
}
