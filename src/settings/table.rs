//! Every setting, once: where the operator writes it, where it lands on the node, its default, what it may be and what it means.
//! The node, the build, the importer, the template and the reference (docs/reference/settings.md) go by these rows.

use super::checks::{self, Check, Read};
use super::our_units::{BACKUP, REHEARSE_TIMER, TIMER, VERIFY_TIMER};

/// Where a setting lands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lands {
    /// A variable of our services.
    Variable(&'static str),
    /// A directive of one of our units, for example `OnBootSec` of the timer.
    Directive {
        /// The unit.
        unit: &'static str,
        /// The directive.
        name: &'static str,
    },
    /// Nowhere: only the build goes by it.
    Build,
}

/// How a value is written in `etcd2-backup.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Switch,
    /// A list of texts, on the node with this between them.
    List(char),
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its key in `etcd2-backup.toml`, with its table: `rclone.runner`.
    pub key: &'static str,
    /// Where it lands.
    pub lands: Lands,
    /// What it is when it is not set, as it is written there; `None`: nothing.
    pub default: Option<&'static str>,
    /// Whether a site has to set it.
    pub required: bool,
    /// How it is written there.
    pub kind: Kind,
    /// What it may be, as text of one line. What more the build knows of it, of calendar expressions and of files, it checks.
    pub check: Check,
    /// What stands above it in the drop-in on the node, if anything.
    pub note: &'static str,
    /// What it means, in Markdown, for the reference.
    pub doc: &'static str,
}

/// What most rows are.
const ROW: Setting = Setting {
    key: "",
    lands: Lands::Build,
    default: None,
    required: false,
    kind: Kind::Text,
    check: checks::any,
    note: "",
    doc: "",
};

/// A value that is read only to see whether it can be.
fn done<T>(read: Read<T>) -> Read<()> {
    read.map(drop)
}

/// The settings, in the order of the reference and of the drop-in.
pub const SETTINGS: &[Setting] = &[
    Setting { key: "version", required: true, kind: Kind::Number, doc: "`1`", ..ROW },
    Setting {
        key: "founder",
        lands: Lands::Variable("ETCD_RESTORE_MASTER_ADV_PEER_URLS"),
        required: true,
        kind: Kind::List(','),
        check: |text, write| done(checks::founder(text, write)),
        note: "The founding member's advertised peer URL: the first member of a recovered cluster, which the others join.",
        doc: "the founding member's advertised peer URL, `http://172.17.4.51:2380`; a list if it has \
              several. Use the *peer* port, not the client port",
        ..ROW
    },
    Setting {
        key: "endpoint",
        lands: Lands::Variable("RCLONE_ENDPOINT"),
        required: true,
        check: |text, write| done(checks::endpoint(text, write, "remote", &|_| None)),
        note: "Where the backups of all machines are stored, each in a directory named by its machine ID.",
        doc: "`remote:path`; `remote` is a section of rclone.conf. For S3 the path is `bucket/path`, \
              without `s3://`. Doubled and trailing slashes are dropped",
        ..ROW
    },
    Setting {
        key: "interval",
        lands: Lands::Directive { unit: TIMER, name: "OnUnitActiveSec" },
        default: Some("30sec"),
        check: |text, write| done(checks::interval(text, write)),
        doc: "time from one backup to the next, at least 5 s: systemd refuses to start a service more than \
              5 times in 10 s \
              ([systemd.time](https://www.freedesktop.org/software/systemd/man/systemd.time.html))",
        ..ROW
    },
    Setting {
        key: "calendar",
        lands: Lands::Directive { unit: TIMER, name: "OnCalendar" },
        doc: "instead of `interval`: when to back up, `*-*-* 02:00:00` or `Mon..Fri *:0/15`, as systemd \
              231 reads it; no two times less than 5 s apart",
        ..ROW
    },
    Setting {
        key: "boot_delay",
        lands: Lands::Directive { unit: TIMER, name: "OnBootSec" },
        default: Some("1min"),
        check: |text, write| done(checks::span(text, write)),
        doc: "time from boot to the first backup",
        ..ROW
    },
    Setting {
        key: "jitter",
        lands: Lands::Directive { unit: TIMER, name: "RandomizedDelaySec" },
        default: Some("0"),
        check: |text, write| done(checks::span(text, write)),
        doc: "longest random delay of each backup",
        ..ROW
    },
    Setting {
        key: "quiet_interval",
        lands: Lands::Variable("ETCD2_BACKUP_QUIET_INTERVAL"),
        default: Some("10min"),
        check: |text, write| done(checks::wait(text, write)),
        note: "Longest time to hold back entries that change nothing (SYNC, elections) before uploading them on their own.",
        doc: "longest time to hold back entries that change nothing before uploading them on their own. An \
              idle etcd 2.x logs two such entries a second. A cycle that finds nothing else does not call \
              rclone until this much time has passed since the last part. Any write is uploaded in the \
              next cycle, with everything before it. `0` uploads in every cycle",
        ..ROW
    },
    Setting {
        key: "nice",
        lands: Lands::Directive { unit: BACKUP, name: "Nice" },
        default: Some("10"),
        kind: Kind::Number,
        check: |text, write| done(checks::nice(text, write)),
        doc: "CPU priority of a backup, -20 to 19",
        ..ROW
    },
    Setting {
        key: "io_class",
        lands: Lands::Directive { unit: BACKUP, name: "IOSchedulingClass" },
        default: Some("best-effort"),
        check: |text, write| done(checks::io_class(text, write)),
        doc: "disk priority of a backup: `best-effort` or `idle`",
        ..ROW
    },
    Setting {
        key: "data_dir",
        lands: Lands::Variable("ETCD_DATA_DIR"),
        default: Some("/var/lib/etcd2"),
        check: |text, write| done(checks::dir(text, write, "/var/lib/etcd2")),
        doc: "etcd's data directory. What counts is where the running etcd was seen to have it, else \
              etcd's unit, or the configuration file that the unit names (`--config-file`, \
              `ETCD_CONFIG_FILE`). If that contradicts this key, the services refuse to run",
        ..ROW
    },
    Setting {
        key: "backup_dir",
        lands: Lands::Variable("ETCD_BACKUP_DIR"),
        default: Some("/var/lib/etcd2-backup"),
        check: |text, write| done(checks::dir(text, write, "/var/lib/etcd2-backup")),
        doc: "state of the backup, and parts that are not uploaded yet",
        ..ROW
    },
    Setting {
        key: "restore_dir",
        lands: Lands::Variable("ETCD_RESTORE_DIR"),
        default: Some("/var/lib/etcd2-restore"),
        check: |text, write| done(checks::dir(text, write, "/var/lib/etcd2-restore")),
        doc: "where a restore downloads to",
        ..ROW
    },
    Setting {
        key: "etcd_unit",
        lands: Lands::Variable("ETCD2_BACKUP_ETCD_UNIT"),
        default: Some("etcd2.service"),
        check: |text, write| done(checks::etcd_unit(text, write)),
        doc: "the service that runs etcd; on Flatcar `etcd-member.service`",
        ..ROW
    },
    Setting {
        key: "v2_only",
        lands: Lands::Variable("ETCD2_BACKUP_V2_ONLY"),
        default: Some("false"),
        kind: Kind::Switch,
        check: |text, write| done(checks::switch(text, write)),
        note: "Whether the v2 store alone is backed up where no copy of the v3 store can be taken, or nothing.",
        doc: "only for a member whose v3 store cannot be copied: `true` backs up its v2 store alone. Otherwise its \
              backups fail with code 10 ([v2_only](../configuration.md#v2_only))",
        ..ROW
    },
    Setting {
        key: "source",
        lands: Lands::Variable("ETCD2_BACKUP_SOURCE"),
        default: Some("archive"),
        check: |text, write| done(checks::source(text, write)),
        note: "Where a restore takes its data from: archive, local or auto.",
        doc: "where a restore takes its data from, unless `--source` says otherwise: `archive` (the newest \
              backup), `local` (the node's disk), `auto` (the disk, if it is intact, of the same cluster \
              and not older)",
        ..ROW
    },
    Setting {
        key: "rclone.runner",
        lands: Lands::Variable("ETCD2_BACKUP_RCLONE_RUNNER"),
        default: Some("docker"),
        check: |text, write| done(checks::runner(text, write)),
        note: "docker, podman, host (rclone of the PATH) or bundled (rclone of the tarball).",
        doc: "how rclone runs on a node: `docker`, `podman`, `host`, `bundled` ([which \
              runner](../configuration.md#which-runner))",
        ..ROW
    },
    Setting {
        key: "rclone.image",
        lands: Lands::Variable("ETCD2_BACKUP_RCLONE_IMAGE"),
        default: Some("docker.io/rclone/rclone:1.75.2"),
        check: |text, write| done(checks::image(text, write)),
        doc: "the image for `docker` and `podman`; its entry point is rclone",
        ..ROW
    },
    Setting {
        key: "rclone.bundle",
        doc: "for `bundled`: path of a static rclone, relative to this file",
        ..ROW
    },
    Setting {
        key: "rclone.timeout",
        lands: Lands::Variable("ETCD2_BACKUP_RCLONE_TIMEOUT"),
        default: Some("10m"),
        check: |text, write| done(checks::timeout(text, write)),
        note: "The longest one rclone call may take.",
        doc: "the longest one call of rclone may take",
        ..ROW
    },
    Setting {
        key: "rclone.bwlimit",
        lands: Lands::Variable("ETCD2_BACKUP_RCLONE_BWLIMIT"),
        default: Some("off"),
        check: |text, write| done(checks::bwlimit(text, write)),
        note: "How fast backups may send; a recovery is never slowed.",
        doc: "bandwidth limit of backups, as rclone writes it: `2M` is 2 MiB/s, `2M:10M` up and down, \
              `08:00,1M 19:00,off` by the hour. A recovery is never slowed down",
        ..ROW
    },
    Setting {
        key: "rclone.flags",
        lands: Lands::Variable("ETCD2_BACKUP_RCLONE_FLAGS"),
        default: Some("[]"),
        kind: Kind::List(' '),
        check: |text, write| done(checks::flags(text, write)),
        doc: "flags for each call of rclone ([which ones](../configuration.md#how-rclone-is-called))",
        ..ROW
    },
    Setting {
        key: "rclone.password_file",
        lands: Lands::Variable("ETCD2_BACKUP_RCLONE_PASSWORD_FILE"),
        check: |text, write| done(checks::password_file(text, write)),
        note: "Holds the password of rclone.conf; readable by root alone.",
        doc: "where the nodes have the password of an encrypted rclone.conf \
              ([how](../configuration.md#rcloneconf))",
        ..ROW
    },
    Setting {
        key: "on_failure",
        lands: Lands::Directive { unit: BACKUP, name: "OnFailure" },
        check: |text, write| done(checks::on_failure(text, write)),
        doc: "the unit that systemd starts when a backup fails ([OnFailure](../monitoring.md#onfailure))",
        ..ROW
    },
    Setting {
        key: "metrics.textfile",
        lands: Lands::Variable("ETCD2_BACKUP_METRICS_FILE"),
        check: |text, write| done(checks::textfile(text, write)),
        note: "Where each backup writes numbers for Prometheus.",
        doc: "where each backup writes metrics for Prometheus ([Prometheus](../monitoring.md#prometheus))",
        ..ROW
    },
    Setting {
        key: "retention.prune",
        lands: Lands::Variable("ETCD2_BACKUP_PRUNE"),
        default: Some("true"),
        kind: Kind::Switch,
        check: |text, write| done(checks::switch(text, write)),
        note: "What is kept in the remote; whether each new generation removes the others there.",
        doc: "whether backups remove from the remote what none of the next five keys keeps \
              ([Retention](../retention.md))",
        ..ROW
    },
    Setting {
        key: "retention.keep_last",
        lands: Lands::Variable("ETCD2_BACKUP_KEEP_LAST"),
        default: Some("3"),
        kind: Kind::Number,
        check: |text, write| done(checks::count(text, write)),
        doc: "keep this many of the newest generations",
        ..ROW
    },
    Setting {
        key: "retention.keep_within",
        lands: Lands::Variable("ETCD2_BACKUP_KEEP_WITHIN"),
        default: Some("7days"),
        check: |text, write| done(checks::age(text, write)),
        doc: "keep all that is needed to go back to any moment of this time",
        ..ROW
    },
    Setting {
        key: "retention.keep_daily",
        lands: Lands::Variable("ETCD2_BACKUP_KEEP_DAILY"),
        default: Some("7"),
        kind: Kind::Number,
        check: |text, write| done(checks::count(text, write)),
        doc: "keep the newest of each day, for this many days",
        ..ROW
    },
    Setting {
        key: "retention.keep_weekly",
        lands: Lands::Variable("ETCD2_BACKUP_KEEP_WEEKLY"),
        default: Some("4"),
        kind: Kind::Number,
        check: |text, write| done(checks::count(text, write)),
        doc: "keep the newest of each week, for this many weeks",
        ..ROW
    },
    Setting {
        key: "retention.keep_other_clusters",
        lands: Lands::Variable("ETCD2_BACKUP_KEEP_OTHER_CLUSTERS"),
        default: Some("30days"),
        check: |text, write| done(checks::age(text, write)),
        doc: "how long to keep the newest of each cluster, and member, that the machine was before",
        ..ROW
    },
    Setting {
        key: "verify.schedule",
        lands: Lands::Directive { unit: VERIFY_TIMER, name: "OnCalendar" },
        default: Some("daily"),
        doc: "when to read a share of the remote again and check it (a calendar expression of systemd, as \
              `calendar`); `off`: never",
        ..ROW
    },
    Setting {
        key: "verify.share",
        default: Some("1/7"),
        check: |text, write| done(checks::share(text, write)),
        doc: "how much each time: 7 runs in a row read every byte",
        ..ROW
    },
    Setting {
        key: "rehearse.schedule",
        lands: Lands::Directive { unit: REHEARSE_TIMER, name: "OnCalendar" },
        default: Some("weekly"),
        doc: "when to restore the newest backup beside the data and compare it under a private etcd (a calendar \
              expression of systemd, as `calendar`); `off`: never",
        ..ROW
    },
    Setting {
        key: "vars",
        doc: "values for templates of your own, below `[vars]` ([Units of your own](../customize.md))",
        ..ROW
    },
];

/// The row of a key.
///
/// # Panics
/// There is none: the keys are those of this program's own code.
pub fn row(key: &str) -> &'static Setting {
    SETTINGS.iter().find(|row| row.key == key).unwrap_or_else(|| panic!("no setting is called {key}"))
}

/// The default of a key that has one.
///
/// # Panics
/// It has none, or there is no such key.
pub fn default(key: &str) -> &'static str {
    row(key).default.unwrap_or_else(|| panic!("{key} has no default"))
}

/// The row that lands in a variable.
pub fn of_variable(variable: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|row| matches!(row.lands, Lands::Variable(name) if name == variable))
}

/// The row that lands in a directive of a unit.
pub fn of_directive(of: &str, directive: &str) -> Option<&'static Setting> {
    let is_it = |lands| matches!(lands, Lands::Directive { unit, name } if unit == of && name == directive);
    SETTINGS.iter().find(|row| is_it(row.lands))
}

impl Setting {
    /// The key without its table.
    pub fn name(&self) -> &'static str {
        self.key.rsplit('.').next().unwrap_or(self.key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::retention::Rules;
    use super::*;

    #[test]
    fn the_rules_of_retention_begin_with_the_defaults_of_the_table() {
        let age = |key| humantime::parse_duration(default(key)).unwrap();
        let count = |key| default(key).parse::<u64>().unwrap();
        let rules = Rules {
            last: count("retention.keep_last"),
            within: age("retention.keep_within"),
            daily: count("retention.keep_daily"),
            weekly: count("retention.keep_weekly"),
            other_clusters: age("retention.keep_other_clusters"),
        };
        assert_eq!(rules, Rules::DEFAULT);
        assert_eq!(age("quiet_interval"), Duration::from_secs(600));
    }

    #[test]
    fn every_default_is_one_that_may_be_written() {
        for row in SETTINGS.iter().filter(|row| !matches!(row.kind, Kind::List(_))) {
            let read = row.default.map(|text| (row.check)(text, &str::to_owned));
            assert_eq!(read.unwrap_or(Ok(())), Ok(()), "{}", row.key);
            assert!(!row.note.contains(['%', '"', '\\']), "{}", row.key);
        }
    }

    #[test]
    fn every_key_and_every_place_is_there_once() {
        for (n, row) in SETTINGS.iter().enumerate() {
            assert!(SETTINGS[..n].iter().all(|other| other.key != row.key), "{}", row.key);
            let same = |other: &Setting| row.lands != Lands::Build && other.lands == row.lands;
            assert!(!SETTINGS[..n].iter().any(same), "{}", row.key);
        }
    }
}
