//! The variables that say what is kept in the remote.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::{checks, judge};

const DAY: u64 = 24 * 3600;

/// What is kept (`[retention]` in the site).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// This many of the newest generations.
    pub last: u64,
    /// All that are needed to go back this far, to any moment.
    pub within: Duration,
    /// The newest of a day, for this many days.
    pub daily: u64,
    /// The newest of a week, for this many weeks.
    pub weekly: u64,
    /// The newest of a cluster, or a member, that is not there any more, for so long.
    pub other_clusters: Duration,
}

impl Rules {
    /// What holds when nothing is set.
    pub const DEFAULT: Self = Self {
        last: 3,
        within: Duration::from_secs(7 * DAY),
        daily: 7,
        weekly: 4,
        other_clusters: Duration::from_secs(30 * DAY),
    };
}

/// The rules, and whether a backup may remove by itself what they do not keep.
pub(super) fn parse(ours: &BTreeMap<String, String>) -> Result<(Rules, bool)> {
    let rules = Rules {
        last: judge::value(ours, "retention.keep_last", checks::count)?,
        within: judge::value(ours, "retention.keep_within", checks::age)?,
        daily: judge::value(ours, "retention.keep_daily", checks::count)?,
        weekly: judge::value(ours, "retention.keep_weekly", checks::count)?,
        other_clusters: judge::value(ours, "retention.keep_other_clusters", checks::age)?,
    };
    Ok((rules, judge::value(ours, "retention.prune", checks::switch)?))
}
