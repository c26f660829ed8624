//! The operator's site: `etcd2-backup.toml` and `rclone.conf`, read, checked and made into one [`Site`].
//!
//! Three stages: the file as text, a `Fragment` of what it said, and the `Site` that everything else works with.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use etcd2_backup::exit::{Exit, OrFault};

use crate::check::{self, refuse};
use crate::fragment::{Fragment, OneOrMany, parse_fragment};
use crate::runner::{self, Runner};
use crate::{rclone_conf, span};

/// The settings' file.
pub(crate) const SETTINGS: &str = "etcd2-backup.toml";
/// The operator's rclone configuration.
pub(crate) const RCLONE_CONF: &str = "rclone.conf";

/// A site that was checked: nothing in it needs to be looked at again.
#[derive(Debug)]
pub(crate) struct Site {
    /// The founding member's advertised peer URLs.
    pub(crate) founder: Vec<String>,
    /// Where the backups lie, `remote:path`.
    pub(crate) endpoint: String,
    /// How often a backup is made, as systemd writes it.
    pub(crate) interval: String,
    /// How long after boot the first one is made, as systemd writes it.
    pub(crate) boot_delay: String,
    /// etcd's data directory.
    pub(crate) data_dir: PathBuf,
    /// The backup's state and spool.
    pub(crate) backup_dir: PathBuf,
    /// Where a restore downloads to.
    pub(crate) restore_dir: PathBuf,
    /// The service that runs etcd.
    pub(crate) etcd_unit: String,
    /// How rclone is run on a node.
    pub(crate) runner: Runner,
    /// The longest one rclone call may take.
    pub(crate) rclone_timeout: Duration,
    /// rclone.conf, byte for byte.
    pub(crate) rclone_conf: Content,
}

/// A file's content; too long or too secret to be shown.
pub(crate) struct Content(pub(crate) Vec<u8>);

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

/// Reads and checks the site in `dir`.
pub(crate) fn load(dir: &Path) -> Result<Site> {
    let settings = dir.join(SETTINGS);
    let text = read(&settings, || {
        let dir = dir.display();
        format!("make a starter site with: cargo xtask init {dir}    or name another folder with --site DIR")
    })?;
    let text = String::from_utf8(text).or_fault(
        Exit::Settings,
        settings.display().to_string(),
        "save it as UTF-8",
    )?;
    let fragment = parse_fragment(&text).with_context(|| settings.display().to_string())?;
    let conf = read(&dir.join(RCLONE_CONF), || {
        let path = dir.join(RCLONE_CONF);
        format!("make one with: rclone config --config {}", path.display())
    })?;
    resolve(fragment, conf, dir).with_context(|| settings.display().to_string())
}

fn read(path: &Path, hint: impl Fn() -> String) -> Result<Vec<u8>> {
    match fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            Err(refuse(format!("there is no {}", path.display()), hint()))
        }
        other => other.or_fault(Exit::Settings, format!("reading {}", path.display()), hint()),
    }
}

/// Fills in the original's values, and checks everything.
fn resolve(said: Fragment, conf: Vec<u8>, dir: &Path) -> Result<Site> {
    let or = |value: Option<String>, default: &str| value.unwrap_or_else(|| default.to_owned());
    let text = String::from_utf8_lossy(&conf);
    if rclone_conf::is_encrypted(&text) {
        let hint = "decrypt it with: rclone config --config rclone.conf (Set configuration password); no node could read it";
        return Err(refuse("rclone.conf is encrypted with a password", hint));
    }
    let endpoint = said.endpoint.ok_or_else(|| missing("endpoint", "endpoint = \"remote:bucket/path\""))?;
    let dirs = [
        ("data_dir", check::check_dir("data_dir", &or(said.data_dir, "/var/lib/etcd2"))?),
        ("backup_dir", check::check_dir("backup_dir", &or(said.backup_dir, "/var/lib/etcd2-backup"))?),
        ("restore_dir", check::check_dir("restore_dir", &or(said.restore_dir, "/var/lib/etcd2-restore"))?),
    ];
    check::check_apart(&dirs.each_ref().map(|(key, dir)| (*key, dir.as_path())))?;
    let [(_, data_dir), (_, backup_dir), (_, restore_dir)] = dirs;
    let etcd_unit = or(said.etcd_unit, "etcd2.service");
    check::check_unit(&etcd_unit)?;
    Ok(Site {
        founder: founder(said.founder)?,
        endpoint: check::check_endpoint(&endpoint, &rclone_conf::parse_sections(&text))?,
        interval: span::check_span("interval", &or(said.interval, "30sec"), 1_000_000)?,
        boot_delay: span::check_span("boot_delay", &or(said.boot_delay, "1min"), 0)?,
        data_dir,
        backup_dir,
        restore_dir,
        etcd_unit,
        rclone_timeout: timeout(&or(said.rclone.timeout.clone(), "10m"))?,
        runner: runner::resolve(said.rclone, dir)?,
        rclone_conf: Content(conf),
    })
}

fn missing(key: &str, example: &str) -> anyhow::Error {
    refuse(format!("there is no {key}"), format!("write {example}"))
}

fn founder(said: Option<OneOrMany>) -> Result<Vec<String>> {
    let urls = match said {
        Some(OneOrMany::One(url)) => vec![url],
        Some(OneOrMany::Many(urls)) => urls,
        None => vec![],
    };
    if urls.is_empty() {
        return Err(missing(
            "founder",
            "founder = \"http://host:port\", the founding member's advertised peer URL",
        ));
    }
    urls.iter().try_for_each(|url| check::check_peer_url(url))?;
    Ok(urls)
}

fn timeout(text: &str) -> Result<Duration> {
    let hint = "write a length of time, for example timeout = \"10m\"";
    let time =
        humantime::parse_duration(text).or_fault(Exit::Settings, format!("rclone.timeout {text:?}"), hint)?;
    if time < Duration::from_secs(1) {
        return Err(refuse(format!("rclone.timeout {text:?} is shorter than 1 s"), hint));
    }
    Ok(time)
}

#[cfg(test)]
pub(crate) mod tests;
