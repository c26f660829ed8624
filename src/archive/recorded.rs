//! What the recovery records of all machines say of a cluster. A node that joined a recovered cluster was told nothing of what
//! that continues: the record lies in the founding member's folder.

use anyhow::Result;
use serde_json::Deserializer;

use super::lineage::{Parent, Record};
use crate::exit::{Exit, fault};
use crate::remote::{Object, Remote};
use crate::sys::summed;

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
/// [`Exit::NotFound`] if there is none that can be read; the remote could not be asked.
pub fn of_token(remote: &dyn Remote, token: &str) -> Result<Record> {
    let found = those(remote, |path| path.ends_with(token))?.0.into_iter().find(|r| r.token == token);
    found.ok_or_else(|| {
        let hint = "the founding member's next backup sends it; or give it with --recovery-file";
        fault(Exit::NotFound, format!("no record of recovery {token} is in the remote"), hint)
    })
}

/// The recoveries whose clusters nobody has recovered since, each once.
///
/// # Errors
/// The remote could not be asked, or a record not be read: it may be the one that is meant.
pub fn newest(remote: &dyn Remote) -> Result<Vec<Record>> {
    let (mut all, whole) = those(remote, |_| true)?;
    if !whole {
        let hint = "say which recovery is meant: restore --recovery TOKEN";
        return Err(fault(Exit::Corrupt, "a recovery record in the remote is damaged", hint));
    }
    all.sort_by(|a, b| (a.time, &a.token).cmp(&(b.time, &b.token)));
    all.dedup_by(|a, b| a.token == b.token);
    let followed: Vec<u64> = all.iter().map(|r| r.source_cluster_id).collect();
    all.retain(|r| !followed.contains(&r.cluster_id));
    Ok(all)
}

/// The records in folders that were listed, as far as they can be read: one call, or none where there is no record.
///
/// # Errors
/// The remote could not be asked.
pub fn in_folders<'a>(
    remote: &dyn Remote,
    folders: &mut dyn Iterator<Item = (&'a str, &'a [Object])>,
) -> Result<Vec<Record>> {
    let mut paths = Vec::new();
    for (folder, objects) in folders {
        let below = |o: &Object| Object { path: format!("{folder}/{}", o.path), size: o.size };
        paths.extend(objects.iter().map(below).filter(is_record).map(|o| o.path));
    }
    Ok(self::records(&remote.heads("", &paths, MAX_BYTES)?))
}

/// What these records say that each of their clusters continues.
pub fn parents(records: &[Record]) -> impl Iterator<Item = Parent> {
    records.iter().filter_map(|record| continued(records, record.cluster_id))
}

/// The records below the endpoint, as far as they can be read.
///
/// # Errors
/// The remote could not be asked.
pub fn all(remote: &dyn Remote) -> Result<Vec<Record>> {
    those(remote, |_| true).map(|(records, _)| records)
}

/// Those with such paths, and whether all of them could be read.
fn those(remote: &dyn Remote, wanted: impl Fn(&str) -> bool) -> Result<(Vec<Record>, bool)> {
    let objects = remote.list("")?.into_iter().filter(|object| is_record(object) && wanted(&object.path));
    let paths: Vec<String> = objects.map(|o| o.path).collect();
    if paths.is_empty() {
        return Ok((Vec::new(), true));
    }
    let found = records(&remote.heads("", &paths, MAX_BYTES)?);
    let whole = found.len() == paths.len();
    Ok((found, whole))
}

/// `<machine-id>/recovery/<token>`.
fn is_record(object: &Object) -> bool {
    let mut parts = object.path.split('/');
    let (machine, folder, token) = (parts.next(), parts.next(), parts.next());
    machine.is_some() && folder == Some("recovery") && token.is_some() && parts.next().is_none()
}

/// The records that lie one behind the other, up to one that is none, without those that are not as they were written.
fn records(bytes: &[u8]) -> Vec<Record> {
    let mut found = Vec::new();
    let (mut all, mut begin) = (Deserializer::from_slice(bytes).into_iter(), 0);
    while let Some(Ok(record)) = all.next() {
        let text = &bytes[begin..all.byte_offset()];
        begin = all.byte_offset();
        // What parted it from the one before is not of it.
        found.extend(summed::check(text.trim_ascii_start()).is_ok().then_some(record));
    }
    found
}

/// The parent of a cluster, and what that continued in its turn, by these records.
pub fn continued(records: &[Record], cluster_id: u64) -> Option<Parent> {
    let of = |cluster_id| records.iter().find(|r| r.cluster_id == cluster_id);
    let record = of(cluster_id)?;
    let mut before = Vec::new();
    let mut last = record.source_cluster_id;
    // Records come from outside: a circle of them must end.
    while let Some(earlier) =
        of(last).filter(|r| before.len() < Parent::NOTES && r.source_cluster_id != cluster_id)
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

    fn record(source_cluster_id: u64, cluster_id: u64) -> Record {
        Record {
            version: 1,
            token: format!("{cluster_id:032x}"),
            time: 0,
            source: "archive".into(),
            machine_id: "m".into(),
            generation: 3,
            source_cluster_id,
            index: 70,
            term: 2,
            source_hash: String::new(),
            cluster_id,
            members: Vec::new(),
        }
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
    fn records_are_read_one_behind_the_other() {
        let mut bytes = Vec::new();
        for r in [record(1, 2), record(2, 3)] {
            bytes.extend(serde_json::to_vec_pretty(&r).unwrap());
        }
        assert_eq!(records(&bytes), [record(1, 2), record(2, 3)]);
        bytes.truncate(bytes.len() - 1);
        assert_eq!(records(&bytes), [record(1, 2)]);
        assert_eq!(records(b""), []);
        // One that is not as it was written hides no other, and is not believed.
        let one = |r: &Record| String::from_utf8(summed::to_vec(r).unwrap()).unwrap();
        let text = [one(&record(1, 2)), one(&record(2, 3)), one(&record(3, 4))].concat();
        assert_eq!(records(text.as_bytes()), [record(1, 2), record(2, 3), record(3, 4)]);
        let altered = text.replace("\"source_cluster_id\": 2", "\"source_cluster_id\": 3");
        assert_ne!(altered, text);
        assert_eq!(records(altered.as_bytes()), [record(1, 2), record(3, 4)]);
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
            assert_eq!(is_record(&Object { path: path.into(), size: 1 }), expected, "{path}");
        }
    }
}
