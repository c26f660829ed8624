//! Nothing that decides asks in such a way that "it could not be asked" becomes "no": that is what `sys::look` is for.
//!
//! The sources are read as text, since clippy's list of forbidden methods would be for the tests, too, which may panic.

use std::fs;
use std::path::{Path, PathBuf};

/// What says no as well where it could not look, or is easily made to.
const ASKING: [&str; 12] = [
    ".exists()",
    ".try_exists()",
    ".is_dir()",
    ".is_file()",
    ".is_symlink()",
    "metadata(path).is_",
    "metadata(path).ok()",
    "metadata(&path).ok()",
    "metadata().is_ok()",
    "metadata().is_err()",
    ".into_iter().flatten().flatten()",
    ".is_ok_and(|mut d|",
];

/// Who may: the file, what stands there, and why.
const HARMLESS: [(&str, &str, &str); 26] = [
    ("sys/look.rs", "at(path)", "it is what the others use"),
    ("sys/fs.rs", "fs::read_dir(dir).into_iter()", "what is not removed now is removed by the next run"),
    ("sys/secret_file.rs", "fs::metadata(path)?", "of what was looked at"),
    ("etcd/file.rs", "kind.", "of what was opened"),
    ("settings/etcd_config/mod.rs", "file.metadata()?", "of what was opened"),
    ("commands/guard.rs", "ALLOW_EMPTY", "no log is there for certain, and a leave to go on must be seen"),
    ("inspect/subject.rs", "metadata.with_context", "of what was looked at"),
    ("install/existing.rs", "if found.is_symlink()", "of what was looked at"),
    ("install/existing.rs", "if !found.is_file()", "of what was looked at"),
    ("install/leftovers.rs", "member/wal", "without a log that is seen the file stays"),
    ("install/leftovers.rs", "let is_file", "what is not seen to be the original's stays"),
    ("install/payload.rs", "fs::symlink_metadata(path)?", "of what was looked at"),
    ("install/plan.rs", "look_at::at_name", "of what was looked at"),
    ("install/post_install.rs", "restorecon", "another folder of the PATH may have it"),
    ("node/member_dir/kept.rs", "look::at_name", "of what was looked at"),
    ("node/member_dir/kept.rs", "!meta.is_dir()", "of what was looked at"),
    ("node/member_dir/places.rs", "look::at_name", "of what was looked at"),
    ("backup/spool.rs", "meta.is_dir()", "of what was looked at"),
    ("backup/doctor/node.rs", "!found.is_dir()", "of what was looked at"),
    (
        "sys/terminal/live.rs",
        "fs::read_dir(folder)",
        "what is not seen is not counted, and nothing is decided by that",
    ),
    ("sys/terminal/live.rs", "data.is_dir()", "of what was looked at"),
    ("sys/folder/mod.rs", "from_raw_mode", "of what was opened"),
    ("sys/folder/mod.rs", "file.metadata()", "of what was opened"),
    ("sys/folder/mod.rs", "Ok(found)", "what cannot be looked at is an error"),
    ("remote/mounts.rs", "fs::metadata(path)?", "what cannot be looked at is an error"),
    ("remote/version.rs", "", "one that is not seen is run, and fails of itself"),
];

fn sources(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            all.push(path);
        }
    }
}

#[test]
fn nothing_that_decides_takes_what_could_not_be_asked_for_a_no() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    sources(&src, &mut all);
    assert!(all.len() > 100, "{all:?}");
    let (mut used, mut found) = ([0; HARMLESS.len()], Vec::new());
    for path in all {
        let text = fs::read_to_string(&path).unwrap();
        let (code, _) = text.split_once("#[cfg(test)]\nmod tests").unwrap_or((&text, ""));
        let (code, _) = code.split_once("#[cfg(test)]\npub").unwrap_or((code, ""));
        let name = path.strip_prefix(&src).unwrap().to_str().unwrap();
        let lines = code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
        for (number, line) in lines.filter(|(_, line)| ASKING.iter().any(|word| line.contains(word))) {
            let harmless = HARMLESS.iter().position(|(file, word, _)| *file == name && line.contains(word));
            match harmless {
                Some(at) => used[at] += 1,
                None => found.push(format!("src/{name}:{}: {}", number + 1, line.trim())),
            }
        }
    }
    assert!(found.is_empty(), "ask sys::look, or say why not in tests/docs/asked.rs: {found:#?}");
    let unused: Vec<_> = HARMLESS.iter().zip(used).filter(|(_, used)| *used == 0).collect();
    assert!(unused.is_empty(), "nothing of these is there any more: {unused:#?}");
}
