//! A node in a folder: a root for the program, the settings its unit would give it, a remote of type `local`.
#![allow(dead_code, reason = "each file of tests uses its part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use testkit::etcd::Member;
use testkit::fixtures::Fixture;
use testkit::keys::{self, Keys};
use testkit::node::parse_environment;
use testkit::tools::Tools;

const PROGRAM: &str = env!("CARGO_BIN_EXE_etcd2-backup");

/// A node, its etcd and its remote, all below one temporary folder.
pub(crate) struct Node {
    work: tempfile::TempDir,
    /// The environment of the program.
    pub(crate) environment: BTreeMap<String, String>,
    /// etcd on this node.
    pub(crate) etcd: Member,
}

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) log: String,
    /// What was asked for, on stdout.
    pub(crate) answer: String,
}

impl Node {
    /// A node whose etcd is not started yet. Machine ID, data directory and remote are its own.
    pub(crate) fn new(tools: &Tools) -> Self {
        Self::named(tools, "e1")
    }

    /// The same for a node of several.
    pub(crate) fn named(tools: &Tools, name: &str) -> Self {
        let work = tempfile::tempdir().unwrap();
        let root = work.path().join("root");
        for dir in ["etc", "var/lib"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        fs::create_dir_all(work.path().join("remote")).unwrap();
        write(&root.join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n");
        write(&root.join("etc/rclone.conf"), "[r]\ntype = local\n");
        let etcd = Member::new(tools, name, &root.join("var/lib/etcd2")).unwrap();
        let mut environment = BTreeMap::new();
        let mut set = |name: &str, value: &str| environment.insert(name.to_owned(), value.to_owned());
        set("RCLONE_ENDPOINT", &format!("r:{}/backups", work.path().join("remote").display()));
        set("ETCD2_BACKUP_RCLONE_RUNNER", "host");
        set("ETCD_RESTORE_MASTER_ADV_PEER_URLS", &etcd.peer_url);
        set("ETCD_NAME", name);
        set("ETCD_INITIAL_ADVERTISE_PEER_URLS", &etcd.peer_url);
        set("ETCD_ADVERTISE_CLIENT_URLS", &etcd.client_url);
        let path = std::env::var("PATH").unwrap_or_default();
        set("PATH", &format!("{}:{path}", tools.rclone.parent().unwrap().display()));
        Self { work, environment, etcd }
    }

    /// The same, with another node as the founding member.
    pub(crate) fn joining(tools: &Tools, name: &str, founder: &Self) -> Self {
        let mut node = Self::named(tools, name);
        let url = founder.etcd.peer_url.clone();
        node.environment.insert("ETCD_RESTORE_MASTER_ADV_PEER_URLS".into(), url);
        node
    }

    /// The node's `/`.
    pub(crate) fn root(&self) -> PathBuf {
        self.work.path().join("root")
    }

    /// A path of the node.
    pub(crate) fn path(&self, absolute: &str) -> PathBuf {
        self.root().join(absolute.trim_start_matches('/'))
    }

    /// This machine's folder in the remote.
    pub(crate) fn folder(&self) -> PathBuf {
        self.work.path().join("remote/backups/0123456789abcdef0123456789abcdef")
    }

    /// The command line, ready to be started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.complete(Command::new(PROGRAM), arguments)
    }

    /// The command line behind that of a program that runs it.
    pub(crate) fn command_below(&self, mut runner: Command, arguments: &[&str]) -> Command {
        runner.arg(PROGRAM);
        self.complete(runner, arguments)
    }

    fn complete(&self, mut command: Command, arguments: &[&str]) -> Command {
        command.env_clear().envs(&self.environment).arg("--root").arg(self.root()).args(arguments);
        command
    }

    /// Runs the program on this node.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        ended(&self.command(arguments).output().unwrap())
    }

    /// Runs it and expects success.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.log);
        run.log
    }

    /// Runs it and expects this exit code, these words in the log, and a hint.
    #[track_caller]
    pub(crate) fn refused(&self, arguments: &[&str], code: i32, words: &[&str]) {
        let run = self.run(arguments);
        assert_eq!(run.code, code, "{arguments:?}: {}", run.log);
        for word in words.iter().chain(&["error: ", "hint: "]) {
            assert!(run.log.contains(word), "no {word:?} in: {}", run.log);
        }
    }

    /// Puts a fixture's data where etcd's data directory is; gives its keys.
    pub(crate) fn put_fixture(&self, name: &str) -> Keys {
        let folder = self.path("/var/lib");
        let fixture = Fixture::unpack(name, &folder).unwrap();
        fs::rename(fixture.data_dir, self.path("/var/lib/etcd2")).unwrap();
        fixture.keys
    }

    /// Starts etcd on what is there, and compares every key.
    #[track_caller]
    pub(crate) fn assert_etcd_has(&mut self, expected: &Keys) {
        self.ok(&["guard"]);
        self.etcd.start().unwrap();
        let differences = keys::compare(expected, &keys::dump(&self.etcd.client_url).unwrap());
        assert!(differences.is_empty(), "{differences:?}");
    }

    /// Copies the node's file system and its remote, to come back to with [`Node::reset`].
    pub(crate) fn save(&self) {
        copy(&[&self.root(), &self.work.path().join("remote")], &self.saved());
    }

    /// Empties etcd's data directory, restores from the archive, and compares every key under a real etcd.
    #[track_caller]
    pub(crate) fn assert_restores(&mut self, expected: &Keys, arguments: &[&str]) -> String {
        self.etcd.kill().unwrap();
        fs::remove_dir_all(self.path("/var/lib/etcd2")).unwrap();
        let log = self.ok(&[&["restore"], arguments].concat());
        self.etcd.start().unwrap();
        let differences = keys::compare(expected, &keys::dump(&self.etcd.client_url).unwrap());
        assert!(differences.is_empty(), "{arguments:?}: {differences:?} {log}");
        log
    }

    /// Makes the node's file system and its remote what they were at [`Node::save`].
    pub(crate) fn reset(&self) {
        for name in ["root", "remote"] {
            let path = self.work.path().join(name);
            fs::remove_dir_all(&path).unwrap();
            copy(&[&self.saved().join(name)], self.work.path());
        }
    }

    fn saved(&self) -> PathBuf {
        self.work.path().join("saved")
    }

    /// Whether etcd's unit would not start.
    pub(crate) fn is_fenced(&self) -> bool {
        self.path("/etc/etcd2-backup/fence").exists()
    }

    /// What was set aside in the data directory: the names that begin so.
    pub(crate) fn kept(&self, prefix: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.path("/var/lib/etcd2")) else { return Vec::new() };
        let mut all: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
        all.retain(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(prefix)));
        all.sort();
        all
    }

    /// The drop-in of an unfinished join.
    pub(crate) fn join_drop_in(&self) -> PathBuf {
        self.path("/etc/systemd/system/etcd2.service.d/zz-etcd2-join.conf")
    }

    /// Starts etcd as its unit would: not behind the fence, not without the guard's consent, with the join's drop-in.
    pub(crate) fn start_etcd(&mut self) {
        assert!(!self.is_fenced());
        self.ok(&["guard"]);
        let drop_in = fs::read_to_string(self.join_drop_in()).unwrap_or_default();
        self.etcd.drop_ins = parse_environment(&drop_in).unwrap().into_iter().collect();
        self.etcd.start().unwrap();
    }

    /// Every object of this machine in the remote, by path, in order.
    pub(crate) fn objects(&self) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = tree(&self.folder()).into_keys().collect();
        all.retain(|p| self.folder().join(p).is_file());
        all
    }
}

/// How a run ended.
pub(crate) fn ended(output: &Output) -> Run {
    Run {
        code: output.status.code().unwrap_or(-1),
        log: String::from_utf8_lossy(&output.stderr).into_owned(),
        answer: String::from_utf8_lossy(&output.stdout).into_owned(),
    }
}

/// Copies trees into a folder, with owners and modes.
fn copy(trees: &[&Path], into: &Path) {
    fs::create_dir_all(into).unwrap();
    let status = Command::new("cp").arg("-a").args(trees).arg(into).status().unwrap();
    assert!(status.success(), "cp: {status}");
}

/// Every path below a folder, and the content of files: to compare whole trees.
pub(crate) fn tree(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let content = if path.is_dir() { None } else { Some(fs::read(&path).unwrap()) };
            if content.is_none() {
                folders.push(path.clone());
            }
            all.insert(path.strip_prefix(dir).unwrap().to_path_buf(), content);
        }
    }
    all
}

/// Writes a file of a test.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) {
    etcd2_backup::sys::fs::write_atomic(path, content.as_ref(), 0o600).unwrap();
}
