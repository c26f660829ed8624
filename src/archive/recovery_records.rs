//! What the recovery records of all machines say of a cluster. A node that joined a recovered cluster was told nothing of what
//! that continues: the record lies in the founding member's folder.
//!
//! Whoever may write to the remote may write a record. So each is found and judged alone, and believed if it is the one that its
//! IDs follow from: of a cluster that one knows by its ID, only the record that it was made by says anything.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::Deserializer;

use super::lineage::{Parent, Record};
use crate::exit::{Exit, fault};
use crate::remote::{Object, Remote};

/// Where the records of all machines are: [`Remote::walk`].
pub const PATTERN: &str = "/*/recovery/*";
/// Far more than a record of the largest cluster needs.
const MAX_BYTES: u64 = 64 << 10;

/// What a cluster continues, as any machine's recovery record says it: a listing of the endpoint and one more call. `None`
/// if no record tells of it.
///
/// # Errors
/// The remote could not be asked.
pub fn parent(remote: &dyn Remote, cluster_id: u64) -> Result<Option<Parent>> {
    Ok(continued(&all(remote)?, cluster_id))
}

/// The record of the recovery that made a cluster, whichever machine wrote it.
///
/// # Errors
/// The remote could not be asked.
pub fn of_cluster(remote: &dyn Remote, cluster_id: u64) -> Result<Option<Record>> {
    Ok(all(remote)?.into_iter().find(|record| record.cluster_id == cluster_id))
}

/// The record of a recovery, whichever machine's folder it is in.
///
/// # Errors
/// [`Exit::NotFound`] if there is none that can be believed, [`Exit::Refused`] if there are two; the remote could not be asked.
pub fn of_token(remote: &dyn Remote, token: &str) -> Result<Record> {
    let Found { mut records, .. } = those(remote, |path| path.ends_with(token))?.told();
    records.retain(|record| record.token == token);
    if let [_, _, ..] = records[..] {
        let ids: Vec<String> = records.iter().map(|r| format!("{:x}", r.cluster_id)).collect();
        let what =
            format!("the remote has several records of recovery {token}, of clusters {}", ids.join(", "));
        let hint = "at least one is forged: take the record from the founding member (restore --json \
                    printed it) and pass it with --recovery-file";
        return Err(fault(Exit::Refused, what, hint));
    }
    records.pop().ok_or_else(|| {
        let hint = "the founding member's next backup uploads it; or pass it with --recovery-file";
        fault(Exit::NotFound, format!("the remote has no record of recovery {token}"), hint)
    })
}

/// The recoveries whose clusters nobody has recovered since, each once.
///
/// # Errors
/// The remote could not be asked.
pub fn newest(remote: &dyn Remote) -> Result<Vec<Record>> {
    let mut all = all(remote)?;
    all.sort_by(|a, b| (a.time, &a.token).cmp(&(b.time, &b.token)));
    let followed: BTreeSet<u64> = all.iter().map(|r| r.source_cluster_id).collect();
    all.retain(|r| !followed.contains(&r.cluster_id));
    Ok(all)
}

/// The records below the endpoint, each once.
///
/// # Errors
/// The remote could not be asked.
pub fn all(remote: &dyn Remote) -> Result<Vec<Record>> {
    those(remote, |_| true).map(|found| found.told().records)
}

/// The records in folders that were listed: one call, or none where there is no record.
///
/// # Errors
/// The remote could not be asked.
pub fn in_folders<'a>(
    remote: &dyn Remote,
    folders: &mut dyn Iterator<Item = (&'a str, &'a [Object])>,
) -> Result<Found> {
    let mut paths = Vec::new();
    for (folder, objects) in folders {
        let below = |o: &Object| format!("{folder}/{}", o.path);
        paths.extend(objects.iter().map(below).filter(|path| is_record(path)));
    }
    read(remote, paths)
}

/// Records that were looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Those that can be believed, each once.
    pub records: Vec<Record>,
    /// The paths of the others.
    pub others: Vec<String>,
}

impl Found {
    /// Says that some are not believed, if so.
    #[must_use]
    pub fn told(self) -> Self {
        if let Some(why) = self.doubt() {
            log::warn!("{why}");
        }
        self
    }

    /// Which are not believed, for people; `None` if all are.
    pub fn doubt(&self) -> Option<String> {
        let [first, more @ ..] = &self.others[..] else { return None };
        let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        Some(format!(
            "ignoring {first:?}{more} in the remote: not a valid recovery record (truncated, altered, or of \
             a newer version); the other records are not affected"
        ))
    }
}

fn those(remote: &dyn Remote, wanted: impl Fn(&str) -> bool) -> Result<Found> {
    let found = remote.list_only("", &[PATTERN.to_owned()], &|path| is_record(path) && wanted(path))?;
    read(remote, found.into_iter().map(|object| object.path).collect())
}

/// The records at these paths below the endpoint.
///
/// # Errors
/// The remote could not be asked.
pub fn read(remote: &dyn Remote, paths: Vec<String>) -> Result<Found> {
    if paths.is_empty() {
        return Ok(Found::default());
    }
    let records = records(&remote.heads("", &paths, MAX_BYTES)?);
    let tokens: BTreeSet<&str> = records.iter().map(|record| &*record.token).collect();
    let is_found = |path: &String| path.rsplit('/').next().is_some_and(|token| tokens.contains(token));
    let others = paths.into_iter().filter(|path| !is_found(path)).collect();
    Ok(Found { records, others })
}

/// Whether a path below the endpoint is a record's: `<machine-id>/recovery/<token>`.
pub fn is_record(path: &str) -> bool {
    let mut parts = path.split('/');
    let (machine, folder, token) = (parts.next(), parts.next(), parts.next());
    machine.is_some() && folder == Some("recovery") && token.is_some() && parts.next().is_none()
}

/// The records that lie one behind the other in any order, among whatever else. What is cut off does not say where it ends, so one
/// is looked for wherever one may begin.
fn records(bytes: &[u8]) -> Vec<Record> {
    let mut found: Vec<Record> = Vec::new();
    let mut known = BTreeSet::new();
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'{') {
        // Unknown fields are refused, so what is none ends the reading soon.
        let first = Deserializer::from_slice(&bytes[at..]).into_iter::<Record>().next();
        if let Some(Ok(record)) = first
            && record.is_derived()
            && known.insert(record.cluster_id)
        {
            found.push(record);
        }
    }
    found
}

/// What these records say that each of their clusters continues.
pub fn parents(records: &[Record]) -> Vec<Parent> {
    let by_cluster = by_cluster(records);
    records.iter().filter_map(|record| continued_by(&by_cluster, record.cluster_id)).collect()
}

/// The parent of a cluster, and what that continued in its turn, by these records.
pub fn continued(records: &[Record], cluster_id: u64) -> Option<Parent> {
    continued_by(&by_cluster(records), cluster_id)
}

type ByCluster<'a> = BTreeMap<u64, &'a Record>;

fn by_cluster(records: &[Record]) -> ByCluster<'_> {
    records.iter().map(|record| (record.cluster_id, record)).collect()
}

fn continued_by(records: &ByCluster<'_>, cluster_id: u64) -> Option<Parent> {
    let record = records.get(&cluster_id)?;
    let mut before = Vec::new();
    let mut last = record.source_cluster_id;
    // Records come from outside: a circle of them must end.
    while let Some(earlier) =
        records.get(&last).filter(|r| before.len() < Parent::NOTES && r.source_cluster_id != cluster_id)
    {
        last = earlier.source_cluster_id;
        before.push(last);
    }
    Some(Parent {
        for_cluster: cluster_id,
        cluster_id: record.source_cluster_id,
        // Numbers count within one folder, and it is another one's.
        generation: 0,
        index: record.index,
        token: record.token.clone(),
        before,
        instead_of: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::lineage::tests;

    fn record(source_cluster_id: u64, cluster_id: u64) -> Record {
        Record { cluster_id, ..tests::record(source_cluster_id, 70) }
    }

    #[test]
    fn a_cluster_continues_what_the_records_say() {
        let all = [record(2, 3), record(1, 2), record(8, 9)];
        let found = continued(&all, 3).unwrap();
        assert_eq!((found.for_cluster, found.cluster_id, found.generation, found.index), (3, 2, 0, 70));
        assert_eq!((found.token, found.before), (all[0].token.clone(), vec![1]));
        assert_eq!(continued(&all, 9).unwrap().before, Vec::<u64>::new());
        assert_eq!(continued(&all, 1), None);
        for circle in [
            vec![record(1, 1)],
            vec![record(2, 1), record(1, 2)],
            vec![record(2, 1), record(3, 2), record(2, 3)],
        ] {
            let found = continued(&circle, 1).unwrap();
            assert!(found.before.len() <= Parent::NOTES, "{found:?}");
        }
    }

    #[test]
    fn each_record_is_found_alone_whatever_lies_beside_it() {
        let [one, two] = [tests::record(1, 70), tests::record(2, 70)];
        let [first, second] = [&one, &two].map(|r| serde_json::to_vec_pretty(r).unwrap());
        let forged = serde_json::to_vec(&Record { cluster_id: 9, ..one.clone() }).unwrap();
        let open = br#"{"version":1,"token":{"version":1,"x":"#;
        for (pieces, expected) in [
            (vec![&first[..], &second], vec![&one, &two]),
            (vec![&second, b"junk", &first], vec![&two, &one]),
            (vec![&first, &first], vec![&one]),
            (vec![&first[..first.len() - 1], &second], vec![&two]),
            (vec![&first[..first.len() / 2], &second], vec![&two]),
            (vec![&first[..9], &second], vec![&two]),
            (vec![&forged, &second, &forged], vec![&two]),
            // One that would take the next one for a part of itself.
            (vec![open, &second, b"}"], vec![&two]),
            (vec![br#"{"a":"#, &second, b"}"], vec![&two]),
            (vec![b"\"", &second, b"\xff{{{{[", &first], vec![&two, &one]),
            (vec![], vec![]),
        ] {
            let bytes = pieces.concat();
            let found = records(&bytes);
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn a_record_is_known_by_its_place() {
        for (path, expected) in [
            ("m/recovery/abc", true),
            ("recovery/abc", false),
            ("m/recovery/abc/d", false),
            ("m/00000001-a/x.part", false),
            ("recovery", false),
        ] {
            assert_eq!(is_record(path), expected, "{path}");
        }
    }
}
