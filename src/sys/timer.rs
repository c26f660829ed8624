//! When systemd starts a timer's service next.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{systemd, time};

/// When a timer is due, in seconds since 1970; `None`: never, or its service runs just now.
///
/// # Errors
/// systemd cannot be asked, or answers something else.
pub fn next(timer: &str) -> Result<Option<u64>> {
    let property = |name: &str| microseconds(&systemd::property(timer, "Timer", name)?);
    let (calendar, running) = (property("NextElapseUSecRealtime")?, property("NextElapseUSecMonotonic")?);
    let uptime = fs::read_to_string("/proc/uptime").context("reading /proc/uptime")?;
    // Whole seconds: a reader of fractions would be 16 kB of the program.
    let uptime = uptime.split('.').next().and_then(|text| text.parse().ok()).map(Duration::from_secs);
    Ok(earliest(calendar, running, time::now(), uptime.context("/proc/uptime has no time")?))
}

/// busctl's answer for a 64-bit number of microseconds: `t 1234`. 0 and the greatest one stand for never.
fn microseconds(answer: &str) -> Result<Option<u64>> {
    let number = answer.trim().strip_prefix("t ").and_then(|text| text.parse().ok());
    let number: u64 = number.with_context(|| format!("unexpected answer of busctl: {}", answer.trim()))?;
    Ok(Some(number).filter(|&number| number != 0 && number != u64::MAX))
}

/// Of a moment since 1970 and one since the boot, both in microseconds, the first.
fn earliest(calendar: Option<u64>, running: Option<u64>, now: u64, uptime: Duration) -> Option<u64> {
    let since_boot = running.map(|at| (now + at / 1_000_000).saturating_sub(uptime.as_secs()));
    calendar.map(|at| at / 1_000_000).into_iter().chain(since_boot).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_time_or_never() {
        for (answer, expected) in
            [("t 1500000\n", Some(1_500_000)), ("t 0", None), ("t 18446744073709551615", None)]
        {
            assert_eq!(microseconds(answer).unwrap(), expected, "{answer}");
        }
        for answer in ["", "s \"x\"", "t", "t -1"] {
            assert!(microseconds(answer).is_err(), "{answer}");
        }
    }

    #[test]
    fn the_first_of_both_clocks_counts() {
        let uptime = Duration::from_secs(100);
        for (calendar, running, expected) in [
            (None, None, None),
            (Some(5_000_000_000), None, Some(5000)),
            (None, Some(130_000_000), Some(1030)),
            (Some(1_010_000_000), Some(130_000_000), Some(1010)),
            (Some(5_000_000_000), Some(130_000_000), Some(1030)),
        ] {
            assert_eq!(earliest(calendar, running, 1000, uptime), expected, "{calendar:?} {running:?}");
        }
    }
}
