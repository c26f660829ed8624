//! A point in the past: in which generation it lies, which parts it needs, which index it is. Pure but for the log, which is
//! read by others.

use anyhow::Result;

use crate::archive::chain::Generation;
use crate::archive::names::PartName;
use crate::archive::part::Mark;
use crate::etcd::clock::Ticks;
use crate::exit::{Exit, fault};
use crate::sys::time::{self, NANOSECONDS};

/// Which state a restore is to bring back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The one at an index.
    Index(u64),
    /// The one at a moment, nanoseconds since 1970.
    At(u64),
}

/// A leader's clock and this machine's are believed not to differ by more, in seconds.
const SLACK: u64 = 60;
/// SYNC entries further apart say nothing of the entries between them, in nanoseconds.
const SILENCE: u64 = 60 * NANOSECONDS;

/// Where a point lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// In this generation,
    pub generation: &'a Generation,
    /// in so many of its first parts.
    pub needed: usize,
    /// With so many it is certain, as clocks differ and entries may be overwritten by a new leader's.
    pub better: usize,
    /// Entries up to this one are older for sure.
    floor: u64,
    /// The last entry of a part that was captured before the moment.
    captured: Option<u64>,
    /// The moment, in seconds since 1970.
    seconds: u64,
    /// It lies here only if the log says so.
    if_exact: bool,
}

impl<'a> Place<'a> {
    /// Finds a point in generations, oldest first, of one lineage: the places where it may lie, the best first.
    ///
    /// # Errors
    /// [`Exit::NotFound`] if no generation has it, with the nearest points; [`Exit::Corrupt`] if one had it and is broken
    /// before it.
    pub fn of(point: Point, generations: &[&'a Generation]) -> Result<Vec<Self>> {
        match point {
            Point::Index(index) => Self::of_index(index, generations).map(|place| vec![place]),
            Point::At(moment) => Self::of_moment(moment, generations),
        }
    }

    fn of_index(index: u64, generations: &[&'a Generation]) -> Result<Self> {
        // A later cluster has the same entries up to where it was restored, and its own behind.
        let found = generations.iter().rev().find_map(|&generation| {
            let (first, _) = reach(generation)?;
            let at = generation.parts.iter().position(|p| p.last >= index)?;
            (first <= index).then_some((generation, at + 1))
        });
        let (generation, needed) = found.ok_or_else(|| no_such_index(index, generations))?;
        let better = generation.parts.len().min(needed + 1);
        Ok(Self { generation, needed, better, floor: 0, captured: None, seconds: 0, if_exact: false })
    }

    fn of_moment(moment: u64, generations: &[&'a Generation]) -> Result<Vec<Self>> {
        let seconds = moment / NANOSECONDS;
        let began = |g: &&Generation| begin(g).is_some_and(|begin| begin <= seconds);
        // The log of the first one may reach back to before it was captured.
        let at = generations.iter().rposition(began).unwrap_or(0);
        let Some(&generation) = generations.get(at) else {
            return Err(fault(Exit::NotFound, "there is no generation", points_of(generations)));
        };
        let here = Self::around(generation, seconds);
        let ended = generation.parts.last().is_none_or(|p| p.time <= seconds);
        if ended && generation.is_broken() {
            let what =
                format!("generation {} is broken before {}", generation.name.number, time::rfc3339(seconds));
            return Err(fault(Exit::Corrupt, what, points_of(generations)));
        }
        // What was written between the two is in the next one's base.
        let next = generations.get(at + 1).filter(|g| ended && !g.parts.is_empty());
        let next = next.map(|&next| Self { if_exact: true, ..Self::around(next, seconds) });
        Ok(next.into_iter().chain([here]).collect())
    }

    /// What is to be looked at of a generation.
    fn around(generation: &'a Generation, seconds: u64) -> Self {
        let parts = &generation.parts;
        let up_to = |seconds: u64| parts.iter().position(|p| p.time > seconds);
        let captured = &parts[..up_to(seconds).unwrap_or(parts.len())];
        let floor = &parts[..up_to(seconds.saturating_sub(SLACK)).unwrap_or(parts.len())];
        let count = |before: Option<usize>| before.map_or(parts.len(), |at| at + 1);
        let (needed, better) = (count(up_to(seconds)), count(up_to(seconds + SLACK)));
        let last = |parts: &[PartName]| parts.last().map(|p| p.last);
        let (floor, captured) = (last(floor).unwrap_or(0), last(captured));
        Self { generation, needed, better, floor, captured, seconds, if_exact: false }
    }

    /// The entries among which the moment is to be looked for begin behind this index.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The last entry that was written before the moment, given the SYNC entries next to it and what was seen of the log when
    /// nothing was sent; and by which of the two clocks. `None`: it is to be looked for in the next place.
    ///
    /// # Errors
    /// [`Exit::NotFound`]: the generation begins later.
    pub fn index(&self, ticks: Ticks, marks: &[Mark]) -> Result<Option<(u64, &'static str)>> {
        const LEADERS: &str = "by the leader's clock in the WAL";
        const OURS: &str = "by the time of the backup: the WAL has nothing more exact";
        let Ticks { before, behind } = ticks;
        // In a base of later, two terms may be two clusters: what was written in the first one at last may be left out.
        if let (Some(before), Some(behind)) = (before, behind)
            && behind.time.saturating_sub(before.time) <= SILENCE
            && (before.term == behind.term || !self.if_exact)
        {
            return self.not_below(behind.index - 1, LEADERS);
        }
        if self.if_exact {
            return Ok(None);
        }
        let seen = marks.iter().filter(|mark| mark.time <= self.seconds).map(|mark| mark.index).max();
        let at_least = before.map(|tick| tick.index).max(self.captured).max(seen);
        match (at_least, behind) {
            (Some(index), Some(behind)) => self.not_below(index.min(behind.index - 1), OURS),
            (Some(index), None) => self.not_below(index, OURS),
            (None, _) => {
                let what = format!("generation {} begins later than that", self.generation.name.number);
                Err(fault(Exit::NotFound, what, points_of(&[self.generation])))
            }
        }
    }
}

impl Place<'_> {
    /// How exactly the moment is known, by what was seen of the log before and after it; `None` where nothing was.
    pub fn exactness(&self, index: u64, marks: &[Mark]) -> Option<String> {
        let parts = self.generation.parts.iter().map(|part| Mark { time: part.time, index: part.last });
        let mut seen: Vec<Mark> = parts.chain(marks.iter().copied()).collect();
        seen.sort_unstable_by_key(|mark| (mark.time, mark.index));
        let behind = seen.iter().position(|mark| mark.time > self.seconds).unwrap_or(seen.len());
        let before = seen.get(behind.checked_sub(1)?)?;
        if before.index != index {
            return None;
        }
        let known = format!("index {index} is the last one known at {}", time::rfc3339(before.time));
        Some(match seen.get(behind) {
            Some(mark) => format!(
                "the entries between {} and {} cannot be told apart: {known}",
                time::rfc3339(before.time),
                time::rfc3339(mark.time)
            ),
            None => format!("{known}: nothing later is in the generation"),
        })
    }

    /// What was found, if the generation can be restored to it: a v3 store has no state before its last entry.
    fn not_below<T>(&self, index: u64, found: T) -> Result<Option<(u64, T)>> {
        let Some(lowest) =
            self.generation.lowest().filter(|lowest| *lowest > index && !self.generation.pieces.is_empty())
        else {
            return Ok(Some((index, found)));
        };
        if self.if_exact {
            return Ok(None);
        }
        let number = self.generation.name.number;
        let what = format!(
            "that is index {index}, and generation {number} can be restored from index {lowest} on: the v3 store that it begins \
             with contains everything up to there"
        );
        Err(fault(Exit::NotFound, what, points_of(&[self.generation])))
    }
}

/// The indexes that a generation can be restored to.
fn reach(generation: &Generation) -> Option<(u64, u64)> {
    Some((generation.lowest()?, generation.last()?.last))
}

/// When a generation began, of whatever is left of it.
fn begin(generation: &Generation) -> Option<u64> {
    let base = generation.parts.first().map(|p| p.time);
    let names = generation.beyond.iter().filter_map(|path| PartName::parse(path.rsplit('/').next()?));
    base.or_else(|| names.map(|p| p.time).min())
}

fn no_such_index(index: u64, generations: &[&Generation]) -> anyhow::Error {
    let ends = generations.iter().filter_map(|g| reach(g));
    let (below, above) = ends.fold((None, None), |(below, above), (first, last)| {
        let below = if last < index { below.max(Some(last)) } else { below };
        let above = if first > index { Some(above.map_or(first, |a: u64| a.min(first))) } else { above };
        (below, above)
    });
    let near: Vec<String> = below.into_iter().chain(above).map(|n| n.to_string()).collect();
    let near = if near.is_empty() { "there is none".into() } else { near.join(" and ") };
    let what = format!("index {index} is in no generation; the nearest that can be restored: {near}");
    fault(Exit::NotFound, what, points_of(generations))
}

/// What can be restored, for a hint.
fn points_of(generations: &[&Generation]) -> String {
    let list: Vec<String> = generations
        .iter()
        .filter_map(|g| {
            let ((first, last), base, newest) = (reach(g)?, g.parts.first()?, g.last()?);
            let span = [base, newest].map(|p| time::rfc3339(p.time));
            Some(format!(
                "generation {}: index {first} to {last}, captured {} to {}",
                g.name.number, span[0], span[1]
            ))
        })
        .collect();
    if list.is_empty() {
        return "no generation has an intact base; to list them: sudo /opt/bin/etcd2-backup list".into();
    }
    format!("{}; to list every restore point: sudo /opt/bin/etcd2-backup list --points", list.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::names::{GenerationName, PieceName};
    use crate::etcd::clock::Tick;
    use crate::exit::{exit_of, hint_of};

    /// Parts by the time of their capture and their last index; the base begins behind `base`.
    fn generation(number: u64, base: u64, parts: &[(u64, u64)]) -> Generation {
        let part = |(sequence, &(time, last)): (usize, &(u64, u64))| PartName {
            sequence: sequence as u64,
            first: if sequence == 0 { base + 1 } else { parts[sequence - 1].1 + 1 },
            last,
            term: 2,
            time,
            size: 1,
            predecessor: 0,
            link: 0,
        };
        Generation {
            name: GenerationName { number, cluster_id: 0xc, member_id: 1, writer: 1 },
            parts: parts.iter().enumerate().map(part).collect(),
            pieces: Vec::new(),
            beyond: Vec::new(),
        }
    }

    fn two() -> [Generation; 2] {
        [
            generation(1, 0, &[(1000, 50), (1030, 80), (1060, 100), (1200, 130)]),
            generation(2, 90, &[(1300, 140), (1330, 160), (1360, 180), (1420, 200)]),
        ]
    }

    /// Generation, parts needed, parts that make it certain, of the last place; or the exit code.
    fn place(point: Point, all: &[Generation]) -> Result<(u64, usize, usize), Exit> {
        let all: Vec<&Generation> = all.iter().collect();
        let places = Place::of(point, &all).map_err(|e| exit_of(&e))?;
        let place = places.last().unwrap();
        Ok((place.generation.name.number, place.needed, place.better))
    }

    #[test]
    fn an_index_is_in_the_newest_generation_that_has_it() {
        for (index, expected) in [
            (0, Err(Exit::NotFound)),
            (1, Ok((1, 1, 2))),
            (50, Ok((1, 1, 2))),
            (51, Ok((1, 2, 3))),
            (89, Ok((1, 3, 4))),
            (90, Ok((2, 1, 2))),
            (141, Ok((2, 2, 3))),
            (200, Ok((2, 4, 4))),
            (201, Err(Exit::NotFound)),
        ] {
            assert_eq!(place(Point::Index(index), &two()), expected, "{index}");
        }
        let apart = [generation(1, 10, &[(1, 20)]), generation(2, 40, &[(2, 50)])];
        let error = Place::of(Point::Index(30), &apart.each_ref()).unwrap_err();
        assert!(error.to_string().contains("the nearest that can be restored: 20 and 40"), "{error}");
        assert!(hint_of(&error).unwrap().contains("generation 2: index 40 to 50, captured 1970"), "{error}");
    }

    #[test]
    fn a_moment_is_in_the_latest_generation_that_began_before_it() {
        for (seconds, expected) in [
            (999, Ok((1, 1, 3))),
            (1000, Ok((1, 2, 4))),
            (1059, Ok((1, 3, 4))),
            (1299, Ok((1, 4, 4))),
            (1300, Ok((2, 2, 4))),
            (1330, Ok((2, 3, 4))),
            (9999, Ok((2, 4, 4))),
        ] {
            assert_eq!(place(Point::At(seconds * NANOSECONDS), &two()), expected, "{seconds}");
        }
    }

    /// With the v3 store up to this entry in front of it.
    fn with_v3(applied: u64, generation: Generation) -> Generation {
        let piece = PieceName { number: 0, applied, size: 1, predecessor: 0, link: 0 };
        Generation { pieces: vec![piece], ..generation }
    }

    #[test]
    fn no_point_lies_before_the_last_entry_of_the_v3_store() {
        let [first, second] = two();
        let all = [with_v3(48, first), with_v3(135, second)];
        for (index, expected) in [
            (47, Err(Exit::NotFound)),
            (48, Ok((1, 1, 2))),
            (130, Ok((1, 4, 4))),
            (131, Err(Exit::NotFound)),
            (134, Err(Exit::NotFound)),
            (135, Ok((2, 1, 2))),
        ] {
            assert_eq!(place(Point::Index(index), &all), expected, "{index}");
        }
        let error = Place::of(Point::Index(132), &all.each_ref()).unwrap_err();
        assert!(error.to_string().contains("the nearest that can be restored: 130 and 135"), "{error}");
        let tick = |index, time| Some(Tick { index, term: 2, time: time * NANOSECONDS });
        let at = |seconds: u64| Place::of(Point::At(seconds * NANOSECONDS), &all.each_ref()).unwrap();
        // The leader's clock says that it was before that, in the one generation there is.
        for (behind, expected) in [(48, None), (49, Some(48)), (60, Some(59))] {
            let ticks = Ticks { before: tick(40, 1000), behind: tick(behind, 1002) };
            let found = at(1001).pop().unwrap().index(ticks, &[]);
            match found {
                Ok(found) => assert_eq!(found.map(|found| found.0), expected, "{behind}"),
                Err(e) => {
                    assert_eq!((exit_of(&e), expected), (Exit::NotFound, None), "{behind} {e:#}");
                    assert!(format!("{e:#}").contains("from index 48 on"), "{e:#}");
                    assert!(hint_of(&e).unwrap().contains("list --points"), "{e:#}");
                }
            }
        }
        // Between two generations: only the earlier one has it, as of its end.
        let ticks = Ticks { before: tick(131, 1249), behind: tick(135, 1251) };
        let places = at(1250);
        assert_eq!(places[0].index(ticks, &[]).unwrap(), None);
        assert_eq!(places[1].index(Ticks::default(), &[]).unwrap().unwrap().0, 130);
    }

    #[test]
    fn what_is_broken_before_the_moment_is_no_older_point() {
        let mut all = two();
        let lost = all[1].parts.split_off(2);
        all[1].beyond = lost[1..].iter().map(|p| all[1].path(p)).collect();
        assert_eq!(place(Point::At(1320 * NANOSECONDS), &all), Ok((2, 2, 2)));
        assert_eq!(place(Point::At(1340 * NANOSECONDS), &all), Err(Exit::Corrupt));
        // Without its base a generation has no points, but it began.
        let lost = std::mem::take(&mut all[1].parts);
        all[1].beyond = lost[1..].iter().map(|p| all[1].path(p)).collect();
        assert_eq!(place(Point::At(1340 * NANOSECONDS), &all), Err(Exit::Corrupt));
        assert_eq!(place(Point::At(1290 * NANOSECONDS), &all), Ok((1, 4, 4)));
    }

    #[test]
    fn the_leaders_clock_decides_and_the_capture_where_it_is_silent() {
        let all = two();
        let at = |seconds: u64| {
            Place::of(Point::At(seconds * NANOSECONDS), &all.each_ref()).unwrap().pop().unwrap()
        };
        let index = |seconds: u64, before: Option<(u64, u64)>, behind: Option<(u64, u64)>| {
            let tick = |(index, time)| Tick { index, term: index / 100, time: time * NANOSECONDS };
            let ticks = Ticks { before: before.map(tick), behind: behind.map(tick) };
            at(seconds).index(ticks, &[]).map(|found| found.unwrap().0).map_err(|e| exit_of(&e))
        };
        for (seconds, before, behind, expected) in [
            (1040, Some((85, 1039)), Some((90, 1041)), Ok(89)),
            // The leader's clock is behind, ahead.
            (1040, Some((101, 1039)), Some((105, 1041)), Ok(104)),
            (1040, Some((70, 1039)), Some((72, 1041)), Ok(71)),
            // No SYNC, none on one side, or none for long.
            (1040, None, None, Ok(80)),
            (1040, Some((95, 1039)), None, Ok(95)),
            (1040, Some((70, 1039)), None, Ok(80)),
            (1040, None, Some((90, 1041)), Ok(80)),
            (1040, None, Some((75, 1041)), Ok(74)),
            (1100, Some((85, 1039)), Some((120, 1199)), Ok(100)),
            (1100, Some((110, 1039)), Some((120, 1199)), Ok(110)),
        ] {
            assert_eq!(index(seconds, before, behind), expected, "{seconds} {before:?} {behind:?}");
        }
        assert_eq!([1000, 1100, 1259, 1400].map(|s| at(s).floor()), [0, 80, 100, 160]);
        let early = Place::of(Point::At(0), &[&all[0]]).unwrap();
        assert_eq!(early[0].index(Ticks::default(), &[]).map_err(|e| exit_of(&e)), Err(Exit::NotFound));
    }

    /// The remote was away between two parts: the second one says what was there meanwhile.
    #[test]
    fn what_was_seen_while_nothing_was_sent_is_as_good_as_a_part() {
        let all = two();
        let marks = [(1000, 45), (1100, 110), (1150, 125)].map(|(time, index)| Mark { time, index });
        for (seconds, expected) in [(1099, 100), (1100, 110), (1149, 110), (1199, 125), (1200, 130)] {
            let place = Place::of(Point::At(seconds * NANOSECONDS), &[&all[0]]).unwrap().pop().unwrap();
            let found = place.index(Ticks::default(), &marks).unwrap().unwrap();
            assert_eq!(found.0, expected, "{seconds}");
        }
    }

    #[test]
    fn how_exact_a_moment_is_is_said() {
        let all = two();
        let said = |seconds: u64, index, marks: &[Mark]| {
            let place = Place::of(Point::At(seconds * NANOSECONDS), &[&all[0]]).unwrap().pop().unwrap();
            place.exactness(index, marks)
        };
        let apart = |from: &str, to: &str, index| {
            Some(format!(
                "the entries between 1970-01-01T00:{from}Z and 1970-01-01T00:{to}Z cannot be told apart: index {index} is the \
                 last one known at 1970-01-01T00:{from}Z"
            ))
        };
        let mark = [Mark { time: 1050, index: 85 }];
        assert_eq!(said(1040, 80, &[]), apart("17:10", "17:40", 80));
        assert_eq!(said(1040, 80, &mark), apart("17:10", "17:30", 80));
        assert_eq!(said(1055, 85, &mark), apart("17:30", "17:40", 85));
        // By the leader's clock; before all, and behind all.
        assert_eq!((said(1040, 84, &[]), said(999, 50, &[])), (None, None));
        assert!(said(1200, 130, &[]).unwrap().contains("nothing later"));
    }

    #[test]
    fn what_was_written_between_two_generations_is_in_the_base_of_the_later_one() {
        let mut all = two();
        let numbers = |all: &[Generation; 2], seconds| -> Vec<u64> {
            let places = Place::of(Point::At(seconds * NANOSECONDS), &all.each_ref()).unwrap();
            places.iter().map(|p| p.generation.name.number).collect()
        };
        assert_eq!(
            [1199, 1200, 1299, 1300].map(|s| numbers(&all, s)),
            [vec![1], vec![2, 1], vec![2, 1], vec![2]]
        );
        let places = Place::of(Point::At(1250 * NANOSECONDS), &all.each_ref()).unwrap();
        let tick = |index, term, time| Some(Tick { index, term, time: time * NANOSECONDS });
        let exact = Ticks { before: tick(131, 2, 1249), behind: tick(135, 2, 1251) };
        assert_eq!(places[0].index(exact, &[]).unwrap().unwrap().0, 134);
        for (before, behind) in [
            (None, None),
            (tick(131, 2, 1249), None),
            (tick(131, 2, 1), tick(135, 2, 1251)),
            (tick(131, 2, 1249), tick(135, 3, 1251)),
        ] {
            assert_eq!(places[0].index(Ticks { before, behind }, &[]).unwrap(), None);
        }
        assert_eq!(places[1].index(Ticks::default(), &[]).unwrap().unwrap().0, 130);
        all[1].parts.clear();
        assert_eq!(numbers(&all, 1250), [1]);
    }
}
