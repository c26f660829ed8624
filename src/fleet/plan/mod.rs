//! What is to be done, from what the nodes say. It remembers nothing: asked again after anything went wrong, it goes on from
//! what is there. Pure.

use anyhow::Result;

use super::refuse;
use super::report::{Found, Report};
use super::way::{Node, Take, Way, Wish};
use crate::archive::lineage::{Record, RecordedMember};
use crate::exit::{Exit, fault};
use crate::restore::candidates::rank::{Known, judge};
use crate::restore::candidates::{Kind, Source};
use crate::settings::urls;
use crate::sys::terminal::table::count;

/// What follows from the reports.
///
/// # Errors
/// [`Exit::Refused`] at the first doubt, [`Exit::NotFound`] where no node has anything to recover from. Where a node could
/// not find out what decides, that is no answer: the error has the code that it had there.
pub fn decide(nodes: &[Node], wish: Wish) -> Result<Way> {
    refuse::strange(nodes)?;
    let way = freshest_way(nodes, wish)?;
    refuse::bootstrap(nodes, &way)?;
    Ok(way)
}

fn freshest_way(nodes: &[Node], wish: Wish) -> Result<Way> {
    refuse::unknown_health(nodes)?;
    let healthy: Vec<usize> = (0..nodes.len()).filter(|n| nodes[*n].report.healthy).collect();
    if let [one, ..] = healthy[..] {
        let founder = configured_founder(nodes).filter(|founder| healthy.contains(founder));
        return heal(nodes, wish, founder.unwrap_or(one), &healthy);
    }
    refuse::unknown_data(nodes, wish)?;
    let best = best(nodes, wish)?;
    refuse_to_lose_v3(nodes, wish, &best)?;
    if let Some(record) = unfinished(nodes, &best).filter(|_| !wish.one_by_one) {
        return Ok(go_on(nodes, record, best.node));
    }
    let first = match best.is_disk {
        true => best.node,
        false => wish.founder.or_else(|| configured_founder(nodes)).unwrap_or(0),
    };
    let take = match best.is_disk {
        true => Take::Disk,
        false => {
            let machine_id = nodes[best.node].report.machine_id.clone();
            Take::Archive { machine_id, generation: best.found.generation }
        }
    };
    Ok(Way::Begin { first, take, end: best.found.end() })
}

/// A backup need not have what its member had in the v3 store.
fn refuse_to_lose_v3(nodes: &[Node], wish: Wish, best: &Candidate<'_>) -> Result<()> {
    if best.is_disk || best.found.v3 || wish.source.is_some() {
        return Ok(());
    }
    let of_node = |node: &Node| {
        let Report { disk, archive, .. } = &node.report;
        let has_v3 = |found: &Option<Found>| found.as_ref().is_some_and(|found| found.v3);
        let what = if has_v3(disk) { "disk" } else { "backup" };
        (has_v3(disk) || has_v3(archive)).then(|| (what, node.target.clone()))
    };
    let Some((what, target)) = nodes.iter().find_map(of_node) else { return Ok(()) };
    let what = format!(
        "the freshest data is {}, a backup without a v3 store, and the {what} of {target} has data in the v3 store",
        best.describe(nodes)
    );
    let hint = format!(
        "to use the data of {target}: --source {target}; to use the backup, without the v3 data, run this on the node that is to \
         be the founding member: sudo /opt/bin/etcd2-backup restore --from {} --generation {} --force",
        nodes[best.node].report.machine_id, best.found.generation
    );
    Err(fault(Exit::Refused, what, hint))
}

/// The node that the others name as the founding member.
pub fn configured_founder(nodes: &[Node]) -> Option<usize> {
    nodes.iter().position(|node| names_as_founder(&nodes[0].report, &node.report))
}

/// Whether `node` has `other` as the founding member.
pub fn names_as_founder(node: &Report, other: &Report) -> bool {
    urls::share_a_place(&node.founder_urls, &other.peer_urls)
}

/// etcd's `--initial-cluster` of these nodes.
pub fn initial_cluster(nodes: &[Node]) -> String {
    let pairs =
        nodes.iter().flat_map(|n| n.report.peer_urls.iter().map(|url| format!("{}={url}", n.report.name)));
    pairs.collect::<Vec<_>>().join(",")
}

/// A cluster lives that some nodes are in.
fn heal(nodes: &[Node], wish: Wish, first: usize, healthy: &[usize]) -> Result<Way> {
    let cluster = |n: usize| nodes[n].report.disk.as_ref().map(|disk| disk.cluster_id);
    if let Some(other) = healthy.iter().find(|n| cluster(**n) != cluster(first)) {
        let id = |n| cluster(n).unwrap_or(0);
        let what = format!(
            "{} serves as a member of cluster {:x}, {} of cluster {:x}",
            nodes[first].target,
            id(first),
            nodes[*other].target,
            id(*other)
        );
        let hint = "two founding members were restored: decide whose data counts, stop etcd on the other, \
                    then run recover again";
        return Err(fault(Exit::Refused, what, hint));
    }
    let left: Vec<usize> = (0..nodes.len()).filter(|n| !healthy.contains(n)).collect();
    if left.is_empty() {
        return Ok(Way::Nothing);
    }
    if wish.one_by_one {
        return Ok(Way::Join { first, left });
    }
    let record = nodes[first].report.record.as_ref();
    if let Some(record) = record.filter(|r| Some(r.cluster_id) == cluster(first) && is_of(r, nodes)) {
        return Ok(go_on(nodes, record, first));
    }
    let names: Vec<&str> = left.iter().map(|n| nodes[*n].target.as_str()).collect();
    let what = format!(
        "cluster {:x} still has a quorum (asked on {}): repair its failed members; recover is for a \
         cluster that lost it; not healthy: {}",
        cluster(first).unwrap_or(0),
        nodes[first].target,
        names.join(", ")
    );
    let hint =
        "start etcd there, or add --one-by-one, which removes the unhealthy members and lets them join again";
    Err(fault(Exit::Refused, what, hint))
}

pub(super) fn go_on(nodes: &[Node], record: &Record, first: usize) -> Way {
    // A disk's data is still on that disk alone; who was written from it has other bytes.
    let first = nodes.iter().position(|n| n.report.machine_id == record.machine_id).unwrap_or(first);
    let is_left = |n: &usize| {
        let own = own_of(record, &nodes[*n].report).map(|m| (record.cluster_id, m.id));
        nodes[*n].report.disk.as_ref().map(|disk| (disk.cluster_id, disk.member_id)) != own
    };
    let left = (0..nodes.len()).filter(is_left).collect();
    Way::GoOn { record: Box::new(record.clone()), first, left }
}

/// The recovery that made the newest data, if nobody can have written anything since: then what is left of it can be done
/// still. Once a quorum of its members had started, a member written from the same point would have forgotten what it
/// acknowledged. Behind what the restore itself appended only a leader writes, in a later term, on a disk or in a backup; and who
/// has lost both may have been one of them, so that a recovery of long ago is not carried on.
fn unfinished<'a>(nodes: &'a [Node], best: &Candidate<'_>) -> Option<&'a Record> {
    let record = nodes[best.node].report.record.as_ref()?;
    let is_of_it = best.is_disk && best.found.cluster_id == record.cluster_id;
    (is_of_it && is_of(record, nodes) && is_as_written(record, nodes)).then_some(record)
}

/// Whether nobody can have written anything behind what the restore of this record appended.
pub(super) fn is_as_written(record: &Record, nodes: &[Node]) -> bool {
    let of_it = |found: &&Found| found.cluster_id == record.cluster_id;
    let all = nodes.iter().flat_map(|n| [&n.report.disk, &n.report.archive]).flatten();
    let is_recent = |n: &Node| n.report.time.saturating_sub(record.time) <= Record::RECENT;
    nodes.iter().all(is_recent) && all.filter(of_it).all(|found| found.term <= record.appended_term)
}

/// Whether the record's members are these nodes, all of them.
pub(super) fn is_of(record: &Record, nodes: &[Node]) -> bool {
    record.members.len() == nodes.len() && nodes.iter().all(|n| own_of(record, &n.report).is_some())
}

pub(super) fn own_of<'a>(record: &'a Record, report: &Report) -> Option<&'a RecordedMember> {
    record.members.iter().find(|m| m.name == report.name && m.peer_urls == report.peer_urls)
}

/// Data one could begin with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) node: usize,
    pub(super) is_disk: bool,
    pub(super) found: &'a Found,
}

impl Candidate<'_> {
    pub(super) fn describe(&self, nodes: &[Node]) -> String {
        let Found { cluster_id, generation, index, term, .. } = self.found;
        let target = &nodes[self.node].target;
        match self.is_disk {
            true => format!("the disk of {target} (cluster {cluster_id:x}, index {index} of term {term})"),
            false => format!(
                "generation {generation} of {target} (cluster {cluster_id:x}, index {index} of term {term})"
            ),
        }
    }
}

/// The freshest data of the one lineage there is.
fn best<'a>(nodes: &'a [Node], wish: Wish) -> Result<Candidate<'a>> {
    let all = candidates(nodes, wish);
    let nothing = || {
        let hint = "is the remote reachable, and RCLONE_ENDPOINT right? To list what a node has, on that \
                    node: sudo /opt/bin/etcd2-backup sources";
        fault(Exit::NotFound, "no node has data on its disk or in the remote", hint)
    };
    let best = of_one_history(&all, nodes, "data", nothing)?;
    let Some(founder) = wish.founder else { return Ok(best) };
    let reachable: Vec<_> = all.into_iter().filter(|c| !c.is_disk || c.node == founder).collect();
    let less = match freshest(&reachable)[..] {
        [own] if own.found.end() == best.found.end() => return Ok(own),
        [own] => {
            let less = match best.found.index.checked_sub(own.found.index) {
                Some(entries @ 1..) => format!("{} fewer", count(entries, "entry", "entries")),
                // It has no fewer entries, but some that a new leader has replaced.
                _ => "of an earlier term".to_owned(),
            };
            format!("{}, {less}", own.describe(nodes))
        }
        _ => "nothing".to_owned(),
    };
    let target = |n: usize| &nodes[n].target;
    let what = format!("the freshest data is {}; {} has {less}", best.describe(nodes), target(founder));
    let hint = format!(
        "begin with the freshest: --founder {}; or choose the older data on purpose: --source NODE",
        target(best.node)
    );
    Err(fault(Exit::Refused, what, hint))
}

/// The freshest of these, where they are of one history; `what` they are, and what to say if there is none.
///
/// # Errors
/// [`Exit::Refused`] for two histories; `nothing`.
pub(super) fn of_one_history<'a>(
    all: &[Candidate<'a>],
    nodes: &[Node],
    what: &str,
    nothing: impl FnOnce() -> anyhow::Error,
) -> Result<Candidate<'a>> {
    match freshest(all)[..] {
        [best] => Ok(best),
        [] => Err(nothing()),
        [one, other, ..] => {
            let (one, other) = (one.describe(nodes), other.describe(nodes));
            let histories = format!("two histories, neither of which continues the other: {one}; {other}");
            let hint = format!("name the node whose {what} is meant: --source NODE");
            Err(fault(Exit::Refused, histories, hint))
        }
    }
}

/// All that may be taken. What is equal lies best on a disk, where nothing has to be fetched, and on that of the founding member.
pub(super) fn candidates(nodes: &[Node], wish: Wish) -> Vec<Candidate<'_>> {
    let of_node = |node: usize| {
        let report = &nodes[node].report;
        let found = [(true, &report.disk), (false, &report.archive)];
        found.map(|(is_disk, found)| found.as_ref().map(|found| Candidate { node, is_disk, found }))
    };
    let mut all: Vec<_> = (0..nodes.len()).flat_map(of_node).flatten().collect();
    all.retain(|c| wish.source.is_none_or(|source| source == c.node));
    let founder = wish.founder.or_else(|| configured_founder(nodes));
    all.sort_by_key(|c| (!c.is_disk, founder != Some(c.node), c.node));
    all
}

/// What may be meant of them: one, unless there are several histories. Of equal ones the first.
fn freshest<'a>(all: &[Candidate<'a>]) -> Vec<Candidate<'a>> {
    let source = |c: &Candidate<'_>| Source {
        cluster_id: Some(c.found.cluster_id),
        term: Some(c.found.term),
        index: Some(c.found.index),
        ..Source::nameless(if c.is_disk { Kind::DataDir } else { Kind::Archive }, String::new())
    };
    let mut sources: Vec<Source> = all.iter().map(source).collect();
    let parents = all.iter().flat_map(|c| c.found.parents.clone()).collect();
    let verdict = judge(&mut sources, &Known { parents, ..Known::default() });
    verdict.candidates.into_iter().map(|at| all[at]).collect()
}

#[cfg(test)]
pub(super) mod tests;
