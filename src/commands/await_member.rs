//! `await`: what `recover` runs on each node last, until etcd serves there.

use anyhow::Result;

use super::args;
use crate::exit::Exit;
use crate::fleet::serving::serving;
use crate::node::Node;
use crate::sys::root::Root;
use crate::sys::terminal;

pub(super) fn run(root: &Root, options: &args::Await) -> Result<Exit> {
    let settings = Node::open(root)?.settings;
    let serving = serving(&settings, options.cluster, options.index, options.wait)?;
    Ok(terminal::print(&serde_json::to_string(&serving)?))
}
