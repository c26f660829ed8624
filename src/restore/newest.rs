//! How far a cluster is known to have come, where an older state of it is restored: what was written meanwhile was seen by
//! clients, and the revision of the v3 store has to move beyond it ([`bump`](crate::etcd::v3::bump)). Each entry moves the revision by
//! one at most, so the indexes say enough.

use anyhow::Result;

use super::source::Source;
use crate::archive::catalog;
use crate::archive::chain::Generation;
use crate::archive::lineage::{self, Parent};
use crate::etcd::v3::base::Base as V3Base;
use crate::remote::Remote;

/// Notes how far the generations of a folder say that the source's cluster came.
///
/// # Errors
/// The remote could not be asked.
pub fn of_folder(remote: &dyn Remote, folder: &str, all: &[Generation], source: &mut Source) -> Result<()> {
    let Some(applied) = source.contents.v3.as_ref().map(V3Base::applied) else { return Ok(()) };
    let mut parents = source.parent.clone().into_iter().collect::<Vec<_>>();
    if lineage::is_mixed(all) {
        let bases: Vec<_> = all.iter().filter_map(|g| catalog::Wanted::base(g, "")).collect();
        parents.extend(
            catalog::heads(remote, folder, &bases)?.into_iter().flatten().filter_map(|head| head.parent),
        );
    }
    let ends =
        all.iter().filter_map(|g| Some((g.name.cluster_id, g.last()?))).map(|(id, part)| (id, part.last));
    source.came_to(among(ends, &parents, source.contents.metadata.cluster_id, applied));
    Ok(())
}

/// Notes how far this node's own disk came, if it is of the same history.
pub fn of_disk(own: &Source, source: &mut Source) {
    let Some(applied) = source.contents.v3.as_ref().map(V3Base::applied) else { return };
    let parents: Vec<Parent> = own.parent.iter().chain(&source.parent).cloned().collect();
    let end = (own.contents.metadata.cluster_id, own.contents.last().index);
    source.came_to(among([end].into_iter(), &parents, source.contents.metadata.cluster_id, applied));
}

/// The highest of these ends of clusters as the cluster of a source counts, whose v3 store has the entries up to `applied`; 0 if none is
/// of its history.
///
/// Clusters of one history count on from the same entries. Where another one left them before `applied`, all behind that place may have
/// moved its revision: it counts from there.
fn among(ends: impl Iterator<Item = (u64, u64)>, parents: &[Parent], cluster: u64, applied: u64) -> u64 {
    let own = lineage::ancestry(cluster, parents);
    let is_related = |other: u64| lineage::ancestry(other, parents).iter().any(|id| own.contains(id));
    let left =
        parents.iter().filter(|parent| is_related(parent.for_cluster)).map(|parent| parent.index).min();
    let more = left.map_or(0, |left| applied.saturating_sub(left));
    let counted = ends.filter(|(id, _)| is_related(*id));
    counted.map(|(id, last)| if id == cluster { last } else { last.saturating_add(more) }).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(for_cluster: u64, cluster_id: u64, index: u64) -> Parent {
        Parent {
            for_cluster,
            cluster_id,
            generation: 1,
            index,
            token: String::new(),
            before: Vec::new(),
            instead_of: Vec::new(),
        }
    }

    #[test]
    fn all_of_one_history_count_and_nothing_else() {
        let (a, b, c) = (0xa, 0xb, 0xc);
        let b_of_a = || vec![parent(b, a, 60)];
        type Case<'a> = (&'a [(u64, u64)], Vec<Parent>, u64, u64, u64);
        let table: [Case<'_>; 10] = [
            (&[], vec![], a, 10, 0),
            (&[(a, 50), (a, 90), (a, 70)], vec![], a, 10, 90),
            // Nobody says that they are of one history.
            (&[(a, 50), (b, 900)], vec![], a, 10, 50),
            (&[(a, 50), (b, 900)], vec![parent(b, c, 5)], a, 10, 50),
            // The restored cluster went on, however old the state is that is restored now.
            (&[(a, 90), (b, 900)], b_of_a(), a, 10, 900),
            (&[(a, 900), (b, 90)], b_of_a(), b, 60, 900),
            // What is restored now was written after the other one had gone its own way.
            (&[(a, 90), (b, 900)], b_of_a(), a, 70, 910),
            (&[(a, 900), (b, 300)], b_of_a(), b, 200, 1040),
            // In two steps, and two of one.
            (&[(a, 90), (c, 900)], vec![parent(b, a, 60), parent(c, b, 100)], a, 10, 900),
            (&[(b, 90), (c, 900)], vec![parent(b, a, 60), parent(c, a, 60)], b, 10, 900),
        ];
        for (ends, parents, cluster, applied, expected) in table {
            let found = among(ends.iter().copied(), &parents, cluster, applied);
            assert_eq!(found, expected, "{ends:?} {parents:?} {cluster:x} {applied}");
        }
    }
}
