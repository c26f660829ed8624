//! What makes retention stop and ask: the newest data may be the wrong data, and then the old is all there is.

use super::Seen;
use super::accepted::Accepted;
use crate::archive::catalog::{self, Entry};
use crate::archive::chain::Generation;
use crate::archive::history;
use crate::archive::names::GenerationName;
use crate::sys::terminal::table::bytes;

/// What nobody has accepted yet, a line each.
pub(super) fn of(all: &[Seen<'_>], accepted: &Accepted) -> Vec<String> {
    let mut doubts = strangers(all, accepted);
    doubts.extend(lost(all, accepted));
    doubts.extend(shrunk(all, accepted));
    doubts
}

/// Clusters that came later and do not say what they continue: somebody copied a folder here, an empty cluster was
/// founded on this node, or it joined another cluster.
fn strangers(all: &[Seen<'_>], accepted: &Accepted) -> Vec<String> {
    let mut known = accepted.clusters.clone();
    known.extend(all.first().map(Seen::cluster));
    let mut doubts = Vec::new();
    for seen in all {
        let cluster = seen.cluster();
        if !known.contains(&cluster) {
            known.push(cluster);
            if !all.iter().any(|s| s.cluster() == cluster && s.parent().is_some()) {
                let number = seen.name().number;
                doubts.push(format!(
                    "generation {number} begins a new cluster, {cluster:x}, which does not say what it \
                     continues"
                ));
            }
        }
    }
    doubts
}

/// Members that began with an empty log again, under the IDs they had; and a newest generation that lacks what was committed.
fn lost(all: &[Seen<'_>], accepted: &Accepted) -> Vec<String> {
    let entries: Vec<Entry> = all.iter().map(|seen| seen.entry.clone()).collect();
    let (generations, committed) = catalog::judged(&entries);
    let is_new = |g: &&Generation| g.name.number > accepted.generation;
    let mut doubts: Vec<String> = Vec::new();
    let over = history::started_over(&generations, &committed);
    for g in over.iter().filter(|g| is_new(g)) {
        let (number, GenerationName { cluster_id, member_id, .. }) = (g.name.number, g.name);
        doubts.push(format!(
            "member {member_id:x} of cluster {cluster_id:x} started over with an empty log in generation {number}"
        ));
    }
    let newest = generations.last().filter(|newest| is_new(newest) && !over.contains(newest));
    let fuller = newest.and_then(|newest| Some((newest, history::fuller(&generations, newest, &committed)?)));
    doubts.extend(fuller.map(|(newest, fuller)| {
        let (new, old) = (newest.name.number, fuller.name.number);
        format!("generation {new}, the newest, lacks acknowledged writes that generation {old} has")
    }));
    doubts
}

/// Snapshots of half the size, or less, of the one before. Only where none is missing in between: what was removed there
/// made a slow change look like a sudden one.
fn shrunk(all: &[Seen<'_>], accepted: &Accepted) -> Vec<String> {
    let sized = |(at, seen): (usize, &Seen<'_>)| {
        let (_, size) = seen.entry.base.as_ref()?.snapshot.as_ref()?;
        Some((at as u64, seen.name().number, *size))
    };
    let sizes: Vec<(u64, u64, u64)> = all.iter().enumerate().filter_map(sized).collect();
    let pairs = sizes.windows(2).filter_map(|pair| {
        let ((at, before, old), (next, number, new)) = (pair[0], pair[1]);
        let neighbours = number - before <= next - at;
        (neighbours && new <= old / 2 && number > accepted.generation).then(|| {
            format!(
                "the store shrank: its snapshot has {} in generation {number}, {} in {before}",
                bytes(new),
                bytes(old)
            )
        })
    });
    pairs.collect()
}
