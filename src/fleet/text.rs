//! The nodes and the plan for people.

use super::report::{About, Doubt, Found, Report};
use super::way::{Node, Take, Way};
use crate::archive::lineage::RecordedMember;
use crate::settings::urls;
use crate::sys::terminal::table::{Column, table};
use crate::sys::terminal::wrap::paragraph;

const COLUMNS: [Column; 6] = [
    Column::prose("node"),
    Column::left("etcd"),
    Column::left("data"),
    Column::right("index"),
    Column::right("term"),
    Column::left("cluster"),
];

/// The nodes and the plan for people, in lines of `width`.
pub fn render(nodes: &[Node], way: &Way, one_by_one: bool, width: usize) -> String {
    let rows: Vec<Vec<String>> = nodes.iter().flat_map(rows).collect();
    let lines = nodes.iter().flat_map(doubts).chain(lines(nodes, way, one_by_one));
    table(&COLUMNS, &rows, width) + &lines.map(|line| paragraph(&line, width)).collect::<String>()
}

/// The plan, and what speaks against it.
pub(super) fn lines(nodes: &[Node], way: &Way, one_by_one: bool) -> Vec<String> {
    let mut lines = Vec::new();
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

/// What a node has on its disk and in the remote.
fn rows(node: &Node) -> [Vec<String>; 2] {
    let Report { name, running, healthy, disk, archive, .. } = &node.report;
    let asked = node.report.unasked(About::Health).is_none();
    let etcd = match (running, healthy) {
        (_, false) if !asked => "not known",
        (_, true) => "healthy",
        (true, false) => "no quorum",
        (false, false) => "stopped",
    };
    let row = |label: String, etcd: &str, data: &str, found: &Option<Found>, about: About| {
        let (index, term, cluster) = match found {
            Some(f) => (f.index.to_string(), f.term.to_string(), format!("{:x}", f.cluster_id)),
            None if node.report.unasked(about).is_some() => ("-".into(), "-".into(), "not known".into()),
            None => ("-".into(), "-".into(), "nothing".into()),
        };
        vec![label, etcd.to_owned(), data.to_owned(), index, term, cluster]
    };
    [
        row(format!("{} ({name})", node.target), etcd, "disk", disk, About::Disk),
        row(String::new(), "", "archive", archive, About::Archive),
    ]
}

fn doubts(node: &Node) -> impl Iterator<Item = String> {
    let line = |Doubt { about, why, .. }: &Doubt| {
        format!("{} ({}): warning: {}: {why}", node.target, node.report.name, about.describe())
    };
    node.report.doubts.iter().map(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::proto::LogPosition;

    #[test]
    fn a_node_has_a_row_for_its_disk_and_one_for_its_backup() {
        let report = |name: &str, disk: Option<(u64, u64)>| -> Report {
            let found = |(index, term)| {
                serde_json::json!({
                    "cluster_id": 0xcdf8_1819_4e3a_8c32_u64, "member_id": 2, "generation": 1, "index": index,
                    "term": term, "parents": [], "members": [], "v3": false,
                })
            };
            let doubt =
                serde_json::json!({"about": "Archive", "why": "no route", "code": 13, "unasked": true});
            let doubts = if disk.is_none() { vec![doubt] } else { Vec::new() };
            let value = serde_json::json!({
                "protocol": 3, "program": "x", "time": 0, "machine_id": "0".repeat(32), "name": name,
                "peer_urls": [], "founder_urls": [], "endpoint": "r:b", "etcd_unit": "etcd2.service",
                "restore_dir": "/r", "timer": false, "running": disk.is_none(), "healthy": false,
                "disk": disk.map(found), "archive": null, "doubts": doubts, "record": null, "bootstrap": null,
            });
            serde_json::from_value(value).unwrap()
        };
        let node = |target: &str, report| Node { target: target.into(), report };
        let nodes = [node("core@e1", report("e1", Some((6958, 2)))), node("core@e2", report("e2", None))];
        let machine_id = "0123456789abcdef0123456789abcdef".to_owned();
        let take = Take::Archive { machine_id, generation: 12 };
        let way = Way::Begin { first: 0, take, end: LogPosition { index: 6958, term: 2 } };
        let said = render(&nodes, &way, false, 80);
        let want = "\
node          etcd       data     index  term  cluster
core@e1 (e1)  stopped    disk      6958     2  cdf818194e3a8c32
                         archive      -     -  nothing
core@e2 (e2)  no quorum  disk         -     -  nothing
                         archive      -     -  not known
core@e2 (e2): warning: the archive: no route
plan: core@e1 makes a new cluster from generation 12 of
    0123456789abcdef0123456789abcdef, up to index 6958 of term 2
";
        assert!(said.starts_with(want), "{said}");
        assert!(said.lines().all(|line| line.len() <= 80), "{said}");
    }
}
