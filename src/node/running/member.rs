//! How a member that runs is set up, in the paths of this node.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::mounts::{self, Mount};
use super::process::Process;
use crate::settings::etcd_config::{ConfigFile, Problem};
use crate::settings::etcd_unit::{CONFIG_FILE, UnitEnvironment};

/// Flags that say a path, which a container may name otherwise.
const PATHS: [&str; 8] = [
    "cert-file",
    "key-file",
    "trusted-ca-file",
    "ca-file",
    "peer-cert-file",
    "peer-key-file",
    "peer-trusted-ca-file",
    "peer-ca-file",
];
/// Flags whose value is the same everywhere.
const WORDS: [&str; 4] =
    ["name", "initial-advertise-peer-urls", "advertise-client-urls", "listen-client-urls"];

/// A member that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its WAL directory.
    pub wal_dir: PathBuf,
    /// What it was given, by etcd's flags: the directories always, the rest as far as it is known.
    pub settings: BTreeMap<String, String>,
}

impl Member {
    /// What a process says of itself, with `ours` as what this program sees mounted, and `file` as the configuration file that it
    /// was given.
    ///
    /// # Errors
    /// Why it cannot be said where its data lies on this node.
    pub fn of(process: &Process, ours: &[Mount], file: Option<ConfigFile>) -> Result<Self, String> {
        let here = |path: &Path| mounts::translate(path, &process.mounts, ours);
        let elsewhere = |path: &Path| {
            format!(
                "process {} has its data in {}, which is not a directory of this node",
                process.pid,
                path.display()
            )
        };
        let wal_dir = here(&process.wal_dir).ok_or_else(|| elsewhere(&process.wal_dir))?;
        let given = UnitEnvironment { file, ..given(process) };
        // The file may have been written anew since etcd was started; what etcd has open was not.
        let is_open = |dir: &&Path| given.file.is_none() || is_log_of(process, &given, dir);
        let named = given.get("data-dir").map(Path::new).filter(|dir| dir.is_absolute()).filter(is_open);
        let theirs = named.map(Path::to_owned);
        let theirs = theirs.or_else(|| above(process.snap_dir.as_deref()?, "member/snap"));
        let theirs = theirs.or_else(|| above(&process.wal_dir, "member/wal")).ok_or_else(|| {
            format!(
                "the data directory of process {}, which writes to {}, is not known",
                process.pid,
                wal_dir.display()
            )
        })?;
        let data_dir = here(&theirs).ok_or_else(|| elsewhere(&theirs))?;
        let mut settings = BTreeMap::from([("data-dir".to_owned(), text(&data_dir))]);
        if wal_dir != data_dir.join("member/wal") {
            settings.insert("wal-dir".into(), text(&wal_dir));
        }
        if let Some(file) = &given.file {
            settings.insert(CONFIG_FILE.into(), text(&file.path));
            if let Err(Problem::Unread(why) | Problem::Wrong(why)) = &file.values {
                log::warn!(
                    "process {} was given the configuration file {}, which cannot be used: {why}",
                    process.pid,
                    file.path.display()
                );
            }
        }
        let words = WORDS.iter().filter_map(|flag| Some(((*flag).to_owned(), given.get(flag)?.to_owned())));
        settings.extend(words);
        let paths = PATHS
            .iter()
            .filter_map(|flag| Some(((*flag).to_owned(), text(&here(Path::new(given.get(flag)?))?))));
        settings.extend(paths);
        Ok(Self { wal_dir, settings })
    }
}

/// What a process was started with; its configuration file is only named in it.
pub(super) fn given(process: &Process) -> UnitEnvironment {
    UnitEnvironment {
        variables: process.variables.clone(),
        command: process.command.clone(),
        ..UnitEnvironment::default()
    }
}

/// Whether a process has the log open that belongs to a data directory.
fn is_log_of(process: &Process, given: &UnitEnvironment, data_dir: &Path) -> bool {
    let wal_dir = given.get("wal-dir").map_or_else(|| data_dir.join("member/wal"), PathBuf::from);
    wal_dir == process.wal_dir
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The folder above these names, if a folder ends with them.
fn above(folder: &Path, names: &str) -> Option<PathBuf> {
    let depth = Path::new(names).components().count();
    folder.ends_with(names).then(|| folder.ancestors().nth(depth).map(Path::to_owned)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::etcd_config;

    const NODE: &str = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 8:17 / /srv/fast rw - ext4 /dev/sdb1 rw\n";
    const CONTAINER: &str = "90 80 0:55 / / rw - overlay overlay rw\n\
                             91 90 8:1 /var/lib/etcd2 /data rw - ext4 /dev/sda1 rw\n\
                             92 90 8:1 /etc/ssl/etcd /etc/ssl/certs ro - ext4 /dev/sda1 rw\n";

    fn process(group: &str, wal_dir: &str, mounts: &str, command: &[&str]) -> Process {
        Process {
            pid: 7,
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            variables: BTreeMap::new(),
            group: group.into(),
            wal_dir: wal_dir.into(),
            snap_dir: None,
            mounts: mounts::parse(mounts),
        }
    }

    #[test]
    fn what_a_member_was_given_is_said_in_this_nodes_paths() {
        let ours = mounts::parse(NODE);
        let settings = |process: &Process| {
            let member = Member::of(process, &ours, None).unwrap();
            let all: Vec<String> =
                member.settings.iter().map(|(flag, value)| format!("{flag}={value}")).collect();
            all.join(" ")
        };
        let group = "/system.slice/etcd2.service";
        let shell = process(group, "/srv/fast/etcd/member/wal", NODE, &["etcd", "-name=e1"]);
        assert_eq!(settings(&shell), "data-dir=/srv/fast/etcd name=e1");
        let flags =
            ["etcd", "--data-dir=/data", "--cert-file=/etc/ssl/certs/a.pem", "--key-file=/gone/k.pem"];
        let mut contained = process("/docker/1", "/data/member/wal", CONTAINER, &flags);
        contained.variables.insert("ETCD_NAME".into(), "e2".into());
        let flags = "cert-file=/etc/ssl/etcd/a.pem data-dir=/var/lib/etcd2";
        // The key is in the container alone.
        let lost = process("/docker/1", "/data/member/wal", CONTAINER, &["etcd"]);
        assert_eq!(settings(&lost), "data-dir=/var/lib/etcd2");
        assert!(settings(&contained).starts_with(flags), "{}", settings(&contained));
        assert!(settings(&contained).ends_with(" name=e2"));
        let separate = process(group, "/srv/fast/wal", NODE, &["etcd", "--data-dir", "/var/lib/etcd"]);
        assert_eq!(settings(&separate), "data-dir=/var/lib/etcd wal-dir=/srv/fast/wal");
        let by_db =
            Process { snap_dir: Some("/d/member/snap".into()), ..process(group, "/w", NODE, &["etcd"]) };
        assert_eq!(settings(&by_db), "data-dir=/d wal-dir=/w");
    }

    #[test]
    fn with_a_configuration_file_no_flag_and_no_variable_counts() {
        let ours = mounts::parse(NODE);
        let command = ["etcd", "--data-dir=/stale", "--config-file=/etc/etcd.yml", "--name=stale"];
        let said = |wal_dir: &str, snap_dir: Option<&str>, mounts: &str, values: Result<&str, Problem>| {
            let mut process = process("/docker/1", wal_dir, mounts, &command);
            process.snap_dir = snap_dir.map(PathBuf::from);
            process.variables.insert("ETCD_CERT_FILE".into(), "/stale".into());
            let path = given(&process).config_file().unwrap().to_owned();
            let values = values.map(|text| etcd_config::parse(text.as_bytes()).unwrap());
            let member = Member::of(&process, &ours, Some(ConfigFile { path, values })).unwrap();
            let all = member.settings.iter().map(|(flag, value)| format!("{flag}={value}"));
            all.collect::<Vec<_>>().join(" ").replace("config-file=/etc/etcd.yml ", "")
        };
        let unread = || Err(Problem::Unread("no rights".into()));
        assert_eq!(said("/d/member/wal", None, NODE, unread()), "data-dir=/d");
        assert_eq!(said("/d/member/wal", None, NODE, Ok("name: e1")), "data-dir=/d name=e1");
        let text = "data-dir: /d\nwal-dir: /w\nadvertise-client-urls: http://a:1\n";
        assert_eq!(
            said("/w", None, NODE, Ok(text)),
            "advertise-client-urls=http://a:1 data-dir=/d wal-dir=/w"
        );
        // The file was written anew since etcd was started: what is open counts.
        let text = "data-dir: /new\nname: e1\n";
        assert_eq!(said("/d/member/wal", None, NODE, Ok(text)), "data-dir=/d name=e1");
        assert_eq!(said("/w", Some("/d/member/snap"), NODE, Ok(text)), "data-dir=/d name=e1 wal-dir=/w");
        let text =
            "data-dir: /data\nclient-transport-security: {cert-file: /etc/ssl/certs/a, key-file: /gone}\n";
        assert_eq!(
            said("/data/member/wal", None, CONTAINER, Ok(text)),
            "cert-file=/etc/ssl/etcd/a data-dir=/var/lib/etcd2"
        );
    }

    #[test]
    fn what_is_not_known_is_said() {
        let ours = mounts::parse(NODE);
        for (process, word) in [
            (process("/", "/wal", NODE, &["etcd"]), "the data directory of process 7"),
            (process("/", "/private/member/wal", CONTAINER, &["etcd"]), "not a directory of this node"),
        ] {
            let why = Member::of(&process, &ours, None).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
    }
}
