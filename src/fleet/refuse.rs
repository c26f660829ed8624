//! What keeps a recovery of these nodes from being begun, from their reports alone. Pure.

use std::time::Duration;

use anyhow::Result;

use super::report::{About, Doubt};
use super::way::{Node, Way, Wish};
use crate::exit::{Exit, fault};
use crate::settings::urls;
use crate::sys::terminal::table::span;

/// Clocks that differ by more, in seconds, make moments and lifetimes wrong.
const CLOCK_SLACK: u64 = 3600;

/// Two nodes that are one, or settings that do not belong together.
///
/// # Errors
/// [`Exit::Refused`].
pub fn strange(nodes: &[Node]) -> Result<()> {
    let hint = "each node is named once, with its own machine ID, name and peer URLs";
    for (at, node) in nodes.iter().enumerate() {
        let one = &node.report;
        for earlier in &nodes[..at] {
            let other = &earlier.report;
            let same_url = urls::share_a_place(&one.peer_urls, &other.peer_urls);
            let same = [
                (one.machine_id == other.machine_id, "machine ID", &one.machine_id),
                (one.name == other.name, "member name", &one.name),
                (same_url, "peer URL", one.peer_urls.first().unwrap_or(&one.name)),
            ];
            if let Some((_, what, value)) = same.into_iter().find(|(same, ..)| *same) {
                let what = format!("{} and {} have the same {what}: {value}", earlier.target, node.target);
                return Err(fault(Exit::Refused, what, hint));
            }
            if one.endpoint != other.endpoint {
                let what = format!(
                    "{} backs up to {}, {} to {}",
                    earlier.target, other.endpoint, node.target, one.endpoint
                );
                return Err(fault(Exit::Refused, what, "install the same tarball on all nodes"));
            }
            if one.time.abs_diff(other.time) > CLOCK_SLACK {
                let apart = span(Duration::from_secs(one.time.abs_diff(other.time)));
                let what = format!("the clocks of {} and {} are {apart} apart", earlier.target, node.target);
                return Err(fault(
                    Exit::Refused,
                    what,
                    "set them (timedatectl): recover also compares times to find the newest data",
                ));
            }
        }
    }
    Ok(())
}

/// An etcd that makes a cluster of its own out of whatever it finds, or does not start at all.
///
/// # Errors
/// [`Exit::Refused`].
pub fn bootstrap(nodes: &[Node], way: &Way) -> Result<()> {
    let all: Vec<usize> = match way {
        Way::Nothing => return Ok(()),
        Way::Begin { .. } => (0..nodes.len()).collect(),
        Way::GoOn { left, .. } | Way::Join { left, .. } => left.clone(),
    };
    let found = |n: usize| Some((&nodes[n], nodes[n].report.bootstrap.as_ref()?));
    let found: Vec<_> = all.into_iter().filter_map(found).collect();
    let Some((first, _)) = found.first() else { return Ok(()) };
    let list: Vec<String> = found.iter().map(|(node, what)| format!("{}: {what}", node.target)).collect();
    let unit = &first.report.etcd_unit;
    let hint = format!(
        "take it out of {unit} there (systemctl cat {unit}), or of what that starts, and run `sudo systemctl daemon-reload`; \
         then run recover again"
    );
    Err(fault(Exit::Refused, list.join("; "), hint))
}

/// What lives must not be stopped.
///
/// # Errors
/// Of the code that it had on the node.
pub fn unknown_health(nodes: &[Node]) -> Result<()> {
    let doubt = |node: &Node| node.report.unasked(About::Health).cloned();
    let Some((node, doubt)) = nodes.iter().find_map(|node| Some((node, doubt(node)?))) else {
        return Ok(());
    };
    let what = format!("could not determine whether etcd on {} has a quorum: {}", node.target, doubt.why);
    let hint = "fix that there, or stop etcd there if its cluster is certainly lost; then run recover again";
    Err(fault(Exit::of_code(doubt.code.into()), what, hint))
}

/// Data that nobody could look at may be the freshest. What a node has in the remote, its disk has too.
///
/// # Errors
/// Of the code that it had on the node.
pub fn unknown_data(nodes: &[Node], wish: Wish) -> Result<()> {
    let unknown = |node: &Node| {
        let archive = node.report.unasked(About::Archive).filter(|_| node.report.disk.is_none());
        node.report.unasked(About::Disk).or(archive).cloned()
    };
    let asked = (0..nodes.len()).filter(|n| wish.source.is_none_or(|source| source == *n));
    let doubts: Vec<(&Node, Doubt)> = asked.filter_map(|n| Some((&nodes[n], unknown(&nodes[n])?))).collect();
    let Some((_, first)) = doubts.first() else { return Ok(()) };
    let list: Vec<String> = doubts
        .iter()
        .map(|(node, Doubt { about, why, .. })| format!("{}: {}: {why}", node.target, about.describe()))
        .collect();
    let what = format!("could not determine which data is the freshest: {}", list.join("; "));
    let hint = "fix that and run recover again; or name the node whose data to use in any case: --source \
                NODE";
    Err(fault(Exit::of_code(first.code.into()), what, hint))
}
