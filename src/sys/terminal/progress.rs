//! How far a long piece of work is, in words: what a terminal shows at this moment, and whether a log is due a line. Pure: the
//! times are given, from any moment on that stays the same.

use std::collections::VecDeque;
use std::time::Duration;

/// What ends sooner is not shown on a terminal.
const SHOWN_AFTER: Duration = Duration::from_millis(500);
/// A log has no line sooner after another one, or after the beginning,
const LINE_AT_SOONEST: Duration = Duration::from_secs(5);
/// and one after this time, whatever was done.
const LINE_AT_LATEST: Duration = Duration::from_secs(30);
/// The rate is that of so much time.
const WINDOW: Duration = Duration::from_secs(10);
/// A rate of less time is a guess.
const RATE_AFTER: Duration = Duration::from_secs(1);
/// How long nothing may arrive before that is said.
const STALLED_AFTER: Duration = Duration::from_secs(5);

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Things of this name.
    Of(&'static str),
}

/// One piece of work.
#[derive(Debug, Clone)]
pub struct Progress {
    /// What is done, as `verifying generation 3`.
    pub what: String,
    /// What is counted, if anything is.
    unit: Option<Unit>,
    /// How much there is of it, if that is known.
    total: Option<u64>,
    began: Duration,
    /// When how much was done, oldest first; never empty.
    seen: VecDeque<(Duration, u64)>,
    /// When something was done last.
    grew: Duration,
    /// When a log had its last line, and of which tenth.
    said: Duration,
    tenth: u64,
}

impl Progress {
    /// Work that begins now.
    pub fn new(what: String, now: Duration) -> Self {
        let seen = VecDeque::from([(now, 0)]);
        Self { what, unit: None, total: None, began: now, seen, grew: now, said: now, tenth: 0 }
    }

    /// It is counted, and there is so much of it; that may change at any time.
    pub fn of(&mut self, unit: Unit, total: Option<u64>) {
        (self.unit, self.total) = (Some(unit), total);
    }

    /// So much is done in all. It may be less than before, where something is begun again.
    pub fn at(&mut self, now: Duration, done: u64) {
        let (last, before) = self.newest();
        if done > before {
            self.grew = now;
        } else if done < before {
            self.seen.clear();
        }
        // More of them than needed for a rate would be kept by a caller that counts each thing.
        if self.seen.len() > 1 && last.saturating_sub(self.seen[self.seen.len() - 2].0) < RATE_AFTER {
            self.seen.pop_back();
        }
        self.seen.push_back((now, done));
        while self.seen.get(1).is_some_and(|(when, _)| now.saturating_sub(*when) >= WINDOW) {
            self.seen.pop_front();
        }
    }

    /// What a terminal shows, on one line of at most so many characters; `None` while it is not worth showing.
    pub fn shown(&self, now: Duration, columns: usize) -> Option<String> {
        if now.saturating_sub(self.began) < SHOWN_AFTER {
            return None;
        }
        let text = self.text(now);
        if text.chars().count() <= columns {
            return Some(text);
        }
        // What changes stands at the end.
        let rest = text.chars().count() + 1 - columns.max(1);
        Some("…".chars().chain(text.chars().skip(rest)).collect())
    }

    /// What a log is to say now, if anything.
    pub fn line(&mut self, now: Duration) -> Option<String> {
        let since = now.saturating_sub(self.said);
        let (_, done) = self.newest();
        let tenth = self.known_total(done).map_or(0, |total| times(done, 10, total));
        let is_further = tenth > self.tenth && tenth < 10 && since >= LINE_AT_SOONEST;
        if !is_further && since < LINE_AT_LATEST {
            return None;
        }
        (self.said, self.tenth) = (now, tenth);
        Some(self.text(now))
    }

    fn newest(&self) -> (Duration, u64) {
        self.seen.back().copied().unwrap_or((self.began, 0))
    }

    /// A total that was passed was none.
    fn known_total(&self, done: u64) -> Option<u64> {
        self.total.filter(|total| *total > 0 && done <= *total)
    }

    /// How much was done lately, in how many milliseconds.
    fn gained(&self, now: Duration) -> Option<(u64, u64)> {
        let ((from, before), (_, done)) = (*self.seen.front()?, self.newest());
        let time = now.saturating_sub(from);
        let gained = done.checked_sub(before).filter(|gained| *gained > 0 && time >= RATE_AFTER)?;
        Some((gained, u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    }

    fn text(&self, now: Duration) -> String {
        let since = duration(now.saturating_sub(self.began));
        let Some(unit) = self.unit else { return format!("{}: {since}", self.what) };
        let (_, done) = self.newest();
        let total = self.known_total(done);
        let mut text = match total {
            Some(total) => {
                let percent = times(done, 100, total);
                // `10.4 MB of 18.3 MB`, but `120 of 500 keys`.
                let done = if unit == Unit::Bytes { bytes(done) } else { done.to_string() };
                format!("{}: {done} of {} ({percent} %)", self.what, amount(total, unit))
            }
            None => format!("{}: {}", self.what, amount(done, unit)),
        };
        let quiet = now.saturating_sub(self.grew);
        let gained = self.gained(now).filter(|_| total != Some(done));
        if quiet >= STALLED_AFTER && total != Some(done) {
            return text + &format!(", nothing for {}", duration(quiet));
        }
        let Some((gained, ms)) = gained else { return text + &format!(", {since}") };
        match (unit, times(gained, 1000, ms)) {
            (Unit::Bytes, rate) => text += &format!(", {}/s", bytes(rate)),
            (Unit::Of(_), 0) => {}
            (Unit::Of(_), rate) => text += &format!(", {rate}/s"),
        }
        match total {
            Some(total) => {
                let left = Duration::from_millis(times(total - done, ms, gained));
                text + &format!(", {} left", duration(left + Duration::from_millis(999)))
            }
            None => text + &format!(", {since}"),
        }
    }
}

/// `number * by / of`. `of` is not 0.
fn times(number: u64, by: u64, of: u64) -> u64 {
    u64::try_from(u128::from(number) * u128::from(by) / u128::from(of)).unwrap_or(u64::MAX)
}

fn amount(number: u64, unit: Unit) -> String {
    match unit {
        Unit::Bytes => bytes(number),
        Unit::Of(name) => format!("{number} {name}"),
    }
}

/// `999 B`, `1.2 kB`, `600 kB`, `10.4 MB`.
fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if number < 1000 {
        return format!("{number} B");
    }
    let number = u128::from(number);
    let rounded = |scale: u128| (number * 2 / scale).div_ceil(2);
    let (mut scale, mut at) = (1000, 0);
    // 999.5 would be shown as 1000.
    while number * 2 >= 1999 * scale && at + 1 < UNITS.len() {
        (scale, at) = (scale * 1000, at + 1);
    }
    match rounded(scale / 10) {
        tenths @ ..1000 => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[at]),
        _ => format!("{} {}", rounded(scale), UNITS[at]),
    }
}

/// `12 s`, `1 min 20 s`, `2 h 5 min`, `3 d 4 h`: the two largest units.
fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let of = |large: u64, name: &str, small: u64, other: &str| match seconds % large / small {
        0 => format!("{} {name}", seconds / large),
        rest => format!("{} {name} {rest} {other}", seconds / large),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => of(60, "min", 1, "s"),
        3600..86_400 => of(3600, "h", 60, "min"),
        _ => of(86_400, "d", 3600, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn begun(unit: Unit, total: Option<u64>) -> Progress {
        let mut progress = Progress::new("x".into(), ms(0));
        progress.of(unit, total);
        progress
    }

    #[test]
    fn what_a_terminal_shows() {
        const MB: u64 = 1_000_000;
        // (unit, total, [(when, done)], now, what is shown)
        type Case<'a> = (Unit, Option<u64>, &'a [(u64, u64)], u64, Option<&'a str>);
        let cases: &[Case<'_>] = &[
            // What is quick is not shown at all.
            (Unit::Bytes, Some(10 * MB), &[(400, 9 * MB)], 499, None),
            // The first second has no rate.
            (Unit::Bytes, Some(10 * MB), &[(900, MB)], 900, Some("x: 1.0 MB of 10.0 MB (10 %), 0 s")),
            (
                Unit::Bytes,
                Some(10 * MB),
                &[(2000, 2 * MB)],
                2000,
                Some("x: 2.0 MB of 10.0 MB (20 %), 1.0 MB/s, 8 s left"),
            ),
            // Zero bytes: nothing has come yet, and then for too long.
            (Unit::Bytes, Some(10 * MB), &[], 2000, Some("x: 0 B of 10.0 MB (0 %), 2 s")),
            (
                Unit::Bytes,
                Some(10 * MB),
                &[(7000, 0)],
                7000,
                Some("x: 0 B of 10.0 MB (0 %), nothing for 7 s"),
            ),
            // A total of nothing, or of less than there is, is none.
            (Unit::Bytes, Some(0), &[(1000, 0)], 1000, Some("x: 0 B, 1 s")),
            (Unit::Bytes, Some(MB), &[(2000, 2 * MB)], 2000, Some("x: 2.0 MB, 1.0 MB/s, 2 s")),
            (
                Unit::Bytes,
                None,
                &[(65_000, 600), (75_000, 6_000_600)],
                75_000,
                Some("x: 6.0 MB, 600 kB/s, 1 min 15 s"),
            ),
            // All is there: the end is not stalled.
            (Unit::Bytes, Some(MB), &[(1000, MB)], 90_000, Some("x: 1.0 MB of 1.0 MB (100 %), 1 min 30 s")),
            // Only the last ten seconds count: it was fast, and is slow.
            (
                Unit::Bytes,
                Some(100 * MB),
                &[(1000, 50 * MB), (2000, 50 * MB), (11_900, 50 * MB), (13_000, 51 * MB)],
                13_000,
                Some("x: 51.0 MB of 100 MB (51 %), 90.9 kB/s, 8 min 59 s left"),
            ),
            // It begins again: the rate does, too.
            (
                Unit::Bytes,
                Some(10 * MB),
                &[(4000, 8 * MB), (5000, 0), (7000, 4 * MB)],
                7000,
                Some("x: 4.0 MB of 10.0 MB (40 %), 2.0 MB/s, 3 s left"),
            ),
            (
                Unit::Of("keys"),
                Some(500),
                &[(2000, 120)],
                2000,
                Some("x: 120 of 500 keys (24 %), 60/s, 7 s left"),
            ),
            (Unit::Of("objects"), None, &[(2000, 3000)], 2000, Some("x: 3000 objects, 1500/s, 2 s")),
            (Unit::Of("objects"), None, &[(2000, 3000)], 8000, Some("x: 3000 objects, nothing for 6 s")),
        ];
        for (unit, total, seen, now, expected) in cases {
            let mut progress = begun(*unit, *total);
            seen.iter().for_each(|(when, done)| progress.at(ms(*when), *done));
            assert_eq!(progress.shown(ms(*now), 80).as_deref(), *expected, "{total:?} {seen:?} {now}");
        }
        let uncounted = Progress::new("starting etcd".into(), ms(0));
        assert_eq!(uncounted.shown(ms(3_725_000), 80).unwrap(), "starting etcd: 1 h 2 min");
    }

    #[test]
    fn totals_may_change_on_the_way() {
        let mut progress = begun(Unit::Bytes, Some(1000));
        progress.at(ms(2000), 600);
        for (total, expected) in [
            (Some(2000), "x: 600 B of 2.0 kB (30 %), 300 B/s, 5 s left"),
            (Some(700), "x: 600 B of 700 B (85 %), 300 B/s, 1 s left"),
            (Some(500), "x: 600 B, 300 B/s, 2 s"),
            (None, "x: 600 B, 300 B/s, 2 s"),
        ] {
            progress.of(Unit::Bytes, total);
            assert_eq!(progress.shown(ms(2000), 80).unwrap(), expected);
        }
    }

    #[test]
    fn a_line_is_never_wider_than_the_terminal() {
        let mut progress = Progress::new("verifying é 3".into(), ms(0));
        progress.of(Unit::Bytes, Some(1000));
        let whole = progress.shown(ms(1000), 80).unwrap();
        let width = whole.chars().count();
        for columns in 1..=width {
            let shown = progress.shown(ms(1000), columns).unwrap();
            assert_eq!(shown.chars().count(), columns.min(width), "{shown}");
            assert!(
                columns == width || shown.starts_with('…') && whole.ends_with(&shown['…'.len_utf8()..]),
                "{shown}"
            );
        }
    }

    /// When a log has lines, and the percent in them, if it is asked each second and so much is done each second.
    fn lines(total: Option<u64>, seconds: u64, each: impl Fn(u64) -> u64) -> Vec<u64> {
        let mut progress = begun(Unit::Bytes, total);
        let said = |second: u64| {
            progress.at(ms(second * 1000), each(second));
            progress.line(ms(second * 1000)).map(|_| second)
        };
        (1..=seconds).filter_map(said).collect()
    }

    #[test]
    fn a_log_has_a_line_for_each_tenth_or_half_minute_and_none_of_what_is_quick() {
        // Four seconds in all: nothing.
        assert_eq!(lines(Some(400), 4, |s| s * 100), [] as [u64; 0]);
        // Twenty: tenths come each two seconds, lines no sooner than each five, and none at the end.
        assert_eq!(lines(Some(20), 20, |s| s), [5, 10, 15]);
        // 57 s, as at 600 kB/s: a tenth each.
        assert_eq!(lines(Some(57), 57, |s| s), [6, 12, 18, 23, 29, 35, 40, 46, 52]);
        // An hour: half minutes, and the tenths between them.
        let hour = lines(Some(3600), 3600, |s| s);
        assert_eq!((hour.len(), &hour[..3]), (120, &[30, 60, 90][..]));
        // No total, or nothing arrives: half minutes.
        assert_eq!(lines(None, 100, |s| s), [30, 60, 90]);
        assert_eq!(lines(Some(100), 100, |_| 0), [30, 60, 90]);
        // It begins again: no tenth is told twice sooner than that.
        assert_eq!(lines(Some(100), 40, |s| if s < 15 { s * 5 } else { 0 }), [5, 10, 40]);
    }

    #[test]
    fn amounts_and_times_are_short() {
        for (number, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (99_949, "99.9 kB"),
            (99_950, "100 kB"),
            (600_000, "600 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (10_400_000, "10.4 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(number), text, "{number}");
        }
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (80, "1 min 20 s"),
            (3600, "1 h"),
            (7500, "2 h 5 min"),
            (86_399, "23 h 59 min"),
            (273_600, "3 d 4 h"),
        ] {
            assert_eq!(duration(ms(seconds * 1000)), text);
        }
    }
}
