//! Which generations of a machine's folder are kept, and why. Pure: what the catalog says goes in, a verdict for each
//! generation comes out. What cannot be judged is kept; a clock that is wrong makes it keep more, never less.
//!
//! Newer and older go by number. Times only say which day or week a generation stands for, and its age.

use std::time::Duration;

use super::catalog::Entry;
use super::chain;
use super::names::{GenerationName, PartName};
use super::verified::Verified;
use crate::remote::Object;
use crate::settings::retention::Rules;
use crate::sys::time;

pub mod accepted;
pub mod apply;
mod doubts;
mod needs;
#[cfg(test)]
mod tests;

use accepted::Accepted;

/// Two generations and the newest of each member are kept whatever the rules say: the newest may turn out damaged.
const NEWEST: u64 = 2;
/// An upload takes no longer; what has no base after that never gets one.
const UPLOAD: u64 = 24 * 3600;
const DAY: u64 = 24 * 3600;
/// 1970-01-01 was a Thursday.
const SINCE_MONDAY: u64 = 3 * DAY;

/// What becomes of one generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Which.
    pub name: GenerationName,
    /// Whether it is kept.
    pub keep: bool,
    /// Why, in words.
    pub reason: String,
}

/// What becomes of all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// One for each generation, oldest first.
    pub verdicts: Vec<Verdict>,
    /// What somebody has to look at first: as long as there is any, nothing is removed.
    pub doubts: Vec<String>,
}

impl Plan {
    /// The generations to be removed now.
    pub fn removals(&self) -> impl Iterator<Item = GenerationName> {
        self.verdicts.iter().filter(|v| !v.keep && self.doubts.is_empty()).map(|v| v.name)
    }
}

/// Judges every generation of a folder. `now` is in seconds since 1970; `verified` is what was found of it by reading it
/// again.
pub fn plan(entries: &[Entry], rules: &Rules, now: u64, accepted: &Accepted, verified: &Verified) -> Plan {
    let mut all: Vec<Seen<'_>> = entries.iter().map(|entry| Seen::of(entry, verified)).collect();
    all.sort_unstable_by_key(Seen::name);
    let mut reasons = judge(&all, rules, now);
    while let Some((at, reason)) = needs::next(&all, &reasons) {
        reasons[at] = Ok(reason);
    }
    let verdict = |(seen, reason): (&Seen<'_>, Result<String, String>)| {
        let keep = reason.is_ok();
        Verdict { name: seen.name(), keep, reason: reason.unwrap_or_else(|e| e) }
    };
    let doubts = doubts::of(&all, accepted);
    Plan { verdicts: all.iter().zip(reasons).map(verdict).collect(), doubts }
}

/// What `prune --accept` accepts: all that is there now.
pub fn accept(entries: &[Entry]) -> Accepted {
    let mut clusters: Vec<u64> = entries.iter().map(|e| e.generation.name.cluster_id).collect();
    clusters.sort_unstable();
    clusters.dedup();
    let generation = entries.iter().map(|e| e.generation.name.number).max().unwrap_or(0);
    Accepted { clusters, generation }
}

/// Paths of objects below the machine's folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objects {
    /// Without these nobody can take a generation for whole.
    pub bases: Vec<String>,
    /// All the others.
    pub others: Vec<String>,
}

/// Folders with pieces of a v3 store and no part, whose base never comes: a later generation of the same member is whole.
pub fn abandoned(listed: &[Object], entries: &[Entry]) -> Vec<Verdict> {
    let is_over = |name: &GenerationName| {
        let later = |entry: &&Entry| {
            let of = |name: GenerationName| (name.cluster_id, name.member_id);
            of(entry.generation.name) == of(*name) && entry.generation.name.number > name.number
        };
        entries.iter().filter(later).any(|entry| entry.base.is_some() && !entry.generation.is_broken())
    };
    let reason = "without a base, which will not come any more: a later generation is there".to_owned();
    let verdict = |name| Verdict { name, keep: false, reason: reason.clone() };
    chain::unbegun(listed).into_iter().filter(is_over).map(verdict).collect()
}

/// What makes up the generations that are to be removed, of a folder that was listed.
pub fn objects(listed: &[Object], entries: &[Entry], plan: &Plan) -> Objects {
    let names: Vec<GenerationName> = plan.removals().collect();
    let mut objects = Objects::default();
    let unbegun: Vec<String> = chain::unbegun(listed)
        .into_iter()
        .filter(|name| names.contains(name))
        .map(|name| format!("{name}/"))
        .collect();
    let of_unbegun = |object: &&Object| unbegun.iter().any(|folder| object.path.starts_with(folder));
    objects.others.extend(listed.iter().filter(of_unbegun).map(|object| object.path.clone()));
    for Entry { generation, .. } in entries.iter().filter(|e| names.contains(&e.generation.name)) {
        let mut parts = generation.parts.iter().map(|part| generation.path(part));
        objects.bases.extend(parts.next());
        objects.others.extend(parts.chain(generation.beyond.iter().cloned()));
        objects.others.extend(generation.piece_objects().into_iter().map(|piece| piece.path));
    }
    objects
}

/// A generation as it is judged.
struct Seen<'a> {
    entry: &'a Entry,
    /// The newest time that the name of any of its objects says.
    time: u64,
    /// It can be restored to its end, as far as is known.
    whole: bool,
    /// The first part that was found to be damaged when it was read again.
    damaged: Option<u64>,
}

impl<'a> Seen<'a> {
    fn of(entry: &'a Entry, verified: &Verified) -> Self {
        let generation = &entry.generation;
        let absent = generation.beyond.iter().filter_map(|path| PartName::parse(path.rsplit('/').next()?));
        let time = absent.chain(generation.parts.iter().copied()).map(|part| part.time).max().unwrap_or(0);
        let damaged = verified.damage_of(generation.name).map(|seen| seen.part);
        let whole = !generation.is_broken() && entry.base.is_some() && damaged.is_none();
        Self { entry, time, whole, damaged }
    }

    /// Why it is not whole, of one whose base is there.
    fn fault(&self) -> String {
        match (self.damaged, self.entry.generation.last()) {
            (Some(part), _) => format!("verify found part {part} to be damaged"),
            (None, Some(last)) => format!("not whole behind part {}", last.sequence),
            (None, None) => "not whole".into(),
        }
    }

    fn name(&self) -> GenerationName {
        self.entry.generation.name
    }

    fn cluster(&self) -> u64 {
        self.name().cluster_id
    }

    /// Whether the v3 store can be restored from it.
    fn holds_v3(&self) -> bool {
        self.whole && !self.entry.generation.pieces.is_empty()
    }

    /// When its first point was captured.
    fn begins(&self) -> u64 {
        self.entry.generation.parts.first().map_or(self.time, |base| base.time)
    }
}

/// Why each is kept, or as the error why not, by rules that look at each for itself.
fn judge(all: &[Seen<'_>], rules: &Rules, now: u64) -> Vec<Result<String, String>> {
    // A generation of the future was captured under a wrong clock. It is kept, and takes nobody's place.
    let counts = |seen: &Seen<'_>| seen.whole && seen.time <= now;
    let today = reference(all, now);
    // What is switched off keeps nothing, not even what was captured this second.
    let since = |age: Duration| if age.is_zero() { u64::MAX } else { today.saturating_sub(age.as_secs()) };
    let newest_number = nth_newest(all.iter().map(|s| s.name().number), NEWEST);
    let newest_whole = nth_newest(all.iter().filter(|s| s.whole).map(|s| s.name().number), NEWEST);
    let last = nth_newest(all.iter().filter(|s| counts(s)).map(|s| s.name().number), rules.last);
    let daily = Slots::new(all, rules.daily, &counts, |time| time / DAY);
    let weekly = Slots::new(all, rules.weekly, &counts, week);

    let why = |at: usize, seen: &Seen<'_>| -> Result<String, String> {
        let name = seen.name();
        let later = || all[at + 1..].iter();
        if seen.time > now {
            return Ok(format!("captured in the future, at {}: a clock was wrong", time::rfc3339(seen.time)));
        }
        if name.number >= newest_number || (seen.whole && name.number >= newest_whole) {
            return Ok("one of the newest two".into());
        }
        let same =
            |other: &&Seen<'_>| other.cluster() == seen.cluster() && other.name().member_id == name.member_id;
        let newest = !later().any(|s| same(&s) && (s.whole || !seen.whole));
        if newest && seen.time >= since(rules.other_clusters) {
            return Ok(format!("the newest of member {:x} of cluster {:x}", name.member_id, seen.cluster()));
        }
        // Later ones may leave the v3 store out: an earlier version's, or where no base can be had.
        let newest_v3 = seen.holds_v3() && !later().any(|s| same(&s) && s.holds_v3());
        if newest_v3 && seen.time >= since(rules.other_clusters) {
            let member = name.member_id;
            return Ok(format!(
                "the newest with the v3 store of member {member:x} of cluster {:x}",
                seen.cluster()
            ));
        }
        // What it holds was the newest until the next one began, or still is.
        let until = later().find(|s| counts(s)).map_or(now, Seen::begins);
        let recent = seen.time.max(if seen.whole { until } else { 0 }) >= since(rules.within);
        let replaced = later().any(|s| s.whole);
        if !seen.whole {
            return match seen.entry.generation.parts.last() {
                _ if !replaced => Ok("not whole, but there is no newer one that is".into()),
                Some(_) if seen.entry.base.is_none() => Ok("its base cannot be read".into()),
                None if seen.time >= today.saturating_sub(UPLOAD) => {
                    Ok("without a base: its upload may be under way".into())
                }
                None => Err("without a base: nothing can be restored from it".into()),
                Some(_) if recent => Ok(format!("{}; within {}", seen.fault(), days(rules.within))),
                Some(_) => Err(seen.fault()),
            };
        }
        if name.number >= last {
            return Ok(format!("one of the last {}", rules.last));
        }
        if recent {
            return Ok(format!("within {}", days(rules.within)));
        }
        if daily.has(at) {
            return Ok(format!("the newest of {}", date(seen.time)));
        }
        if weekly.has(at) {
            let monday = (week(seen.time) * 7 * DAY).saturating_sub(SINCE_MONDAY);
            return Ok(format!("the newest of the week of {}", date(monday)));
        }
        Err("no rule keeps it".into())
    };
    all.iter().enumerate().map(|(at, seen)| why(at, seen)).collect()
}

/// What ages are counted from: now, but never later than where the generation before the newest ended. So neither a
/// clock that jumps ahead nor a node that was off for months makes everything old at once.
fn reference(all: &[Seen<'_>], now: u64) -> u64 {
    let newest = all.last().map_or(0, |s| s.name().number);
    let before = all.iter().filter(|s| s.name().number < newest && s.time <= now);
    before.map(|s| s.time).max().unwrap_or(0)
}

/// The `n`th largest of the numbers, which come in order; above all of them for 0, and 0 where there are not as many.
fn nth_newest(numbers: impl Iterator<Item = u64>, n: u64) -> u64 {
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.dedup();
    match numbers.len().checked_sub(usize::try_from(n).unwrap_or(usize::MAX)) {
        Some(at) => numbers.get(at).copied().unwrap_or(u64::MAX),
        None => 0,
    }
}

/// The newest generation of each of the newest days, or weeks, that have one.
struct Slots(Vec<usize>);

impl Slots {
    fn new(
        all: &[Seen<'_>],
        limit: u64,
        counts: &impl Fn(&Seen<'_>) -> bool,
        bucket: fn(u64) -> u64,
    ) -> Self {
        let mut found: Vec<(u64, usize)> = Vec::new();
        for (at, seen) in all.iter().enumerate().rev().filter(|(_, seen)| counts(seen)) {
            let bucket = bucket(seen.time);
            if found.iter().all(|(known, _)| *known != bucket) {
                found.push((bucket, at));
            }
        }
        found.sort_unstable_by_key(|&(bucket, _)| std::cmp::Reverse(bucket));
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Self(found.into_iter().map(|(_, at)| at).collect())
    }

    fn has(&self, at: usize) -> bool {
        self.0.contains(&at)
    }
}

/// Weeks begin on Monday; the one that 1970 began in is 0.
fn week(time: u64) -> u64 {
    (time + SINCE_MONDAY) / (7 * DAY)
}

fn date(time: u64) -> String {
    time::rfc3339(time)[..10].to_owned()
}

fn days(age: Duration) -> String {
    humantime::format_duration(age).to_string()
}
