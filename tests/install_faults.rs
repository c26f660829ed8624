//! One thing goes wrong while the installer works: an error takes everything back, a kill is made good by the next run,
//! and a payload that is not whole touches nothing.

#[path = "common/inject.rs"]
mod inject;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use etcd2_backup::paths::Root;
use etcd2_backup::settings::{UnitEnvironment, parse};
use etcd2_backup::sys::fs::{create_dirs, parent, write_atomic};
use etcd2_backup::sys::unit_file::parse_environment;
use inject::{Fault, calls, run_with};
use sha2::{Digest as _, Sha256};
use testkit::tools;

const PROGRAM: &str = env!("CARGO_BIN_EXE_etcd2-backup");
const PAYLOAD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/install/payload");
const UNITS: &str = "etc/systemd/system";

/// Type and mode, content, owner, and for files the time of the last change.
type Entry = (u32, Vec<u8>, u32, Option<(i64, i64)>);
type Tree = BTreeMap<PathBuf, Entry>;

fn read_tree(top: &Path) -> Tree {
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
fn timeless(tree: &Tree) -> Tree {
    tree.iter()
        .map(|(path, (mode, content, owner, _))| (path.clone(), (*mode, content.clone(), *owner, None)))
        .collect()
}

/// Only what differs, so that a failure can be read.
#[track_caller]
fn assert_same(what: &str, found: &Tree, expected: &Tree) {
    let paths = found.keys().chain(expected.keys());
    let different: Vec<&PathBuf> = paths.filter(|p| found.get(*p) != expected.get(*p)).collect();
    assert!(different.is_empty(), "{what}: {different:?}");
}

fn put(path: &Path, content: impl AsRef<[u8]>) {
    create_dirs(&parent(path), 0o755).unwrap();
    write_atomic(path, content.as_ref(), 0o644).unwrap();
}

/// A small payload: the program in it is a text, since another one installs it.
fn unpack(to: &Path, edits: &[(&str, &str)]) {
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
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    /// A bare CoreOS, and two versions of the payload: the second is for another etcd unit, and brings no rclone.
    fn new() -> Self {
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

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn root(&self) -> PathBuf {
        self.path("root")
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        let words = line.split(' ').map(|word| match word {
            "v1" | "v2" => self.path(word).into_os_string(),
            word => word.into(),
        });
        command.arg("--root").arg(self.root()).args(words);
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, line: &str) {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn save(&self) {
        self.copy("root", "saved");
    }

    fn reset(&self) {
        self.copy("saved", "root");
    }

    fn copy(&self, from: &str, to: &str) {
        let _ = fs::remove_dir_all(self.path(to));
        let status = Command::new("cp").arg("-a").args([self.path(from), self.path(to)]).status().unwrap();
        assert!(status.success());
    }

    /// Does this to the tree as it is now, with every fault at every call. An error ends in the old tree, or is
    /// overcome; what was killed is made good by doing it again, or by doing it and uninstalling.
    fn with_every_fault(&self, line: &str) {
        let Some(strace) = tools::strace_from_env() else { return };
        self.save();
        let old = read_tree(&self.root());
        let all = calls(strace, &self.command(line), &self.root());
        let new = timeless(&read_tree(&self.root()));
        assert_ne!(timeless(&old), new);
        let (mut taken_back, mut overcome, mut unfinished) = (0, 0, 0);
        for (n, call) in all.iter().enumerate() {
            let errors: &[&str] = if n % 2 == 0 { &["EIO", "ENOSPC"] } else { &["ENOSPC", "EIO"] };
            for error in &errors[..ERRORS] {
                self.reset();
                let output = run_with(strace, &self.command(line), call, Fault::Error(error));
                let log = String::from_utf8_lossy(&output.stderr).into_owned();
                let found = read_tree(&self.root());
                let what = format!("{line}: {error} at {call}: {log}");
                if output.status.success() {
                    assert_same(&what, &timeless(&found), &new);
                    overcome += 1;
                } else {
                    assert_same(&what, &found, &old);
                    let code = if *error == "ENOSPC" { 14 } else { 1 };
                    assert_eq!(output.status.code(), Some(code), "{what}");
                    assert!(log.contains("nothing was changed") && log.contains("hint: "), "{what}");
                    taken_back += 1;
                }
            }
            self.reset();
            let output = run_with(strace, &self.command(line), call, Fault::Kill);
            assert_eq!(output.status.signal(), Some(9), "{line}: not killed at {call}");
            unfinished += usize::from(timeless(&read_tree(&self.root())) != new);
            let again = self.run(line);
            let log = String::from_utf8_lossy(&again.stderr).into_owned();
            // Once the record is gone there is nothing to uninstall.
            let done =
                again.status.success() || (line.starts_with("uninstall") && again.status.code() == Some(12));
            assert!(done, "{line}: killed at {call}: {log}");
            assert_same(
                &format!("{line}: killed at {call}: {log}"),
                &timeless(&read_tree(&self.root())),
                &new,
            );
        }
        assert!(
            taken_back >= all.len() / 2 && unfinished >= all.len() / 2,
            "{taken_back} {unfinished} {}",
            all.len()
        );
        assert!(overcome > 0, "{line}");
        self.reset();
        self.ok(line);
    }
}

/// Of the two errors, how many are tried at each call; every second call begins with the other one.
const ERRORS: usize = 1;

#[test]
fn a_first_installation() {
    let bench = Bench::new();
    fs::remove_dir_all(bench.root().join("etc/systemd")).ok();
    bench.with_every_fault("install --from v1");
}

/// An upgrade that creates, replaces, removes and keeps, over what etcd2-backup-coreos left.
#[test]
fn an_upgrade() {
    let bench = Bench::new();
    bench.ok("install --from v1");
    let root = bench.root();
    put(&root.join("opt/bin/etcd2-join"), "#!/bin/sh\netcdctl member add\n");
    let run = root.join("run/systemd/system/etcd2-join.service.d");
    put(&run.join("30-etcd2-backup-restore.conf"), "ETCD_RESTORE_MASTER_ADV_PEER_URLS");
    symlink("/run/systemd/system/etcd2.service.d/20-cloudinit.conf", run.join("20-cloudinit.conf")).unwrap();
    put(&root.join(UNITS).join("etcd2-backup.timer"), "edited");
    put(&root.join(UNITS).join("etcd2-backup.service.d/40-mine.conf"), "mine");
    fs::set_permissions(root.join("opt/bin/etcd2-backup"), fs::Permissions::from_mode(0o700)).unwrap();
    bench.with_every_fault("install --force --from v2");
    let kept = fs::read(root.join(UNITS).join("etcd2-backup.timer.edited")).unwrap();
    assert_eq!(kept, b"edited");
}

#[test]
fn an_uninstallation() {
    let bench = Bench::new();
    bench.ok("install --from v1");
    bench.ok("set-founder http://172.17.4.52:2380");
    let wants = bench.root().join(UNITS).join("timers.target.wants");
    create_dirs(&wants, 0o755).unwrap();
    symlink("/etc/systemd/system/etcd2-backup.timer", wants.join("etcd2-backup.timer")).unwrap();
    bench.with_every_fault("uninstall");
}

#[test]
fn another_founder() {
    let bench = Bench::new();
    bench.ok("install --from v1");
    bench.with_every_fault("set-founder http://172.17.4.52:2380");
}

/// Killed in one version, gone on with in another, or with taking it away.
#[test]
fn what_was_killed_does_not_stand_in_the_way_of_anything_else() {
    let Some(strace) = tools::strace_from_env() else { return };
    let bench = Bench::new();
    let bare = timeless(&read_tree(&bench.root()));
    bench.ok("install --from v1");
    let v1 = timeless(&read_tree(&bench.root()));
    bench.save();
    let upgrade = bench.command("install --from v2");
    let nexts = [("install --from v1", &v1), ("uninstall", &bare)];
    for (call, (next, expected)) in calls(strace, &upgrade, &bench.root()).iter().zip(nexts.iter().cycle()) {
        bench.reset();
        run_with(strace, &upgrade, call, Fault::Kill);
        let check = bench.run("install --check");
        bench.ok(next);
        assert_same(&format!("{next}, killed at {call}"), &timeless(&read_tree(&bench.root())), expected);
        assert!(check.status.success() || check.status.code() == Some(11), "{call}: {check:?}");
    }
}

/// Somebody else's file at a place where a killed run was about to put one is not taken away with the rest.
#[test]
fn what_appears_after_a_kill_is_nobodys_leftover() {
    let Some(strace) = tools::strace_from_env() else { return };
    let bench = Bench::new();
    bench.save();
    let first = bench.command("install --from v1");
    let all = calls(strace, &first, &bench.root());
    let last = all.iter().rfind(|call| call.to_string().starts_with("rename ")).unwrap();
    bench.reset();
    run_with(strace, &first, last, Fault::Kill);
    let timer = bench.root().join(UNITS).join("etcd2-backup.timer");
    assert!(timer.exists(), "killed at {last}");
    put(&timer, "somebody's");
    let output = bench.run("uninstall");
    assert_eq!(output.status.code(), Some(12), "{output:?}");
    assert_eq!(fs::read(&timer).unwrap(), b"somebody's");
    assert!(!bench.root().join("opt").exists());
}

#[test]
fn two_at_once_do_not_mix() {
    let bench = Bench::new();
    let lock = etcd2_backup::sys::lock::Lock::try_take_folder(&bench.root()).unwrap().unwrap();
    let old = read_tree(&bench.root());
    for line in ["install --from v1", "uninstall", "set-founder http://172.17.4.52:2380"] {
        let output = bench.run(line);
        assert_eq!(output.status.code(), Some(10), "{line}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("another installation"), "{output:?}");
        assert_same(line, &read_tree(&bench.root()), &old);
    }
    drop(lock);
    bench.ok("install --from v1");
}

#[test]
fn the_source_is_removed_and_nothing_else() {
    let bench = Bench::new();
    let from = bench.path("v1");
    put(&from.join("etcd2-backup.tgz"), "packed");
    put(&from.join("etcd2-backup.tgz.sha256"), "sum");
    put(&from.join("notes"), "the operator's");
    bench.ok("install --remove-source --from v1");
    let left: Vec<PathBuf> = fs::read_dir(&from).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(left, [from.join("notes")]);
    bench.ok("install --check");
    let from = bench.path("v2");
    let refused = bench.run("install --remove-source --dry-run --from v2");
    assert!(refused.status.success() && from.join("rclone.conf").exists(), "{refused:?}");
    bench.ok("install --remove-source --from v2");
    assert!(!from.exists());
}

/// /usr may be read-only: nothing is written outside these, on the way neither.
#[test]
fn only_etc_opt_and_run_are_touched() {
    let Some(strace) = tools::strace_from_env() else { return };
    let bench = Bench::new();
    for line in ["install --from v1", "install --from v2", "set-founder http://172.17.4.52:2380", "uninstall"]
    {
        for call in calls(strace, &bench.command(line), &bench.root()) {
            let text = call.to_string();
            let root = format!("{}/", bench.root().display());
            for at in text.match_indices(&root).map(|(at, found)| &text[at + found.len()..]) {
                let inside = ["etc/", "etc\"", "etc>", "opt/", "opt\"", "opt>", "run/", "\"", ">"];
                assert!(inside.iter().any(|top| at.starts_with(top)), "{line}: {text}");
            }
        }
    }
}

/// What a unit gets of our drop-ins, as systemd reads them: in the order of their names, the last one counts.
#[test]
fn the_founder_that_was_chosen_is_the_one_of_the_settings() {
    let bench = Bench::new();
    let founder = || {
        let mut all = BTreeMap::new();
        for (path, (_, text, ..)) in read_tree(&bench.root().join(UNITS).join("etcd2-restore.service.d")) {
            if path.extension().is_some_and(|e| e == "conf") {
                all.extend(parse_environment(&String::from_utf8(text).unwrap()));
            }
        }
        let settings = parse(&all, &UnitEnvironment::default(), &"0".repeat(32), &Root::new("/")).unwrap();
        settings.founder_urls
    };
    bench.ok("install --from v1");
    assert_eq!(founder(), ["http://172.17.4.51:2380"]);
    bench.ok("set-founder http://172.17.4.52:2380 http://172.17.4.52:7001");
    assert_eq!(founder(), ["http://172.17.4.52:2380", "http://172.17.4.52:7001"]);
    bench.ok("set-founder http://172.17.4.53:2380");
    bench.ok("install --from v2");
    assert_eq!(founder(), ["http://172.17.4.53:2380"]);
    bench.ok("install --check");
    bench.ok("set-founder --reset");
    assert_eq!(founder(), ["http://172.17.4.51:2380"]);
    for line in ["set-founder", "set-founder --reset http://172.17.4.52:2380"] {
        assert_eq!(bench.run(line).status.code(), Some(2), "{line}");
    }
}

#[test]
fn a_payload_with_any_byte_altered_or_any_file_missing_touches_nothing() {
    let bench = Bench::new();
    let old = read_tree(&bench.root());
    let from = bench.path("v1");
    let refused = |what: &str| {
        let output = bench.run("install --from v1");
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(11), "{what}: {log}");
        assert_same(what, &read_tree(&bench.root()), &old);
    };
    let mut count = 0;
    for entry in fs::read_dir(&from).unwrap() {
        let path = entry.unwrap().path();
        let content = fs::read(&path).unwrap();
        for at in 0..content.len() {
            let mut altered = content.clone();
            altered[at] ^= 1 << (at % 8);
            // A checksum may be written in capitals.
            if altered[at].eq_ignore_ascii_case(&content[at]) && path.ends_with("SHA256SUMS") {
                altered[at] ^= 1;
            }
            put(&path, &altered);
            refused(&format!("{} byte {at}", path.display()));
            count += 1;
        }
        fs::remove_file(&path).unwrap();
        refused(&format!("{} is gone", path.display()));
        put(&path, &content[..content.len() / 2]);
        refused(&format!("{} is cut off", path.display()));
        put(&path, &content);
    }
    assert!(count > 1000, "{count}");
    bench.ok("install --from v1");
}
