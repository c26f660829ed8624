//! The namespaces and cables: a bridge in one namespace, a node in each of the others; nothing is routed out.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use etcd2_backup::sys::command::CommandRunExt;

use super::place::{HOST_ADDRESS, Lab};

const LIMIT: Duration = Duration::from_secs(30);

/// Makes the network of a lab with `count` nodes.
///
/// # Errors
/// The kernel does not let us, or something of it is there already.
pub(super) fn make(lab: &Lab, count: u8) -> Result<()> {
    let bridge = lab.namespace();
    ip(&["netns", "add", &bridge])?;
    ip(&["-n", &bridge, "link", "set", "lo", "up"])?;
    ip(&["-n", &bridge, "link", "add", "br0", "type", "bridge"])?;
    ip(&["-n", &bridge, "addr", "add", &format!("{HOST_ADDRESS}/24"), "dev", "br0"])?;
    ip(&["-n", &bridge, "link", "set", "br0", "up"])?;
    for node in lab.nodes(count) {
        let (own, cable) = (lab.node_namespace(node), format!("v-{node}"));
        ip(&["netns", "add", &own])?;
        let link =
            ["link", "add", &cable, "netns", &bridge, "type", "veth", "peer", "name", "eth0", "netns", &own];
        ip(&link)?;
        ip(&["-n", &bridge, "link", "set", &cable, "master", "br0", "up"])?;
        ip(&["-n", &own, "addr", "add", &format!("{}/24", node.address()), "dev", "eth0"])?;
        ip(&["-n", &own, "link", "set", "eth0", "up"])?;
        ip(&["-n", &own, "link", "set", "lo", "up"])?;
    }
    Ok(())
}

/// Removes whatever there is of it.
///
/// # Errors
/// A namespace cannot be removed.
pub(super) fn remove(lab: &Lab) -> Result<()> {
    for name in namespaces(lab)? {
        ip(&["netns", "delete", &name])?;
    }
    Ok(())
}

/// The process IDs of everything that runs in the lab's namespaces, or in the one namespace named.
///
/// # Errors
/// `ip` cannot be run.
pub(super) fn processes(lab: &Lab, only: Option<&str>) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    for name in namespaces(lab)?.iter().filter(|n| only.is_none_or(|o| o == *n)) {
        let text = Command::new("ip").args(["netns", "pids", name]).run_ok(LIMIT)?.text();
        pids.extend(text.lines().filter_map(|line| line.trim().parse::<i32>().ok()));
    }
    Ok(pids)
}

/// Kills what runs beside the nodes: a scenario's leftovers and its remotes.
///
/// # Errors
/// `ip` cannot be run.
pub(super) fn kill_inside(lab: &Lab) -> Result<()> {
    let pids = processes(lab, Some(&lab.namespace()))?;
    if !pids.is_empty() {
        // One that ended in between makes kill fail, which does not matter.
        let _ =
            Command::new("kill").arg("-9").args(pids.iter().map(ToString::to_string)).run_limited(&[], LIMIT);
    }
    Ok(())
}

/// The lab's namespaces that exist.
fn namespaces(lab: &Lab) -> Result<Vec<String>> {
    let entries = match fs::read_dir("/run/netns") {
        Ok(entries) => entries,
        // Nobody ever made one on this host.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).context("reading /run/netns"),
    };
    let names = entries.flatten().filter_map(|e| e.file_name().into_string().ok());
    Ok(names.filter(|name| belongs(name, &lab.namespace())).collect())
}

/// The bridge's namespace or one of a node: `lab` must not take down `lab2`.
fn belongs(name: &str, bridge: &str) -> bool {
    name.strip_prefix(bridge).is_some_and(|rest| rest.is_empty() || rest.starts_with("-e"))
}

fn ip(arguments: &[&str]) -> Result<()> {
    let done = Command::new("ip").args(arguments).run_ok(LIMIT);
    done.map(drop).with_context(|| format!("running ip {}", arguments.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_owns_its_own_namespaces_only() {
        for (name, own) in [
            ("etcd2lab-lab", true),
            ("etcd2lab-lab-e1", true),
            ("etcd2lab-lab2", false),
            ("etcd2lab-lab2-e1", false),
            ("lab", false),
        ] {
            assert_eq!(belongs(name, "etcd2lab-lab"), own, "{name}");
        }
    }
}
