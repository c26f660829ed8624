//! The variables that say what is kept in the remote.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::values::{OURS, get, truth};
use crate::exit::{Exit, OrFault};

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
    let count = |name: &str, default: u64| match get(ours, name) {
        None => Ok(default),
        Some(text) => text.parse().or_fault(
            Exit::Settings,
            format!("{name}={text:?} is not a number of generations"),
            format!("write a whole number in {OURS}; the newest two are always kept"),
        ),
    };
    let age = |name: &str, default: Duration| match get(ours, name) {
        None => Ok(default),
        Some(text) => humantime::parse_duration(text).or_fault(
            Exit::Settings,
            format!("{name}={text:?}"),
            format!("write a number and a unit, like 7days or 36h, in {OURS}"),
        ),
    };
    let default = Rules::DEFAULT;
    let rules = Rules {
        last: count("ETCD2_BACKUP_KEEP_LAST", default.last)?,
        within: age("ETCD2_BACKUP_KEEP_WITHIN", default.within)?,
        daily: count("ETCD2_BACKUP_KEEP_DAILY", default.daily)?,
        weekly: count("ETCD2_BACKUP_KEEP_WEEKLY", default.weekly)?,
        other_clusters: age("ETCD2_BACKUP_KEEP_OTHER_CLUSTERS", default.other_clusters)?,
    };
    Ok((rules, get(ours, "ETCD2_BACKUP_PRUNE").is_none() || truth(ours, "ETCD2_BACKUP_PRUNE")?))
}
