//! The nodes and the plan for people.

use super::report::{About, Doubt, Found, Report};
use super::way::{Node, Take, Way};
use crate::archive::lineage::RecordedMember;
use crate::settings::urls;

/// The plan for people, line by line.
pub fn lines(nodes: &[Node], way: &Way, one_by_one: bool) -> Vec<String> {
    let mut lines: Vec<String> = nodes.iter().flat_map(about).collect();
    let target = |n: usize| nodes[n].target.as_str();
    let list = |left: &[usize]| left.iter().map(|n| target(*n)).collect::<Vec<_>>().join(", ");
    match way {
        Way::Nothing => {
            lines.push("all nodes are healthy members of one cluster: there is nothing to recover".into());
        }
        Way::Begin { first, take, end } => {
            let data = match take {
                Take::Disk => "its own disk".to_owned(),
                Take::Archive { machine_id, generation } => {
                    format!("generation {generation} of {machine_id}")
                }
                Take::Past { machine_id, generation, .. } => {
                    format!("an earlier restore point of generation {generation} of {machine_id}")
                }
            };
            lines.push(format!(
                "plan: {} makes a new cluster from {data}, up to index {} of term {}",
                target(*first),
                end.index,
                end.term
            ));
            lines.extend(given_up(nodes, take));
            lines.extend(left_out(nodes, *first, take));
            let others: Vec<usize> = (0..nodes.len()).filter(|n| n != first).collect();
            lines.push(match one_by_one {
                true => format!("plan: these join it, one after the other: {}", list(&others)),
                false => {
                    format!("plan: these write the same data, and all start together: {}", list(&others))
                }
            });
            lines.push(
                "plan: etcd and the backups are stopped on all nodes first; every old data directory is kept"
                    .into(),
            );
        }
        Way::GoOn { record, left, .. } => {
            lines.push(format!(
                "plan: recovery {} was begun and is resumed, up to index {}",
                record.token, record.index
            ));
            lines.push(match left.is_empty() {
                true => "plan: all nodes have its data; etcd is started".into(),
                false => format!("plan: these write its data, and etcd is started: {}", list(left)),
            });
        }
        Way::Join { first, left } => {
            lines.push(format!(
                "plan: the cluster of {} is running; these join it: {}",
                target(*first),
                list(left)
            ));
        }
    }
    lines
}

/// A cluster that lives, where a point in the past is wanted.
fn given_up(nodes: &[Node], take: &Take) -> Option<String> {
    let healthy: Vec<&str> =
        nodes.iter().filter(|node| node.report.healthy).map(|node| node.target.as_str()).collect();
    (matches!(take, Take::Past { .. }) && !healthy.is_empty()).then(|| {
        format!(
            "plan: warning: etcd is healthy on {}: it is stopped, and what was written after that point is \
             given up",
            healthy.join(", ")
        )
    })
}

/// Members of the cluster whose data is taken that are none of the nodes, by the freshest member list of it.
fn left_out(nodes: &[Node], first: usize, take: &Take) -> Vec<String> {
    let source = match take {
        Take::Disk => nodes[first].report.disk.as_ref(),
        Take::Archive { machine_id, .. } | Take::Past { machine_id, .. } => {
            let owner = nodes.iter().find(|node| node.report.machine_id == *machine_id);
            owner.and_then(|node| node.report.archive.as_ref())
        }
    };
    let of_it = |found: &&Found| source.is_none_or(|source| source.cluster_id == found.cluster_id);
    let disks = nodes.iter().filter_map(|node| Some((node, node.report.disk.as_ref()?)));
    let newest = disks.filter(|(_, disk)| of_it(disk)).max_by_key(|(_, disk)| disk.end());
    let Some((witness, disk)) = newest else { return Vec::new() };
    let is_named = |member: &RecordedMember| {
        nodes.iter().any(|node| urls::share_a_place(&node.report.peer_urls, &member.peer_urls))
    };
    let others = disk.members.iter().filter(|member| !is_named(member));
    let line = |member: &RecordedMember| {
        format!(
            "plan: warning: {} ({}) is a member in the WAL of {}, but is not one of these nodes: it will \
             not be in the new cluster. If it is still running, name it too, or stop etcd there; it can \
             join later",
            if member.name.is_empty() { "a member" } else { &member.name },
            member.peer_urls.join(","),
            witness.target
        )
    };
    others.map(line).collect()
}

fn about(node: &Node) -> Vec<String> {
    let Report { name, running, healthy, disk, archive, doubts, .. } = &node.report;
    let asked = node.report.unasked(About::Health).is_none();
    let state = match (running, healthy) {
        (_, false) if !asked => "the health of etcd is not known",
        (_, true) => "etcd is healthy",
        (true, false) => "etcd runs without a quorum",
        (false, false) => "etcd is stopped",
    };
    let found = |found: &Option<Found>, about: About| match found {
        None if node.report.unasked(about).is_some() => "not known".to_owned(),
        None => "nothing".to_owned(),
        Some(f) => format!("index {} of term {}, cluster {:x}", f.index, f.term, f.cluster_id),
    };
    let mut lines = vec![format!(
        "{} ({name}): {state}; disk: {}; archive: {}",
        node.target,
        found(disk, About::Disk),
        found(archive, About::Archive)
    )];
    let doubt = |Doubt { about, why, .. }: &Doubt| {
        format!("{} ({name}): warning: {}: {why}", node.target, about.describe())
    };
    lines.extend(doubts.iter().map(doubt));
    lines
}
