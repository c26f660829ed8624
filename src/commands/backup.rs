//! `backup`: send what changed since the last one.

use std::time::Instant;

use anyhow::Result;

use crate::backup::outcome::Cycle;
use crate::backup::{cycle, summary};
use crate::exit::Exit;
use crate::node::running::place;
use crate::node::running::surroundings::Here;
use crate::settings::Settings;
use crate::sys::root::Root;

pub(super) fn run(root: &Root) -> Result<Exit> {
    let started = Instant::now();
    let mut settings = Settings::load(root)?;
    let doubt = place::settle(root, &mut settings)?;
    let mut done = Cycle::default();
    let ended = cycle::run(&Here(root), root, &settings, doubt.as_ref(), &mut done);
    summary::finish(&settings, &done, started, &ended);
    ended
}
