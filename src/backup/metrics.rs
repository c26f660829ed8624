//! Numbers for Prometheus, as a file that node_exporter's textfile collector reads.
//!
//! The file itself is what the next run goes on from: what it says stays said until there is something newer. Without it
//! the sum of bytes begins anew, as a counter may. What never happened is 0 from the first run on: no rule of a monitor
//! fires for what is not there.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use super::outcome::Cycle;
use crate::sys::fs::{create_dirs, parent, write_atomic};

/// What each number's name begins with.
pub const PREFIX: &str = "etcd2_backup_";
const TOTAL: &str = "sent_bytes_total";
/// What is written once, and counts from then on for all that never happened.
const FIRST: &str = "first_run_timestamp_seconds";

/// A number's name without [`PREFIX`], its type, and what it is: `# HELP` in the file, and docs/reference/metrics.md.
pub const FAMILIES: [(&str, &str, &str); 22] = [
    (FIRST, "gauge", "When the first run ended that wrote this file. Starts over when this file is removed."),
    (BASE[3], "gauge", "Since when a base of the v3 store is due, and is not in the remote. 0: none is due."),
    (BASE[2], "gauge", "Bytes of the log that follow the base of the v3 store."),
    (
        BASE[1],
        "gauge",
        "Size of the v3 store that the generation begins with. 0: it holds the v2 store alone.",
    ),
    (BASE[0], "gauge", "When that v3 store was copied. 0: never."),
    ("generation", "gauge", "Generation that is being written. 0: none."),
    (
        "lag_entries",
        "gauge",
        "Entries that were read, may change what a member holds, and were not in the remote when the last run \
         ended. Absent if unknown.",
    ),
    (
        "lag_seconds",
        "gauge",
        "Age of what the remote had when the last run ended. Absent after a run that failed.",
    ),
    ("last_duration_seconds", "gauge", "Duration of the last run."),
    ("last_exit_code", "gauge", "Exit code of the last run; 0: done, or nothing to do."),
    ("last_read_bytes", "gauge", "Bytes of etcd's files in the newest part."),
    ("last_run_timestamp_seconds", "gauge", "When the last run ended, failed or not."),
    ("last_sent_bytes", "gauge", "Bytes that were uploaded by the last run to upload anything."),
    ("last_success_timestamp_seconds", "gauge", "When the last run that did not fail ended. 0: never."),
    (
        "newest_sync_timestamp_seconds",
        "gauge",
        "Leader's clock in the newest log entry that carries it. etcd 2 writes one every 500 ms: an old one means \
         that this member is cut off. 0: none, as etcd 3 writes them only while a key has a TTL.",
    ),
    ("parts", "gauge", "Parts of the generation."),
    (
        "point_timestamp_seconds",
        "gauge",
        "When the log was last read to an end that is completely in the remote: the newest point a restore can \
         reach. 0: there is none.",
    ),
    ("raft_index", "gauge", "Raft index up to which the remote holds everything."),
    (
        "rehearse_skipped",
        "gauge",
        "1: the last rehearsal by the timer could not run on this node; `etcd2-backup status` says why. Else 0.",
    ),
    (
        "rehearsed_timestamp_seconds",
        "gauge",
        "When rehearse last found everything as the archive says. 0: never.",
    ),
    (TOTAL, "counter", "Bytes of all uploaded parts. Starts over when this file is removed."),
    (
        "verified_timestamp_seconds",
        "gauge",
        "When verify last read a generation up to its newest part then, and found it intact. 0: never.",
    ),
];
/// The names of what [`Cycle::base`] has.
const BASE: [&str; 4] =
    ["base_timestamp_seconds", "base_bytes", "base_log_bytes", "base_due_timestamp_seconds"];
/// What a run that failed does not know any more, and is absent then.
const OF_THE_MOMENT: [&str; 2] = ["lag_entries", "lag_seconds"];

/// Numbers by their name without the prefix. `None`: not known any more.
pub type Values = BTreeMap<&'static str, Option<String>>;

/// What a cycle that ended now has to say.
pub(super) fn values(cycle: &Cycle, code: u8, now: u64, milliseconds: u128) -> Values {
    let succeeded = cycle.outcome.is_some();
    let lag = cycle.point.map(|point| now.saturating_sub(point));
    let mut all = Values::new();
    for (name, value) in [
        (FIRST, Some(now)),
        ("generation", cycle.generation),
        ("lag_entries", cycle.lag_entries),
        ("lag_seconds", lag),
        ("last_exit_code", Some(u64::from(code))),
        ("last_read_bytes", cycle.read_bytes),
        ("last_run_timestamp_seconds", Some(now)),
        ("last_sent_bytes", cycle.sent_bytes),
        ("last_success_timestamp_seconds", Some(now).filter(|_| succeeded)),
        ("newest_sync_timestamp_seconds", cycle.synced),
        ("parts", cycle.part.map(|part| part + 1)),
        ("point_timestamp_seconds", cycle.point),
        ("raft_index", cycle.index),
        ("rehearse_skipped", cycle.rehearse_skipped),
        ("rehearsed_timestamp_seconds", cycle.rehearsed),
        (TOTAL, cycle.sent_bytes),
        ("verified_timestamp_seconds", cycle.verified),
    ] {
        if value.is_some() || OF_THE_MOMENT.contains(&name) {
            all.insert(name, value.map(|value| value.to_string()));
        }
    }
    for (name, value) in BASE.into_iter().zip(cycle.base.into_iter().flatten()) {
        all.insert(name, Some(value.to_string()));
    }
    all.insert("last_duration_seconds", Some(format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)));
    all
}

/// Writes new numbers over those of the file, readable by all.
///
/// # Errors
/// It cannot be written; what was there stays.
pub fn update(path: &Path, new: &Values) -> Result<()> {
    let old = std::fs::read_to_string(path).unwrap_or_default();
    let written = create_dirs(&parent(path), 0o755)
        .and_then(|()| write_atomic(path, render(&merge(parse(&old), new)).as_bytes(), 0o644));
    written.context("writing the metrics")
}

/// The new over the old; what is counted is added up, and what nobody ever said is 0.
fn merge<'a>(mut old: BTreeMap<&'a str, String>, new: &Values) -> BTreeMap<&'a str, String> {
    for (name, value) in new {
        match value {
            None => drop(old.remove(name)),
            Some(value) if *name == TOTAL => {
                let number = |text: Option<&str>| text.and_then(|t| t.parse::<u64>().ok()).unwrap_or(0);
                let sum = number(old.get(name).map(String::as_str)).saturating_add(number(Some(value)));
                old.insert(name, sum.to_string());
            }
            Some(_) if *name == FIRST && old.contains_key(FIRST) => {}
            Some(value) => drop(old.insert(name, value.clone())),
        }
    }
    for (name, ..) in FAMILIES.iter().filter(|(name, ..)| !OF_THE_MOMENT.contains(name)) {
        old.entry(name).or_insert_with(|| "0".to_owned());
    }
    old
}

/// The numbers of a file that are ours.
fn parse(text: &str) -> BTreeMap<&'static str, String> {
    let known = |line: &str| {
        let (name, value) = line.strip_prefix(PREFIX)?.split_once(' ')?;
        let (name, ..) = FAMILIES.iter().find(|(known, ..)| *known == name)?;
        let plain =
            !value.is_empty() && value.len() <= 24 && value.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        plain.then(|| (*name, value.to_owned()))
    };
    text.lines().filter_map(known).collect()
}

fn render(values: &BTreeMap<&str, String>) -> String {
    let mut text = String::new();
    for (name, kind, help) in FAMILIES {
        if let Some(value) = values.get(name) {
            // Writing to memory does not fail.
            let _ = write!(
                text,
                "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}\n{PREFIX}{name} {value}\n"
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn cycle(sent: u64) -> Cycle {
        Cycle {
            outcome: Some("sent"),
            generation: Some(2),
            part: Some(7),
            index: Some(1234),
            entries: Some(12),
            read_bytes: Some(4096),
            sent_bytes: Some(sent),
            point: Some(1_769_903_990),
            lag_entries: Some(0),
            synced: Some(1_769_903_989),
            base: Some([1_769_900_000, 4096, 512, 0]),
            verified: Some(1_769_900_000),
            rehearsed: Some(1_769_800_000),
            rehearse_skipped: Some(1),
        }
    }

    /// The text format of Prometheus, version 0.0.4, as far as `promtool check metrics` goes into it.
    fn check(text: &str) -> BTreeMap<String, f64> {
        let mut values = BTreeMap::new();
        let lines: Vec<&str> = text.lines().collect();
        assert!(text.ends_with('\n') && lines.len().is_multiple_of(3), "{text}");
        for family in lines.chunks(3) {
            let (name, help) = family[0].strip_prefix("# HELP ").unwrap().split_once(' ').unwrap();
            let (typed, kind) = family[1].strip_prefix("# TYPE ").unwrap().split_once(' ').unwrap();
            let (valued, value) = family[2].split_once(' ').unwrap();
            assert_eq!((name, name), (typed, valued));
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{name}"
            );
            assert!(!help.is_empty() && !help.contains('\\'), "{help}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            assert!(kind == "counter" || kind == "gauge", "{kind}");
            assert!(
                !["_milliseconds", "_minutes", "_kilobytes", "_count"]
                    .iter()
                    .any(|unit| name.ends_with(unit))
            );
            assert_eq!(values.insert(name.to_owned(), value.parse().unwrap()), None, "{name} twice");
        }
        values
    }

    fn written(path: &Path) -> BTreeMap<String, f64> {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o644);
        check(&std::fs::read_to_string(path).unwrap())
    }

    #[test]
    fn what_is_known_is_written_and_stays_and_bytes_add_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/etcd2-backup.prom");
        let now = 1_769_903_999;
        let value = |name: &str| written(&path).get(&format!("{PREFIX}{name}")).copied();
        update(&path, &values(&cycle(512), 0, now, 1250)).unwrap();
        assert_eq!(written(&path).len(), FAMILIES.len());
        assert_eq!((value("last_duration_seconds"), value("parts")), (Some(1.25), Some(8.0)));
        assert_eq!((value("lag_seconds"), value(TOTAL)), (Some(9.0), Some(512.0)));
        update(&path, &values(&cycle(100), 0, now + 30, 1)).unwrap();
        assert_eq!((value("last_sent_bytes"), value(TOTAL)), (Some(100.0), Some(612.0)));

        assert_eq!(value(FIRST), Some(f64::from(now as u32)));

        // A run that failed knows no lag, and takes nothing back.
        update(&path, &values(&Cycle::default(), 13, now + 60, 1)).unwrap();
        assert_eq!(
            (value("last_exit_code"), value("lag_seconds"), value("lag_entries")),
            (Some(13.0), None, None)
        );
        assert_eq!(value("last_success_timestamp_seconds"), Some(f64::from(now as u32 + 30)));
        assert_eq!(value("last_run_timestamp_seconds"), Some(f64::from(now as u32 + 60)));
        assert_eq!((value(TOTAL), value("raft_index")), (Some(612.0), Some(1234.0)));
        let waits = Cycle { lag_entries: Some(5), ..Cycle::default() };
        update(&path, &values(&waits, 13, now + 90, 1)).unwrap();
        assert_eq!((value("lag_entries"), value("lag_seconds")), (Some(5.0), None));
    }

    #[test]
    fn what_never_happened_is_0_from_the_first_run_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etcd2-backup.prom");
        update(&path, &values(&Cycle::default(), 13, 1000, 1)).unwrap();
        let of_the_run = ["first_run_timestamp_seconds", "last_run_timestamp_seconds"];
        for (name, _, _) in FAMILIES {
            let want = match name {
                "lag_entries" | "lag_seconds" => None,
                "last_exit_code" => Some(13.0),
                "last_duration_seconds" => Some(0.001),
                name if of_the_run.contains(&name) => Some(1000.0),
                _ => Some(0.0),
            };
            assert_eq!(written(&path).get(&format!("{PREFIX}{name}")).copied(), want, "{name}");
        }
        // A file of a version that left out what it did not know.
        write_atomic(&path, b"etcd2_backup_raft_index 7\n", 0o644).unwrap();
        update(&path, &values(&Cycle::default(), 13, 1030, 1)).unwrap();
        let now = written(&path);
        let value = |name: &str| now[&format!("{PREFIX}{name}")];
        assert_eq!((value(FIRST), value("raft_index"), value("parts")), (1030.0, 7.0, 0.0));
    }

    #[test]
    fn what_somebody_else_wrote_into_the_file_goes() {
        let text = "etcd2_backup_generation 3\netcd2_backup_parts x\nother 1\netcd2_backup_unknown 1\n\
                    etcd2_backup_raft_index \netcd2_backup_lag_seconds 1 2\n# TYPE etcd2_backup_parts gauge\n";
        assert_eq!(parse(text), [("generation", "3".to_owned())].into());
        assert_eq!(parse(&render(&parse(text))), parse(text));
        assert_eq!(check(&render(&parse(text))).len(), 1);
    }
}
