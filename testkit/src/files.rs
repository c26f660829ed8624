//! Files and trees of a test: written at once, copied with owners and modes, read whole to be compared.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The paths below a folder, relative to it, and the content of files; `None` for a folder.
pub type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// Writes a file with mode 0600. Who reads it meanwhile has the old one or the new one, whole.
///
/// # Panics
/// It cannot be written.
#[track_caller]
pub fn write(path: &Path, content: impl AsRef<[u8]>) {
    let folder = path.parent().expect("a file lies in a folder");
    let mut file = tempfile::NamedTempFile::new_in(folder).unwrap();
    file.write_all(content.as_ref()).unwrap();
    file.persist(path).unwrap();
}

/// Alters a JSON file of the product's, as if that had written it so before its files had a checksum.
///
/// # Panics
/// It is none, or cannot be written.
#[track_caller]
pub fn alter_json(path: &Path, alter: impl FnOnce(&mut serde_json::Value)) {
    let mut value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    alter(&mut value);
    value.as_object_mut().expect("an object").remove("sum");
    write(path, value.to_string());
}

/// As [`write`], for a program.
///
/// # Panics
/// It cannot be written.
#[track_caller]
pub fn write_program(path: &Path, script: &str) {
    write(path, script);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Copies trees into a folder, with owners, modes and times.
///
/// # Panics
/// One cannot be copied.
#[track_caller]
pub fn copy(trees: &[&Path], into: &Path) {
    fs::create_dir_all(into).unwrap();
    let status = Command::new("cp").arg("-a").args(trees).arg(into).status().unwrap();
    assert!(status.success(), "cp: {status}");
}

/// Cuts off the zeros that etcd has preallocated in the log of this data directory, 64 MB a segment: a test that copies and compares
/// the directory at every step would spend its time on them. etcd must not run; it starts on what is left.
///
/// # Panics
/// It is not there, or cannot be written.
#[track_caller]
pub fn trim_log(data_dir: &Path) {
    for entry in fs::read_dir(data_dir.join("member/wal")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "tmp") {
            fs::remove_file(&path).unwrap();
            continue;
        }
        let content = fs::read(&path).unwrap();
        let written = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        // What was written may end with zeros of its own, and zeros end the log.
        let size = content.len().min((written + 4096).next_multiple_of(8));
        fs::File::options().write(true).open(&path).unwrap().set_len(size as u64).unwrap();
    }
}

/// Every path below a folder, and the content of files: to compare whole trees. A folder that is not there is empty.
///
/// # Panics
/// Something in it cannot be read.
#[track_caller]
pub fn tree(dir: &Path) -> Tree {
    let mut all = Tree::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else { continue };
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
