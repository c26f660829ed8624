//! What a kept generation needs of others. Each can be restored by itself; but which cluster continues which is said
//! by some of them only, and without that a restore refuses to guess.

use super::Seen;
use crate::archive::lineage::Parent;

/// One more generation that has to be kept, and why; `None` when nothing is missing.
pub(super) fn next(all: &[Seen<'_>], reasons: &[Result<String, String>]) -> Option<(usize, String)> {
    let kept = |at: usize| reasons[at].is_ok();
    let clusters: Vec<u64> = (0..all.len()).filter(|&at| kept(at)).map(|at| all[at].cluster()).collect();
    let newest = all.last()?.cluster();
    if clusters.iter().all(|&c| c == newest) {
        return None;
    }
    // Always the newest that says it, so that it does not depend on what is kept for other reasons.
    let missing = |found: Option<usize>| found.filter(|&at| !kept(at));
    for &cluster in &clusters {
        let states = |at: &usize| all[*at].cluster() == cluster && all[*at].parent().is_some();
        if let Some(at) = missing((0..all.len()).rev().find(states)) {
            return Some((at, format!("says what cluster {cluster:x} continues")));
        }
    }
    // The newest cluster's own note must go on leading to one that is there.
    let note = all.iter().rev().filter(|s| s.cluster() == newest).find_map(Seen::parent)?;
    let continued = |at: &usize| {
        let cluster = all[*at].cluster();
        cluster != newest && (note.cluster_id == cluster || note.before.contains(&cluster))
    };
    let at = missing((0..all.len()).rev().find(continued))?;
    Some((at, format!("cluster {newest:x} continues it")))
}

impl Seen<'_> {
    /// What its base says that its cluster continues.
    pub(super) fn parent(&self) -> Option<&Parent> {
        let base = self.entry.base.as_ref()?;
        base.parent.as_ref().filter(|p| p.for_cluster == self.cluster())
    }
}
