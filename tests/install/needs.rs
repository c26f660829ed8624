//! What an installation needs and does not find: told all at once, before anything is touched.

use std::fs;
use std::process::Command;

use testkit::faults::namespace::is_inside;
use testkit::install_tree::{Bench, assert_same, put, read_tree};

use crate::PROGRAM;

fn remount(path: &std::path::Path, options: &str) {
    let mut mount = Command::new("mount");
    assert!(mount.args(["-o", &format!("remount,bind,{options}")]).arg(path).status().unwrap().success());
}

#[test]
fn places_that_cannot_be_used_are_told_with_the_system_and_none_is_touched() {
    if !is_inside("needs::places_that_cannot_be_used_are_told_with_the_system_and_none_is_touched") {
        return;
    }
    let bench = Bench::new(PROGRAM);
    put(&bench.root().join("etc/os-release"), "ID=arch\nPRETTY_NAME='Arch Linux'\n");
    for name in ["etc", "opt"] {
        let path = bench.root().join(name);
        fs::create_dir_all(&path).unwrap();
        assert!(Command::new("mount").arg("--bind").arg(&path).arg(&path).status().unwrap().success());
    }
    let old = read_tree(&bench.root());
    remount(&bench.root().join("etc"), "ro");
    remount(&bench.root().join("opt"), "noexec");
    let refused = bench.run("install --from v1");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(10), "{said}");
    for wanted in [
        "not for Arch Linux (ID=arch)\nhint: try it on one node first",
        "error: /etc is on a disk that is mounted read-only\nhint: ",
        "error: /opt/bin is on a disk from which no program may be run (mounted noexec)\nhint: ",
        "error: nothing was installed, for these 3 reasons\nhint: do what each hint says; to install anyway, add --force",
    ] {
        assert!(said.contains(wanted), "no {wanted:?} in {said}");
    }
    assert!(!said.contains("/etc/systemd/system"), "{said}");
    assert_same("refused", &read_tree(&bench.root()), &old);

    // One is told as any other error.
    remount(&bench.root().join("etc"), "rw");
    remount(&bench.root().join("opt"), "exec");
    put(&bench.root().join("etc/os-release"), "ID=debian\n");
    remount(&bench.root().join("opt"), "noexec");
    let refused = bench.run("install --from v1");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.starts_with("error: /opt/bin is on a disk"), "{said}");
    assert!(said.ends_with("; to install anyway, add --force\n"), "{said}");
    let forced = bench.run("install --force --from v1");
    let said = String::from_utf8_lossy(&forced.stderr).into_owned();
    assert!(
        forced.status.success() && said.contains("(mounted noexec): installing anyway because of --force"),
        "{said}"
    );
}
