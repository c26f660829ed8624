//! Which source is the freshest. (Term, index) compares inside one cluster only; a cluster that was recovered from another one
//! comes behind that, however far the other one's disks go.

use super::{Kind, Source, Standing};
use crate::archive::lineage::{self, Parent, Record};

/// What of the sources a recovery should begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Their places in the list: one, if [`Verdict::is_clear`]; else what can be meant.
    pub candidates: Vec<usize>,
    /// Recoveries that go on from a candidate, and of whose data nothing is in sight.
    pub unseen: Vec<Record>,
    /// A cluster with a history that began anew, or went back, under the same IDs.
    pub doubtful: bool,
}

impl Verdict {
    /// Whether there is one source to begin with, and nothing speaks against it.
    pub fn is_clear(&self) -> bool {
        self.candidates.len() == 1 && self.unseen.is_empty() && !self.doubtful
    }
}

/// What says which cluster follows which.
#[derive(Debug, Default)]
pub struct Known {
    /// What bases, recovery records and this node's notes say.
    pub parents: Vec<Parent>,
    /// All recoveries.
    pub records: Vec<Record>,
    /// Clusters of which a member began with an empty log although it had a longer one before, or whose newest generation lacks
    /// what was committed.
    pub doubtful: Vec<u64>,
}

impl Known {
    fn is_given_up(&self, cluster: u64) -> bool {
        self.parents.iter().any(|parent| parent.instead_of.contains(&cluster))
    }
}

/// A cluster and those it continues.
struct Line {
    cluster: u64,
    ancestry: Vec<u64>,
    lineage: usize,
}

/// Judges them: fills in lineage, standing and what each lacks. Of equal ones the first is taken.
pub fn judge(sources: &mut [Source], known: &Known) -> Verdict {
    let lines = lines(sources, known);
    let mut verdict = Verdict { candidates: Vec::new(), unseen: Vec::new(), doubtful: false };
    let count = lines.iter().map(|line| line.lineage + 1).max().unwrap_or(0);
    let is_present = |lineage| {
        let of = |s: &Source| s.present && lines.iter().any(|l| l.lineage == lineage && s.is_of(l.cluster));
        sources.iter().any(of)
    };
    let present: Vec<bool> = (0..count).map(is_present).collect();
    for lineage in 0..count {
        let own: Vec<&Line> = lines.iter().filter(|line| line.lineage == lineage).collect();
        let ends = ends(&own, known);
        let doubtful = ends.iter().any(|end| known.doubtful.contains(end));
        let clear = ends.len() == 1 && !doubtful;
        let mut best = Vec::new();
        for line in own {
            let is_end = ends.contains(&line.cluster);
            best.extend(rank(sources, line, is_end, clear, doubtful));
        }
        // Where this machine's own data is of one lineage, that is the one that is meant.
        if present[lineage] || !present.contains(&true) {
            verdict.candidates.extend(best);
            verdict.doubtful |= doubtful;
            let unseen = known.records.iter().filter(|record| {
                ends.contains(&record.source_cluster_id) && !known.is_given_up(record.cluster_id)
            });
            verdict.unseen.extend(unseen.cloned());
        }
    }
    if count == 0 {
        let originals = || (0..sources.len()).filter(|&at| sources[at].kind == Kind::Original);
        verdict.candidates = originals().filter(|&at| sources[at].present).collect();
        if verdict.candidates.is_empty() {
            verdict.candidates = originals().collect();
        }
    }
    verdict
}

/// The clusters that there is data of, and which of them are of one history.
fn lines(sources: &[Source], known: &Known) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (cluster, _) in sources.iter().filter_map(Source::end) {
        if lines.iter().any(|line| line.cluster == cluster) {
            continue;
        }
        let ancestry = lineage::ancestry(cluster, &known.parents);
        let next = lines.iter().map(|line| line.lineage + 1).max().unwrap_or(0);
        let related = |line: &&Line| line.ancestry.iter().any(|id| ancestry.contains(id));
        let joined: Vec<usize> = lines.iter().filter(related).map(|line| line.lineage).collect();
        let lineage = joined.iter().min().copied().unwrap_or(next);
        for line in lines.iter_mut().filter(|line| joined.contains(&line.lineage)) {
            line.lineage = lineage;
        }
        lines.push(Line { cluster, ancestry, lineage });
    }
    lines
}

/// The clusters of a lineage that none of the others continues.
fn ends(lines: &[&Line], known: &Known) -> Vec<u64> {
    let alive = |line: &&&Line| !known.is_given_up(line.cluster);
    let is_end = |line: &&&Line| {
        let continues =
            |other: &&&Line| other.cluster != line.cluster && other.ancestry.contains(&line.cluster);
        !lines.iter().filter(alive).any(|other| continues(&other))
    };
    let ends: Vec<u64> = lines.iter().filter(alive).filter(is_end).map(|line| line.cluster).collect();
    // Each was given up for the other, or they go round in a circle: that is nobody's to guess.
    if ends.is_empty() { lines.iter().map(|line| line.cluster).collect() } else { ends }
}

/// Fills in what the sources of a cluster are worth; gives the places of those that may be meant.
fn rank(sources: &mut [Source], line: &Line, is_end: bool, clear: bool, doubtful: bool) -> Vec<usize> {
    let all: Vec<usize> = (0..sources.len()).filter(|&at| sources[at].is_of(line.cluster)).collect();
    let mut best = all[0];
    // What lacks a part of what the member had is no whole candidate, however far it goes.
    let worth = |source: &Source| (!source.lacks_v3, source.end());
    for &at in &all {
        if worth(&sources[at]) > worth(&sources[best]) {
            best = at;
        }
    }
    let Some((_, end)) = sources[best].end() else { return Vec::new() };
    for &at in &all {
        let source = &mut sources[at];
        source.lineage = Some(line.lineage + 1);
        source.behind = source.index.and_then(|own| end.index.checked_sub(own)).filter(|_| !doubtful);
        source.standing = match (is_end, doubtful) {
            (false, _) => Standing::Superseded,
            (true, true) => Standing::Unclear,
            (true, false) if at == best && clear && !source.lacks_v3 => Standing::Freshest,
            (true, false) if at == best => Standing::Unclear,
            (true, false) if !source.lacks_v3 && source.end() == Some((line.cluster, end)) => Standing::Equal,
            (true, false) => Standing::Older,
        };
    }
    match (is_end, doubtful) {
        (false, _) => Vec::new(),
        (true, true) => all,
        (true, false) => vec![best],
    }
}

impl Source {
    /// Whether it can be compared with others of this cluster.
    fn is_of(&self, cluster: u64) -> bool {
        self.end().is_some_and(|(own, _)| own == cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(cluster: u64, term: u64, index: u64) -> Source {
        Source {
            cluster_id: Some(cluster),
            term: Some(term),
            index: Some(index),
            ..Source::nameless(Kind::Archive, String::new())
        }
    }

    fn present(cluster: u64, term: u64, index: u64) -> Source {
        Source { present: true, ..source(cluster, term, index) }
    }

    fn parent(for_cluster: u64, cluster_id: u64, instead_of: &[u64]) -> Parent {
        Parent {
            for_cluster,
            cluster_id,
            generation: 0,
            index: 5,
            token: String::new(),
            before: Vec::new(),
            instead_of: instead_of.to_vec(),
        }
    }

    fn record(source_cluster_id: u64, cluster_id: u64) -> Record {
        Record {
            version: 1,
            token: "t".into(),
            time: 0,
            source: String::new(),
            machine_id: String::new(),
            generation: 1,
            source_cluster_id,
            index: 5,
            term: 1,
            source_hash: String::new(),
            appended_term: 2,
            backed_up: None,
            v3: None,
            cluster_id,
            members: Vec::new(),
        }
    }

    /// Standing, lineage and entries behind.
    fn told(sources: &[Source]) -> Vec<(Standing, Option<usize>, Option<u64>)> {
        sources.iter().map(|s| (s.standing, s.lineage, s.behind)).collect()
    }

    #[test]
    fn in_one_cluster_the_higher_term_is_newer_then_the_higher_index() {
        use Standing::{Equal, Freshest, Older};
        let table = [
            (
                vec![(2, 10), (2, 30), (2, 20)],
                vec![(Older, Some(20)), (Freshest, Some(0)), (Older, Some(10))],
            ),
            // Its entries behind 20 were never acknowledged, or the new leader would have them.
            (vec![(2, 90), (3, 20)], vec![(Older, None), (Freshest, Some(0))]),
            (vec![(2, 10), (2, 10)], vec![(Freshest, Some(0)), (Equal, Some(0))]),
        ];
        for (ends, expected) in table {
            let mut all: Vec<Source> = ends.iter().map(|&(term, index)| source(7, term, index)).collect();
            let verdict = judge(&mut all, &Known::default());
            let freshest = expected.iter().position(|(s, _)| *s == Freshest).unwrap();
            assert!(verdict.is_clear() && verdict.candidates == [freshest], "{ends:?} {verdict:?}");
            let expected: Vec<_> = expected.into_iter().map(|(s, behind)| (s, Some(1), behind)).collect();
            assert_eq!(told(&all), expected);
        }
    }

    #[test]
    fn what_lacks_the_v3_store_is_never_the_freshest() {
        use Standing::{Freshest, Older, Unclear};
        let lacking = |index| Source { lacks_v3: true, ..source(7, 2, index) };
        for (mut all, expected, candidate) in [
            (vec![lacking(30), source(7, 2, 10)], vec![(Older, None), (Freshest, Some(0))], 1),
            (vec![lacking(10), source(7, 2, 10)], vec![(Older, Some(0)), (Freshest, Some(0))], 1),
            (vec![lacking(10), lacking(30)], vec![(Older, Some(20)), (Unclear, Some(0))], 1),
        ] {
            let verdict = judge(&mut all, &Known::default());
            let found: Vec<_> = all.iter().map(|s| (s.standing, s.behind)).collect();
            assert_eq!((found, verdict.candidates), (expected, vec![candidate]));
        }
    }

    #[test]
    fn a_recovered_cluster_comes_behind_the_one_it_continues_however_far_that_goes() {
        use Standing::{Freshest, Superseded, Unclear};
        type Case = (&'static str, Vec<Source>, Vec<Parent>, Vec<Standing>, Vec<usize>);
        let table: Vec<Case> = vec![
            (
                "restored once",
                vec![source(0xa, 9, 900), source(0xb, 2, 60)],
                vec![parent(0xb, 0xa, &[])],
                vec![Superseded, Freshest],
                vec![1],
            ),
            (
                "the middle one was never backed up",
                vec![source(0xa, 9, 900), source(0xc, 2, 60)],
                vec![parent(0xb, 0xa, &[]), parent(0xc, 0xb, &[])],
                vec![Superseded, Freshest],
                vec![1],
            ),
            (
                "undone",
                vec![source(0xa, 2, 70), source(0xb, 9, 900)],
                vec![parent(0xb, 0xa, &[]), parent(0xa, 0xa, &[0xb])],
                vec![Freshest, Superseded],
                vec![0],
            ),
            (
                "undone, and undone again",
                vec![source(0xa, 2, 70), source(0xb, 9, 900)],
                vec![parent(0xb, 0xa, &[0xa]), parent(0xa, 0xa, &[0xb])],
                vec![Unclear, Unclear],
                vec![0, 1],
            ),
            (
                "two founders",
                vec![source(0xa, 2, 70), source(0xb, 2, 80), source(0xc, 2, 90)],
                vec![parent(0xb, 0xa, &[]), parent(0xc, 0xa, &[])],
                vec![Superseded, Unclear, Unclear],
                vec![1, 2],
            ),
            (
                "two founders, of whose parent nothing is left",
                vec![source(0xb, 2, 80), source(0xc, 2, 90)],
                vec![parent(0xb, 0xa, &[]), parent(0xc, 0xa, &[])],
                vec![Unclear, Unclear],
                vec![0, 1],
            ),
            (
                "a circle",
                vec![source(0xa, 2, 70), source(0xb, 2, 80)],
                vec![parent(0xb, 0xa, &[]), parent(0xa, 0xb, &[])],
                vec![Unclear, Unclear],
                vec![0, 1],
            ),
        ];
        for (name, mut all, parents, standings, candidates) in table {
            let verdict = judge(&mut all, &Known { parents, ..Known::default() });
            assert_eq!(verdict.candidates, candidates, "{name}");
            assert_eq!(verdict.is_clear(), candidates.len() == 1, "{name}");
            let got: Vec<Standing> = all.iter().map(|s| s.standing).collect();
            assert_eq!(got, standings, "{name}");
            assert!(all.iter().all(|s| s.lineage == Some(1)), "{name}: {all:?}");
        }
    }

    #[test]
    fn of_unrelated_lineages_this_machine_s_own_is_meant_or_somebody_is_asked() {
        use Standing::{Freshest, Older};
        for (first, second, candidates) in [
            (source(0xa, 2, 70), source(0xb, 2, 80), vec![0, 1]),
            (present(0xa, 2, 70), source(0xb, 2, 80), vec![0]),
            (source(0xa, 2, 70), present(0xb, 2, 80), vec![1]),
            (present(0xa, 2, 70), present(0xb, 2, 80), vec![0, 1]),
        ] {
            let mut all = vec![first, second, source(0xa, 2, 69)];
            let verdict = judge(&mut all, &Known::default());
            assert_eq!(verdict.candidates, candidates);
            assert_eq!(
                told(&all),
                [(Freshest, Some(1), Some(0)), (Freshest, Some(2), Some(0)), (Older, Some(1), Some(1))]
            );
        }
        // Found to be related by a third that comes later.
        let mut all = vec![source(0xa, 2, 70), source(0xb, 2, 80), source(0xc, 2, 81)];
        let parents = vec![parent(0xc, 0xa, &[]), parent(0xc, 0xb, &[])];
        assert_eq!(judge(&mut all, &Known { parents, ..Known::default() }).candidates, [2]);
        assert!(all.iter().all(|s| s.lineage == Some(1)), "{all:?}");
    }

    #[test]
    fn a_recovery_that_nothing_is_seen_of_is_told() {
        let unseen = |sources: Vec<Source>, records: Vec<Record>, parents: Vec<Parent>| {
            let mut sources = sources;
            let verdict = judge(&mut sources, &Known { records, parents, ..Known::default() });
            assert_eq!(verdict.is_clear(), verdict.unseen.is_empty());
            verdict.unseen.iter().map(|r| r.cluster_id).collect::<Vec<_>>()
        };
        let a = || vec![present(0xa, 2, 70), source(0xd, 2, 9)];
        assert_eq!(unseen(a(), vec![record(0xa, 0xb)], vec![parent(0xb, 0xa, &[])]), [0xb]);
        assert_eq!(unseen(a(), vec![record(0xd, 0xe)], vec![]), [0; 0], "another lineage's");
        // An attempt before the one that was taken, one that was undone, and one that there is data of.
        let ab = || vec![source(0xa, 2, 70), source(0xb, 2, 80)];
        let parents = vec![parent(0xb, 0xa, &[]), parent(0xc, 0xa, &[])];
        assert_eq!(unseen(ab(), vec![record(0xa, 0xc), record(0xa, 0xb)], parents), [0; 0]);
        assert_eq!(unseen(a(), vec![record(0xa, 0xb)], vec![parent(0xa, 0xa, &[0xb])]), [0; 0]);
    }

    #[test]
    fn a_history_that_began_anew_under_the_same_ids_is_asked_about() {
        let mut all = vec![source(0xa, 2, 70), source(0xa, 2, 9), source(0xb, 2, 1)];
        let known = Known { doubtful: vec![0xa], parents: vec![parent(0xa, 0xb, &[])], ..Known::default() };
        let verdict = judge(&mut all, &known);
        assert!(!verdict.is_clear() && verdict.candidates == [0, 1], "{verdict:?}");
        assert_eq!((all[0].standing, all[2].standing), (Standing::Unclear, Standing::Superseded));
    }

    #[test]
    fn what_says_nothing_of_itself_is_taken_only_where_nothing_else_is() {
        let original = |present| Source {
            kind: Kind::Original,
            cluster_id: None,
            term: None,
            index: None,
            present,
            ..source(0, 0, 0)
        };
        let damaged = || Source { term: None, index: None, ..source(0xa, 0, 0) };
        for (mut all, candidates) in [
            (vec![], vec![]),
            (vec![damaged()], vec![]),
            (vec![original(false), damaged(), original(true)], vec![2]),
            (vec![original(false), original(false)], vec![0, 1]),
            (vec![original(true), source(0xa, 2, 7)], vec![1]),
        ] {
            assert_eq!(judge(&mut all, &Known::default()).candidates, candidates, "{all:?}");
            let unranked = all.iter().filter(|s| s.index.is_none());
            assert!(unranked.into_iter().all(|s| s.standing == Standing::Unknown && s.lineage.is_none()));
        }
    }
}
