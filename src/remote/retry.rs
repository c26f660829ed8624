//! When a failed call of rclone is tried again, and how long after.

use std::time::Duration;

/// How patient a verb is with a remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Retry {
    /// How often a call is tried again.
    times: u32,
    /// A call is not begun again so long after its first beginning; `None`: after the limit of one call.
    within: Option<Duration>,
}

/// No pause is longer.
const LONGEST: Duration = Duration::from_secs(30);
/// What rclone says of a disk without room.
pub(super) const FULL: [&str; 3] = ["no space left on device", "disk quota exceeded", "remaining disk space"];
/// What else no second try changes: settings and rights. rclone has one status for these and for a lost connection.
const LASTING: [&str; 13] = [
    "decrypt configuration",
    "didn't find section in config file",
    "didn't find backend called",
    "unknown flag",
    "invalid argument",
    "permission denied",
    "unable to authenticate",
    "AccessDenied",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "NoSuchBucket",
    "401 Unauthorized",
    "403 Forbidden",
];

impl Retry {
    /// For what a timer starts: the next cycle comes anyway, and must not be kept waiting.
    pub(super) const CYCLE: Self = Self { times: 2, within: Some(Duration::from_secs(10)) };
    /// For what can be done without.
    pub(super) const ONCE: Self = Self { times: 0, within: None };
    /// For a recovery, which nobody repeats in half a minute: two minutes of pauses.
    pub(super) const RECOVERY: Self = Self { times: 8, within: None };

    /// The pause before the next try; `None` when it is time to give up. `tried` counts the tries so far, `random` makes
    /// nodes that failed together not come back together.
    pub(super) fn pause(
        self,
        tried: u32,
        elapsed: Duration,
        limit: Duration,
        random: u16,
    ) -> Option<Duration> {
        if tried > self.times || elapsed >= self.within.unwrap_or(limit) {
            return None;
        }
        let whole = Duration::from_secs(1 << (tried - 1).min(5)).min(LONGEST);
        // Between half of it and all of it.
        Some(whole / 2 + (whole / 2) * u32::from(random) / (1 << 16))
    }
}

/// Whether a failure may be gone at the next try.
pub(super) fn may_pass(status: Option<i32>, stderr: &str) -> bool {
    // 1 and 2 changed places with 1.69: anything that has no status of its own, and wrong use. 5: rclone thinks so too.
    let lasts = LASTING.iter().chain(&FULL).any(|text| stderr.contains(text));
    matches!(status, None | Some(1 | 2 | 5)) && !lasts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(retry: Retry, random: u16) -> Vec<Duration> {
        let limit = Duration::from_secs(600);
        (1..).map_while(|tried| retry.pause(tried, Duration::ZERO, limit, random)).collect()
    }

    #[test]
    fn pauses_grow_and_end() {
        let seconds =
            |pauses: &[u64]| pauses.iter().map(|s| Duration::from_millis(s * 500)).collect::<Vec<_>>();
        assert_eq!(pauses(Retry::CYCLE, 0), seconds(&[1, 2]));
        assert_eq!(pauses(Retry::RECOVERY, 0), seconds(&[1, 2, 4, 8, 16, 30, 30, 30]));
        for (least, most) in pauses(Retry::RECOVERY, 0).into_iter().zip(pauses(Retry::RECOVERY, u16::MAX)) {
            assert!(most > least * 19 / 10 && most < least * 2, "{least:?} to {most:?}");
        }
    }

    #[test]
    fn a_call_that_took_long_is_not_begun_again() {
        let limit = Duration::from_secs(60);
        for (retry, elapsed, again) in [
            (Retry::CYCLE, 9, true),
            (Retry::CYCLE, 10, false),
            (Retry::RECOVERY, 59, true),
            (Retry::RECOVERY, 60, false),
        ] {
            let pause = retry.pause(1, Duration::from_secs(elapsed), limit, 0);
            assert_eq!(pause.is_some(), again, "{retry:?} after {elapsed} s");
        }
    }

    #[test]
    fn what_lasts_is_not_tried_again() {
        for (status, stderr, expected) in [
            (Some(1), "dial tcp 127.0.0.1:1: connect: connection refused", true),
            (Some(2), "unexpected EOF", true),
            (Some(5), "Temporary error", true),
            (None, "", true),
            (Some(3), "directory not found", false),
            (Some(4), "object not found", false),
            (Some(7), "fatal", false),
            (Some(8), "limit exceeded", false),
            (Some(125), "docker: Cannot connect to the Docker daemon", false),
            (Some(1), "Failed to create file system for \"x:\": didn't find section in config file", false),
            (Some(1), "AccessDenied: Access Denied", false),
            (Some(1), "mkdir /srv/x: permission denied", false),
            (Some(1), "write /srv/x: no space left on device", false),
            (Some(1), "preallocate: file too big for remaining disk space", false),
        ] {
            assert_eq!(may_pass(status, stderr), expected, "{status:?} {stderr}");
        }
    }
}
