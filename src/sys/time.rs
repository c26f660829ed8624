//! UTC, as it is written in names and messages. Seconds since 1970 everywhere else; there are no time zones here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `20260131T235959Z`, as it is used in names.
pub fn compact(seconds: u64) -> String {
    rfc3339(seconds).replace(['-', ':'], "")
}

/// The last second that four digits of a year can say.
pub const LAST: u64 = 253_402_300_799;

/// `2026-01-31T23:59:59Z`. What lies behind the year 9999 becomes its end.
pub fn rfc3339(seconds: u64) -> String {
    let seconds = seconds.min(LAST);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

/// Seconds since 1970; 0 for a clock before that, [`LAST`] for one behind it, as names could not say it.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs().min(LAST))
}

/// In a second; etcd's clocks are in nanoseconds since 1970.
pub const NANOSECONDS: u64 = 1_000_000_000;

/// Whole seconds since 1970 of what etcd writes; `None` for a time before that.
pub fn seconds(nanoseconds: i64) -> Option<u64> {
    u64::try_from(nanoseconds).ok().map(|since| since / NANOSECONDS)
}

/// Reads a time in any zone; `None` for what is none, or before 1970.
pub fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    let parse = |local: &str| humantime::parse_rfc3339(&format!("{local}Z")).ok();
    if let Some(local) = text.strip_suffix('Z') {
        return parse(local);
    }
    let (local, zone) = text.split_at_checked(text.len().checked_sub(6)?)?;
    let east = match zone.get(..1)? {
        "+" => true,
        "-" => false,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let seconds = hours.parse::<u64>().ok()? * 3600 + minutes.parse::<u64>().ok()? * 60;
    let offset = Duration::from_secs(seconds);
    if east { parse(local)?.checked_sub(offset) } else { parse(local)?.checked_add(offset) }
        .filter(|t| *t >= UNIX_EPOCH)
}

/// Reads what [`compact`] writes.
pub fn parse_compact(text: &str) -> Option<u64> {
    let digits = text.strip_suffix('Z').filter(|t| t.len() == 15 && t.is_ascii())?;
    let t = digits.as_bytes();
    let all = (0..15).all(|i| if i == 8 { t[i] == b'T' } else { t[i].is_ascii_digit() });
    let field = |range: std::ops::Range<usize>| &digits[range];
    let time = format!(
        "{}-{}-{}T{}:{}:{}Z",
        field(0..4),
        field(4..6),
        field(6..8),
        field(9..11),
        field(11..13),
        field(13..15)
    );
    let parsed = all.then(|| humantime::parse_rfc3339(&time).ok()).flatten()?;
    parsed.duration_since(UNIX_EPOCH).ok().map(|d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_writing() {
        assert_eq!(rfc3339(1_769_903_999), "2026-01-31T23:59:59Z");
        assert_eq!(compact(1_769_903_999), "20260131T235959Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59Z");
        assert_eq!([1_999_999_999, 0, -1].map(seconds), [Some(1), Some(0), None]);
        assert_eq!(parse_compact("20260131T235959Z"), Some(1_769_903_999));
        for seconds in [0, 1, now(), LAST - 1, LAST] {
            assert_eq!(parse_compact(&compact(seconds)), Some(seconds));
        }
        for bad in [
            "",
            "20260131T235959",
            "20261331T235959Z",
            "2026013éT23595Z",
            "20260131 235959Z",
            "19691231T235959Z",
        ] {
            assert_eq!(parse_compact(bad), None, "{bad}");
        }
    }
}
