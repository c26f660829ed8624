//! Which checkout a task works in: the one that it is run from, whichever clone the program was compiled in.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use etcd2_backup::sys::fs::{create_dirs, write_atomic};
use sha2::{Digest as _, Sha256};

const ROOT_MANIFEST: &str = include_str!("../../Cargo.toml");
const BUILD: &str = include_str!("../../build");
const SETTINGS: &str = "version = 1\nfounder = \"http://e1:2380\"\nendpoint = \"s3:b/p\"\n";

fn write(path: &Path, content: &[u8], mode: u32) {
    create_dirs(path.parent().unwrap(), 0o755).unwrap();
    write_atomic(path, content, mode).unwrap();
}

/// As much of a clone as a task needs to know it by.
fn copy_checkout(to: &Path) {
    write(&to.join("Cargo.toml"), ROOT_MANIFEST.as_bytes(), 0o644);
    write(&to.join("Cargo.lock"), b"", 0o644);
    write(&to.join("xtask/Cargo.toml"), include_bytes!("../Cargo.toml"), 0o644);
    write(&to.join("build"), BUILD.as_bytes(), 0o755);
}

/// A site, and a program of another machine, which is packed without being run.
fn lay_out(dir: &Path) -> (String, String) {
    write(&dir.join("site/etcd2-backup.toml"), SETTINGS.as_bytes(), 0o644);
    write(&dir.join("site/rclone.conf"), b"[s3]\ntype = s3\nsecret_access_key = hunter2\n", 0o600);
    let mut program = b"\x7fELF\x02\x01\x01".to_vec();
    program.resize(64, 0);
    program[18] = 20;
    let sum: String = Sha256::digest(&program).iter().map(|b| format!("{b:02x}")).collect();
    let manifest = format!(
        "{{\"version\": \"{}\", \"commit\": \"c\", \"source_date_epoch\": 1700000000, \"target\": \"ppc-unknown\", \
         \"rustc\": \"r\", \"gcc\": \"g\", \"libc\": \"l\", \"cargo_lock\": \"0\", \"program_sha256\": \"{sum}\"}}",
        env!("CARGO_PKG_VERSION")
    );
    write(&dir.join("given/program"), &program, 0o755);
    write(&dir.join("given/program.manifest.json"), manifest.as_bytes(), 0o644);
    let text = |name: &str| dir.join(name).to_string_lossy().into_owned();
    (text("site"), text("given/program"))
}

/// Runs a task from a folder. What cargo says of the tests' own clone must not lead anywhere.
fn xtask(from: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(arguments).current_dir(from).env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO");
    command.output().unwrap()
}

#[track_caller]
fn ok(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn tarball(clone: &Path) -> PathBuf {
    clone.join("dist/etcd2-backup.tgz")
}

#[test]
fn what_is_built_stays_in_the_clone_that_it_is_built_in() {
    let dir = tempfile::tempdir().unwrap();
    let (site, program) = lay_out(dir.path());
    let build = ["build", "--site", &site, "--prebuilt", &program];
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let before = fs::metadata(tarball(ours)).and_then(|m| m.modified()).ok();

    let (one, two, moved) = (dir.path().join("one"), dir.path().join("two"), dir.path().join("moved"));
    copy_checkout(&one);
    ok(&xtask(&one, &build));
    assert!(tarball(&one).is_file() && one.join("target/cache").is_dir());

    // From any folder of it; not from the one of its package alone.
    fs::remove_file(tarball(&one)).unwrap();
    ok(&xtask(&one.join("xtask"), &build));
    assert!(tarball(&one).is_file());

    // A copy, then moved away with all that is in it: the other clone gets nothing.
    copy_checkout(&two);
    ok(&xtask(&two, &build));
    fs::remove_dir_all(one.join("dist")).unwrap();
    fs::rename(&two, &moved).unwrap();
    fs::remove_dir_all(moved.join("dist")).unwrap();
    ok(&xtask(&moved, &build));
    assert!(tarball(&moved).is_file() && !tarball(&one).exists() && !two.exists());

    // Named, from elsewhere.
    fs::remove_dir_all(moved.join("dist")).unwrap();
    ok(&xtask(dir.path(), &[&["--checkout", "moved"][..], &build].concat()));
    assert!(tarball(&moved).is_file());

    // Every task that would write somewhere says where it would have to be run.
    let folders = |of: &Path| fs::read_dir(of).unwrap().count();
    let there = folders(dir.path());
    for arguments in [&build[..], &["lint", "--site", &site], &["release"], &["demo"], &["init", "new-site"]]
    {
        let refused = xtask(dir.path(), arguments);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(12), "{arguments:?}: {said}");
        assert!(said.contains(" lies in no clone of etcd2-backup\nhint: change into a clone"), "{said}");
    }
    assert_eq!(folders(dir.path()), there);
    assert_eq!(fs::metadata(tarball(ours)).and_then(|m| m.modified()).ok(), before, "the tests' own clone");
}

/// `./build` makes the site of the folder that it is started in, which may lie in another clone.
#[test]
fn the_build_script_names_the_clone_that_it_lies_in() {
    let dir = tempfile::tempdir().unwrap();
    let (clone, other) = (dir.path().join("clone"), dir.path().join("other"));
    let (site, program) = lay_out(dir.path());
    copy_checkout(&clone);
    copy_checkout(&other);
    // In place of cargo, which would compile this program anew.
    let cargo = format!(
        "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nexec {} \"$@\"\n",
        env!("CARGO_BIN_EXE_xtask")
    );
    write(&dir.path().join("bin/cargo"), cargo.as_bytes(), 0o755);
    let path = format!("{}:{}", dir.path().join("bin").display(), std::env::var("PATH").unwrap());
    for from in [dir.path(), &other] {
        let mut command = Command::new("/bin/sh");
        command
            .arg(clone.join("build"))
            .args(["--site", &site, "--prebuilt", &program])
            .current_dir(from)
            .env("PATH", &path);
        ok(&command.output().unwrap());
        assert!(tarball(&clone).is_file() && !tarball(&other).exists(), "{}", from.display());
        fs::remove_file(tarball(&clone)).unwrap();
    }
}
