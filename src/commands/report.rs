//! `report`: what `recover` asks each node first.

use anyhow::Result;

use super::args;
use crate::exit::Exit;
use crate::fleet::gather;
use crate::remote::rclone::Rclone;
use crate::settings::Settings;
use crate::settings::our_units::TIMER;
use crate::sys::root::Root;
use crate::sys::terminal;

pub(super) fn run(root: &Root) -> Result<Exit> {
    let settings = Settings::load(root)?;
    let remote = Rclone::beside(&settings, root, "report");
    let report = gather::report(root, &settings, &remote, TIMER, args::version())?;
    Ok(terminal::print(&serde_json::to_string(&report)?))
}
