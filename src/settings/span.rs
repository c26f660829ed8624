//! systemd's time spans, as far as a site may use them: `30sec`, `1min 30s`, `1.5h`. Pure.

/// What systemd.time(7) lists, without the Greek letter, in microseconds. Case matters: `m` is a minute, `M` a month.
const UNITS: [(&str, u64); 28] = [
    ("usec", 1),
    ("us", 1),
    ("msec", 1_000),
    ("ms", 1_000),
    ("seconds", SECOND),
    ("second", SECOND),
    ("sec", SECOND),
    ("s", SECOND),
    ("minutes", 60 * SECOND),
    ("minute", 60 * SECOND),
    ("min", 60 * SECOND),
    ("m", 60 * SECOND),
    ("hours", 3600 * SECOND),
    ("hour", 3600 * SECOND),
    ("hr", 3600 * SECOND),
    ("h", 3600 * SECOND),
    ("days", DAY),
    ("day", DAY),
    ("d", DAY),
    ("weeks", 7 * DAY),
    ("week", 7 * DAY),
    ("w", 7 * DAY),
    ("months", 2_629_800 * SECOND),
    ("month", 2_629_800 * SECOND),
    ("M", 2_629_800 * SECOND),
    ("years", 31_557_600 * SECOND),
    ("year", 31_557_600 * SECOND),
    ("y", 31_557_600 * SECOND),
];
const SECOND: u64 = 1_000_000;
const DAY: u64 = 86_400 * SECOND;

/// A span in microseconds. A number without a unit means seconds, and stands alone.
///
/// # Errors
/// Why it is none.
pub fn parse_span(text: &str) -> Result<u64, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("it is empty".into());
    }
    let mut total = 0u64;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split(after.trim_start(), |c| c.is_ascii_alphabetic());
        if number.is_empty() {
            return Err(format!("{rest:?} does not begin with a number"));
        }
        let alone = total == 0 && after.trim().is_empty();
        let scale = match unit {
            "" if alone => SECOND,
            "" => return Err(format!("{number} has no unit")),
            _ => match UNITS.iter().find(|(name, _)| *name == unit) {
                Some((_, scale)) => *scale,
                None => return Err(format!("{unit:?} is not a unit of time")),
            },
        };
        let part = scaled(number, scale).ok_or_else(|| format!("{number}{unit} is not a length of time"))?;
        total = total.checked_add(part).ok_or("it is too long")?;
        rest = after.trim_start();
    }
    Ok(total)
}

/// The longest beginning of which every character is wanted, and what follows it.
fn split(text: &str, wanted: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !wanted(c)).unwrap_or(text.len()))
}

/// `number` times `scale`, in integers: `1.5` times a minute is 90 s. At most nine digits after the point.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let tenth = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let part = fraction.parse::<u128>().ok()? * u128::from(scale) / tenth;
    whole.checked_mul(scale)?.checked_add(u64::try_from(part).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_systemd_takes() {
        for (text, micros) in [
            ("30sec", 30 * SECOND),
            ("1min 30s", 90 * SECOND),
            ("1min30s", 90 * SECOND),
            ("1.5 min", 90 * SECOND),
            ("90", 90 * SECOND),
            (" 2h ", 7200 * SECOND),
            ("500ms", 500_000),
            ("1M", 2_629_800 * SECOND),
            ("1d 1w", 8 * DAY),
            ("0", 0),
        ] {
            assert_eq!(parse_span(text), Ok(micros), "{text}");
        }
    }

    #[test]
    fn spans_it_would_not_take_or_that_say_nothing() {
        for (text, why) in [
            ("", "it is empty"),
            ("sec", "\"sec\" does not begin with a number"),
            ("-5s", "\"-5s\" does not begin with a number"),
            ("30secs", "\"secs\" is not a unit of time"),
            ("5 Min", "\"Min\" is not a unit of time"),
            ("1min 30", "30 has no unit"),
            ("30 1min", "30 has no unit"),
            ("1..5s", "1..5s is not a length of time"),
            ("1.s", "1.s is not a length of time"),
            ("infinity", "\"infinity\" does not begin with a number"),
            ("30s;reboot", "\";reboot\" does not begin with a number"),
            ("99999999999y", "99999999999y is not a length of time"),
        ] {
            assert_eq!(parse_span(text), Err(why.into()), "{text}");
        }
    }
}
