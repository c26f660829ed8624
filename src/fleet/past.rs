//! Going back to a point in the past with all nodes, also where their cluster lives: that is meant to be given up. Pure.

use anyhow::Result;

use super::way::{Node, Take, Way, Wish};
use super::{plan, refuse};
use crate::archive::lineage::Record;
use crate::etcd::proto::LogPosition;
use crate::exit::{Exit, fault};

/// Who restores it, and out of whose folder: the one that was named, else that of the node whose backups go furthest.
///
/// # Errors
/// [`Exit::NotFound`] if no node has a backup, [`Exit::Refused`] for nodes that do not belong together or unrelated histories.
pub fn place(nodes: &[Node], wish: Wish, from: Option<&str>) -> Result<(usize, String)> {
    refuse::strange(nodes)?;
    let machine_id = match (from, wish.source) {
        (Some(machine_id), _) => machine_id.to_owned(),
        (None, Some(node)) => nodes[node].report.machine_id.clone(),
        (None, None) => {
            let mut all = plan::candidates(nodes, wish);
            all.retain(|candidate| !candidate.is_disk);
            let nothing = || {
                let hint = "name the machine whose backup is meant: --from MACHINE_ID; to list them, on a \
                            node: sudo /opt/bin/etcd2-backup list --all";
                fault(Exit::NotFound, "no node has a backup in the remote", hint)
            };
            let best = plan::of_one_history(&all, nodes, "backup", nothing)?;
            nodes[best.node].report.machine_id.clone()
        }
    };
    let owner = nodes.iter().position(|node| node.report.machine_id == machine_id);
    let first = wish.founder.or(owner).or_else(|| plan::configured_founder(nodes)).unwrap_or(0);
    Ok((first, machine_id))
}

/// What is to be done to go back to the point that `planned` describes; `first` restores it.
///
/// # Errors
/// [`Exit::Refused`] at the first doubt.
pub fn decide(nodes: &[Node], wish: Wish, first: usize, planned: &Record) -> Result<Way> {
    refuse::strange(nodes)?;
    let way = way(nodes, wish, first, planned);
    refuse::bootstrap(nodes, &way)?;
    Ok(way)
}

fn way(nodes: &[Node], wish: Wish, first: usize, planned: &Record) -> Way {
    let begin = || Way::Begin {
        first,
        take: Take::Past {
            machine_id: planned.machine_id.clone(),
            generation: planned.generation,
            index: planned.index,
        },
        end: LogPosition { index: planned.index, term: planned.term },
    };
    let made = |node: &Node| {
        let record = node.report.record.clone()?;
        let is_on_disk = node.report.disk.as_ref().is_some_and(|disk| disk.cluster_id == record.cluster_id);
        (is_on_disk && is_of_point(&record, planned)).then_some(record)
    };
    // The newest one, if it was made more than once.
    let Some(record) = nodes.iter().filter_map(made).max_by_key(|record| record.time) else { return begin() };
    let is_in =
        |node: &Node| node.report.disk.as_ref().is_some_and(|disk| disk.cluster_id == record.cluster_id);
    let serves = |node: &Node| node.report.healthy && is_in(node);
    if nodes.iter().all(serves) {
        return Way::Nothing;
    }
    if wish.one_by_one {
        let left = (0..nodes.len()).filter(|n| !serves(&nodes[*n])).collect();
        return if serves(&nodes[first]) { Way::Join { first, left } } else { begin() };
    }
    // What was written since is to be given up once more, unless a quorum of the new cluster serves already.
    let goes_on = nodes.iter().any(serves) || plan::is_as_written(&record, nodes);
    if plan::is_of(&record, nodes) && goes_on { plan::go_on(nodes, &record, first) } else { begin() }
}

/// Whether a recovery made its cluster of this very point.
fn is_of_point(record: &Record, planned: &Record) -> bool {
    let point = |r: &Record| (r.machine_id.clone(), r.generation, r.index, r.term, r.source_cluster_id);
    point(record) == point(planned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::exit_of;
    use crate::fleet::plan::tests::{NEW, OLD, found, nodes, record, recovered};

    fn planned(nodes: &[Node]) -> Record {
        Record { token: String::new(), cluster_id: 0, ..record(nodes) }
    }

    #[test]
    fn a_living_cluster_goes_back_and_a_run_that_was_cut_off_goes_on() {
        let wish = Wish::default();
        let mut all = nodes([(found(OLD, 90), None), (found(OLD, 90), None), (found(OLD, 90), None)]);
        all.iter_mut().for_each(|node| node.report.healthy = true);
        let planned = planned(&all);
        let take = Take::Past { machine_id: "m0".into(), generation: 0, index: 50 };
        let begin = Way::Begin { first: 1, take, end: LogPosition { index: 50, term: 2 } };
        assert_eq!(decide(&all, wish, 1, &planned).unwrap(), begin);
        // Another point was restored meanwhile.
        recovered(&mut all, &[0]);
        all[0].report.healthy = false;
        let other = Record { index: 49, ..planned.clone() };
        assert!(matches!(
            decide(&all, wish, 1, &other).unwrap(),
            Way::Begin { end: LogPosition { index: 49, term: 2 }, .. }
        ));
        // This one, on one node.
        let Way::GoOn { left, .. } = decide(&all, wish, 1, &planned).unwrap() else { panic!() };
        assert_eq!(left, [1, 2]);
        recovered(&mut all, &[0, 1, 2]);
        let Way::GoOn { left, .. } = decide(&all, wish, 1, &planned).unwrap() else { panic!() };
        assert!(left.is_empty());
        all.iter_mut().for_each(|node| node.report.healthy = true);
        assert_eq!(decide(&all, wish, 1, &planned).unwrap(), Way::Nothing);
        // It ran, and is dead now: what it took since is given up, too, as was asked for.
        all.iter_mut().for_each(|node| node.report.healthy = false);
        all[2].report.disk.as_mut().unwrap().term = 3;
        assert_eq!(decide(&all, wish, 1, &planned).unwrap(), begin);
        all[2].report.bootstrap = Some("etcd is given force-new-cluster".into());
        assert_eq!(exit_of(&decide(&all, wish, 1, &planned).unwrap_err()), Exit::Refused);
    }

    #[test]
    fn one_by_one_the_others_join_once_the_first_serves() {
        let wish = Wish { one_by_one: true, ..Wish::default() };
        let mut all = nodes([(found(OLD, 90), None), (found(OLD, 90), None), (found(OLD, 90), None)]);
        let planned = planned(&all);
        recovered(&mut all, &[1]);
        assert!(matches!(decide(&all, wish, 1, &planned).unwrap(), Way::Begin { .. }));
        all[1].report.healthy = true;
        assert_eq!(decide(&all, wish, 1, &planned).unwrap(), Way::Join { first: 1, left: vec![0, 2] });
    }

    #[test]
    fn the_folder_is_the_one_that_was_named_or_goes_furthest() {
        let wish = Wish::default();
        let all = nodes([(found(NEW, 99), found(OLD, 7)), (None, found(OLD, 8)), (None, None)]);
        assert_eq!(place(&all, wish, None).unwrap(), (1, "m1".into()));
        assert_eq!(place(&all, Wish { founder: Some(2), ..wish }, None).unwrap(), (2, "m1".into()));
        assert_eq!(place(&all, Wish { source: Some(0), ..wish }, None).unwrap(), (0, "m0".into()));
        assert_eq!(place(&all, wish, Some("m9")).unwrap(), (0, "m9".into()));
        let none = nodes([(found(OLD, 7), None), (None, None), (None, None)]);
        assert_eq!(exit_of(&place(&none, wish, None).unwrap_err()), Exit::NotFound);
    }
}
