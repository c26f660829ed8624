//! The installer over whole trees: `tests/install/cases/NN-name/` is one case.
//!
//! - `before/`: the node's root; `after/`: what the installer adds or changes in it; `gone`: paths it removes. No `after/`:
//!   it is refused, or changes nothing, and the root stays as it was to the last byte, mode and time.
//! - `payload/`: laid over `tests/install/payload/`, before SHA256SUMS is made (unless the case brings its own);
//!   `tampered/`: laid over it afterwards; `removed`: names deleted afterwards.
//! - `args`: arguments, one a line. `verb`: another verb than `install`. `modes`: `path mode` for what git does not keep.
//! - `expected.txt`: the exit code and all that is printed.
//!
//! A file `@program@` stands for the program, which is itself only in the first case (it is large), `.gitkeep` for nothing.
//! The record that the installer writes is not
//! in `after/`, since the program's checksum is in it: `install --check` has to find it right. Each installation is run a
//! second time, which must touch nothing, and is uninstalled then, which must leave what was there before and is not
//! listed in the record.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use etcd2_backup::sys::fs::write_atomic;
use sha2::{Digest, Sha256};

use crate::PROGRAM;

const RECORD: &str = "etc/etcd2-backup/installed.json";
const PROGRAM_MARK: &[u8] = b"@program@\n";

/// Everything there is to compare about a path; times and inode only show whether it was touched at all.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    mode: String,
    content: String,
    touched: (i64, i64, u64),
}

type Tree = BTreeMap<PathBuf, Entry>;

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/install/cases")
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Copies a tree, with the modes git keeps and no others.
fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    set_mode(to, 0o755);
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        let found = fs::symlink_metadata(&from).unwrap();
        if found.is_symlink() {
            symlink(fs::read_link(&from).unwrap(), &to).unwrap();
        } else if found.is_dir() {
            copy_tree(&from, &to);
        } else if from.file_name().unwrap() != ".gitkeep" {
            fs::copy(&from, &to).unwrap();
            set_mode(&to, 0o644 | (found.mode() & 0o111));
        }
    }
}

/// Puts the program itself where a tree has its mark.
fn put_program(top: &Path) {
    for path in read_tree(top).keys().map(|p| top.join(p)).filter(|p| p.is_file()) {
        if fs::read(&path).unwrap() == PROGRAM_MARK {
            fs::copy(PROGRAM, &path).unwrap();
        }
    }
}

fn read_tree(top: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut open = vec![top.to_path_buf()];
    while let Some(path) = open.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        let content = if found.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else if found.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            String::new()
        } else {
            hex(&fs::read(&path).unwrap())
        };
        let touched = (found.mtime(), found.mtime_nsec(), found.ino());
        let name = path.strip_prefix(top).unwrap().to_path_buf();
        tree.insert(name, Entry { mode: format!("{:o}", found.mode()), content, touched });
    }
    tree
}

/// Only the paths that differ, so that a failure can be read.
fn assert_same(case: &str, found: &Tree, expected: &Tree, untouched: bool) {
    let view = |e: &Entry| (e.mode.clone(), e.content.clone(), untouched.then_some(e.touched));
    let mut differences = String::new();
    for path in found.keys().chain(expected.keys()) {
        let (found, expected) = (found.get(path).map(view), expected.get(path).map(view));
        if found != expected {
            writeln!(differences, "{}: {found:?} instead of {expected:?}", path.display()).unwrap();
        }
    }
    assert!(differences.is_empty(), "{case}:\n{differences}");
}

fn hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::new(), |s, b| s + &format!("{b:02x}"))
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// The unpacked tarball of a case.
fn unpack(case: &Path, to: &Path) {
    copy_tree(&cases().with_file_name("payload"), to);
    if case.join("payload").exists() {
        copy_tree(&case.join("payload"), to);
    }
    if is_real(case) {
        put_program(to);
    }
    let given = fs::read_to_string(to.join("SHA256SUMS"));
    let sum = |name: &str| format!("{}  {name}\n", hex(&fs::read(to.join(name)).unwrap()));
    let sums = match given {
        // The program changes with each build, so no case can have its sum.
        Ok(given) => given + &sum("etcd2-backup-install"),
        Err(_) => {
            let names = read_tree(to).into_keys().filter_map(|p| p.to_str().map(str::to_owned));
            names.filter(|n| !n.is_empty()).map(|n| sum(&n)).collect()
        }
    };
    write_atomic(&to.join("SHA256SUMS"), sums.as_bytes(), 0o644).unwrap();
    if case.join("tampered").exists() {
        copy_tree(&case.join("tampered"), to);
    }
    for name in lines(&case.join("removed")) {
        fs::remove_file(to.join(name)).unwrap();
    }
}

/// Runs the program; exit code and output, without what differs from run to run.
fn said(command: &mut Command, from: &Path, root: &Path) -> String {
    let output = command.arg("--root").arg(root).env_remove("JOURNAL_STREAM").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    let text = text.replace(root.to_str().unwrap(), "ROOT").replace(from.to_str().unwrap(), "FROM");
    format!("exit {}\n{text}", output.status.code().unwrap())
}

/// Whether the case is run with the program that it installs, as docs/installation.md says.
fn is_real(case: &Path) -> bool {
    case.ends_with("01-flatcar")
}

/// Does what the case is about.
fn act(case: &Path, from: &Path, root: &Path) -> String {
    let mut command = match lines(&case.join("verb")).as_slice() {
        [] if is_real(case) => Command::new(from.join("etcd2-backup-install")),
        [] => {
            let mut command = Command::new(PROGRAM);
            command.args(["install", "--from"]).arg(from);
            command
        }
        verb => {
            let mut command = Command::new(PROGRAM);
            command.args(verb);
            command
        }
    };
    said(command.args(lines(&case.join("args"))), from, root)
}

/// What the record on a node lists: the files, and the folders that were made for them.
fn recorded(root: &Path) -> [Vec<PathBuf>; 2] {
    let record: serde_json::Value = serde_json::from_slice(&fs::read(root.join(RECORD)).unwrap()).unwrap();
    let path = |v: &serde_json::Value| v.as_str().unwrap().trim_start_matches('/').into();
    let files = record["files"].as_array().unwrap().iter().map(|f| path(&f["target"]));
    [files.collect(), record["folders"].as_array().unwrap().iter().map(path).collect()]
}

/// A tree without what an uninstallation removes: files, and folders if that leaves them empty.
fn without(mut tree: Tree, top: &Path, [files, folders]: &[Vec<PathBuf>; 2]) -> Tree {
    // Through the links that lead there.
    let real = |path: &Path| {
        let folder = top.join(path.parent().unwrap()).canonicalize().unwrap();
        folder.strip_prefix(top).unwrap().join(path.file_name().unwrap())
    };
    files.iter().for_each(|file| drop(tree.remove(&real(file))));
    for folder in folders.iter().rev().map(|f| real(f)) {
        if !tree.keys().any(|p| *p != folder && p.starts_with(&folder)) {
            tree.remove(&folder);
        }
    }
    tree
}

fn run(case: &Path) {
    let name = case.file_name().unwrap().to_str().unwrap();
    let place = tempfile::tempdir().unwrap();
    let top = place.path().canonicalize().unwrap();
    let [from, before, after] = ["from", "before", "after"].map(|n| top.join(n));
    unpack(case, &from);
    copy_tree(&case.join("before"), &before);
    copy_tree(&case.join("before"), &after);
    let changes = case.join("after").exists();
    if changes {
        copy_tree(&case.join("after"), &after);
    }
    if is_real(case) {
        put_program(&after);
    }
    for line in lines(&case.join("modes")) {
        let (path, mode) = line.split_once(' ').unwrap();
        set_mode(&top.join(path), u32::from_str_radix(mode, 8).unwrap());
    }
    for path in lines(&case.join("gone")) {
        let path = after.join(path);
        if path.is_dir() { fs::remove_dir(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
    let mut was = read_tree(&before);
    let mut expected = if changes { read_tree(&after) } else { was.clone() };

    let printed = act(case, &from, &before);
    let wanted = fs::read_to_string(case.join("expected.txt")).unwrap_or_default();
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        write_atomic(&case.join("expected.txt"), printed.as_bytes(), 0o644).unwrap();
    } else {
        assert_eq!(printed, wanted, "{name}: what was said");
    }
    assert!(printed.starts_with("exit 0\n") || !changes, "{name}: {printed}");
    let mut found = read_tree(&before);
    if changes {
        found.remove(Path::new(RECORD));
        expected.remove(Path::new(RECORD));
    }
    assert_same(name, &found, &expected, !changes);

    if changes && !case.join("verb").exists() {
        let check = |what: &str| said(Command::new(PROGRAM).args([what, "--check"]), &from, &before);
        assert!(check("install").starts_with("exit 0\n"), "{name}: {}", check("install"));
        let installed = read_tree(&before);
        let again = act(case, &from, &before);
        assert!(again.contains("\ninstalled: 0 placed, 0 replaced, "), "{name}, second run: {again}");
        assert_same(&format!("{name}, second run"), &read_tree(&before), &installed, true);

        lines(&case.join("gone")).iter().for_each(|path| drop(was.remove(Path::new(path))));
        was.remove(Path::new(RECORD));
        // The timer's link, and what made room for it.
        was.retain(|path, _| !path.iter().any(|part| part == "timers.target.wants"));
        // What was edited and replaced is kept for the operator.
        let kept = |(path, _): &(&PathBuf, &Entry)| path.extension().is_some_and(|e| e == "edited");
        was.extend(installed.iter().filter(kept).map(|(path, entry)| (path.clone(), entry.clone())));
        let was = without(was, &before, &recorded(&before));
        let gone = said(Command::new(PROGRAM).arg("uninstall"), &from, &before);
        assert!(gone.starts_with("exit 0\n"), "{name}, uninstalled: {gone}");
        assert_same(&format!("{name}, uninstalled"), &read_tree(&before), &was, false);
    }
}

#[test]
fn every_case_ends_with_its_tree() {
    let mut names: Vec<PathBuf> = fs::read_dir(cases())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.join("before").exists())
        .collect();
    names.sort();
    assert!(names.len() >= 45, "cases are missing: {names:?}");
    names.iter().for_each(|case| run(case));
}
