//! Whether the folder is as this node left it: what was sent is there, nobody else writes there. Pure; [`super::arrival`] looks.
//!
//! What was sent is there by rclone's word alone until it was seen. It is looked for where that word is worth the least: behind
//! the first part of a generation, and behind the first one that goes another way. Before a part goes another way, all of the
//! generation must be found there: a part without its base is none. And every [`PARTS`] parts, as folders are emptied. Whatever
//! is found, a new generation keeps this node's data whole, and apart.

use super::state::{Seen, State};
use crate::archive::chain;
use crate::archive::names::{GenerationName, PartName};
use crate::archive::part::prefix;
use crate::remote::Object;
use crate::remote::route::Route;
use crate::sys::terminal::table::count;

/// So many parts are sent between two looks: at 30 s each, 10 minutes.
const PARTS: u64 = 20;
/// A new token in an encrypted rclone.conf looks like another remote, and comes each hour.
const SEALED: u64 = 3600;

/// What is not as it was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was seen.
    pub what: String,
    /// What it means, and what to do.
    pub next: &'static str,
    /// Whether it is somebody else's: two machines that look at the same moment must not take the same number.
    pub other_writer: bool,
}

const TWO_MACHINES: &str = "two machines write to this directory, or another directory was copied into it, \
                            and a restore cannot tell whose data is meant. Give one of the machines another \
                            ID: sudo rm /etc/machine-id; sudo systemd-machine-id-setup; sudo reboot";
const GONE: &str = "restore points of that generation are lost. Does a rule of the bucket, or somebody, \
                    remove or truncate objects, or do backups go elsewhere now?";

/// How much must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// What was sent when it was last looked: what came since may be missing, as a listing may lag behind.
    LastLook,
    /// All that was sent. What is late may be asked for again.
    All,
}

/// Why a look fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// No later look will find otherwise.
    Found(Finding),
    /// An object is not there, or not whole, and may be so a little later.
    Late {
        /// Its path, and in what way it is not.
        what: String,
        /// What that means in the end. `None`: it is still here, and can be sent again.
        finding: Option<Finding>,
    },
}

/// What must be there before anything is sent; `None`: the folder need not be looked at.
pub fn due(state: &State, route: &Route, now: u64) -> Option<Demand> {
    if state.given_up.is_some() || state.last_sent().is_none() {
        return None;
    }
    let other_way = state.seen.as_ref().is_none_or(|seen| goes_another_way(seen, route, now));
    let many = state.pending.is_none() && state.sequence >= state.checked.sequence + PARTS;
    if other_way { Some(Demand::All) } else { many.then_some(Demand::LastLook) }
}

fn goes_another_way(seen: &Seen, route: &Route, now: u64) -> bool {
    // A clock that was set back says nothing.
    let long_ago = now.checked_sub(seen.clock).is_none_or(|age| age >= SEALED);
    seen.route.is_other(route) || (seen.route.sealed != route.sealed && long_ago)
}

/// Whether the last part has to be seen in the folder before it counts as sent.
pub fn must_arrive(state: &State) -> bool {
    !state.seen.as_ref().is_some_and(|seen| seen.arrived)
}

/// Looks, also for what is on its way: the objects that were just sent.
///
/// # Errors
/// What is not as it was left.
pub fn look(objects: &[Object], state: &State, on_its_way: &[Object], demand: Demand) -> Result<(), Trouble> {
    let own = state.generation_name();
    let two = |what| Err(Trouble::Found(Finding { what, next: TWO_MACHINES, other_writer: true }));
    if let Some(part) = foreign_part(objects, own, state) {
        return two(format!("{own}/{part} is not from this node"));
    }
    let generations = chain::generations(objects);
    let names = generations.iter().map(|g| g.name);
    if let Some(other) = names.filter(|g| g.number >= own.number && *g != own).max() {
        return two(format!("the generation {other} is not from this node, which writes {own}"));
    }
    let parts = generations.into_iter().find(|g| g.name == own).map(|g| g.parts).unwrap_or_default();
    let next = parts.len() as u64;
    let Some(last) = state.last_sent() else {
        arrived(objects, on_its_way)?;
        return with_pieces(state, own, parts.is_empty());
    };
    let gone = || Finding {
        what: format!("part {next} of generation {own} is missing or truncated in the remote"),
        next: GONE,
        other_writer: false,
    };
    let seen = (state.checked.sequence, prefix(&state.checked.link));
    if !parts.iter().any(|p| (p.sequence, p.link) == seen) {
        return Err(Trouble::Found(gone()));
    }
    if demand == Demand::All && next <= last {
        let finding = gone();
        return Err(Trouble::Late { what: finding.what.clone(), finding: Some(finding) });
    }
    arrived(objects, on_its_way)
}

fn arrived(objects: &[Object], on_its_way: &[Object]) -> Result<(), Trouble> {
    let Some(late) = on_its_way.iter().find(|sent| !objects.contains(sent)) else { return Ok(()) };
    let there = objects.iter().find(|o| o.path == late.path).map(|o| o.size);
    let what = match there {
        None => format!("{} is not there", late.path),
        Some(Object::UNKNOWN_SIZE) => format!("the size of {} there is unknown", late.path),
        Some(size) => format!("{} has {} there, not {}", late.path, count(size, "byte", "bytes"), late.size),
    };
    Err(Trouble::Late { what, finding: None })
}

/// A base is there with all pieces of its v3 store, or it is none.
fn with_pieces(state: &State, own: GenerationName, none: bool) -> Result<(), Trouble> {
    if !none || state.v3_base.is_none() {
        return Ok(());
    }
    let what = format!("not all pieces of the v3 store of generation {own} are in the remote");
    let finding = Some(Finding { what: what.clone(), next: GONE, other_writer: false });
    Err(Trouble::Late { what, finding })
}

/// A part in this node's generation that cannot be its own: behind its last one, or another one of the same sequence.
fn foreign_part(objects: &[Object], own: GenerationName, state: &State) -> Option<PartName> {
    let last = (state.sequence, prefix(&state.link));
    let in_own = |o: &Object| {
        let (folder, file) = o.path.split_once('/')?;
        (GenerationName::parse(folder) == Some(own)).then(|| PartName::parse(file)).flatten()
    };
    let mut parts: Vec<PartName> = objects.iter().filter_map(in_own).collect();
    parts.sort_unstable();
    let doubled = parts.windows(2).find(|p| p[0].sequence == p[1].sequence).map(|p| p[1]);
    doubled.or_else(|| parts.into_iter().find(|p| p.sequence >= last.0 && (p.sequence, p.link) != last))
}

#[cfg(test)]
mod tests;
