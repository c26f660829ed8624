//! `list`: the restore points of this machine, of another one, or of all that back up to the endpoint.

use std::io::stdout;

use anyhow::Result;

use super::args;
use crate::archive::listing::{self, Listing, text};
use crate::archive::verified::Verified;
use crate::exit::{Exit, fault};
use crate::node::Node;
use crate::remote::rclone::Rclone;
use crate::sys::root::Root;
use crate::sys::terminal::output::Output;
use crate::sys::terminal::table::width;

pub(super) fn run(root: &Root, options: &args::List, verbose: bool) -> Result<Exit> {
    if options.all && options.from.is_some() {
        return Err(fault(Exit::Usage, "--all lists every machine, --from one", "leave one of them out"));
    }
    let settings = Node::open(root)?.settings;
    let remote = Rclone::beside(&settings.remote, "list");
    let machine_id = options.from.as_ref().unwrap_or(&settings.machine_id);
    let mut machines = if options.all {
        listing::all(&remote)?
    } else {
        listing::one(&remote, machine_id)?.into_iter().collect()
    };
    if machines.is_empty() {
        let place = if options.all { "" } else { machine_id };
        let what = format!("there is no backup in {}", settings.folder_of(place));
        return Err(fault(
            Exit::NotFound,
            what,
            "is RCLONE_ENDPOINT right? To list every machine there: sudo /opt/bin/etcd2-backup list --all",
        ));
    }
    for machine in &mut machines {
        let folder = settings.folder_of(&machine.machine_id);
        machine.add_verified(&Verified::load(&settings.backup_dir, &folder)?);
    }
    let listing = Listing { format: 1, machines };
    let mut out = Output::new(options.json);
    let printed = if options.json {
        out.json(&listing)
    } else {
        out.text(&text::render(&listing, options.points || verbose, width(&stdout())))
    };
    // Who closed our output has seen enough.
    if out.finish()? { printed.map(|()| Exit::Done) } else { Ok(Exit::Done) }
}
