//! Directories and files on the node.

use std::path::{Component, Path, PathBuf};

use super::{Read, Write, no};

/// A directory on the node, in its shortest form.
///
/// # Errors
/// It is no absolute path, or one that no container can be given.
pub fn dir(text: &str, write: Write<'_>, example: &str) -> Read<PathBuf> {
    path(text, || {
        format!("write the absolute path of a directory on the node, for example {}", write(example))
    })
}

/// A file on the node, in its shortest form.
///
/// # Errors
/// As [`dir`].
pub fn file(text: &str, write: Write<'_>, example: &str) -> Read<PathBuf> {
    path(text, || format!("write the absolute path of a file on the node, for example {}", write(example)))
}

/// The file of rclone.conf's password.
///
/// # Errors
/// As [`dir`].
pub fn password_file(text: &str, write: Write<'_>) -> Read<PathBuf> {
    file(text, write, "/etc/etcd2-backup/rclone.pass")
}

/// The file that node_exporter reads, which wants this ending.
///
/// # Errors
/// As [`dir`], or it ends otherwise.
pub fn textfile(text: &str, write: Write<'_>) -> Read<PathBuf> {
    let example = "/var/lib/node_exporter/textfile/etcd2-backup.prom";
    let path = file(text, write, example)?;
    if path.extension().is_some_and(|extension| extension == "prom") {
        return Ok(path);
    }
    no(
        "does not end in \".prom\"",
        format!("node_exporter reads no other: write for example {}", write(example)),
    )
}

/// Why a text is not the path of something on the node.
pub fn path_problem(text: &str) -> Option<&'static str> {
    let path = Path::new(text);
    if !path.is_absolute() {
        return Some("is not an absolute path");
    }
    if path.components().any(|c| c == Component::ParentDir) {
        return Some("contains \"..\"");
    }
    path.parent().is_none().then_some("is the root of the file system")
}

fn path(text: &str, hint: impl Fn() -> String) -> Read<PathBuf> {
    let volumes =
        text.contains([':', ',']).then_some("contains a character that no container's volume may have");
    match path_problem(text).or(volumes) {
        Some(why) => no(why, hint()),
        None => Ok(Path::new(text).components().collect()),
    }
}
