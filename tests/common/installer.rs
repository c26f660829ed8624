//! The installer at work on a tree, again and again, and the trees compared to the last byte.
#![allow(dead_code, reason = "each file of tests uses its part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use etcd2_backup::sys::fs::{create_dirs, parent, write_atomic};
use sha2::{Digest as _, Sha256};

const PROGRAM: &str = env!("CARGO_BIN_EXE_etcd2-backup");
const PAYLOAD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/install/payload");
pub(crate) const UNITS: &str = "etc/systemd/system";

/// Type and mode, content, owner, and for files the time of the last change.
pub(crate) type Entry = (u32, Vec<u8>, u32, Option<(i64, i64)>);
pub(crate) type Tree = BTreeMap<PathBuf, Entry>;

pub(crate) fn read_tree(top: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut open = vec![top.to_path_buf()];
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let (mut content, mut changed) = (Vec::new(), Some((meta.mtime(), meta.mtime_nsec())));
        if meta.is_symlink() {
            content = fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes();
        } else if meta.is_file() {
            content = fs::read(&path).unwrap();
        } else {
            open.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            changed = None;
        }
        tree.insert(path.strip_prefix(top).unwrap().into(), (meta.mode(), content, meta.uid(), changed));
    }
    tree
}

/// Without times: two runs do not write at the same one.
pub(crate) fn timeless(tree: &Tree) -> Tree {
    tree.iter()
        .map(|(path, (mode, content, owner, _))| (path.clone(), (*mode, content.clone(), *owner, None)))
        .collect()
}

/// Only what differs, so that a failure can be read.
#[track_caller]
pub(crate) fn assert_same(what: &str, found: &Tree, expected: &Tree) {
    let paths = found.keys().chain(expected.keys());
    let different: Vec<&PathBuf> = paths.filter(|p| found.get(*p) != expected.get(*p)).collect();
    assert!(different.is_empty(), "{what}: {different:?}");
}

pub(crate) fn put(path: &Path, content: impl AsRef<[u8]>) {
    create_dirs(&parent(path), 0o755).unwrap();
    write_atomic(path, content.as_ref(), 0o644).unwrap();
}

/// A small payload: the program in it is a text, since another one installs it.
pub(crate) fn unpack(to: &Path, edits: &[(&str, &str)]) {
    for entry in fs::read_dir(PAYLOAD).unwrap() {
        let path = entry.unwrap().path();
        put(&to.join(path.file_name().unwrap()), fs::read(&path).unwrap());
    }
    for (name, content) in edits {
        put(&to.join(name), content);
    }
    let mut names: Vec<String> =
        fs::read_dir(to).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let sum = |name: &String| {
        let digest = Sha256::digest(fs::read(to.join(name)).unwrap());
        format!("{}  {name}\n", digest.iter().map(|b| format!("{b:02x}")).collect::<String>())
    };
    put(&to.join("SHA256SUMS"), names.iter().map(sum).collect::<String>());
}

/// A machine on which one thing is done to one tree again and again.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    /// A bare CoreOS, and two versions of the payload: the second is for another etcd unit, and brings no rclone.
    pub(crate) fn new() -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        put(&bench.root().join("etc/os-release"), "ID=coreos\n");
        unpack(&bench.path("v1"), &[("etcd2-backup-install", "one"), ("rclone", "rclone")]);
        let settings = fs::read_to_string(Path::new(PAYLOAD).join("30-etcd2-backup-restore.conf")).unwrap();
        let other = settings.replace("=etcd2.service", "=etcd-member.service");
        let edits = [
            ("etcd2-backup-install", "two"),
            ("rclone.conf", "[other]\ntype = local\n"),
            ("30-etcd2-backup-restore.conf", &other),
        ];
        unpack(&bench.path("v2"), &edits);
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.path("root")
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        let words = line.split(' ').map(|word| match word {
            "v1" | "v2" => self.path(word).into_os_string(),
            word => word.into(),
        });
        command.arg("--root").arg(self.root()).args(words);
        command
    }

    pub(crate) fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    #[track_caller]
    pub(crate) fn ok(&self, line: &str) {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    pub(crate) fn save(&self) {
        self.copy("root", "saved");
    }

    pub(crate) fn reset(&self) {
        self.copy("saved", "root");
    }

    pub(crate) fn copy(&self, from: &str, to: &str) {
        let _ = fs::remove_dir_all(self.path(to));
        let status = Command::new("cp").arg("-a").args([self.path(from), self.path(to)]).status().unwrap();
        assert!(status.success());
    }
}
