//! systemd's calendar expressions, as far as systemd 231 reads them: `*-*-* 02:00:00`, `Mon..Fri *:0/15`, `hourly`.
//!
//! A timer whose expression systemd does not take is not loaded, and then no backup is ever made: so it is read here too.

use crate::check::refuse;

/// The words that stand for a whole expression.
const SHORTHANDS: [&str; 9] =
    ["minutely", "hourly", "daily", "weekly", "monthly", "quarterly", "semiannually", "yearly", "annually"];
const DAYS: [(&str, &str); 7] = [
    ("mon", "monday"),
    ("tue", "tuesday"),
    ("wed", "wednesday"),
    ("thu", "thursday"),
    ("fri", "friday"),
    ("sat", "saturday"),
    ("sun", "sunday"),
];

/// An expression for a timer, or an error with what to write for this key, `key` or `table.key`.
pub(crate) fn check_calendar(key: &str, text: &str) -> anyhow::Result<String> {
    let text = text.trim();
    let name = key.rsplit('.').next().unwrap_or(key);
    parse_calendar(text).map(|()| text.to_owned()).map_err(|why| {
        refuse(
            format!("{key} {text:?} is no calendar expression: {why}"),
            format!(
                "write one of systemd 231, for example {name} = \"*-*-* 02:00:00\" or {name} = \"Mon..Fri *:0/15\""
            ),
        )
    })
}

/// Whether systemd takes it, or why not.
fn parse_calendar(text: &str) -> Result<(), String> {
    if SHORTHANDS.contains(&text) {
        return Ok(());
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
    days.map_or(Ok(()), weekdays)?;
    date.map_or(Ok(()), |date| match *date.split('-').collect::<Vec<_>>() {
        [year, month, day] => {
            component("year", year, 1970, 2199)?;
            component("month", month, 1, 12)?;
            component("day", day, 1, 31)
        }
        [month, day] => component("month", month, 1, 12).and_then(|()| component("day", day, 1, 31)),
        _ => Err(format!("{date:?} is no date")),
    })?;
    time.map_or(Ok(()), |time| match *time.split(':').collect::<Vec<_>>() {
        [hour, minute, second] => {
            component("hour", hour, 0, 23)?;
            component("minute", minute, 0, 59)?;
            component("second", second, 0, 59)
        }
        [hour, minute] => component("hour", hour, 0, 23).and_then(|()| component("minute", minute, 0, 59)),
        _ => Err(format!("{time:?} is no time of day")),
    })
}

fn weekdays(list: &str) -> Result<(), String> {
    let known = |day: &str| {
        let day = day.to_ascii_lowercase();
        match DAYS.iter().any(|(short, long)| [*short, *long].contains(&day.as_str())) {
            true => Ok(()),
            false => Err(format!("{day:?} is no day of the week")),
        }
    };
    list.split(',').try_for_each(|part| match part.split_once("..").or_else(|| part.split_once('-')) {
        Some((from, to)) => known(from).and_then(|()| known(to)),
        None => known(part),
    })
}

/// `*`, or a list of numbers, ranges and repetitions.
fn component(name: &str, text: &str, least: u32, most: u32) -> Result<(), String> {
    let number = |digits: &str| {
        let plain = digits.bytes().all(|b| b.is_ascii_digit());
        let value = digits.parse::<u32>().ok().filter(|v| plain && (least..=most).contains(v));
        value.ok_or_else(|| format!("{digits:?} is no {name}"))
    };
    if text == "*" {
        return Ok(());
    }
    for part in text.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let step = step.map_or(Some(1), |s| s.parse::<u32>().ok().filter(|_| !s.starts_with('+')));
        if step.is_none_or(|s| s == 0) {
            return Err(format!("{part:?} repeats by no number"));
        }
        match range.split_once("..") {
            None => number(range).map(|_| ())?,
            Some((from, to)) if number(from)? <= number(to)? => {}
            Some(_) => return Err(format!("{range:?} runs backwards")),
        }
    }
    Ok(())
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
            assert_eq!(parse_calendar(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn expressions_it_would_not_take() {
        for (text, why) in [
            ("", "it is empty"),
            ("UTC", "\"utc\" is no day of the week"),
            ("often", "\"often\" is no day of the week"),
            ("Hourly", "\"hourly\" is no day of the week"),
            ("24:00", "\"24\" is no hour"),
            ("1:60", "\"60\" is no minute"),
            ("1:2:3:4", "\"1:2:3:4\" is no time of day"),
            ("1:00.5", "\"00.5\" is no minute"),
            ("1:00 pm", "\"pm\" is neither day, date nor time"),
            ("1:00 2:00", "\"2:00\" is neither day, date nor time"),
            ("13-01", "\"13\" is no month"),
            ("1-1-1-1", "\"1-1-1-1\" is no date"),
            ("*-02~03", "\"02~03\" is no day"),
            ("*-*-* *:0/0", "\"0/0\" repeats by no number"),
            ("*:0/+5", "\"0/+5\" repeats by no number"),
            ("*:*,5", "\"*\" is no minute"),
            ("*:*/5", "\"*\" is no minute"),
            ("7..4:00", "\"7..4\" runs backwards"),
            (":", "\"\" is no hour"),
            ("1:00 Europe/Berlin", "\"Europe/Berlin\" is neither day, date nor time"),
            ("Mon..Fry 1:00", "\"fry\" is no day of the week"),
            ("*-*-* 02:00;reboot", "\"00;reboot\" is no minute"),
            ("--version", "\"\" is no year"),
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
