//! The installer at work on a tree, again and again, and the trees compared to the last byte.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sha2::{Digest as _, Sha256};

use crate::checkout;
use crate::files::write;

/// Where systemd's units are in a tree.
pub const UNITS: &str = "etc/systemd/system";

/// Type and mode, content, owner, and for files the time of the last change.
pub type Entry = (u32, Vec<u8>, u32, Option<(i64, i64)>);
/// A whole tree, by path.
pub type Tree = BTreeMap<PathBuf, Entry>;

/// All of a tree.
///
/// # Panics
/// Something in it cannot be read.
pub fn read_tree(top: &Path) -> Tree {
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
pub fn timeless(tree: &Tree) -> Tree {
    tree.iter()
        .map(|(path, (mode, content, owner, _))| (path.clone(), (*mode, content.clone(), *owner, None)))
        .collect()
}

/// Only what differs, so that a failure can be read.
#[track_caller]
pub fn assert_same(what: &str, found: &Tree, expected: &Tree) {
    let paths = found.keys().chain(expected.keys());
    let different: Vec<&PathBuf> = paths.filter(|p| found.get(*p) != expected.get(*p)).collect();
    assert!(different.is_empty(), "{what}: {different:?}");
}

/// Writes a file with mode 0644, and makes its folders with 0755, whatever the umask.
///
/// # Panics
/// It cannot be written.
pub fn put(path: &Path, content: impl AsRef<[u8]>) {
    let folder = path.parent().unwrap();
    let missing: Vec<&Path> = folder.ancestors().take_while(|dir| !dir.exists()).collect();
    fs::create_dir_all(folder).unwrap();
    missing.iter().for_each(|dir| set_mode(dir, 0o755));
    write(path, content);
    set_mode(path, 0o644);
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn payload() -> PathBuf {
    checkout::root().join("tests/install/payload")
}

/// A small payload: the program in it is a text, since another one installs it.
pub fn unpack(to: &Path, edits: &[(&str, &str)]) {
    for entry in fs::read_dir(payload()).unwrap() {
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
#[derive(Debug)]
pub struct Bench {
    program: PathBuf,
    dir: tempfile::TempDir,
}

impl Bench {
    /// A bare CoreOS, and two versions of the payload: the second is for another etcd unit, and brings no rclone.
    /// `program` installs them.
    ///
    /// # Panics
    /// It cannot be made.
    pub fn new(program: &str) -> Self {
        let bench = Self { program: program.into(), dir: tempfile::tempdir().unwrap() };
        put(&bench.root().join("etc/os-release"), "ID=coreos\n");
        unpack(&bench.path("v1"), &[("etcd2-backup-install", "one"), ("rclone", "rclone")]);
        let settings = fs::read_to_string(payload().join("30-etcd2-backup-restore.conf")).unwrap();
        let other = settings.replace("=etcd2.service", "=etcd-member.service");
        let edits = [
            ("etcd2-backup-install", "two"),
            ("rclone.conf", "[other]\ntype = local\n"),
            ("30-etcd2-backup-restore.conf", &other),
        ];
        unpack(&bench.path("v2"), &edits);
        bench
    }

    /// A path of the bench: `root`, `saved`, `v1`, `v2`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The tree.
    pub fn root(&self) -> PathBuf {
        self.path("root")
    }

    /// A command line on the tree; the words `v1` and `v2` become the payloads' paths.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.program);
        let words = line.split(' ').map(|word| match word {
            "v1" | "v2" => self.path(word).into_os_string(),
            word => word.into(),
        });
        command.arg("--root").arg(self.root()).args(words);
        command
    }

    /// Runs it, however it ends.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// Runs it, which must end well.
    ///
    /// # Panics
    /// It does not.
    #[track_caller]
    pub fn ok(&self, line: &str) {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Keeps the tree as it is, for [`Bench::reset`].
    pub fn save(&self) {
        self.copy("root", "saved");
    }

    /// Makes the tree what it was at [`Bench::save`].
    pub fn reset(&self) {
        self.copy("saved", "root");
    }

    /// Copies one tree of the bench over another.
    ///
    /// # Panics
    /// It cannot be copied.
    pub fn copy(&self, from: &str, to: &str) {
        let _ = fs::remove_dir_all(self.path(to));
        let status = Command::new("cp").arg("-a").args([self.path(from), self.path(to)]).status().unwrap();
        assert!(status.success());
    }
}
