//! rclone keeps the contract of [`Remote`]: on the host, from the tarball, or in a container.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{Object, Remote, password};
use crate::exit::{Exit, OrFault, fault};
use crate::paths::{BUNDLED_RCLONE, Root};
use crate::settings::{Runner, Settings};
use crate::sys::command::{CommandRunExt, Output};
use crate::sys::fs::{create_dirs, remove_if_there};

/// One name for all our containers: a client that was killed leaves its container running, and the next one of this
/// name is only started once that is gone.
const CONTAINER: &str = "etcd2-backup-rclone";
/// rclone's exit status for a folder that does not exist.
const NO_FOLDER: i32 = 3;
/// A remote that does not answer is reported soon; the next cycle tries again anyway.
const PATIENCE: [&str; 8] =
    ["--contimeout", "15s", "--timeout", "60s", "--retries", "2", "--low-level-retries", "3"];

/// Settings that look like rclone's own variables, but are ours.
const NOT_FOR_RCLONE: [&str; 2] = ["RCLONE_ENDPOINT", "RCLONE_CONFIG_PATH"];

/// See the module.
#[derive(Debug)]
pub struct Rclone {
    endpoint: String,
    runner: Runner,
    bundled: PathBuf,
    conf: PathBuf,
    password_file: Option<PathBuf>,
    /// Folders that a container must see.
    folders: [PathBuf; 2],
    limit: Duration,
}

impl Rclone {
    /// As the settings say.
    pub fn new(settings: &Settings, root: &Root) -> Self {
        Self {
            endpoint: settings.endpoint.trim_end_matches('/').to_owned(),
            runner: settings.runner.clone(),
            bundled: root.join(BUNDLED_RCLONE),
            conf: settings.rclone_conf.clone(),
            password_file: settings.rclone_password_file.clone(),
            folders: [settings.backup_dir.clone(), settings.restore_dir.clone()],
            limit: settings.rclone_timeout,
        }
    }

    /// `remote:path/folder`.
    fn at(&self, folder: &str) -> String {
        let separator = if self.endpoint.ends_with(':') || folder.is_empty() { "" } else { "/" };
        format!("{}{separator}{folder}", self.endpoint)
    }

    fn command(&self) -> Result<Command> {
        let mut command = match &self.runner {
            Runner::Host => Command::new("rclone"),
            Runner::Bundled => Command::new(&self.bundled),
            Runner::Container { engine, image } => self.container(engine, image),
        };
        for name in NOT_FOR_RCLONE {
            command.env_remove(name);
        }
        if let Some(path) = &self.password_file {
            command.env(password::VARIABLE, password::read(path)?);
        }
        command.arg("--config").arg(&self.conf).args(PATIENCE).arg("--ask-password=false");
        Ok(command)
    }

    fn container(&self, engine: &str, image: &str) -> Command {
        let mut command = Command::new(engine);
        command.args(["run", "--rm", "--network", "host", "--name", CONTAINER]);
        // What rclone prints is for us alone: listings need not go through the engine's log into the journal as well.
        command.args(["--log-driver", "none"]);
        // One that is not there yet is not needed yet. podman refuses to mount it, docker would make it, open to all.
        let folders = self.folders.iter().filter(|folder| folder.is_dir());
        for path in folders.chain([&self.conf]) {
            command.arg("--volume").arg(format!("{0}:{0}", path.display()));
        }
        for (name, _) in std::env::vars_os() {
            let Some(name) = name.to_str() else { continue };
            if name.starts_with("RCLONE_") && !NOT_FOR_RCLONE.contains(&name) {
                // The name only: the engine takes the value from its own environment, not from argv.
                command.args(["--env", name]);
            }
        }
        if self.password_file.is_some() {
            command.args(["--env", password::VARIABLE]);
        }
        command.arg(image);
        command
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        if let Runner::Container { engine, .. } = &self.runner {
            // Usually there is none; then the engine says so, and that is fine.
            let _ = Command::new(engine).args(["rm", "--force", CONTAINER]).run_limited(&[], self.limit);
        }
        let output = self.command()?.args(arguments).run_limited(&[], self.limit);
        let verb = arguments.first().copied().unwrap_or_default();
        output.or_fault(
            Exit::Remote,
            format!("running rclone {verb} ({})", self.describe()),
            self.runner_hint(),
        )
    }

    fn run_ok(&self, arguments: &[&str]) -> Result<Output> {
        let output = self.run(arguments)?;
        if output.status.success() { Ok(output) } else { Err(self.failure(arguments, &output)) }
    }

    fn failure(&self, arguments: &[&str], output: &Output) -> anyhow::Error {
        let verb = arguments.first().copied().unwrap_or_default();
        // The same words in 1.60 and 1.75, whether the password is wrong or missing.
        if output.stderr.contains("decrypt configuration") {
            return self.locked();
        }
        let tail: Vec<&str> = output.stderr.lines().rev().take(3).collect();
        let tail: Vec<&str> = tail.into_iter().rev().map(str::trim).collect();
        let what =
            format!("rclone {verb} at {} ended with {}: {}", self.endpoint, output.status, tail.join(" | "));
        let hint = format!(
            "is the remote up, and may it be used as {} says? try: {}",
            self.conf.display(),
            self.try_it()
        );
        fault(Exit::Remote, what, hint)
    }

    /// rclone.conf is encrypted, and rclone cannot open it.
    fn locked(&self) -> anyhow::Error {
        let (reason, hint) = match &self.password_file {
            Some(path) => (
                format!("with the password in {}", path.display()),
                format!("write the password it was encrypted with into {}", path.display()),
            ),
            None => (
                "without a password".to_owned(),
                "set password_file below [rclone] in etcd2-backup.toml, or decrypt rclone.conf; build and install \
                 again"
                    .to_owned(),
            ),
        };
        fault(Exit::Settings, format!("rclone cannot decrypt {} {reason}", self.conf.display()), hint)
    }

    fn describe(&self) -> String {
        match &self.runner {
            Runner::Host => "runner host".into(),
            Runner::Bundled => format!("runner bundled, {}", self.bundled.display()),
            Runner::Container { engine, image } => format!("runner {engine}, image {image}"),
        }
    }

    fn runner_hint(&self) -> String {
        match &self.runner {
            Runner::Host => "install rclone, or choose another runner in etcd2-backup.toml".into(),
            Runner::Bundled => {
                "build the tarball with [rclone] bundle = \"PATH\" and install it again".into()
            }
            Runner::Container { engine, image } => {
                format!("does {engine} run, and has it the image? try: {engine} run --rm {image} version")
            }
        }
    }

    fn try_it(&self) -> String {
        format!("rclone --config {} lsf {}", self.conf.display(), self.endpoint)
    }
}

/// A line of `rclone lsjson`.
#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "Path")]
    path: String,
    #[serde(rename = "Size")]
    size: i64,
}

/// Reads the output of `rclone lsjson --files-only`.
fn parse_listing(json: &[u8]) -> Result<Vec<Object>> {
    let listed: Vec<Listed> = serde_json::from_slice(json).context("reading rclone's listing")?;
    // A backend that does not know a size says -1: such an object counts as incomplete.
    Ok(listed
        .into_iter()
        .map(|l| Object { path: l.path, size: u64::try_from(l.size).unwrap_or(u64::MAX) })
        .collect())
}

impl Remote for Rclone {
    fn list(&self, folder: &str) -> Result<Vec<Object>> {
        let place = self.at(folder);
        let arguments =
            ["lsjson", "--recursive", "--files-only", "--no-modtime", "--no-mimetype", "--", &place];
        let output = self.run(&arguments)?;
        match output.status.code() {
            Some(0) => parse_listing(&output.stdout).or_fault(
                Exit::Remote,
                format!("listing {place}"),
                self.try_it(),
            ),
            Some(NO_FOLDER) => Ok(Vec::new()),
            _ => Err(self.failure(&arguments, &output)),
        }
    }

    fn folders(&self) -> Result<Vec<String>> {
        let arguments = ["lsf", "--dirs-only", "--", &self.at("")];
        let output = self.run(&arguments)?;
        match output.status.code() {
            Some(0) => Ok(output.text().lines().map(|l| l.trim_end_matches('/').to_owned()).collect()),
            Some(NO_FOLDER) => Ok(Vec::new()),
            _ => Err(self.failure(&arguments, &output)),
        }
    }

    fn put(&self, local: &Path, folder: &str) -> Result<()> {
        let local = local.to_string_lossy();
        // The name carries the content's checksum, so size is all that can differ; and no listing is needed.
        self.run_ok(&["copy", "--size-only", "--no-traverse", "--", &local, &self.at(folder)]).map(drop)
    }

    fn get(&self, folder: &str, paths: &[String], local: &Path) -> Result<()> {
        create_dirs(local, 0o700)?;
        let list = local.join(".wanted");
        crate::sys::fs::write_atomic(&list, (paths.join("\n") + "\n").as_bytes(), 0o600)?;
        let wanted = list.to_string_lossy();
        let target = local.to_string_lossy();
        let arguments =
            ["copy", "--files-from-raw", &wanted, "--no-traverse", "--", &self.at(folder), &target];
        let output = self.run(&arguments);
        remove_if_there(&list)?;
        let output = output?;
        if !output.status.success() {
            // rclone has one exit status for that and for everything else; the only disk it writes to here is ours.
            let full = ["no space left on device", "disk quota exceeded", "remaining disk space"];
            if full.iter().any(|text| output.stderr.contains(text)) {
                let what = format!("{} has no room for what {} holds", local.display(), self.at(folder));
                return Err(fault(
                    Exit::NoSpace,
                    what,
                    "make room there, or set ETCD_RESTORE_DIR; nothing was changed",
                ));
            }
            return Err(self.failure(&arguments, &output));
        }
        match paths.iter().find(|path| !local.join(path).is_file()) {
            None => Ok(()),
            Some(path) => {
                let what = format!("{path} did not arrive from {}", self.at(folder));
                Err(fault(
                    Exit::Remote,
                    what,
                    "somebody removed it, or the remote's listing lags behind: try again",
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read() {
        let json = br#"[{"Path":"a/b.part","Name":"b.part","Size":7,"IsDir":false},{"Path":"c","Size":-1}]"#;
        let objects = parse_listing(json).unwrap();
        assert_eq!(objects[0], Object { path: "a/b.part".into(), size: 7 });
        assert_eq!(objects[1].size, u64::MAX);
        assert!(parse_listing(b"").is_err());
    }

    fn rclone(runner: Runner) -> Rclone {
        Rclone {
            endpoint: "r:bucket/backups".into(),
            runner,
            bundled: "/opt/bin/etcd2-backup-rclone".into(),
            conf: "/etc/rclone.conf".into(),
            password_file: None,
            folders: ["/b".into(), "/r".into()],
            limit: Duration::from_secs(5),
        }
    }

    #[test]
    fn the_container_sees_our_folders_and_never_a_secret_in_argv() {
        let mut container = rclone(Runner::Container { engine: "docker".into(), image: "image:1".into() });
        container.folders = ["/usr".into(), "/no/such/folder".into()];
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rclone.pass");
        crate::sys::fs::write_atomic(&path, b"hunter2\n", 0o600).unwrap();
        container.password_file = Some(path);
        let command = container.command().unwrap();
        let argv: Vec<_> = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        for wanted in ["/usr:/usr", "/etc/rclone.conf:/etc/rclone.conf", CONTAINER, "host", "none"] {
            assert!(argv.iter().any(|a| a == wanted), "{wanted} in {argv:?}");
        }
        assert!(
            !argv.iter().any(|a| a.contains("/no/such/folder")),
            "only what is there is mounted: {argv:?}"
        );
        assert!(argv.windows(2).any(|a| a == ["--env", "RCLONE_CONFIG_PASS"]), "{argv:?}");
        assert!(!format!("{argv:?}").contains("hunter2"), "{argv:?}");
        let password = command.get_envs().find(|(name, _)| *name == "RCLONE_CONFIG_PASS").unwrap().1;
        assert_eq!(password.unwrap(), "hunter2");
        let image = argv.iter().position(|a| a == "image:1").unwrap();
        assert_eq!(argv[image + 1], "--config");
    }

    #[test]
    fn folders_are_joined_to_the_endpoint() {
        let mut r = rclone(Runner::Host);
        assert_eq!((r.at("id"), r.at("")), ("r:bucket/backups/id".into(), "r:bucket/backups".into()));
        r.endpoint = "r:".into();
        assert_eq!(r.at("id"), "r:id");
    }

    #[test]
    fn a_runner_that_cannot_start_is_a_remote_failure_with_a_way_out() {
        let missing = Rclone { bundled: "/no/such/rclone".into(), ..rclone(Runner::Bundled) };
        let error = missing.list("id").unwrap_err();
        assert_eq!(crate::exit::exit_of(&error), Exit::Remote);
        assert!(crate::exit::hint_of(&error).unwrap().contains("bundle"));
    }
}
