//! `export`: write the data that a recovery took from this node's disk to stdout, for the other nodes of the recovery.

use std::fs::File;

use anyhow::{Context, Result};

use crate::cli;
use crate::exit::{Exit, fault};
use crate::paths::Root;
use crate::recovery::{export, record};
use crate::settings::Settings;
use crate::sys::fs;

pub(super) fn run(root: &Root, options: &cli::Export) -> Result<Exit> {
    let Some(file) = &options.recovery_file else {
        let hint = "give its record with --recovery-file: restore --json prints it";
        return Err(fault(Exit::Usage, "which recovery is meant is not said", hint));
    };
    let settings = Settings::load(root)?;
    let record = record::load(file)?;
    let path = export::write(&settings, &record)?;
    let sent = File::open(&path).map_err(Into::into).and_then(cli::send);
    fs::remove_dir_if_there(&fs::parent(&path))?;
    sent.context("writing to stdout")
}
