//! A whole node as a tree: its root file system with the product installed, and its etcd. What systemd would do for
//! them is done here: the units' environment, the fence, the guard.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::etcd::Member;
use crate::process::run_any;
use crate::tools::Tools;

/// Longer than anything the program may take here.
const LIMIT: Duration = Duration::from_secs(300);
const UNITS: &str = "etc/systemd/system";
const SETTINGS: &str = "etc/systemd/system/etcd2-backup.service.d/30-etcd2-backup-restore.conf";

/// One node.
#[derive(Debug)]
pub struct Node {
    /// Its root file system.
    pub root: PathBuf,
    /// Its etcd; the data directory is `<root>/var/lib/etcd2`.
    pub member: Member,
    /// Its machine ID, derived from its name.
    pub machine_id: String,
    path: OsString,
}

/// How a run of the node program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it printed, stdout and stderr in one.
    pub printed: String,
}

impl Node {
    /// A fresh node of CoreOS in the folder `root`, which must not exist. Its PATH finds the rclone of `tools`.
    ///
    /// # Errors
    /// The tree cannot be made, or etcd does not run.
    pub fn new(tools: &Tools, name: &str, root: &Path) -> Result<Self> {
        let root = std::path::absolute(root)?;
        ensure!(!root.exists(), "{} exists already", root.display());
        for dir in ["etc", "var/lib", "home/core"] {
            fs::create_dir_all(root.join(dir)).with_context(|| format!("creating {}", root.display()))?;
        }
        let machine_id = machine_id(name);
        write(&root.join("etc/machine-id"), &format!("{machine_id}\n"))?;
        write(
            &root.join("etc/os-release"),
            "NAME=\"Container Linux by CoreOS\"\nID=coreos\nVERSION_ID=1745.7.0\n",
        )?;
        let member = Member::new(tools, name, &root.join("var/lib/etcd2"))?;
        let rclone = tools.rclone.parent().context("rclone is in no folder")?.to_owned();
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([rclone].into_iter().chain(env::split_paths(&path)))?;
        Ok(Self { root, member, machine_id, path })
    }

    /// Unpacks the tarball in the home of `core` and runs its install program, as an operator would.
    ///
    /// # Errors
    /// It cannot be unpacked, or the installation fails.
    pub fn install(&self, tarball: &Path) -> Result<Ended> {
        let home = self.root.join("home/core/etcd2-backup");
        let packed = File::open(tarball).with_context(|| format!("opening {}", tarball.display()))?;
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
        archive.unpack(&home).with_context(|| format!("unpacking {}", tarball.display()))?;
        let mut command = Command::new(home.join("etcd2-backup-install"));
        self.ended_well(command.arg("--root").arg(&self.root), "etcd2-backup-install")
    }

    /// The installed program.
    pub fn program(&self) -> PathBuf {
        self.root.join("opt/bin/etcd2-backup")
    }

    /// Runs the installed program as its unit would: with the settings of its drop-in and of etcd's unit.
    ///
    /// # Errors
    /// It cannot be started, does not end, or the drop-in cannot be read. Failing is no error.
    pub fn run_any(&self, arguments: &[&str]) -> Result<Ended> {
        let mut command = self.command(arguments)?;
        let (status, printed) = run_any(&mut command, LIMIT)?;
        Ok(Ended { code: status.code(), printed })
    }

    /// As [`Node::run_any`], and must end well.
    ///
    /// # Errors
    /// As there, or its exit code is not 0: then with all it printed.
    pub fn run(&self, arguments: &[&str]) -> Result<Ended> {
        self.ended_well(&mut self.command(arguments)?, arguments.first().unwrap_or(&"etcd2-backup"))
    }

    /// The installed program with the environment its unit gives it, not started: for a test that kills it half-way.
    ///
    /// # Errors
    /// A drop-in cannot be read.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(self.program());
        command.arg("--root").arg(&self.root).args(arguments);
        command.env_clear().env("PATH", &self.path).envs(self.environment()?);
        Ok(command)
    }

    /// The environment of our units: that of etcd's unit, and our drop-in over it (paths as the node calls them).
    ///
    /// # Errors
    /// A drop-in cannot be read.
    pub fn environment(&self) -> Result<BTreeMap<String, String>> {
        let mut all = self.member.environment.clone();
        all.extend(self.etcd_drop_ins()?);
        let path = self.root.join(SETTINGS);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        all.extend(parse_environment(&text)?);
        Ok(all)
    }

    /// Starts etcd as its unit would: not behind a fence, not without the guard's consent, with its drop-ins. Does not
    /// wait.
    ///
    /// # Errors
    /// The fence or the guard forbids it, or etcd cannot be started.
    pub fn spawn_etcd(&mut self) -> Result<()> {
        let name = &self.member.name;
        ensure!(
            !self.root.join("etc/etcd2-backup/fence").exists(),
            "{name}: the fence keeps etcd from starting"
        );
        if self.program().exists() {
            let guard = self.run_any(&["guard"])?;
            ensure!(
                guard.code == Some(0),
                "{name}: the guard keeps etcd from starting: {}",
                guard.printed.trim()
            );
        }
        self.member.drop_ins = self.etcd_drop_ins()?;
        self.member.spawn(&[])
    }

    /// Starts etcd as its unit would and waits until it is healthy.
    ///
    /// # Errors
    /// As [`Node::spawn_etcd`] and [`Member::wait_healthy`].
    pub fn start_etcd(&mut self) -> Result<()> {
        self.spawn_etcd()?;
        self.member.wait_healthy()
    }

    /// Kills etcd and removes all of its data: the accident a backup is for.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn destroy_data(&mut self) -> Result<()> {
        self.member.kill()?;
        let data_dir = &self.member.data_dir;
        fs::remove_dir_all(data_dir).with_context(|| format!("removing {}", data_dir.display()))
    }

    fn etcd_drop_ins(&self) -> Result<BTreeMap<String, String>> {
        let dir = self.root.join(UNITS).join("etcd2.service.d");
        let mut files = Vec::new();
        if dir.exists() {
            for entry in fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))? {
                files.push(entry?.path());
            }
        }
        files.retain(|f| f.extension().is_some_and(|e| e == "conf"));
        files.sort();
        let mut all = BTreeMap::new();
        for file in files {
            let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            all.extend(parse_environment(&text).with_context(|| format!("parsing {}", file.display()))?);
        }
        Ok(all)
    }

    fn ended_well(&self, command: &mut Command, what: &str) -> Result<Ended> {
        let (status, printed) = run_any(command, LIMIT)?;
        ensure!(status.success(), "{}: {what} ended with {status}:\n{}", self.member.name, printed.trim());
        Ok(Ended { code: status.code(), printed })
    }
}

/// A machine ID that is the same for a name each time, and another for another name.
fn machine_id(name: &str) -> String {
    // FNV-1a, which std does not promise to be.
    let fnv = |seed: u64| {
        name.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    };
    format!("{:016x}{:016x}", fnv(0xcbf2_9ce4_8422_2325), fnv(0x8422_2325_cbf2_9ce4))
}

/// The variables that the `Environment=` lines of a unit file or drop-in set, in order.
///
/// # Errors
/// A line has an open quote, a word without `=`, or a specifier other than `%%`.
pub fn parse_environment(text: &str) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for line in text.lines() {
        let Some(words) = line.trim().strip_prefix("Environment=") else { continue };
        for word in split_words(words).with_context(|| format!("in {line:?}"))? {
            let (name, value) = word.split_once('=').with_context(|| format!("no `=` in {word:?}"))?;
            all.push((name.to_owned(), unescape_percent(value)?));
        }
    }
    Ok(all)
}

/// Words as systemd splits them: by spaces, except in quotes; a backslash takes the next character as it is.
fn split_words(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', _) => {
                let next = chars.next().context("a backslash at the end")?;
                ensure!("\\\"' ".contains(next), "the escape \\{next} is not known here");
                word.get_or_insert_default().push(next);
            }
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    ensure!(quote.is_none(), "a quote is not closed");
    words.extend(word);
    Ok(words)
}

fn unescape_percent(value: &str) -> Result<String> {
    let mut out = String::new();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if c == '%' && chars.next() != Some('%') {
            bail!("a specifier in {value:?}");
        }
        out.push(c);
    }
    Ok(out)
}

fn write(path: &Path, text: &str) -> Result<()> {
    let write = || File::create(path)?.write_all(text.as_bytes());
    write().with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_lines_are_read_as_systemd_does() {
        let text = "[Service]\n# Environment=NO=1\nEnvironment=\"A=x y\" B=2 'C=3'\n  Environment=D=\n\
                    Environment=\"E=50%% \\\"q\\\" \\\\\"\nExecStart=/bin/x\n";
        let expected = [("A", "x y"), ("B", "2"), ("C", "3"), ("D", ""), ("E", "50% \"q\" \\")];
        assert_eq!(parse_environment(text).unwrap(), expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
        for bad in ["\"A=1", "A", "A=%m", "A=1%", "A=\\n", "A=1\\"] {
            assert!(parse_environment(&format!("Environment={bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn machine_ids_look_like_ones_and_differ() {
        let ids = ["e1", "e2", "e3"].map(machine_id);
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())), "{ids:?}");
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
        assert_eq!(machine_id("e1"), ids[0]);
    }
}
