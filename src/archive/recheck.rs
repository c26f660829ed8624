//! Whether the folder is as this node left it: nobody else writes there, nothing of the generation is gone. Pure.
//!
//! It is looked at where a generation begins, and every [`PARTS`] parts. Whatever is found, a new generation keeps this
//! node's data apart from it.

use super::chain;
use super::names::{GenerationName, PartName};
use super::part::prefix;
use super::state::{Checked, State};
use crate::remote::Object;

/// So many parts are sent between two looks: at 30 s each, 10 minutes.
const PARTS: u64 = 20;

/// What is not as it was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was seen.
    pub what: String,
    /// What it means, and what to do.
    pub next: &'static str,
    /// Whether it is somebody else's: two machines that look at the same moment must not take the same number.
    pub other_writer: bool,
}

const TWO_MACHINES: &str = "two machines write to this folder, or another folder was copied into it, and a restore cannot \
    tell whose data is meant: give one of the machines another ID (remove /etc/machine-id, run systemd-machine-id-setup, \
    boot again)";
const GONE: &str = "points of that generation cannot be restored any more: does a rule of the bucket, or somebody, remove \
    or cut off objects?";

/// Whether it is time to look.
pub fn is_due(state: &State) -> bool {
    state.sequence >= state.checked.sequence + PARTS
}

/// Looks. What was sent since the last look may be missing: a listing may lag behind.
///
/// # Errors
/// What is not as it was left.
pub fn look(objects: &[Object], state: &State) -> Result<Checked, Finding> {
    let own = state.generation_name();
    let two = |what| Err(Finding { what, next: TWO_MACHINES, other_writer: true });
    if let Some(part) = foreign_part(objects, own, state) {
        return two(format!("{own}/{part} is not from this node"));
    }
    let generations = chain::generations(objects);
    let names = generations.iter().map(|g| g.name);
    if let Some(other) = names.filter(|g| g.number >= own.number && *g != own).max() {
        return two(format!("the generation {other} is not from this node, which writes {own}"));
    }
    let parts = generations.into_iter().find(|g| g.name == own).map(|g| g.parts);
    let parts = parts.unwrap_or_default();
    let Checked { sequence, checksum } = &state.checked;
    if !parts.iter().any(|p| (p.sequence, p.checksum) == (*sequence, prefix(checksum))) {
        let what = format!("part {} of generation {own} is missing or truncated in the remote", parts.len());
        return Err(Finding { what, next: GONE, other_writer: false });
    }
    Ok(Checked { sequence: state.sequence, checksum: state.checksum.clone() })
}

/// A part in this node's generation that cannot be its own: behind its last one, or another one of the same sequence.
fn foreign_part(objects: &[Object], own: GenerationName, state: &State) -> Option<PartName> {
    let last = (state.sequence, prefix(&state.checksum));
    let in_own = |o: &Object| {
        let (folder, file) = o.path.split_once('/')?;
        (GenerationName::parse(folder) == Some(own)).then(|| PartName::parse(file)).flatten()
    };
    let mut parts: Vec<PartName> = objects.iter().filter_map(in_own).collect();
    parts.sort_unstable();
    let doubled = parts.windows(2).find(|p| p[0].sequence == p[1].sequence).map(|p| p[1]);
    doubled.or_else(|| parts.into_iter().find(|p| p.sequence >= last.0 && (p.sequence, p.checksum) != last))
}

#[cfg(test)]
mod tests {
    use super::super::state::tests::state;
    use super::*;

    /// The state behind `sequence` parts more than the base, of which `checked` were seen.
    fn behind(sequence: u64, checked: u64) -> State {
        let checksum = |s: u64| format!("{:016x}{:048}", 100 + s, 0);
        State {
            sequence,
            checksum: checksum(sequence),
            checked: Checked { sequence: checked, checksum: checksum(checked) },
            ..state(0)
        }
    }

    fn part(sequence: u64) -> PartName {
        let predecessor = if sequence == 0 { 0 } else { 99 + sequence };
        PartName {
            sequence,
            first: 1,
            last: 9,
            term: 1,
            time: 0,
            size: 10,
            predecessor,
            checksum: 100 + sequence,
        }
    }

    fn object(part: PartName) -> Object {
        Object { path: format!("{}/{part}", state(0).generation_name()), size: part.size }
    }

    #[test]
    fn it_is_looked_at_every_so_many_parts() {
        for (sequence, checked, due) in
            [(0, 0, false), (19, 0, false), (20, 0, true), (39, 20, false), (40, 20, true)]
        {
            assert_eq!(is_due(&behind(sequence, checked)), due, "{sequence} behind {checked}");
        }
    }

    #[test]
    fn what_lags_is_waited_for_and_what_was_there_must_stay() {
        let whole: Vec<Object> = (0..=40).map(|s| object(part(s))).collect();
        let state = behind(40, 20);
        let up_to = Checked { sequence: 40, checksum: state.checksum.clone() };
        assert_eq!(look(&whole, &state), Ok(up_to.clone()));
        assert_eq!(look(&whole[..21], &state), Ok(up_to));
        let without = |at: usize| [&whole[..at], &whole[at + 1..]].concat();
        let cut = |at: usize| {
            let mut all = whole.clone();
            all[at].size -= 1;
            all
        };
        let table = [
            (whole[..20].to_vec(), 20),
            (without(20), 20),
            (without(0), 0),
            (without(7), 7),
            (cut(20), 20),
            (cut(3), 3),
            (Vec::new(), 0),
        ];
        for (objects, missing) in table {
            let found = look(&objects, &state).unwrap_err();
            assert!(found.what.starts_with(&format!("part {missing} of generation ")), "{found:?}");
            assert_eq!((found.next, found.other_writer), (GONE, false));
        }
        for at in 21..=40 {
            assert!(look(&without(at), &state).is_ok() && look(&cut(at), &state).is_ok(), "{at}");
        }
    }

    #[test]
    fn what_somebody_else_wrote_is_seen() {
        let whole: Vec<Object> = (0..=5).map(|s| object(part(s))).collect();
        let own = state(0).generation_name();
        let folder = |name: GenerationName| Object { path: format!("{name}/{}", part(0)), size: 10 };
        let beside = GenerationName { writer: own.writer + 1, ..own };
        let later = GenerationName { number: own.number + 1, cluster_id: 9, ..own };
        let earlier = GenerationName { number: own.number - 1, ..beside };
        let cut_off = Object { size: 3, ..object(PartName { checksum: 7, ..part(6) }) };
        let table = [
            (vec![folder(earlier)], None),
            // Nothing in it has a part's name: it is no generation.
            (vec![Object { path: format!("{later}/junk"), size: 10 }], None),
            (vec![folder(beside)], Some(format!("the generation {beside} "))),
            (vec![folder(beside), folder(later)], Some(format!("the generation {later} "))),
            (vec![object(part(6))], Some(format!("{own}/{} ", part(6)))),
            (vec![cut_off], Some(format!("{own}/00000006-"))),
            (vec![object(PartName { checksum: 7, ..part(5) })], Some(format!("{own}/00000005-"))),
            (vec![object(PartName { checksum: 7, ..part(2) })], Some(format!("{own}/00000002-"))),
        ];
        for (added, expected) in table {
            let found = look(&[whole.clone(), added].concat(), &behind(5, 5)).err();
            let fits = match (&found, &expected) {
                (Some(found), Some(start)) => {
                    found.what.starts_with(start) && found.next == TWO_MACHINES && found.other_writer
                }
                (None, None) => true,
                _ => false,
            };
            assert!(fits, "{found:?}, not {expected:?}");
        }
    }
}
