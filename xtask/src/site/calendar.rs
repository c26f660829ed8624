//! systemd's calendar expressions, as far as systemd 231 reads them: `*-*-* 02:00:00`, `Mon..Fri *:0/15`, `hourly`.
//!
//! A timer whose expression systemd does not take is not loaded, and then no backup is ever made: so what is obviously none is
//! refused here, and the times of a day are read, to see how close they are. Of the rest systemd is the judge: `lint` asks it.

use etcd2_backup::settings::checks::{CLOSEST_SECS, START_LIMIT};
use etcd2_backup::settings::table::default;

use super::validate::refuse;

/// The words that stand for a whole expression.
const SHORTHANDS: [&str; 9] =
    ["minutely", "hourly", "daily", "weekly", "monthly", "quarterly", "semiannually", "yearly", "annually"];
/// How the days of the week begin; each may be written out.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// An expression for a timer, or an error with what to write for this key, `key` or `table.key`.
pub(crate) fn check_calendar(key: &str, text: &str) -> anyhow::Result<String> {
    let text = text.trim();
    let name = key.rsplit('.').next().unwrap_or(key);
    let times = parse_calendar(text).map_err(|why| {
        refuse(
            format!("{key} {text:?} is no calendar expression: {why}"),
            format!(
                "write one of systemd 231, for example {name} = \"*-*-* 02:00:00\" or {name} = \"Mon..Fri *:0/15\""
            ),
        )
    })?;
    match closest(&[times]) {
        Some(gap) if gap < CLOSEST_SECS => Err(refuse(
            format!("{key} {text:?} has times {gap} s apart, less than {CLOSEST_SECS} s: {START_LIMIT}"),
            format!("leave out some, for example {name} = \"*:*:0/10\" or {name} = \"*:0/5\""),
        )),
        _ => Ok(text.to_owned()),
    }
}

/// What switches a timer off.
const OFF: &str = "off";

/// Whether a timer runs that can be switched off, and its expression: as said, or the default of its key. One that nothing
/// starts must still be a timer.
pub(crate) fn calendar_or_off(key: &str, said: Option<&str>) -> anyhow::Result<(bool, String)> {
    match said.unwrap_or(default(key)).trim() {
        OFF => Ok((false, default(key).to_owned())),
        schedule => Ok((true, check_calendar(key, schedule)?)),
    }
}

/// The times of a day of an expression: hours, minutes and seconds, each combined with each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Times([Vec<u32>; 3]);

impl Times {
    /// In seconds since midnight.
    fn seconds(&self) -> Vec<u32> {
        let [hours, minutes, seconds] = &self.0;
        let mut all = Vec::new();
        for hour in hours {
            for minute in minutes {
                all.extend(seconds.iter().map(|second| hour * 3600 + minute * 60 + second));
            }
        }
        all
    }
}

/// How many seconds lie between the two closest times of a day, of all of these expressions together; `None` if there is
/// only one. Days are left out: expressions that share none seem closer than they are. So is midnight: two times around it
/// may be closer, which makes two starts and does not reach a limit of five.
pub(crate) fn closest(all: &[Times]) -> Option<u32> {
    let mut due: Vec<u32> = all.iter().flat_map(Times::seconds).collect();
    due.sort_unstable();
    due.dedup();
    due.windows(2).map(|pair| pair[1] - pair[0]).min()
}

/// The times of a day at which systemd would start something, or why it takes no such expression.
pub(crate) fn parse_calendar(text: &str) -> Result<Times, String> {
    if SHORTHANDS.contains(&text) {
        let every = |most: u32| (0..=most).collect::<Vec<u32>>();
        let [hours, minutes] = match text {
            "minutely" => [every(23), every(59)],
            "hourly" => [every(23), vec![0]],
            _ => [vec![0], vec![0]],
        };
        return Ok(Times([hours, minutes, vec![0]]));
    }
    let mut words: Vec<&str> = text.split_ascii_whitespace().collect();
    if words.len() > 1 && words.last() == Some(&"UTC") {
        words.pop();
    }
    let mut rest = words.as_slice();
    let mut next = |fits: fn(&str) -> bool| {
        let (first, others) = rest.split_first().filter(|(w, _)| fits(w))?;
        rest = others;
        Some(*first)
    };
    let days = next(|w| w.starts_with(|c: char| c.is_ascii_alphabetic()));
    let date = next(|w| w.contains('-') && !w.contains(':'));
    let time = next(|w| w.contains(':'));
    if let Some(word) = rest.first() {
        return Err(format!("{word:?} is neither day, date nor time"));
    }
    if days.or(date).or(time).is_none() {
        return Err("it is empty".into());
    }
    if let Some(days) = days.filter(|days| !begins_with_a_day(days)) {
        return Err(format!("{days:?} is no day of the week"));
    }
    if let Some(date) = date.filter(|date| !is_plain(date)) {
        return Err(format!("{date:?} is no date"));
    }
    let (hour, minute, second) = match *time.unwrap_or("0:0").split(':').collect::<Vec<_>>() {
        [hour, minute, second] => (hour, minute, second),
        [hour, minute] => (hour, minute, "0"),
        _ => return Err(format!("{:?} is no time of day", time.unwrap_or_default())),
    };
    Ok(Times([
        component("hour", hour, 0, 23)?,
        component("minute", minute, 0, 59)?,
        component("second", second, 0, 59)?,
    ]))
}

fn begins_with_a_day(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    DAYS.iter().any(|day| word.starts_with(day))
}

/// Whether a date is made of what dates are made of.
fn is_plain(date: &str) -> bool {
    !date.starts_with('-') && date.bytes().all(|b| b.is_ascii_digit() || b"*,-./".contains(&b))
}

/// `*`, or a list of numbers, ranges and repetitions; gives all numbers that it stands for.
fn component(name: &str, text: &str, least: u32, most: u32) -> Result<Vec<u32>, String> {
    let number = |digits: &str| {
        let plain = digits.bytes().all(|b| b.is_ascii_digit());
        let value = digits.parse::<u32>().ok().filter(|v| plain && (least..=most).contains(v));
        value.ok_or_else(|| format!("{digits:?} is no {name}"))
    };
    if text == "*" {
        return Ok((least..=most).collect());
    }
    let mut numbers = Vec::new();
    for part in text.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let by = step.map_or(Some(1), |s| s.parse::<u32>().ok().filter(|n| *n > 0 && !s.starts_with('+')));
        let Some(by) = by.and_then(|by| usize::try_from(by).ok()) else {
            return Err(format!("{part:?} repeats by no number"));
        };
        let (from, to) = match range.split_once("..") {
            // A number that is repeated is so to the end.
            None => (number(range)?, if step.is_some() { most } else { number(range)? }),
            Some((from, to)) => (number(from)?, number(to)?),
        };
        if from > to {
            return Err(format!("{range:?} runs backwards"));
        }
        numbers.extend((from..=to).step_by(by));
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [&str; 13] = [
        "hourly",
        "*-*-* 02:00:00",
        "02:30",
        "*:0/15",
        "Mon..Fri *:0/15",
        "mon,Wed-fri,SUNDAY 4..7:10",
        "Sat",
        "2026-12-24",
        "12-24 18:00",
        "*-1..6/2-1,15 0:0:30 UTC",
        "2026/2-*-* 0,12:00",
        "Mon *-*-1..7 03:00:00",
        "*:*:0/10",
    ];

    #[test]
    fn expressions_systemd_takes() {
        for text in GOOD {
            assert_eq!(check_calendar("calendar", text).unwrap(), text);
        }
    }

    #[test]
    fn the_two_closest_times_of_a_day() {
        let gap = |texts: &[&str]| {
            let times: Vec<Times> = texts.iter().map(|text| parse_calendar(text).unwrap()).collect();
            closest(&times)
        };
        for (text, want) in [
            ("daily", None),
            ("Sat", None),
            ("02:30", None),
            ("*-*-1,2 02:30:15", None),
            ("minutely", Some(60)),
            ("hourly", Some(3600)),
            ("*:0/15", Some(900)),
            ("8,9:00", Some(3600)),
            ("*:*", Some(60)),
            ("*:*:*", Some(1)),
            ("*:*:0/2", Some(2)),
            ("*:*:0/5", Some(5)),
            ("*:*:0/7", Some(4)),
            ("*:*:0/25", Some(10)),
            ("*:*:1,0", Some(1)),
            ("*:*:0,57", Some(3)),
            ("*:0/2:0,57", Some(57)),
            ("0:0:1..3,50", Some(1)),
            ("0:0:10..30/20", Some(20)),
            ("Mon..Fri 8..17:0/30:20", Some(1800)),
        ] {
            assert_eq!(gap(&[text]), want, "{text}");
        }
        assert_eq!(gap(&["*:*:0/10", "*:*:4/10"]), Some(4));
        assert_eq!(gap(&["hourly", "*:*"]), Some(60));
        assert_eq!(gap(&[]), None);
    }

    #[test]
    fn times_that_systemd_would_not_keep_are_refused() {
        for text in ["*:*:*", "*:*:0/4", "*:*:0,1,2,3,4,5", "Mon 3:00:00..59/4"] {
            let error = check_calendar("verify.schedule", text).unwrap_err();
            assert!(error.to_string().contains(" s apart, less than 5 s: systemd"), "{error}");
            let hint = etcd2_backup::exit::hint_of(&error).unwrap();
            assert!(hint.contains("schedule = \"*:*:0/10\""), "{hint}");
        }
    }

    #[test]
    fn expressions_it_would_not_take() {
        for (text, why) in [
            ("", "it is empty"),
            ("UTC", "\"UTC\" is no day of the week"),
            ("often", "\"often\" is no day of the week"),
            ("Hourly", "\"Hourly\" is no day of the week"),
            ("24:00", "\"24\" is no hour"),
            ("1:60", "\"60\" is no minute"),
            ("1:2:3:4", "\"1:2:3:4\" is no time of day"),
            ("1:00.5", "\"00.5\" is no minute"),
            ("1:00 pm", "\"pm\" is neither day, date nor time"),
            ("1:00 2:00", "\"2:00\" is neither day, date nor time"),
            ("*-02~03", "\"*-02~03\" is no date"),
            ("*-*-* *:0/0", "\"0/0\" repeats by no number"),
            ("*:0/+5", "\"0/+5\" repeats by no number"),
            ("*:*,5", "\"*\" is no minute"),
            ("*:*/5", "\"*\" is no minute"),
            ("7..4:00", "\"7..4\" runs backwards"),
            (":", "\"\" is no hour"),
            ("1:00 Europe/Berlin", "\"Europe/Berlin\" is neither day, date nor time"),
            ("*-*-* 02:00;reboot", "\"00;reboot\" is no minute"),
            ("--version", "\"--version\" is no date"),
        ] {
            assert_eq!(parse_calendar(text), Err(why.into()), "{text}");
        }
    }

    /// systemd itself is the judge where it is there: what is taken here, it takes.
    #[test]
    fn systemd_agrees() {
        for text in GOOD {
            let mut ask = std::process::Command::new("systemd-analyze");
            let Ok(out) = ask.args(["calendar", "--", text]).output() else { return };
            assert!(out.status.success(), "{text}: {}", String::from_utf8_lossy(&out.stderr));
        }
    }
}
