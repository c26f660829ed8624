//! `backup`: send what changed since the last one.

use std::time::Instant;

use anyhow::Result;

use crate::backup::outcome::Cycle;
use crate::backup::{cycle, summary};
use crate::exit::Exit;
use crate::node::Node;
use crate::node::running::place;
use crate::node::running::surroundings::Here;
use crate::sys::root::Root;

pub(super) fn run(root: &Root) -> Result<Exit> {
    let started = Instant::now();
    let mut node = Node::open(root)?;
    let doubt = place::settle(&mut node)?;
    let mut done = Cycle::default();
    let ended = cycle::run(&Here(root), &node, doubt.as_ref(), &mut done);
    summary::finish(&node.settings, &done, started, &ended);
    ended
}
