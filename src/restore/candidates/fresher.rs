//! What lies below the endpoint beyond the data that was chosen: more entries of its cluster, and recoveries of it that
//! another node began. A recovery is told of it and goes on.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use anyhow::Result;

use super::find;
use crate::archive::lineage::Record;
use crate::archive::names::PartName;
use crate::archive::{catalog, chain, recovery_records};
use crate::etcd::proto::LogPosition;
use crate::remote::{Object, Remote, Seen};
use crate::restore::source::Source;
use crate::sys::terminal::table::count;
use crate::sys::time;

/// So many folders are listed that seem to go furthest, until one does.
const FEW: usize = 4;

/// Objects of the folders at the top of the endpoint.
type Folders = [(String, Vec<Object>)];

/// A point that goes further than the one that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Further {
    /// In this folder.
    pub folder: String,
    /// What restores it, behind the program's name; none if `restore --from` does not take the folder.
    pub command: Option<String>,
    /// How far it goes.
    pub part: PartName,
}

/// What lies below the endpoint.
#[derive(Debug)]
pub struct Beyond {
    /// How far each folder goes with the cluster, by names alone.
    ends: BTreeMap<String, LogPosition>,
    /// Recoveries that other machines began, if their records can be read.
    recoveries: Result<Vec<Record>>,
}

/// Looks at what the endpoint has of a cluster: one call, and one more where another machine has recovery records.
///
/// # Errors
/// The remote cannot be listed.
pub fn look(remote: &dyn Remote, own: &str, cluster: u64) -> Result<Beyond> {
    let only = [catalog::parts_of(cluster), recovery_records::PATTERN.to_owned()];
    let (mut ends, mut records) = (BTreeMap::new(), Vec::new());
    remote.walk("", &only, &mut |seen| match seen {
        Seen::Start => (ends, records) = (BTreeMap::new(), Vec::new()),
        Seen::Object(path, size) => {
            if let Some((folder, part)) = catalog::part_of(path, size, cluster) {
                let end = part.end();
                let known = ends.entry(folder.to_owned()).or_insert(end);
                *known = end.max(*known);
            } else if recovery_records::is_record(path) && path.split('/').next() != Some(own) {
                records.push(path.to_owned());
            }
        }
    })?;
    let recoveries = recovery_records::read(remote, records).map(|found| found.told().records);
    Ok(Beyond { ends, recoveries })
}

impl Beyond {
    /// The highest index that the cluster came to, in whichever folder; 0 if it is in none.
    pub fn end(&self) -> u64 {
        self.ends.values().map(|end| end.index).max().unwrap_or(0)
    }
}

/// Whether no other folder goes further than this machine's own; `None`: this machine has nothing there.
pub fn is_furthest(Beyond { ends, .. }: &Beyond, own: &str) -> Option<bool> {
    let own = ends.get(own)?;
    Some(ends.values().all(|end| end <= own))
}

/// Says what of it is beyond a source. Only a folder that seems to have more is asked for all that it has.
pub fn say(remote: &dyn Remote, looked: Result<Beyond>, own: &str, source: &Source) {
    let (cluster, last) = (source.contents.metadata.cluster_id, source.point);
    let more = |Beyond { ends, recoveries }| {
        let mut more: Vec<_> = ends.into_iter().filter(|(_, end)| *end > last).collect();
        more.sort_unstable_by_key(|(_, end)| Reverse(*end));
        // Who goes back to a point knows that there is more.
        let few = if last == source.contents.last() { FEW } else { 0 };
        for (folder, _) in more.into_iter().take(few) {
            let listed = [(folder.clone(), remote.list(&folder)?)];
            if let Some(found) = further(&listed, own, cluster, last) {
                return Ok((Some(found), recoveries));
            }
        }
        anyhow::Ok((None, recoveries))
    };
    let (further, recoveries) = match looked.and_then(more) {
        Ok(beyond) => beyond,
        Err(e) => return log::warn!("could not check whether another machine has a newer backup: {e:#}"),
    };
    if let Some(Further { folder, command, part }) = further {
        let whose = if folder == own {
            "this machine's backup".into()
        } else {
            format!("the backup of machine {folder}")
        };
        let more = match part.last.saturating_sub(last.index) {
            0 => String::new(),
            entries => count(entries, "entry ", "entries "),
        };
        let how = command
            .map_or(String::new(), |command| format!("; to use it: sudo /opt/bin/etcd2-backup {command}"));
        log::warn!(
            "an older source was chosen: {whose} is {more}newer, up to index {} of term {}, captured {}{how}",
            part.last,
            part.term,
            time::rfc3339(part.time)
        );
    }
    match recoveries {
        Ok(all) => all.iter().filter(|record| record.source_cluster_id == cluster).for_each(say_recovered),
        Err(e) => log::warn!("could not check whether another node already restored this cluster: {e:#}"),
    }
}

/// Two recoveries of one cluster are two clusters for good.
fn say_recovered(record: &Record) {
    let Record { cluster_id, source_cluster_id, index, token, .. } = record;
    let members: Vec<String> =
        record.members.iter().map(|m| format!("{} at {}", m.name, m.peer_urls.join(","))).collect();
    log::warn!(
        "another node already restored cluster {source_cluster_id:x} as cluster {cluster_id:x}, at {}, up \
         to index {index}: {}",
        time::rfc3339(record.time),
        members.join("; ")
    );
    log::warn!(
        "hint: this would create a second, divergent cluster; they cannot be merged. To join the other: \
         sudo systemctl start etcd2-join.service; to take part in its recovery: sudo /opt/bin/etcd2-backup \
         restore --recovery {token}"
    );
}

/// The furthest point of a cluster, by names alone, if it goes further than this entry.
fn further(folders: &Folders, own: &str, cluster: u64, last: LogPosition) -> Option<Further> {
    let mut found: Option<Further> = None;
    let mut end = last;
    for (folder, objects) in folders {
        let all = chain::generations(objects);
        for generation in all.iter().filter(|generation| generation.name.cluster_id == cluster) {
            let Some(&part) = generation.last().filter(|part| part.end() > end) else { continue };
            end = part.end();
            let newest = all.last().is_some_and(|newest| newest.name == generation.name);
            let numbered = (!newest).then_some(generation.name.number);
            let command = find::command(folder, folder == own, numbered, generation.is_broken());
            found = Some(Further { folder: folder.clone(), command, part });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::names::GenerationName;

    const OWN: &str = "00000000000000000000000000000000";
    const OTHER: &str = "11111111111111111111111111111111";

    /// A generation's base.
    fn base(number: u64, cluster_id: u64, term: u64, last: u64) -> Object {
        let name = GenerationName { number, cluster_id, member_id: 1, writer: 7 };
        let part =
            PartName { sequence: 0, first: 1, last, term, time: 0, size: 9, predecessor: 0, link: last };
        Object { path: format!("{name}/{part}"), size: 9 }
    }

    #[test]
    fn the_furthest_point_of_the_same_cluster_is_found_with_its_command() {
        let cut = Object { size: 8, ..base(1, 0xa, 2, 99) };
        let from = format!("restore --from {OTHER}");
        let numbered = format!("{from} --generation 1");
        let table = [
            (vec![], vec![base(1, 0xa, 2, 70)], None),
            (vec![], vec![base(1, 0xa, 2, 71)], Some((71, &*from))),
            (vec![base(1, 0xa, 2, 72)], vec![base(1, 0xa, 2, 71)], Some((72, "restore"))),
            (vec![base(1, 0xa, 2, 72)], vec![base(1, 0xa, 2, 72)], Some((72, "restore"))),
            (vec![], vec![base(1, 0xa, 2, 71), base(2, 0xb, 9, 900)], Some((71, &*numbered))),
            (vec![], vec![base(1, 0xa, 3, 5)], Some((5, &*from))),
            (vec![base(1, 0xa, 1, 900)], vec![base(1, 0xb, 9, 900)], None),
            (vec![], vec![cut], None),
        ];
        for (own, other, expected) in table {
            let folders = [(OWN.to_owned(), own), (OTHER.to_owned(), other)];
            let found = further(&folders, OWN, 0xa, LogPosition { term: 2, index: 70 });
            let found = found.map(|f| (f.part.last, f.command.unwrap()));
            assert_eq!(found, expected.map(|(last, command)| (last, command.to_owned())), "{folders:?}");
        }
        let folders = [("a-copy".to_owned(), vec![base(1, 0xa, 2, 71)])];
        let found = further(&folders, OWN, 0xa, LogPosition::default()).unwrap();
        assert_eq!((found.folder.as_str(), found.command), ("a-copy", None));
    }
}
