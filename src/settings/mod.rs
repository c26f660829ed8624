//! The effective settings of this node: what etcd's unit gets decides on etcd's own, our drop-in decides the rest.
//!
//! Nothing else in the program reads the environment.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use self::names::{MachineId, UnitName};
use self::our_units::BACKUP;
use self::retention::Rules;
use self::seen::Setup;
use crate::exit::{Exit, OrFault, fault};
use crate::paths::MACHINE_ID;
use crate::sys::fs::create_dirs;
use crate::sys::lock::Lock;
use crate::sys::root::Root;
use crate::sys::{folder, look, systemd};

pub mod bootstrap;
mod bwlimit;
pub mod checks;
mod contained;
pub mod endpoint;
mod engine;
mod etcd;
pub mod etcd_config;
pub mod etcd_unit;
pub mod judge;
pub mod names;
pub mod our_units;
mod parse;
pub mod rclone_flags;
pub mod rclone_section;
pub mod reach;
pub mod remote;
pub mod retention;
pub mod seen;
pub mod source;
pub mod span;
pub mod started;
pub mod table;
mod tls;
pub mod urls;
mod values;

pub use etcd::EtcdConfig;
pub use etcd_unit::UnitEnvironment;
pub use parse::parse;
pub use remote::{RemoteConfig, Runner};

/// Everything the commands need to know of this node. Paths are inside the [`Root`](crate::sys::root::Root) already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// etcd of this node.
    pub etcd: EtcdConfig,
    /// Our state, spool and lock (`ETCD_BACKUP_DIR`).
    pub backup_dir: PathBuf,
    /// Where a restore downloads to (`ETCD_RESTORE_DIR`).
    pub restore_dir: PathBuf,
    /// The founding member's peer URLs (`ETCD_RESTORE_MASTER_ADV_PEER_URLS`).
    pub founder_urls: Vec<String>,
    /// Where backups go, and how rclone is run.
    pub remote: RemoteConfig,
    /// This machine's folder below the endpoint: systemd's machine ID.
    pub machine_id: MachineId,
    /// How long what writes nothing may wait for what does (`ETCD2_BACKUP_QUIET_INTERVAL`, default 10min, 0: not at all).
    pub quiet_interval: std::time::Duration,
    /// Where numbers for a monitor go (`ETCD2_BACKUP_METRICS_FILE`); not written if nothing says it.
    pub metrics_file: Option<PathBuf>,
    /// Whether a member whose v3 store cannot be copied is backed up without it (`ETCD2_BACKUP_V2_ONLY`, default false).
    pub v2_only: bool,
    /// Where a restore takes its data from, unless it is told (`ETCD2_BACKUP_SOURCE`, default archive).
    pub source: source::Choice,
    /// What is kept in the remote (`ETCD2_BACKUP_KEEP_LAST` and the like).
    pub keep: Rules,
    /// Whether a backup removes from the remote what is not kept (`ETCD2_BACKUP_PRUNE`, default true).
    pub prune: bool,
}

impl Settings {
    /// Reads the process environment and, on the running node, what etcd's unit gets; `seen` is what its etcd was last seen to
    /// get. In a tree (`--root`) all of it comes from the process environment.
    ///
    /// # Errors
    /// A setting is missing, malformed, or contradicts etcd's unit; or systemd cannot be asked.
    pub fn load(root: &Root, seen: Result<Option<Setup>>) -> Result<Self> {
        let ours = ours(root)?;
        let mut unit = match root.is_live() {
            true => UnitEnvironment::load(&parse::etcd_unit(&ours)?, root)?,
            false => {
                UnitEnvironment { variables: ours.clone(), ..UnitEnvironment::default() }.with_file(root)
            }
        };
        if root.is_live() {
            unit.see(seen);
        }
        unit.refuse_unknown_file(&parse::etcd_unit(&ours)?)?;
        let path = root.join(MACHINE_ID);
        let machine_id = fs::read_to_string(&path).or_fault(
            Exit::Settings,
            format!("reading {}", path.display()),
            "a machine's backups are stored under its ID; create one: sudo systemd-machine-id-setup",
        )?;
        let settings = parse(&ours, &unit, &machine_id, root)?;
        refuse_folder_inside(&settings.etcd.data_dir)?;
        // Only root may read it; whoever else asks is told by rclone what is wrong.
        if let Ok(conf) = fs::read(&settings.remote.conf) {
            parse::endpoint(&ours, &rclone_section::parse_sections(&String::from_utf8_lossy(&conf)))?;
        }
        Ok(settings)
    }

    /// The founding member's peer URLs.
    ///
    /// # Errors
    /// Nothing says them.
    pub fn founder(&self) -> Result<&[String]> {
        if self.founder_urls.is_empty() {
            return Err(fault(
                Exit::Settings,
                "ETCD_RESTORE_MASTER_ADV_PEER_URLS is not set",
                "set it to the founding member's peer URL in 30-etcd2-backup-restore.conf on every node",
            ));
        }
        Ok(&self.founder_urls)
    }

    /// Whether this node is the founding member: one of its peer URLs is one of the founder's.
    pub fn is_founder(&self) -> bool {
        urls::share_a_place(&self.etcd.peer_urls, &self.founder_urls)
    }

    /// Where this machine's backups lie.
    pub fn folder(&self) -> String {
        self.folder_of(&self.machine_id)
    }

    /// Where a machine's backups lie.
    pub fn folder_of(&self, machine_id: &str) -> String {
        endpoint::join(&self.remote.endpoint, machine_id)
    }

    /// Takes the one lock of backup, restore and join, and makes the folder it lies in; `None` if another of them has it.
    ///
    /// # Errors
    /// The folder cannot be made, or the lock not asked for.
    pub fn try_lock(&self) -> Result<Option<Lock>> {
        self.lock_called("lock")
    }

    /// Takes the lock of who brings a base of the v3 store to the remote; `None` if somebody else has it.
    ///
    /// # Errors
    /// As [`Settings::try_lock`].
    pub fn try_lock_base(&self) -> Result<Option<Lock>> {
        self.lock_called("base.lock")
    }

    fn lock_called(&self, name: &str) -> Result<Option<Lock>> {
        create_dirs(&self.backup_dir, 0o700)?;
        folder::refuse_if_replaceable(&self.backup_dir, &self.etcd.data_dir)?;
        Lock::try_take(&self.backup_dir.join(name))
    }
}

/// What is written into a folder inside a data directory is not found by an etcd that is started on the outer one. Links may
/// lead there under any name.
fn refuse_folder_inside(data_dir: &Path) -> Result<()> {
    // What is not there, or must not be looked at, is somebody else's error.
    let (Ok(real), Ok(Some(inside))) = (data_dir.canonicalize(), look::list_if_there(data_dir)) else {
        return Ok(());
    };
    let is_dir = |name: &str| look::is_dir(&data_dir.join(name));
    // Two numbers of 16 digits.
    let is_etcds = |name: &OsStr| {
        let (name, kind) = (Path::new(name), [OsStr::new("wal"), OsStr::new("snap")]);
        name.extension().is_some_and(|e| kind.contains(&e)) && name.file_stem().is_some_and(|s| s.len() == 33)
    };
    let member = |dir: &Path| dir.ends_with("member").then(|| dir.parent().map(Path::to_owned)).flatten();
    let (what, outer) = if real.ends_with("member") && is_dir("snap")? && is_dir("wal")? {
        ("is the member directory inside a data directory".to_owned(), member(&real))
    } else if let Some(file) = inside.iter().map(fs::DirEntry::file_name).find(|name| is_etcds(name)) {
        (
            format!("holds {}, a file of etcd's log or snapshots", file.display()),
            real.parent().and_then(member),
        )
    } else {
        return Ok(());
    };
    let hint = match outer {
        Some(outer) => format!("write ETCD_DATA_DIR={} in {}", outer.display(), values::OURS),
        None => format!("set ETCD_DATA_DIR in {} to the value of etcd's --data-dir", values::OURS),
    };
    Err(fault(Exit::Settings, format!("{} {what}, not the data directory", data_dir.display()), hint))
}

/// Our variables: those of this process, else those of our unit.
///
/// # Errors
/// systemd cannot be asked.
fn ours(root: &Root) -> Result<BTreeMap<String, String>> {
    let mut ours: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)))
        .collect();
    if root.is_live() && !ours.contains_key("RCLONE_ENDPOINT") {
        // Somebody typed the command; what the unit would have passed on is known to systemd.
        let environment = systemd::service_unit(BACKUP).map(|u| u.environment).or_fault(
            Exit::Settings,
            format!("asking systemd for the settings in {BACKUP}"),
            "run this as root on the node itself, or name a directory tree with --root",
        )?;
        let pairs = environment.iter().filter_map(|v| v.split_once('='));
        for (name, value) in pairs {
            ours.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    Ok(ours)
}

/// The unit that runs etcd on this node, and what it says: enough to look at the etcd that runs, whatever else is wrong.
///
/// # Errors
/// As [`UnitEnvironment::load`].
pub fn etcd(root: &Root) -> Result<(UnitName, UnitEnvironment)> {
    let unit = parse::etcd_unit(&ours(root)?)?;
    let environment = UnitEnvironment::load(&unit, root)?;
    Ok((unit, environment))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::path::Path;

    /// Settings of a node whose data directory is `data_dir`.
    pub(crate) fn in_tree(data_dir: &Path) -> Settings {
        let pairs = [("RCLONE_ENDPOINT", "r:p"), ("ETCD2_BACKUP_RCLONE_RUNNER", "host")];
        let ours = pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        let id = "0123456789abcdef0123456789abcdef";
        let settings = parse(&ours, &UnitEnvironment::default(), id, &Root::new("/")).unwrap();
        Settings { etcd: EtcdConfig { data_dir: data_dir.to_owned(), ..settings.etcd }, ..settings }
    }

    #[test]
    fn what_a_command_needs_it_asks_for() {
        let mut settings = in_tree(Path::new("/d"));
        for error in
            [settings.etcd.own_peer_urls().err(), settings.etcd.own_name().err(), settings.founder().err()]
        {
            assert_eq!(crate::exit::exit_of(&error.unwrap()), Exit::Settings);
        }
        settings.etcd.name = "a=b".into();
        assert!(settings.etcd.own_name().is_err());
        settings.etcd.name = "e1".into();
        assert_eq!(settings.etcd.own_name().unwrap(), "e1");
    }

    #[test]
    fn the_founder_is_known_by_any_of_its_urls() {
        let mut settings = in_tree(Path::new("/d"));
        settings.founder_urls = vec!["http://a:1".into(), "http://b:1".into()];
        for (own, expected) in [("http://B:1", true), ("http://b:2", false), ("http://c:1", false)] {
            settings.etcd.peer_urls = vec![own.into()];
            assert_eq!(settings.is_founder(), expected, "{own}");
        }
    }
}
