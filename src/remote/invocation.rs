//! How rclone is run: on the host, from the tarball, or in a container; within its time limit, and what its failures mean.

use std::cell::Cell;
use std::env;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::conf_copy::ConfCopy;
use super::retry::{Retry, may_pass};
use super::route::{Facts, Route};
use super::variables::Variables;
use super::{denied, mounts, password, version};
use crate::exit::{Exit, OrFault, fault};
use crate::settings::rclone_section::parse_sections;
use crate::settings::reach::Place;
use crate::settings::{RemoteConfig, Runner};
use crate::sys::command::{CommandRunExt, Output};
use crate::sys::fs::write_atomic;
use crate::sys::privilege::is_root;
use crate::sys::redact::redact;
use crate::sys::{leash, look, random};

/// One name for all our containers: a client that was killed leaves its container running, and the next one of this
/// name is only started once that is gone.
const CONTAINER: &str = "etcd2-backup-rclone";
/// A remote that does not answer is reported soon; the next cycle tries again anyway.
const PATIENCE: [&str; 8] =
    ["--contimeout", "15s", "--timeout", "60s", "--retries", "2", "--low-level-retries", "3"];

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Invocation {
    endpoint: String,
    runner: Runner,
    container: String,
    bundled: PathBuf,
    conf: PathBuf,
    password_file: Option<PathBuf>,
    /// Folders that a container must see.
    folders: [PathBuf; 2],
    limit: Duration,
    retry: Retry,
    /// What the site adds to each call.
    added: Vec<String>,
    /// Whether the version is known to be one that is served.
    served: Cell<bool>,
}

impl Invocation {
    /// As the settings say, for a verb that is so patient.
    pub(super) fn new(config: &RemoteConfig, retry: Retry) -> Self {
        let mut added = config.flags.clone();
        if retry == Retry::CYCLE
            && let Some(limit) = &config.bwlimit
        {
            added.push(format!("--bwlimit={limit}"));
        }
        let config = config.clone();
        Self {
            endpoint: config.endpoint,
            runner: config.runner,
            container: CONTAINER.to_owned(),
            bundled: config.bundled,
            conf: config.conf,
            password_file: config.password_file,
            folders: config.folders,
            limit: config.timeout,
            retry,
            added,
            served: Cell::new(false),
        }
    }

    /// With containers of its own, which neither wait for those of a backup nor end them.
    pub(super) fn beside(self, purpose: &str) -> Self {
        Self { container: format!("{CONTAINER}-{purpose}"), ..self }
    }

    /// The same for one of several calls at the same time.
    pub(super) fn one_of_several(self, number: usize) -> Self {
        Self { container: format!("{}-{number}", self.container), ..self }
    }

    /// What decides where objects go: see [`Rclone::route`](super::rclone::Rclone::route).
    pub(super) fn route(&self, before: Option<&Route>) -> Result<Route> {
        let conf = match std::fs::read(&self.conf) {
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            bytes => Some(bytes.or_fault(
                Exit::Settings,
                format!("reading {}", self.conf.display()),
                "it says where the backups go: run the command as root (sudo)",
            )?),
        };
        let variable = |name: String| {
            let value = env::var_os(&name).unwrap_or_default();
            (name, value.into_encoded_bytes())
        };
        let variables = Variables::of_process();
        let facts = Facts {
            endpoint: self.endpoint.clone(),
            conf,
            password: self.password_file.as_deref().map(password::read).transpose()?,
            runner: self.describe(),
            // How fast it may be decides nothing.
            flags: self.added.iter().filter(|flag| !flag.starts_with("--bwlimit")).cloned().collect(),
            program: version::mark(&self.runner, &self.bundled),
            variables: variables.passed.into_iter().chain(variables.of_backends).map(variable).collect(),
        };
        let salt = match before {
            Some(before) => before.salt.clone(),
            None => format!("{:032x}", u128::from_ne_bytes(random::bytes()?)),
        };
        Ok(Route::of(salt, &facts))
    }

    fn command(&self) -> Result<Command> {
        let variables = Variables::of_process();
        let mut command = match &self.runner {
            // One that is not there fails of itself, and more clearly.
            _ if version::mark(&self.runner, &self.bundled).is_none() => match self.runner {
                Runner::Bundled => Command::new(&self.bundled),
                _ => Command::new("rclone"),
            },
            Runner::Host => leash::killed_with_us("rclone"),
            Runner::Bundled => leash::killed_with_us(&self.bundled),
            Runner::Container { engine, image } => self.container(engine, image, &variables)?,
        };
        variables.withhold_from(&mut command);
        // A unit has no HOME. rclone on the host asks getent for it then, which takes it a fifth of its time.
        if is_root() && env::var_os("HOME").is_none() {
            command.env("HOME", "/root");
        }
        if let Some(path) = &self.password_file {
            command.env(password::VARIABLE, password::read(path)?);
        }
        let conf = match &self.runner {
            Runner::Container { .. } => self.conf_copy().file(),
            _ => self.conf.clone(),
        };
        command.arg("--config").arg(conf).args(PATIENCE).arg("--ask-password=false");
        command.args(&self.added);
        Ok(command)
    }

    fn conf_copy(&self) -> ConfCopy<'_> {
        ConfCopy::new(&self.conf, &self.folders[0], &self.container)
    }

    fn container(&self, engine: &str, image: &str, variables: &Variables) -> Result<Command> {
        // Without one rclone goes by variables and the endpoint alone.
        let conf = look::read_if_there(&self.conf)?.unwrap_or_default();
        let reach = mounts::of(&self.endpoint, &conf, &self.added, &variables.said());
        let mut command = leash::ended_with_us(engine);
        command.args(["run", "--rm", "--interactive", "--network", "host", "--name", &self.container]);
        // What rclone prints is for us alone: listings need not go through the engine's log into the journal as well.
        command.args(["--log-driver", "none"]);
        // SELinux would keep it from our folders. To label them for it would take keys and folders away from their owners.
        command.args(["--security-opt", "label=disable"]);
        // One that is not there yet is not needed yet. podman refuses to mount it, docker would make it, open to all.
        let mut ours = vec![self.conf_copy().folder()];
        for folder in &self.folders {
            ours.extend(look::is_dir(folder)?.then(|| folder.clone()));
        }
        let ours = ours.into_iter().map(|path| Place { path, writable: true });
        for place in ours.chain(mounts::places(&reach)?) {
            command.arg("--volume").arg(mounts::volume(&place));
        }
        for name in variables.passed.iter().chain(&variables.proxies) {
            // The name only: the engine takes the value from its own environment, not from argv.
            command.args(["--env", name]);
        }
        if self.password_file.is_some() {
            command.args(["--env", password::VARIABLE]);
        }
        command.arg(image);
        Ok(command)
    }

    /// Runs rclone to its end; what may be a passing failure is tried again.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.run_fed(arguments, &[])
    }

    /// The same with something to read from stdin.
    pub(super) fn run_fed(&self, arguments: &[&str], input: &[u8]) -> Result<Output> {
        let mut stdout = Vec::new();
        let output = self.run_piecewise(arguments, input, &mut |piece| match piece {
            None => stdout.clear(),
            Some(bytes) => stdout.extend_from_slice(bytes),
        })?;
        Ok(Output { stdout, ..output })
    }

    /// The same with stdout in pieces as they come; `None` before the first one of each try.
    pub(super) fn run_read(&self, arguments: &[&str], read: &mut dyn FnMut(Option<&[u8]>)) -> Result<Output> {
        self.run_piecewise(arguments, &[], read)
    }

    fn run_piecewise(
        &self,
        arguments: &[&str],
        input: &[u8],
        read: &mut dyn FnMut(Option<&[u8]>),
    ) -> Result<Output> {
        self.see_version()?;
        let began = Instant::now();
        let mut tried = 0;
        loop {
            read(None);
            let output = self.once(arguments, input, &mut |bytes| read(Some(bytes)))?;
            tried += 1;
            if output.status.success() || !may_pass(output.status.code(), &output.stderr) {
                return Ok(output);
            }
            let Some(pause) =
                self.retry.pause(tried, began.elapsed(), self.limit, u16::from_ne_bytes(random::bytes()?))
            else {
                return Ok(output);
            };
            let seconds = pause.as_millis().div_ceil(1000);
            log::warn!("{}; trying again in {seconds} s", self.what(arguments, &output));
            std::thread::sleep(pause);
        }
    }

    fn once(&self, arguments: &[&str], input: &[u8], read: &mut dyn FnMut(&[u8])) -> Result<Output> {
        let copy = match &self.runner {
            Runner::Container { engine, .. } => {
                // Usually there is none; then the engine says so, and that is fine.
                let _ = Command::new(engine)
                    .args(["rm", "--force", &self.container])
                    .run_limited(&[], self.limit);
                let copy = self.conf_copy();
                copy.make().with_context(|| format!("copying {} for a container", self.conf.display()))?;
                Some(copy)
            }
            _ => None,
        };
        let output = self.command()?.args(arguments).run_read(input, self.limit, read);
        let output = output.and_then(|output| match output.status.code() {
            Some(code) if code == i32::from(leash::NOT_STARTED) => Err(anyhow!(output.stderr)),
            _ => Ok(output),
        });
        // A container that did not end may still write: what it leaves is taken back by the next run.
        if output.is_ok()
            && let Some(Err(e)) = copy.map(|copy| copy.take_back())
        {
            log::warn!(
                "rclone has new tokens, which are lost unless the next run can save them into {}: {e:#}",
                self.conf.display()
            );
        }
        let verb = arguments.first().copied().unwrap_or_default();
        output.or_fault(
            Exit::Remote,
            format!("running rclone {verb} ({})", self.describe()),
            self.runner_hint(),
        )
    }

    /// Refuses an rclone that is too old. It is asked once, and what it said is noted for the next runs.
    fn see_version(&self) -> Result<()> {
        // One that is not there fails of itself, and more clearly.
        let Some(mark) = version::mark(&self.runner, &self.bundled).filter(|_| !self.served.get()) else {
            return Ok(());
        };
        let [backup_dir, _] = &self.folders;
        let note = version::note(backup_dir);
        // Of two at once the second finds the note.
        static ASKING: Mutex<()> = Mutex::new(());
        let _one = ASKING.lock();
        if !version::is_noted(&note, &mark) {
            let mut said = Vec::new();
            let output = self.once(&["version"], &[], &mut |bytes| said.extend_from_slice(bytes))?;
            let output = Output { stdout: said, ..output };
            if !output.status.success() {
                return Err(self.failure(&["version"], &output));
            }
            let text = output.text();
            let said = version::check(&text, &self.describe())?;
            log::info!("rclone {said} ({})", self.describe());
            if let Err(e) = write_atomic(&note, format!("{mark}\nrclone {said}\n").as_bytes(), 0o600) {
                log::warn!("could not note rclone's version, so each run asks for it again: {e:#}");
            }
        }
        self.served.set(true);
        Ok(())
    }

    pub(super) fn run_ok(&self, arguments: &[&str]) -> Result<Output> {
        let output = self.run(arguments)?;
        if output.status.success() { Ok(output) } else { Err(self.failure(arguments, &output)) }
    }

    /// A failure in words, with the end of what rclone said.
    fn what(&self, arguments: &[&str], output: &Output) -> String {
        let verb = arguments.first().copied().unwrap_or_default();
        let tail: Vec<&str> = output.stderr.lines().rev().take(3).collect();
        let tail: Vec<&str> = tail.into_iter().rev().map(str::trim).collect();
        // It is told to a monitor too.
        redact(&format!(
            "rclone {verb} at {} ended with {}: {}",
            self.endpoint,
            output.status,
            tail.join(" | ")
        ))
    }

    pub(super) fn failure(&self, arguments: &[&str], output: &Output) -> anyhow::Error {
        // The same words in 1.60 and 1.75, whether the password is wrong or missing.
        if output.stderr.contains("decrypt configuration") {
            return self.locked();
        }
        let what = self.what(arguments, output);
        let conf = std::fs::read(&self.conf).unwrap_or_default();
        let sections = parse_sections(&String::from_utf8_lossy(&conf));
        let section = |name: &str| sections.iter().find(|s| s.name == name).cloned();
        let denied = denied::hint(arguments, &self.endpoint, &output.stderr, &section);
        let hint = denied.unwrap_or_else(|| {
            format!(
                "check that the remote is up, and that it accepts what {} says; try: {}",
                self.conf.display(),
                self.try_it()
            )
        });
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
                format!(
                    "is {engine} running, and does it have the image? try: sudo {engine} run --rm {image} \
                     version"
                )
            }
        }
    }

    pub(super) fn try_it(&self) -> String {
        format!("rclone --config {} lsf {}", self.conf.display(), self.endpoint)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::remote) fn invocation(runner: Runner) -> Invocation {
        Invocation {
            endpoint: "r:bucket/backups".into(),
            runner,
            container: CONTAINER.to_owned(),
            bundled: "/no/such/rclone".into(),
            conf: "/etc/rclone.conf".into(),
            password_file: None,
            folders: ["/b".into(), "/r".into()],
            limit: Duration::from_secs(5),
            retry: Retry::CYCLE,
            added: vec!["--transfers=1".into()],
            served: Cell::new(false),
        }
    }

    #[test]
    fn the_container_sees_our_folders_and_never_a_secret_in_argv() {
        let mut container =
            invocation(Runner::Container { engine: "docker".into(), image: "image:1".into() });
        container.folders = ["/usr".into(), "/no/such/folder".into()];
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rclone.pass");
        crate::sys::fs::write_atomic(&path, b"hunter2\n", 0o600).unwrap();
        container.password_file = Some(path);
        let command = container.command().unwrap();
        let argv: Vec<_> = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        let folder = "/usr/etcd2-backup-rclone";
        for wanted in ["/usr:/usr", &format!("{folder}:{folder}"), CONTAINER, "host", "none", "label=disable"]
        {
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
        assert_eq!(argv[image + 1..image + 3], ["--config".to_owned(), format!("{folder}/rclone.conf")]);
    }
}
