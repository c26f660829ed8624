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
use etcd2_backup::nearest::nearest;

use crate::check::{self, refuse};
use crate::fragment::{Fragment, OneOrMany, RcloneFragment, parse_fragment};
use crate::{elf, rclone_conf, span};

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
    /// Whether members that hold v3 data are backed up without it.
    pub(crate) v2_only: bool,
    /// How rclone is run on a node.
    pub(crate) runner: Runner,
    /// The longest one rclone call may take.
    pub(crate) rclone_timeout: Duration,
    /// rclone.conf, byte for byte.
    pub(crate) rclone_conf: Content,
}

/// How rclone is run on a node.
#[derive(Debug)]
pub(crate) enum Runner {
    /// In a container of this image, by docker.
    Docker(String),
    /// In a container of this image, by podman.
    Podman(String),
    /// The rclone of the node's PATH.
    Host,
    /// The rclone that travels in the tarball.
    Bundled(Content),
}

impl Runner {
    /// The runner's name in the settings.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Docker(_) => "docker",
            Self::Podman(_) => "podman",
            Self::Host => "host",
            Self::Bundled(_) => "bundled",
        }
    }
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
        v2_only: said.v2_only.unwrap_or(false),
        rclone_timeout: timeout(&or(said.rclone.timeout.clone(), "10m"))?,
        runner: runner(said.rclone, dir)?,
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

fn runner(said: RcloneFragment, dir: &Path) -> Result<Runner> {
    const RUNNERS: [&str; 4] = ["docker", "podman", "host", "bundled"];
    let name = said.runner.as_deref().unwrap_or("docker");
    if said.image.is_some() && ["host", "bundled"].contains(&name) {
        let what = format!("rclone.image has no meaning for the runner {name}");
        return Err(refuse(what, "remove image, or choose runner = \"docker\" or \"podman\""));
    }
    if said.bundle.is_some() && name != "bundled" && RUNNERS.contains(&name) {
        let what = format!("rclone.bundle has no meaning for the runner {name}");
        return Err(refuse(what, "remove bundle, or choose runner = \"bundled\""));
    }
    let image = said.image.unwrap_or_else(|| "quay.io/coreos/rclone:latest".into());
    check::check_image(&image)?;
    match name {
        "docker" => Ok(Runner::Docker(image)),
        "podman" => Ok(Runner::Podman(image)),
        "host" => Ok(Runner::Host),
        "bundled" => {
            let bundle = said.bundle.ok_or_else(|| {
                let what = "the runner bundled needs a static rclone to put into the tarball";
                refuse(what, "write bundle = \"path/of/rclone\", relative to this file")
            })?;
            bundled(&dir.join(bundle)).map(Runner::Bundled)
        }
        _ => {
            let hint = match nearest(name, RUNNERS) {
                Some(near) => format!("did you mean {near}? The runners are: {}", RUNNERS.join(", ")),
                None => format!("the runners are: {}", RUNNERS.join(", ")),
            };
            Err(refuse(format!("rclone.runner {name:?} is not known"), hint))
        }
    }
}

/// An rclone that runs on any node: nothing of the node's may be needed.
fn bundled(path: &Path) -> Result<Content> {
    let hint = "take the static rclone of its own releases; a distribution's is linked against libraries";
    let what = format!("rclone.bundle {}", path.display());
    let bytes = fs::read(path).or_fault(Exit::Settings, what.clone(), hint)?;
    let program = elf::parse_elf(&bytes).or_fault(Exit::Settings, what.clone(), hint)?;
    if program.needs_loader {
        return Err(refuse(format!("{what} is not static"), hint));
    }
    Ok(Content(bytes))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use etcd2_backup::exit::{exit_of, hint_of};
    use etcd2_backup::sys::fs::write_atomic;

    /// The shortest site there is.
    pub(crate) const MINIMAL: &str =
        "version = 1\nfounder = \"http://e1:2380\"\nendpoint = \"s3:bucket/path\"\n";
    pub(crate) const CONF: &str = "[s3]\ntype = s3\nsecret_access_key = \\x \"y\" %z\n";

    /// Loads a site of these two files; an empty one is not written.
    pub(crate) fn load_of(settings: &str, conf: &str) -> Result<Site> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [(SETTINGS, settings), (RCLONE_CONF, conf)] {
            if !text.is_empty() {
                write_atomic(&dir.path().join(name), text.as_bytes(), 0o600).unwrap();
            }
        }
        let in_dir = dir.path().display().to_string();
        load(dir.path()).map_err(|e| {
            assert_eq!(exit_of(&e), Exit::Settings, "{e:#}");
            let hint = hint_of(&e).expect("every refusal has a hint");
            anyhow::anyhow!("{}", format!("{e:#} | {hint}").replace(&in_dir, "DIR"))
        })
    }

    #[test]
    fn the_defaults_are_the_originals_values() {
        let site = load_of(MINIMAL, CONF).unwrap();
        assert_eq!(site.founder, ["http://e1:2380"]);
        assert_eq!((site.interval.as_str(), site.boot_delay.as_str()), ("30sec", "1min"));
        assert_eq!(site.data_dir, Path::new("/var/lib/etcd2"));
        assert_eq!(site.backup_dir, Path::new("/var/lib/etcd2-backup"));
        assert_eq!(site.restore_dir, Path::new("/var/lib/etcd2-restore"));
        assert_eq!(site.etcd_unit, "etcd2.service");
        assert!(!site.v2_only);
        assert!(matches!(&site.runner, Runner::Docker(image) if image == "quay.io/coreos/rclone:latest"));
        assert_eq!(site.rclone_timeout, Duration::from_secs(600));
        assert_eq!(site.rclone_conf.0, CONF.as_bytes());
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", load_of(MINIMAL, CONF).unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn a_missing_file_says_how_to_make_it() {
        for (settings, conf, want) in [
            (
                "",
                CONF,
                "there is no DIR/etcd2-backup.toml | make a starter site with: cargo xtask init DIR    or name another folder with --site DIR",
            ),
            (
                MINIMAL,
                "",
                "there is no DIR/rclone.conf | make one with: rclone config --config DIR/rclone.conf",
            ),
        ] {
            assert_eq!(load_of(settings, conf).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn refusals_name_the_file_the_thing_the_reason_and_the_next_step() {
        for (added, want) in [
            (
                "interval = \"soon\"",
                "interval \"soon\" is no time span: \"soon\" does not begin with a number | write a time span of systemd, for example interval = \"30sec\" or interval = \"1min 30s\"",
            ),
            (
                "interval = \"0\"",
                "interval \"0\" is shorter than 1 s | write a time span of systemd, for example interval = \"30sec\" or interval = \"1min 30s\"",
            ),
            (
                "boot_delay = \"1min\\nExecStart=/x\"",
                "boot_delay contains a line break | write the value on one line, in plain characters",
            ),
            (
                "data_dir = \"etcd2\"",
                "data_dir \"etcd2\" is not an absolute path | write the absolute path of a folder on the node, for example data_dir = \"/var/lib/etcd2\"",
            ),
            (
                "backup_dir = \"/var/lib/etcd2/backup\"",
                "backup_dir /var/lib/etcd2/backup lies inside data_dir /var/lib/etcd2 | give backup_dir and data_dir folders side by side, on the same file system",
            ),
            (
                "etcd_unit = \"etcd2\"",
                "etcd_unit \"etcd2\" does not end in \".service\" | write the name of the service that runs etcd, for example etcd_unit = \"etcd2.service\"",
            ),
            (
                "rclone.runner = \"rkt\"",
                "rclone.runner \"rkt\" is not known | the runners are: docker, podman, host, bundled",
            ),
            (
                "rclone.runner = \"dokcer\"",
                "rclone.runner \"dokcer\" is not known | did you mean docker? The runners are: docker, podman, host, bundled",
            ),
            (
                "rclone = { runner = \"host\", image = \"x\" }",
                "rclone.image has no meaning for the runner host | remove image, or choose runner = \"docker\" or \"podman\"",
            ),
            (
                "rclone.bundle = \"rclone\"",
                "rclone.bundle has no meaning for the runner docker | remove bundle, or choose runner = \"bundled\"",
            ),
            (
                "rclone.runner = \"bundled\"",
                "the runner bundled needs a static rclone to put into the tarball | write bundle = \"path/of/rclone\", relative to this file",
            ),
            (
                "rclone = { runner = \"bundled\", bundle = \"none\" }",
                "rclone.bundle DIR/none: No such file or directory (os error 2) | take the static rclone of its own releases; a distribution's is linked against libraries",
            ),
            (
                "rclone = { runner = \"bundled\", bundle = \"/bin/sh\" }",
                "rclone.bundle /bin/sh is not static | take the static rclone of its own releases; a distribution's is linked against libraries",
            ),
            (
                "rclone = { runner = \"bundled\", bundle = \"rclone.conf\" }",
                "rclone.bundle DIR/rclone.conf: not a 64-bit little-endian ELF program | take the static rclone of its own releases; a distribution's is linked against libraries",
            ),
            (
                "rclone.image = \"--privileged\"",
                "rclone.image \"--privileged\" is not the name of an image | write an image whose entry point is rclone, for example image = \"rclone/rclone:1.60.1\"",
            ),
            (
                "rclone.timeout = \"0s\"",
                "rclone.timeout \"0s\" is shorter than 1 s | write a length of time, for example timeout = \"10m\"",
            ),
            (
                "rclone.timeout = \"ten\"",
                "rclone.timeout \"ten\": expected number at 0 | write a length of time, for example timeout = \"10m\"",
            ),
        ] {
            let said = load_of(&format!("{MINIMAL}{added}\n"), CONF).unwrap_err().to_string();
            assert_eq!(said, format!("DIR/etcd2-backup.toml: {want}"));
        }
    }

    #[test]
    fn founder_and_endpoint_are_needed_and_checked() {
        let founder = "founder = \"http://e1:2380\"\n";
        let endpoint = "endpoint = \"s3:b\"\n";
        for (settings, want) in [
            (founder.to_owned(), "there is no endpoint | write endpoint = \"remote:bucket/path\""),
            (
                endpoint.to_owned(),
                "there is no founder | write founder = \"http://host:port\", the founding member's advertised peer URL",
            ),
            (
                format!("{endpoint}founder = []"),
                "there is no founder | write founder = \"http://host:port\", the founding member's advertised peer URL",
            ),
            (
                format!("{endpoint}founder = 1"),
                "line 3: founder must be a URL, or a list of the URLs of one member | see the starter: cargo xtask init DIR",
            ),
            (
                format!("{endpoint}founder = [\"http://e1:1\", \"e2\"]"),
                "founder \"e2\" is not a peer URL: it does not begin with http:// or https:// | write the founding member's advertised peer URL, for example founder = \"http://172.17.4.51:2380\"",
            ),
            (
                format!("{founder}endpoint = \"s3:s3://b/p\""),
                "endpoint \"s3:s3://b/p\" is not an rclone path: \"s3://\" has no place in it | write endpoint = \"s3:b/p\"",
            ),
            (
                format!("{founder}endpoint = \"s4:b\""),
                "endpoint \"s4:b\": rclone.conf has no section [s4] | did you mean s3? Its sections are: s3",
            ),
        ] {
            let said = load_of(&format!("version = 1\n{settings}"), CONF).unwrap_err().to_string();
            assert_eq!(said, format!("DIR/etcd2-backup.toml: {want}"));
        }
    }

    #[test]
    fn an_encrypted_rclone_conf_is_refused() {
        let said = load_of(MINIMAL, "RCLONE_ENCRYPT_V0:\nabc\n").unwrap_err().to_string();
        assert!(said.contains("rclone.conf is encrypted with a password | decrypt it"), "{said}");
    }
}
