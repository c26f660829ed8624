//! What else an installation promises: it is alone, touches three folders, and takes nothing of a payload that is not whole.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use etcd2_backup::settings::{UnitEnvironment, parse};
use etcd2_backup::sys::lock::Lock;
use etcd2_backup::sys::root::Root;
use etcd2_backup::sys::unit_file::parse_environment;
use testkit::faults::disk::{Disk, PAGE};
use testkit::faults::inject::calls;
use testkit::faults::namespace::is_inside;
use testkit::install_tree::{Bench, UNITS, assert_same, put, read_tree, timeless, unpack};
use testkit::tools;

use crate::PROGRAM;

#[test]
fn two_at_once_do_not_mix() {
    let bench = Bench::new(PROGRAM);
    let held = Lock::try_take_folder(&bench.root()).unwrap().unwrap();
    let old = read_tree(&bench.root());
    for line in ["install --from v1", "uninstall", "set-founder http://172.17.4.52:2380"] {
        let output = bench.run(line);
        assert_eq!(output.status.code(), Some(10), "{line}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("another installation"), "{output:?}");
        assert_same(line, &read_tree(&bench.root()), &old);
    }
    drop(held);
    // A process that another test starts at this moment has it too, until it is that other program.
    let deadline = Instant::now() + Duration::from_secs(60);
    while bench.run("install --from v1").status.code() == Some(10) {
        assert!(Instant::now() < deadline, "the lock is still held");
    }
    bench.ok("install --check");
}

#[test]
fn the_source_is_removed_and_nothing_else() {
    let bench = Bench::new(PROGRAM);
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

/// etcd may live on the same disk.
#[test]
fn what_there_is_no_room_for_is_not_begun() {
    if !is_inside("promises::what_there_is_no_room_for_is_not_begun") {
        return;
    }
    let bench = Bench::new(PROGRAM);
    fs::remove_dir_all(bench.path("v2")).unwrap();
    unpack(&bench.path("v2"), &[("etcd2-backup-install", &"large".repeat(600_000))]);
    let disk = Disk::on(bench.root(), "6m");
    put(&bench.root().join("etc/os-release"), "ID=coreos\n");
    bench.ok("install --from v1");
    disk.leave((3 << 20) / PAGE);
    let old = read_tree(&bench.root());
    let refused = bench.run("install --from v2");
    assert_eq!(refused.status.code(), Some(14), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("the installation may need "), "{said}");
    assert_same("without room", &read_tree(&bench.root()), &old);
    disk.make_room();
    bench.ok("install --from v2");
}

/// /usr may be read-only: nothing is written outside these, on the way neither.
#[test]
fn only_etc_opt_and_run_are_touched() {
    let Some(strace) = tools::strace_from_env() else { return };
    let bench = Bench::new(PROGRAM);
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
    let bench = Bench::new(PROGRAM);
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
    let bench = Bench::new(PROGRAM);
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

/// The packed file as well, even if somebody goes on after tar has failed: a bit that is not noticed changes nothing of what
/// is placed.
#[test]
fn a_tarball_with_any_byte_altered_touches_nothing_or_is_the_same() {
    let bench = Bench::new(PROGRAM);
    bench.save();
    let old = read_tree(&bench.root());
    bench.ok("install --from v1");
    let new = timeless(&read_tree(&bench.root()));
    bench.reset();
    let (tarball, unpacked) = (bench.path("etcd2-backup.tgz"), bench.path("unpacked"));
    let tar = |options: &str, folder: &str| {
        let mut command = Command::new("tar");
        command.args(["--owner=0", "--group=0", options]).arg(&tarball).arg("-C").arg(bench.path(folder));
        if options == "-czf" {
            command.arg(".");
        }
        command.output().unwrap().status.success()
    };
    assert!(tar("-czf", "v1"));
    let packed = fs::read(&tarball).unwrap();
    let (mut refused, mut same) = (0, 0);
    for at in 0..packed.len() {
        let mut altered = packed.clone();
        altered[at] ^= 1 << (at % 8);
        put(&tarball, &altered);
        let _ = fs::remove_dir_all(&unpacked);
        fs::create_dir(&unpacked).unwrap();
        let whole = tar("-xzf", "unpacked");
        let output = bench.run(&format!("install --from {}", unpacked.display()));
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        let what = format!("byte {at} of {}, tar {whole}: {log}", packed.len());
        if output.status.success() {
            assert_same(&what, &timeless(&read_tree(&bench.root())), &new);
            bench.reset();
            same += 1;
        } else {
            assert_eq!(output.status.code(), Some(11), "{what}");
            assert_same(&what, &read_tree(&bench.root()), &old);
            refused += 1;
        }
    }
    assert!(refused > packed.len() / 2, "{refused} refused, {same} of no consequence");
}
