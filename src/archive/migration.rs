//! Whether one machine's folder may be copied into another's, and which objects are left to copy. Pure.

use anyhow::Result;

use super::chain::{self, Generation};
use super::history::Committed;
use super::lineage::{self, Parent};
use super::names::{PartName, PieceName};
use crate::exit::{Exit, fault};
use crate::remote::Object;

/// The objects of `from` that `to` does not have whole, however far an earlier copy got. `parents` is what the bases of
/// both folders say that they continue, `committed` what is known to be committed in them.
///
/// # Errors
/// [`Exit::Refused`] where the result would be anything but one history with the freshest data as its newest generation.
pub fn left(
    from: &[Object],
    to: &[Object],
    parents: &[Parent],
    committed: &Committed,
) -> Result<Vec<Object>> {
    refuse_other_content(from, to)?;
    let absent = |object: &&Object| !to.contains(object);
    let left: Vec<Object> = from.iter().filter(absent).cloned().collect();
    let there = |object: &&Object| !from.iter().any(|o| o.path == object.path);
    let mut both = from.to_vec();
    both.extend(to.iter().filter(there).cloned());
    refuse_two_histories(&chain::generations(&both), parents, committed)?;
    Ok(left)
}

/// Nothing is overwritten but an upload that was cut off, and the two layouts do not share a folder.
fn refuse_other_content(from: &[Object], to: &[Object]) -> Result<()> {
    let differs = |o: &&Object| from.iter().any(|f| f.path == o.path && f.size != o.size) && !is_cut_off(o);
    if let Some(object) = to.iter().find(differs) {
        return Err(refused(&format!("{} already exists with another size", object.path)));
    }
    let is_old = |o: &&Object| o.path.starts_with("member/");
    let stray = |o: &&Object| is_old(o) && !from.iter().any(|f| f.path == o.path);
    if let Some(object) = to.iter().find(stray) {
        return Err(refused(&format!(
            "{} already exists, of another etcd2-backup-coreos backup",
            object.path
        )));
    }
    if chain::is_original(from) && !chain::generations(to).is_empty() {
        return Err(refused(
            "this machine already has generations, and they would hide the copied etcd2-backup-coreos backup",
        ));
    }
    Ok(())
}

fn is_cut_off(object: &Object) -> bool {
    let Some(name) = object.path.rsplit('/').next() else { return false };
    let size = PartName::parse(name).map(|p| p.size).or_else(|| PieceName::parse(name).map(|p| p.size));
    size.is_some_and(|size| object.size < size)
}

fn refuse_two_histories(all: &[Generation], parents: &[Parent], committed: &Committed) -> Result<()> {
    if let Some(twice) = all.windows(2).find(|two| two[0].name.number == two[1].name.number) {
        return Err(refused(&format!(
            "both have a generation {}, with different content",
            twice[0].name.number
        )));
    }
    let Some(newest) = all.last() else { return Ok(()) };
    let parent = parents.iter().find(|p| p.for_cluster == newest.name.cluster_id);
    lineage::check(all, newest, parent, committed).map_err(|e| refused(&format!("{e:#}")))?;
    let end = |g: &Generation| g.last().map(PartName::end);
    let of_cluster = |g: &&Generation| g.name.cluster_id == newest.name.cluster_id;
    match all.iter().filter(of_cluster).find(|g| end(g) > end(newest)) {
        Some(fresher) => {
            let (old, new) = (newest.name.number, fresher.name.number);
            Err(refused(&format!(
                "generation {old} would become the newest, but holds less than generation {new}"
            )))
        }
        None => Ok(()),
    }
}

fn refused(what: &str) -> anyhow::Error {
    fault(
        Exit::Refused,
        format!("the two backups cannot be merged: {what}"),
        "restore straight from the other one: sudo /opt/bin/etcd2-backup restore --from MACHINE_ID; or \
         remove this machine's directory from the remote, if nobody needs it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::names::GenerationName;

    /// As [`super::left`], where nothing is known of what was committed.
    fn left(from: &[Object], to: &[Object], parents: &[Parent]) -> Result<Vec<Object>> {
        super::left(from, to, parents, &Committed::default())
    }

    fn part(number: u64, cluster_id: u64, last: u64) -> Object {
        let name = GenerationName { number, cluster_id, member_id: 1, writer: 7 };
        let part =
            PartName { sequence: 0, first: 5, last, term: 2, time: 0, size: 100, predecessor: 0, link: last };
        Object { path: format!("{name}/{part}"), size: 100 }
    }

    fn of(path: &str, size: u64) -> Object {
        Object { path: path.into(), size }
    }

    fn parent(for_cluster: u64, cluster_id: u64) -> Parent {
        Parent {
            for_cluster,
            cluster_id,
            generation: 0,
            index: 5,
            token: "t".into(),
            before: Vec::new(),
            instead_of: Vec::new(),
        }
    }

    #[test]
    fn only_what_is_absent_or_cut_off_is_left() {
        let from = [part(1, 0xa, 10), part(2, 0xa, 20), of("recovery/t", 9)];
        assert_eq!(left(&from, &[], &[]).unwrap(), from);
        assert_eq!(left(&from, &from, &[]).unwrap(), []);
        assert_eq!(left(&from, &[from[1].clone()], &[]).unwrap(), [from[0].clone(), from[2].clone()]);
        let cut = Object { size: 99, ..from[1].clone() };
        let other = of("x.partial", 3);
        assert_eq!(
            left(&from, &[from[0].clone(), from[2].clone(), cut, other], &[]).unwrap(),
            [from[1].clone()]
        );
        let old = [of("member/wal/0.wal", 5), of("member/snap/1.snap", 3)];
        assert_eq!(left(&old, &old[..1], &[]).unwrap(), old[1..]);
    }

    #[test]
    fn the_pieces_of_a_v3_store_go_with_their_base() {
        let piece = PieceName { number: 0, applied: 9, size: 50, predecessor: 0, link: 77 };
        let base = part(2, 0xa, 20);
        let (folder, name) = base.path.split_once('/').unwrap();
        let name = PartName { predecessor: piece.link, ..PartName::parse(name).unwrap() };
        let from = [of(&format!("{folder}/{piece}"), 50), of(&format!("{folder}/{name}"), 100)];
        assert_eq!(left(&from, &[], &[]).unwrap(), from);
        assert_eq!(left(&from, &[from[1].clone()], &[]).unwrap(), [from[0].clone()]);
        let cut = Object { size: 49, ..from[0].clone() };
        assert_eq!(left(&from, &[cut, from[1].clone()], &[]).unwrap(), [from[0].clone()]);
        let larger = Object { size: 51, ..from[0].clone() };
        assert!(left(&from, &[larger], &[]).is_err());
    }

    #[test]
    fn a_copy_goes_into_a_differently_numbered_folder_of_one_history() {
        let from = [part(4, 0xa, 40)];
        for (to, parents) in [
            (vec![part(1, 0xa, 10), part(3, 0xa, 30)], vec![]),
            (vec![part(5, 0xb, 9)], vec![parent(0xb, 0xa)]),
            (vec![part(2, 0x9, 90)], vec![parent(0xa, 0x9)]),
        ] {
            assert_eq!(left(&from, &to, &parents).unwrap(), from, "{to:?}");
        }
    }

    #[test]
    fn two_histories_and_other_content_are_refused() {
        let old = of("member/wal/0.wal", 5);
        let (ours, part_4) = (vec![of("recovery/t", 9)], part(4, 0xa, 40));
        // Two machines that take the same number are told apart by the writer.
        let by_another_writer =
            Object { path: part_4.path.replace("-00000007/", "-00000008/"), ..part_4.clone() };
        for (from, to, words) in [
            (vec![part_4.clone()], vec![part(1, 0xb, 10)], "unrelated histories"),
            (vec![part_4.clone()], vec![part(5, 0xb, 10)], "unrelated histories"),
            (vec![part_4.clone(), part(5, 0xb, 1)], vec![], "unrelated histories"),
            (vec![part_4.clone()], vec![by_another_writer], "both have a generation 4"),
            (vec![part_4.clone()], vec![part(5, 0xa, 39)], "generation 5, the newest, ends at index 39"),
            (vec![part_4.clone()], vec![old.clone()], "another etcd2-backup-coreos backup"),
            (vec![old.clone()], vec![of("member/wal/1.wal", 5)], "another etcd2-backup-coreos"),
            (vec![old.clone()], vec![of("member/wal/0.wal", 4)], "with another size"),
            (vec![old.clone()], vec![part_4.clone()], "would hide"),
            (ours, vec![of("recovery/t", 8)], "with another size"),
        ] {
            let Err(error) = left(&from, &to, &[]) else { panic!("not refused, {words}: {to:?}") };
            assert_eq!(crate::exit::exit_of(&error), Exit::Refused);
            assert!(format!("{error:#}").contains(words), "{words}: {error:#}");
        }
    }
}
