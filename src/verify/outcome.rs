//! What is noted of a run on the node: what was verified, and that the next backup must not go on from damage.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::finding::Finding;
use super::plan::Scope;
use crate::archive::chain::Generation;
use crate::archive::names::GenerationName;
use crate::archive::verified::{Round, Seen, Verified};
use crate::backup::state::State;
use crate::settings::Settings;

/// A backup takes seconds; one that takes longer leaves the note to the next run.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// The share that a run reads: the one behind the last.
pub fn next_share(verified: &Verified, of: u64) -> Scope {
    let number = verified.round.as_ref().filter(|r| r.of == of).map_or(0, |r| r.done % of);
    Scope::Share { number, of }
}

/// Notes what a run at `now` found in the generations `read`, which are among `all` that there are.
pub fn note(
    verified: &mut Verified,
    all: &[Generation],
    read: &[&Generation],
    scope: Scope,
    findings: &[Finding],
    now: u64,
) {
    let names: Vec<String> = all.iter().map(|g| g.name.to_string()).collect();
    verified.generations.retain(|name, _| names.contains(name));
    verified.damaged.retain(|name, _| names.contains(name));
    for generation in read {
        let name = generation.name.to_string();
        let damaged = findings.iter().filter(|f| f.is_of(generation.name)).map(|f| f.part).min();
        let whole = |part| Seen { part, time: now };
        match (damaged, scope) {
            (Some(part), _) => {
                verified.damaged.insert(name.clone(), whole(part));
                let before = verified.generations.remove(&name);
                let kept = part.checked_sub(1).and_then(|last| match scope {
                    Scope::Whole => Some(whole(last)),
                    Scope::Share { .. } => before.map(|seen| Seen { part: seen.part.min(last), ..seen }),
                });
                verified.generations.extend(kept.map(|seen| (name, seen)));
            }
            (None, Scope::Whole) => {
                verified.damaged.remove(&name);
                verified.generations.extend(generation.last().map(|p| (name, whole(p.sequence))));
            }
            (None, Scope::Share { .. }) => {}
        }
    }
    match scope {
        Scope::Share { number, of } => go_round(verified, all, number, of, now),
        // What was lost is known again.
        Scope::Whole => verified.lost &= read.len() < all.len(),
    }
}

/// Counts a share. With the last one, all that was there at the first is verified.
fn go_round(verified: &mut Verified, all: &[Generation], number: u64, of: u64, now: u64) {
    let began = || -> BTreeMap<String, Seen> {
        let newest =
            |g: &Generation| Some((g.name.to_string(), Seen { part: g.last()?.sequence, time: now }));
        all.iter().filter_map(newest).collect()
    };
    let mut round = verified
        .round
        .take()
        .filter(|r| r.of == of && r.done == number)
        .unwrap_or_else(|| Round { of, done: number, began: began() });
    round.done += 1;
    if round.done == of {
        verified.lost = false;
        for (name, seen) in &round.began {
            let still = all.iter().any(|g| g.name.to_string() == *name);
            // None of the shares has found again what an earlier run did: it was the way, or the remote.
            if verified.damaged.get(name).is_some_and(|damaged| damaged.time < seen.time) {
                verified.damaged.remove(name);
            }
            let newer = verified.generations.get(name).is_some_and(|v| v.time >= seen.time);
            if still && !newer && !verified.damaged.contains_key(name) {
                verified.generations.insert(name.clone(), *seen);
            }
        }
        return;
    }
    verified.round = Some(round);
}

/// The part that must be there at least: what the last backup sent, or what was verified once.
pub fn known(state: Option<&State>, verified: &Verified, generation: GenerationName) -> Option<u64> {
    let sent = state.filter(|s| is_current(s, generation)).and_then(State::last_sent);
    sent.max(verified.newest_of(generation).map(|seen| seen.part))
}

fn is_current(state: &State, generation: GenerationName) -> bool {
    let GenerationName { number, cluster_id, member_id, writer } = generation;
    (state.generation, state.writer) == (number, writer)
        && (state.cluster_id, state.member_id) == (cluster_id, member_id)
}

/// Makes the next backup begin a new generation if the one that it would continue is damaged; gives that one's number.
///
/// # Errors
/// The state cannot be read or removed.
pub fn begin_anew(settings: &Settings, folder: &str, damaged: &[GenerationName]) -> Result<Option<u64>> {
    let current = |state: &State| state.folder == folder && damaged.iter().any(|d| is_current(state, *d));
    if !State::load(&settings.backup_dir)?.is_some_and(|s| current(&s)) {
        return Ok(None);
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        // A backup that is under way would write the state anew.
        if let Some(_lock) = settings.try_lock()? {
            let state = State::load(&settings.backup_dir)?.filter(current);
            if state.is_some() {
                State::forget(&settings.backup_dir)?;
            }
            return Ok(state.map(|s| s.generation));
        }
        if Instant::now() >= deadline {
            log::warn!(
                "a backup or recovery is still running: the next verify will have a new generation begun"
            );
            return Ok(None);
        }
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::names::PartName;
    use crate::verify::finding::Kind;

    #[test]
    fn what_was_lost_is_known_again_once_all_was_read() {
        let generation = |number| Generation {
            name: GenerationName { number, cluster_id: 2, member_id: 3, writer: 4 },
            parts: Vec::new(),
            pieces: Vec::new(),
            beyond: Vec::new(),
        };
        let all = [generation(1), generation(2)];
        let lost = || Verified { lost: true, ..Verified::default() };
        let mut verified = lost();
        for still in [true, false, false] {
            let scope = next_share(&verified, 2);
            note(&mut verified, &all, &[&all[0], &all[1]], scope, &[], 1);
            assert_eq!(verified.lost, still);
        }
        for (read, still) in [(&all[..1], true), (&all[..], false)] {
            let mut verified = lost();
            note(&mut verified, &all, &read.iter().collect::<Vec<_>>(), Scope::Whole, &[], 1);
            assert_eq!(verified.lost, still);
        }
    }

    #[test]
    fn damage_that_no_share_of_a_round_finds_again_is_forgotten() {
        let part = |sequence| PartName {
            sequence,
            first: 1,
            last: 1,
            term: 1,
            time: 0,
            size: 1,
            predecessor: sequence,
            link: sequence + 1,
        };
        let name = GenerationName { number: 1, cluster_id: 2, member_id: 3, writer: 4 };
        let all =
            [Generation { name, parts: vec![part(0), part(1)], pieces: Vec::new(), beyond: Vec::new() }];
        let found = [Finding::of(&all[0], &part(1), "its checksum is wrong".into(), Kind::Damaged)];
        let (mut verified, nothing) = (Verified::default(), &found[..0]);
        // Found in the second share of the first round; not found again.
        for (now, found, damaged, whole) in [
            (1, nothing, None, None),
            (2, &found[..], Some(1), None),
            (3, nothing, Some(1), None),
            (4, nothing, None, Some(1)),
            (5, nothing, None, Some(1)),
        ] {
            let scope = next_share(&verified, 2);
            note(&mut verified, &all, &[&all[0]], scope, found, now);
            let known = (verified.damage_of(name), verified.newest_of(name));
            assert_eq!((known.0.map(|s| s.part), known.1.map(|s| s.part)), (damaged, whole), "{now}");
        }
    }
}
