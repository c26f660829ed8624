//! `report`: what `recover` asks each node first.

use anyhow::Result;

use super::args;
use crate::exit::Exit;
use crate::fleet::gather;
use crate::node::Node;
use crate::remote::rclone::Rclone;
use crate::settings::our_units::TIMER;
use crate::sys::root::Root;
use crate::sys::terminal;

pub(super) fn run(root: &Root) -> Result<Exit> {
    let node = Node::open(root)?;
    let remote = Rclone::beside(&node.settings.remote, "report");
    let report = gather::report(&node, &remote, TIMER, args::version())?;
    Ok(terminal::print(&serde_json::to_string(&report)?))
}
