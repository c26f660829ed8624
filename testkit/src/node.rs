//! A node as a tree: its root file system, its etcd, and the node program on it. What systemd would do for them is done
//! here: the units' environment, the fence, the guard.
//!
//! Two kinds: [`Node::bare`] has the product installed as an operator does it; [`Node::new`] runs a program that is not
//! installed, with settings that the test gives it, and a remote of type `local` beside it.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::etcd::Member;
use crate::files::{copy, tree, write};
use crate::fixtures::Fixture;
use crate::keys::{self, Keys};
use crate::process::output_of;
use crate::tools::Tools;

/// Longer than anything the program may take here.
const LIMIT: Duration = Duration::from_secs(300);
const UNITS: &str = "etc/systemd/system";
const SETTINGS: &str = "etc/systemd/system/etcd2-backup.service.d/30-etcd2-backup-restore.conf";
/// The machine ID of a node whose test does not care.
const MACHINE_ID: &str = "0123456789abcdef0123456789abcdef";

/// One node.
#[derive(Debug)]
pub struct Node {
    root: PathBuf,
    /// Holds the root, the remote and what is saved of both; none for a node that a caller gave a folder.
    work: Option<TempDir>,
    program: PathBuf,
    /// Settings of the program, over those that installed units give it.
    pub environment: BTreeMap<String, String>,
    /// Its etcd; the data directory is `/var/lib/etcd2`.
    pub etcd: Member,
    /// Its machine ID.
    pub machine_id: String,
}

/// How a run of the node program ended.
#[derive(Debug)]
pub struct Run {
    /// Its exit code; -1 if a signal ended it.
    pub code: i32,
    /// What it told, on stderr.
    pub log: String,
    /// What was asked for, on stdout.
    pub answer: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            log: String::from_utf8_lossy(&output.stderr).into_owned(),
            answer: String::from_utf8_lossy(&output.stdout).into_owned(),
        }
    }
}

impl Node {
    /// A fresh node of CoreOS in the folder `root`, which must not exist. Its PATH finds the rclone of `tools`.
    ///
    /// # Errors
    /// The tree cannot be made, or etcd does not run.
    pub fn bare(tools: &Tools, name: &str, root: &Path) -> Result<Self> {
        let root = std::path::absolute(root)?;
        ensure!(!root.exists(), "{} exists already", root.display());
        for dir in ["etc", "var/lib", "home/core"] {
            fs::create_dir_all(root.join(dir)).with_context(|| format!("creating {}", root.display()))?;
        }
        let machine_id = machine_id(name);
        write(&root.join("etc/machine-id"), format!("{machine_id}\n"));
        let os = "NAME=\"Container Linux by CoreOS\"\nID=coreos\nVERSION_ID=1745.7.0\n";
        write(&root.join("etc/os-release"), os);
        let etcd = Member::new(tools, name, &root.join("var/lib/etcd2"))?;
        let program = root.join("opt/bin/etcd2-backup");
        let environment = BTreeMap::from([("PATH".to_owned(), path_with(tools)?)]);
        Ok(Self { root, work: None, program, environment, etcd, machine_id })
    }

    /// A node whose etcd is not started yet. Data directory and remote are its own. `program` runs on it.
    ///
    /// # Panics
    /// It cannot be made, or etcd does not run.
    pub fn new(program: &str, tools: &Tools) -> Self {
        Self::named(program, tools, "e1")
    }

    /// The same for a node of several.
    ///
    /// # Panics
    /// As [`Node::new`].
    pub fn named(program: &str, tools: &Tools, name: &str) -> Self {
        let work = tempfile::tempdir().unwrap();
        let root = work.path().join("root");
        for dir in ["root/etc", "root/var/lib", "remote"] {
            fs::create_dir_all(work.path().join(dir)).unwrap();
        }
        write(&root.join("etc/machine-id"), format!("{MACHINE_ID}\n"));
        write(&root.join("etc/rclone.conf"), "[r]\ntype = local\n");
        let etcd = Member::new(tools, name, &root.join("var/lib/etcd2")).unwrap();
        let endpoint = format!("r:{}/backups", work.path().join("remote").display());
        let environment = [
            ("RCLONE_ENDPOINT", endpoint.as_str()),
            ("ETCD2_BACKUP_RCLONE_RUNNER", "host"),
            ("ETCD_RESTORE_MASTER_ADV_PEER_URLS", &etcd.peer_url),
            ("ETCD_NAME", name),
            ("ETCD_INITIAL_ADVERTISE_PEER_URLS", &etcd.peer_url),
            ("ETCD_ADVERTISE_CLIENT_URLS", &etcd.client_url),
            ("PATH", &path_with(tools).unwrap()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let (program, machine_id) = (program.into(), MACHINE_ID.to_owned());
        Self { root, work: Some(work), program, environment, etcd, machine_id }
    }

    /// The same, with another node as the founding member, and that node's program.
    ///
    /// # Panics
    /// As [`Node::new`].
    pub fn joining(tools: &Tools, name: &str, founder: &Self) -> Self {
        let mut node = Self::named(&founder.program.to_string_lossy(), tools, name);
        let url = founder.etcd.peer_url.clone();
        node.environment.insert("ETCD_RESTORE_MASTER_ADV_PEER_URLS".into(), url);
        node
    }

    /// Has this node back up below the endpoint of another one, as a machine whose ID is this digit, again and again.
    ///
    /// # Panics
    /// The ID cannot be written.
    pub fn back_up_beside(&mut self, other: &Self, digit: char) {
        self.environment.insert("RCLONE_ENDPOINT".into(), other.environment["RCLONE_ENDPOINT"].clone());
        write(&self.path("/etc/machine-id"), String::from(digit).repeat(32) + "\n");
    }

    /// The node's `/`.
    pub fn root(&self) -> PathBuf {
        self.root.clone()
    }

    /// A path of the node.
    pub fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// The program that runs on it.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// What lies beside the root: the remote of a node that [`Node::new`] made.
    fn beside(&self, name: &str) -> PathBuf {
        self.root.with_file_name(name)
    }

    /// This machine's folder in the remote of a node that [`Node::new`] made.
    pub fn folder(&self) -> PathBuf {
        self.beside("remote/backups").join(&self.machine_id)
    }

    /// Every object of this machine in the remote, by path, in order.
    ///
    /// # Panics
    /// One cannot be read.
    pub fn objects(&self) -> Vec<PathBuf> {
        let files = tree(&self.folder()).into_iter().filter(|(_, content)| content.is_some());
        files.map(|(path, _)| path).collect()
    }

    /// Unpacks the tarball in the home of `core` and runs its install program, as an operator would.
    ///
    /// # Errors
    /// It cannot be unpacked, or the installation fails.
    pub fn install(&self, tarball: &Path) -> Result<Run> {
        let home = self.root.join("home/core/etcd2-backup");
        let packed = File::open(tarball).with_context(|| format!("opening {}", tarball.display()))?;
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
        archive.unpack(&home).with_context(|| format!("unpacking {}", tarball.display()))?;
        let mut command = Command::new(home.join("etcd2-backup-install"));
        self.ended_well(command.arg("--root").arg(&self.root), "etcd2-backup-install")
    }

    /// The command line, ready to be started: with the settings its unit gives it where it is installed, and with
    /// [`Node::environment`].
    ///
    /// # Panics
    /// A drop-in cannot be read.
    #[track_caller]
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.complete(Command::new(&self.program), arguments)
    }

    /// The command line behind that of a program that runs it.
    ///
    /// # Panics
    /// A drop-in cannot be read.
    #[track_caller]
    pub fn command_below(&self, mut runner: Command, arguments: &[&str]) -> Command {
        runner.arg(&self.program);
        self.complete(runner, arguments)
    }

    #[track_caller]
    fn complete(&self, mut command: Command, arguments: &[&str]) -> Command {
        command.env_clear().envs(self.unit_environment().unwrap()).envs(&self.environment);
        command.arg("--root").arg(&self.root).args(arguments);
        command
    }

    /// The environment of our installed units: that of etcd's unit, and our drop-in over it (paths as the node calls them).
    fn unit_environment(&self) -> Result<BTreeMap<String, String>> {
        let path = self.root.join(SETTINGS);
        if !path.exists() {
            return Ok(BTreeMap::new());
        }
        let mut all = self.etcd.environment.clone();
        all.extend(self.etcd_drop_ins()?);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        all.extend(parse_environment(&text)?);
        Ok(all)
    }

    /// Runs the program on this node, however it ends.
    ///
    /// # Panics
    /// It cannot be started, or does not end.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Run {
        output_of(&mut self.command(arguments), LIMIT).unwrap().into()
    }

    /// Runs it, which must end well.
    ///
    /// # Errors
    /// It cannot be started, does not end, or its exit code is not 0: then with all it printed.
    pub fn try_run(&self, arguments: &[&str]) -> Result<Run> {
        self.ended_well(&mut self.command(arguments), arguments.first().unwrap_or(&"etcd2-backup"))
    }

    /// Runs it and expects success; gives the log.
    ///
    /// # Panics
    /// Its exit code is another one.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.log);
        run.log
    }

    /// Runs it and expects this exit code, these words in the log, and a hint.
    ///
    /// # Panics
    /// It ends otherwise, or does not say one of them.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str], code: i32, words: &[&str]) {
        let run = self.run(arguments);
        assert_eq!(run.code, code, "{arguments:?}: {}", run.log);
        for word in words.iter().chain(&["error: ", "hint: "]) {
            assert!(run.log.contains(word), "no {word:?} in: {}", run.log);
        }
    }

    fn ended_well(&self, command: &mut Command, what: &str) -> Result<Run> {
        let run = Run::from(output_of(command, LIMIT)?);
        ensure!(run.code == 0, "{}: {what} ended with {}:\n{}", self.etcd.name, run.code, run.log.trim());
        Ok(run)
    }

    /// Whether the fence keeps etcd's unit from starting.
    pub fn is_fenced(&self) -> bool {
        self.path("/etc/etcd2-backup/fence").exists()
    }

    /// Starts etcd as its unit would: not behind a fence, not without the guard's consent, with its drop-ins. Does not
    /// wait.
    ///
    /// # Errors
    /// The fence or the guard forbids it, or etcd cannot be started.
    pub fn spawn_etcd(&mut self) -> Result<()> {
        let name = &self.etcd.name;
        ensure!(!self.is_fenced(), "{name}: the fence keeps etcd from starting");
        if self.program.exists() {
            let guard = Run::from(output_of(&mut self.command(&["guard"]), LIMIT)?);
            ensure!(guard.code == 0, "{name}: the guard keeps etcd from starting: {}", guard.log.trim());
        }
        self.etcd.drop_ins = self.etcd_drop_ins()?;
        self.etcd.spawn(&[])
    }

    /// Starts etcd as its unit would and waits until it is healthy.
    ///
    /// # Errors
    /// As [`Node::spawn_etcd`] and [`Member::wait_healthy`].
    pub fn try_start_etcd(&mut self) -> Result<()> {
        self.spawn_etcd()?;
        self.etcd.wait_healthy()
    }

    /// As [`Node::try_start_etcd`], where nothing else is expected.
    ///
    /// # Panics
    /// It does not start.
    #[track_caller]
    pub fn start_etcd(&mut self) {
        self.try_start_etcd().unwrap();
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

    /// Kills etcd and removes all of its data: the accident a backup is for.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn destroy_data(&mut self) -> Result<()> {
        self.etcd.kill()?;
        let data_dir = &self.etcd.data_dir;
        fs::remove_dir_all(data_dir).with_context(|| format!("removing {}", data_dir.display()))
    }

    /// Puts a fixture's data where etcd's data directory is; gives its keys.
    ///
    /// # Panics
    /// There is no such fixture, or data is there already.
    #[track_caller]
    pub fn put_fixture(&self, name: &str) -> Keys {
        let fixture = Fixture::unpack(name, &self.path("/var/lib")).unwrap();
        fs::rename(fixture.data_dir, self.path("/var/lib/etcd2")).unwrap();
        fixture.keys
    }

    /// Starts etcd on what is there, and compares every key.
    ///
    /// # Panics
    /// The guard forbids it, etcd does not start, or a key differs.
    #[track_caller]
    pub fn assert_etcd_has(&mut self, expected: &Keys) {
        self.ok(&["guard"]);
        self.etcd.start().unwrap();
        let differences = keys::compare(expected, &keys::dump(&self.etcd.client_url).unwrap());
        assert!(differences.is_empty(), "{differences:?}");
    }

    /// Empties etcd's data directory, restores from the archive, and compares every key under a real etcd. Gives the log.
    ///
    /// # Panics
    /// The restore fails, etcd does not start, or a key differs.
    #[track_caller]
    pub fn assert_restores(&mut self, expected: &Keys, arguments: &[&str]) -> String {
        self.destroy_data().unwrap();
        let log = self.ok(&[&["restore"], arguments].concat());
        self.etcd.start().unwrap();
        let differences = keys::compare(expected, &keys::dump(&self.etcd.client_url).unwrap());
        assert!(differences.is_empty(), "{arguments:?}: {differences:?} {log}");
        log
    }

    /// What was set aside in the data directory: the names that begin so.
    ///
    /// # Panics
    /// It cannot be read.
    pub fn kept(&self, prefix: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.path("/var/lib/etcd2")) else { return Vec::new() };
        let mut all: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
        all.retain(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(prefix)));
        all.sort();
        all
    }

    /// Copies the node's file system and its remote, to come back to with [`Node::reset`].
    ///
    /// # Panics
    /// They cannot be copied, or [`Node::new`] did not make the node.
    #[track_caller]
    pub fn save(&self) {
        assert!(self.work.is_some(), "the remote of this node is not its own");
        copy(&[&self.root, &self.beside("remote")], &self.beside("saved"));
    }

    /// Makes the node's file system and its remote what they were at [`Node::save`].
    ///
    /// # Panics
    /// They cannot be copied, or were not saved.
    #[track_caller]
    pub fn reset(&self) {
        for name in ["root", "remote"] {
            fs::remove_dir_all(self.beside(name)).unwrap();
            copy(&[&self.beside("saved").join(name)], self.root.parent().unwrap());
        }
    }
}

/// This process's PATH, with the rclone of `tools` first.
fn path_with(tools: &Tools) -> Result<String> {
    let rclone = tools.rclone.parent().context("rclone is in no folder")?.to_owned();
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([rclone].into_iter().chain(env::split_paths(&path)))?;
    path.into_string().ok().context("PATH is not UTF-8")
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
