//! What is kept in the remote, as the site says it.

use std::time::Duration;

use anyhow::Result;
use etcd2_backup::settings::checks;
use humantime::format_duration;
use serde::Serialize;

use super::faults::Faults;
use super::fragment::RetentionFragment;
use super::validate::read;

/// As the templates and the node program write it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Retention {
    pub(crate) prune: bool,
    pub(crate) keep_last: u64,
    pub(crate) keep_within: String,
    pub(crate) keep_daily: u64,
    pub(crate) keep_weekly: u64,
    pub(crate) keep_other_clusters: String,
}

/// The values of `[retention]`, checked, and the defaults of what it leaves out.
pub(crate) fn resolve(said: &RetentionFragment) -> Result<Retention> {
    let other_clusters = age("retention.keep_other_clusters", said.keep_other_clusters.as_deref());
    let mut faults = Faults::default();
    let retention = Retention {
        prune: said.prune.unwrap_or(true),
        keep_last: faults.take(count("retention.keep_last", said.keep_last)),
        keep_within: faults.take(age("retention.keep_within", said.keep_within.as_deref())),
        keep_daily: faults.take(count("retention.keep_daily", said.keep_daily)),
        keep_weekly: faults.take(count("retention.keep_weekly", said.keep_weekly)),
        keep_other_clusters: faults.take(other_clusters),
    };
    faults.or(retention)
}

fn count(key: &str, said: Option<i64>) -> Result<u64> {
    read(key, said.map(|count| count.to_string()).as_deref(), checks::count)
}

fn age(key: &str, said: Option<&str>) -> Result<String> {
    let age = read(key, said, checks::age)?;
    Ok(format_duration(Duration::from_secs(age.as_secs())).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::fragment::parse_fragment;

    fn of(lines: &str) -> Result<Retention> {
        resolve(&parse_fragment(&format!("version = 1\n[retention]\n{lines}")).unwrap().retention)
    }

    #[test]
    fn what_is_not_said_is_the_default() {
        let Retention { prune, keep_last, keep_within, keep_daily, keep_weekly, keep_other_clusters } =
            of("").unwrap();
        assert_eq!((prune, keep_last, keep_daily, keep_weekly), (true, 3, 7, 4));
        assert_eq!((keep_within.as_str(), keep_other_clusters.as_str()), ("7days", "30days"));
        let all = "prune = false\nkeep_last = 0\nkeep_within = \"36h 1ms\"\nkeep_weekly = 100000\n";
        let got = of(all).unwrap();
        assert_eq!((got.prune, got.keep_last, got.keep_weekly), (false, 0, 100_000));
        assert_eq!(got.keep_within, "1day 12h");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (line, reason) in [
            ("keep_last = -1", "retention.keep_last = -1 is not a number of generations"),
            ("keep_daily = 100001", "retention.keep_daily = 100001 is not a number"),
            ("keep_within = \"7\"", "retention.keep_within \"7\""),
            ("keep_within = \"\"", "retention.keep_within \"\""),
            ("keep_other_clusters = \"101years\"", "longer than a hundred years"),
        ] {
            let error = format!("{:#}", of(line).unwrap_err());
            assert!(error.contains(reason), "{error}");
        }
    }
}
