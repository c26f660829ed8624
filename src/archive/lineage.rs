//! Which history follows which. (Term, index) compares only inside one cluster ID; a recovery begins a new cluster ID
//! and names the one it continues.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::chain::Generation;
use super::history::{self, Committed};
use crate::etcd::v3::bump::Bump;
use crate::exit::{Exit, OrFault, exit_of, fault};
use crate::sys::fs::write_atomic;
use crate::sys::{look, summed};

/// The history that a recovered cluster continues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The recovered cluster's own ID: the note is for no other.
    #[serde(with = "super::hex_id")]
    pub for_cluster: u64,
    /// The cluster whose data was restored.
    #[serde(with = "super::hex_id")]
    pub cluster_id: u64,
    /// The generation it came from; 0 for a local disk.
    pub generation: u64,
    /// The last index that was restored.
    pub index: u64,
    /// The recovery's token, as in its record.
    pub token: String,
    /// What the parent continued in its turn, newest first: of a cluster that was recovered again before its first
    /// backup the archive knows nothing.
    #[serde(default, with = "super::hex_id::list", skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<u64>,
    /// Clusters that were given up for this one, when a restore was undone: the folder may hold them, and this one
    /// continues none of them.
    #[serde(default, with = "super::hex_id::list", skip_serializing_if = "Vec::is_empty")]
    pub instead_of: Vec<u64>,
}

/// The file.
#[derive(Serialize, Deserialize)]
struct Notes {
    version: u32,
    parents: Vec<Parent>,
}

impl Parent {
    /// How many recoveries a node remembers.
    pub(super) const NOTES: usize = 16;

    fn path(backup_dir: &Path) -> PathBuf {
        backup_dir.join("parents.json")
    }

    /// What this node's recoveries noted for the first generation of this cluster.
    ///
    /// # Errors
    /// The notes are there and cannot be read.
    pub fn of(backup_dir: &Path, cluster_id: u64) -> Result<Option<Self>> {
        Ok(Self::notes(backup_dir)?.into_iter().find(|note| note.for_cluster == cluster_id))
    }

    /// Notes it for the first generation after the recovery. Notes for other clusters stay: a recovery that is
    /// interrupted leaves the node with the cluster it had.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(mut self, backup_dir: &Path) -> Result<()> {
        let mut notes = Self::notes_to_go_on(backup_dir)?;
        if let Some(parents) = notes.iter().find(|note| note.for_cluster == self.cluster_id) {
            self.before = [&[parents.cluster_id], &parents.before[..]].concat();
            self.before.truncate(Self::NOTES);
        }
        notes.retain(|note| note.for_cluster != self.for_cluster);
        notes.insert(0, self);
        Self::write(backup_dir, notes)
    }

    /// Notes that a node went back from one cluster to an earlier one. That one goes on where it was: it continues
    /// itself, or what it continued before.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save_undone(backup_dir: &Path, own: u64, index: u64, given_up: u64) -> Result<()> {
        let mut notes = Self::notes_to_go_on(backup_dir)?;
        let noted = notes.iter().position(|note| note.for_cluster == own).map(|at| notes.remove(at));
        let mut note = noted.unwrap_or(Self {
            for_cluster: own,
            cluster_id: own,
            generation: 0,
            index,
            token: String::new(),
            before: Vec::new(),
            instead_of: Vec::new(),
        });
        note.instead_of.retain(|id| *id != given_up);
        note.instead_of.insert(0, given_up);
        note.instead_of.truncate(Self::NOTES);
        notes.insert(0, note);
        Self::write(backup_dir, notes)
    }

    fn write(backup_dir: &Path, mut parents: Vec<Self>) -> Result<()> {
        parents.truncate(Self::NOTES);
        write_atomic(&Self::path(backup_dir), &summed::to_vec(&Notes { version: 1, parents })?, 0o600)
    }

    /// All that this node's recoveries noted, newest first.
    ///
    /// # Errors
    /// [`Exit::Corrupt`]: the notes are damaged; or they are there and cannot be read.
    pub fn notes(backup_dir: &Path) -> Result<Vec<Self>> {
        let path = Self::path(backup_dir);
        let Some(bytes) = look::read_if_there(&path)? else { return Ok(Vec::new()) };
        // A list alone, as they once were, has no checksum.
        let read = match bytes.first() {
            Some(b'[') => serde_json::from_slice(&bytes).map_err(Into::into),
            _ => summed::from_slice(&bytes).map(|notes: Notes| notes.parents),
        };
        read.or_fault(
            Exit::Corrupt,
            format!("reading {}", path.display()),
            format!(
                "remove it (the recovery records in the remote hold the same): sudo rm {}",
                path.display()
            ),
        )
    }

    /// The same for who adds one. A recovery does not fail of what an earlier one noted.
    fn notes_to_go_on(backup_dir: &Path) -> Result<Vec<Self>> {
        match Self::notes(backup_dir) {
            Err(e) if exit_of(&e) == Exit::Corrupt => {
                log::warn!("{e:#}: ignoring what was noted about earlier recoveries");
                Ok(Vec::new())
            }
            notes => notes,
        }
    }

    /// Whether it says how the cluster came about among these others: what it continues, or was preferred to.
    fn knows_one_of(&self, clusters: &[u64]) -> bool {
        let mut known = self.before.iter().chain(&self.instead_of).chain([&self.cluster_id]);
        known.any(|id| clusters.contains(id))
    }
}

/// What a recovery leaves behind for everyone who has to know what it made: one create-only object `recovery/<token>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Format, [`Record::VERSION`].
    pub version: u32,
    /// Fresh for each attempt.
    pub token: String,
    /// Seconds since 1970.
    pub time: u64,
    /// Where the data came from, for people.
    pub source: String,
    /// Which machine's folder (or disk).
    pub machine_id: String,
    /// The generation, 0 for a local disk.
    pub generation: u64,
    /// The cluster it was.
    pub source_cluster_id: u64,
    /// The last index restored, and its term.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// SHA-256 that stands for the source, 64 hex digits.
    pub source_hash: String,
    /// The term of the entries that the restore appended. In a later one a quorum of the new cluster wrote.
    pub appended_term: u64,
    /// What the machine's folder had of a disk by then, if anything is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backed_up: Option<BackedUp>,
    /// The v3 store, if its data has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v3: Option<RecordedV3>,
    /// The cluster it became.
    pub cluster_id: u64,
    /// The members of that cluster.
    pub members: Vec<RecordedMember>,
}

/// The v3 store that a recovery began with, and what is done to it. All members do the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedV3 {
    /// The last entry that its file contains.
    pub applied: u64,
    /// How its revision is moved, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bump: Option<Bump>,
}

impl Record {
    /// The current format.
    pub const VERSION: u32 = 1;
    /// How long, in seconds, a recovery is believed to be still going on.
    pub const RECENT: u64 = 3600;
}

/// A backup of a disk that was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackedUp {
    /// Its generation.
    pub generation: u64,
    /// What stands for the content of its parts, 64 hex digits; in format 1 the newest part's checksum.
    pub checksum: String,
    /// Its last entry, which the disk had too.
    pub index: u64,
}

/// A member as a recovery record lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedMember {
    /// Its new ID.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its advertised peer URLs.
    pub peer_urls: Vec<String>,
}

/// Whether a folder holds the data of more than one cluster.
pub fn is_mixed(generations: &[Generation]) -> bool {
    generations.iter().any(|g| g.name.cluster_id != generations[0].name.cluster_id)
}

/// A cluster and those it continues, as far as `parents` say it.
pub fn ancestry(cluster_id: u64, parents: &[Parent]) -> Vec<u64> {
    let mut all = vec![cluster_id];
    let mut at = 0;
    while let Some(&id) = all.get(at) {
        let own = parents.iter().filter(|p| p.for_cluster == id);
        let ids = own.flat_map(|p| p.before.iter().chain([&p.cluster_id]));
        let new: Vec<u64> = ids.filter(|id| !all.contains(id)).copied().collect();
        all.extend(new);
        at += 1;
    }
    all
}

/// Refuses to guess when a folder holds several clusters' data and the newest generation does not name an older one
/// there as its parent: somebody copied one folder onto another, or an empty cluster was seeded, whatever its ID.
///
/// `parent` is what the bases of the newest generation's cluster say.
///
/// # Errors
/// [`Exit::Refused`] with the clusters listed.
pub fn check(
    generations: &[Generation],
    newest: &Generation,
    parent: Option<&Parent>,
    committed: &Committed,
) -> Result<()> {
    let mut others: Vec<u64> = generations.iter().map(|g| g.name.cluster_id).collect();
    others.sort_unstable();
    others.dedup();
    others.retain(|&id| id != newest.name.cluster_id);
    let linked = parent.is_some_and(|p| p.for_cluster == newest.name.cluster_id && p.knows_one_of(&others));
    let over = history::started_over(generations, committed);
    let started_over = over.iter().any(|g| g.name.cluster_id == newest.name.cluster_id);
    if (others.is_empty() || linked) && !started_over {
        return match history::fuller(generations, newest, committed) {
            Some(fuller) => Err(less(newest, fuller, committed.of(fuller))),
            None => Ok(()),
        };
    }
    let list: Vec<String> = generations
        .iter()
        .filter_map(|g| {
            Some(format!(
                "generation {} of cluster {:x}, up to index {}",
                g.name.number,
                g.name.cluster_id,
                g.last()?.last
            ))
        })
        .collect();
    Err(fault(
        Exit::Refused,
        format!("the remote directory holds unrelated histories: {}", list.join("; ")),
        "choose the right history: sudo /opt/bin/etcd2-backup restore --generation N",
    ))
}

/// What is said where an older generation of a cluster holds more.
fn less(newest: &Generation, fuller: &Generation, committed: u64) -> anyhow::Error {
    let (new, old) = (newest.name.number, fuller.name.number);
    let what = format!(
        "generation {new}, the newest, ends at index {}; generation {old} of the same cluster holds acknowledged writes \
         up to index {committed}",
        newest.last().map_or(0, |part| part.last),
    );
    let hint = format!(
        "an older data directory was probably put back: restore --generation {old} restores what it lacks, restore \
         --generation {new} the newest state"
    );
    fault(Exit::Refused, what, hint)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::archive::names::{GenerationName, PartName};
    use crate::exit::hint_of;
    use crate::sys::summed::tests::with_each_bit_flipped;

    /// As [`super::check`], where nothing is known of what was committed.
    fn check(all: &[Generation], newest: &Generation, parent: Option<&Parent>) -> Result<()> {
        super::check(all, newest, parent, &Committed::default())
    }

    /// A record as a restore of this cluster up to this index makes it.
    pub(crate) fn record(source_cluster_id: u64, index: u64) -> Record {
        let record = Record {
            version: 1,
            token: format!("{source_cluster_id:016x}{index:016x}"),
            time: 5,
            source: "archive".into(),
            machine_id: "m".into(),
            generation: 3,
            source_cluster_id,
            index,
            term: 2,
            source_hash: "00".repeat(32),
            appended_term: 2,
            backed_up: Some(BackedUp { generation: 1, checksum: "11".repeat(32), index: 1 }),
            v3: None,
            cluster_id: 0,
            members: Vec::new(),
        };
        record.with_ids(&[("e1".into(), vec!["http://e1:2380".into()])])
    }

    fn generation(number: u64, cluster_id: u64) -> Generation {
        Generation {
            name: GenerationName { number, cluster_id, member_id: 1, writer: 1 },
            parts: Vec::new(),
            pieces: Vec::new(),
            beyond: Vec::new(),
        }
    }

    fn parent(for_cluster: u64, cluster_id: u64) -> Parent {
        Parent {
            for_cluster,
            cluster_id,
            generation: 1,
            index: 5,
            token: "t".into(),
            before: Vec::new(),
            instead_of: Vec::new(),
        }
    }

    #[test]
    fn notes_of_several_recoveries_are_kept_and_followed() {
        let dir = tempfile::tempdir().unwrap();
        let of = |cluster| Parent::of(dir.path(), cluster).unwrap();
        assert_eq!(of(0xb), None);
        for (child, from) in [(0xb, 0xa), (0xc, 0xb), (0xd, 0xc), (0xe, 0xa)] {
            parent(child, from).save(dir.path()).unwrap();
        }
        assert_eq!(of(0xb), Some(parent(0xb, 0xa)));
        assert_eq!(of(0xd), Some(Parent { before: vec![0xb, 0xa], ..parent(0xd, 0xc) }));
        assert_eq!(of(0xe), Some(parent(0xe, 0xa)));
        for child in 0x10..0x30 {
            parent(child, child - 1).save(dir.path()).unwrap();
        }
        assert_eq!((of(0xe), of(0x2f).unwrap().before.len()), (None, Parent::NOTES));
    }

    #[test]
    fn notes_that_are_damaged_are_not_believed_and_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = Parent::path(dir.path());
        parent(0xb, 0xa).save(dir.path()).unwrap();
        parent(0xc, 0xb).save(dir.path()).unwrap();
        let notes = Parent::notes(dir.path()).unwrap();
        with_each_bit_flipped(&path, |text| match Parent::notes(dir.path()) {
            Ok(read) => assert_eq!(read, notes, "{text}"),
            Err(e) => assert_eq!((exit_of(&e), hint_of(&e).is_some()), (Exit::Corrupt, true), "{text}"),
        });
        write_atomic(&path, b"{", 0o600).unwrap();
        parent(0xc, 0xb).save(dir.path()).unwrap();
        assert_eq!(Parent::notes(dir.path()).unwrap(), [parent(0xc, 0xb)]);
        // As they were before they had a checksum.
        write_atomic(&path, &serde_json::to_vec_pretty(&notes).unwrap(), 0o600).unwrap();
        assert_eq!(Parent::notes(dir.path()).unwrap(), notes);
    }

    #[test]
    fn an_undone_restore_is_no_ancestor_and_no_stranger() {
        let dir = tempfile::tempdir().unwrap();
        let of = |cluster| Parent::of(dir.path(), cluster).unwrap().unwrap();
        parent(0xb, 0xa).save(dir.path()).unwrap();
        Parent::save_undone(dir.path(), 0xa, 7, 0xb).unwrap();
        let back = of(0xa);
        assert_eq!((back.cluster_id, back.index, &back.instead_of), (0xa, 7, &vec![0xb]));
        assert_eq!(of(0xb), parent(0xb, 0xa));
        let all = [generation(1, 0xa), generation(2, 0xb), generation(3, 0xa)];
        assert!(check(&all, &all[2], Some(&back)).is_ok());
        assert!(check(&all, &all[2], None).is_err());
        assert_eq!(ancestry(0xa, &[back]), [0xa]);
        // There and back again, and on from there.
        Parent::save_undone(dir.path(), 0xb, 9, 0xa).unwrap();
        assert_eq!(of(0xb), Parent { instead_of: vec![0xa], ..parent(0xb, 0xa) });
        parent(0xc, 0xa).save(dir.path()).unwrap();
        assert_eq!(of(0xc).cluster_id, 0xa);
    }

    #[test]
    fn ancestors_are_followed_and_strangers_are_not() {
        let before = Parent { before: vec![0x9, 0x8], ..parent(0xa, 0x7) };
        let all = [
            before,
            parent(0xc, 0xb),
            parent(0xb, 0xa),
            parent(0x3, 0x2),
            parent(0xb, 0xa),
            parent(0x8, 0xc),
        ];
        let sorted = |id| {
            let mut ids = ancestry(id, &all);
            ids.sort_unstable();
            ids
        };
        assert_eq!(sorted(0x3), [0x2, 0x3]);
        assert_eq!(sorted(0xa), [0x7, 0x8, 0x9, 0xa, 0xb, 0xc]);
        assert_eq!(sorted(0x5), [0x5]);
    }

    #[test]
    fn a_member_that_started_over_is_asked_about_until_somebody_chose() {
        let of = |number, cluster_id, (term, last)| {
            let sequence = 0;
            let part = PartName { sequence, first: 1, last, term, time: 0, size: 1, predecessor: 0, link: 0 };
            Generation { parts: vec![part], ..generation(number, cluster_id) }
        };
        let both = [of(1, 0xa, (2, 58)), of(3, 0xa, (9, 15))];
        let said = check(&both, &both[1], None).unwrap_err().to_string();
        assert!(said.contains("generation 1 of cluster a, up to index 58; generation 3 of"), "{said}");
        // All behind index 15 was lost, but never committed.
        let committed = [(both[0].name, 15)].into_iter().collect();
        assert!(super::check(&both, &both[1], None, &committed).is_ok());
        let restored = of(4, 0xb, (2, 20));
        let all = [&both[..], std::slice::from_ref(&restored)].concat();
        assert!(check(&all, &restored, Some(&parent(0xb, 0xa))).is_ok(), "somebody chose");
    }

    #[test]
    fn a_newest_generation_that_holds_less_is_no_default() {
        let of = |number, cluster_id, first, last| {
            let part = PartName {
                sequence: 0,
                first,
                last,
                term: number,
                time: 0,
                size: 1,
                predecessor: 0,
                link: 0,
            };
            Generation { parts: vec![part], ..generation(number, cluster_id) }
        };
        let all = [of(1, 0xa, 51, 100), of(2, 0xa, 51, 70), of(3, 0xb, 51, 60)];
        let error = check(&all[..2], &all[1], None).unwrap_err();
        let said = format!("{error} {}", hint_of(&error).unwrap());
        for words in
            ["generation 2, the newest, ends at index 70", "up to index 100", "restore --generation 1 "]
        {
            assert!(said.contains(words), "{words}: {said}");
        }
        // Somebody chose, and another cluster came of it.
        assert!(check(&all, &all[2], Some(&parent(0xb, 0xa))).is_ok());
    }

    #[test]
    fn unrelated_clusters_are_refused_and_a_parent_link_is_believed() {
        let parent = parent(0xb, 0xa);
        let foreign = Parent { for_cluster: 0xf, ..parent.clone() };
        let grandchild = Parent { cluster_id: 0xe, before: vec![0xd, 0xa], ..parent.clone() };
        let old = generation(1, 0xa);
        let new = generation(2, 0xb);
        let both = [old.clone(), new.clone()];
        let table: [(&[Generation], Option<&Parent>, bool); 6] = [
            (&both[1..], None, true),
            (&both, None, false),
            (&both, Some(&parent), true),
            (&both, Some(&foreign), false),
            (&both, Some(&grandchild), true),
            (&[new.clone(), generation(3, 0xb)], None, true),
        ];
        for (all, parent, ok) in table {
            assert_eq!(check(all, &new, parent).is_ok(), ok, "{all:?} {parent:?}");
        }
    }
}
