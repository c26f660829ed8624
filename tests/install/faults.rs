//! One thing goes wrong while the installer works: an error takes everything back, a kill is made good by the next run.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Output;

use etcd2_backup::sys::fs::create_dirs;
use proptest::prelude::*;
use testkit::faults::inject::{Fault, calls, run_with};
use testkit::install_tree::{Bench, Tree, UNITS, assert_same, put, read_tree, timeless};
use testkit::tools;

use crate::PROGRAM;

/// Of the two errors, how many are tried at each call; every second call begins with the other one.
const ERRORS: usize = 1;

/// What became of a run in which one call failed.
enum Outcome {
    Overcome,
    TakenBack,
}

/// It is done all the same, or said what is wrong and left the old tree.
#[track_caller]
fn judge(bench: &Bench, what: &str, error: &str, output: &Output, old: &Tree, new: &Tree) -> Outcome {
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let (found, what) = (read_tree(&bench.root()), format!("{what}: {log}"));
    if output.status.success() {
        assert_same(&what, &timeless(&found), new);
        return Outcome::Overcome;
    }
    assert_same(&what, &found, old);
    let code = if error == "ENOSPC" { 14 } else { 1 };
    assert_eq!(output.status.code(), Some(code), "{what}");
    assert!(log.contains("nothing was changed") && log.contains("hint: "), "{what}");
    Outcome::TakenBack
}

/// Does this to the tree as it is now, with every fault at every call. An error ends in the old tree, or is
/// overcome; what was killed is made good by doing it again, or by doing it and uninstalling.
fn with_every_fault(bench: &Bench, line: &str) {
    let Some(strace) = tools::strace_from_env() else { return };
    bench.save();
    let old = read_tree(&bench.root());
    let all = calls(strace, &bench.command(line), &bench.root());
    let new = timeless(&read_tree(&bench.root()));
    assert_ne!(timeless(&old), new);
    let (mut taken_back, mut overcome, mut unfinished) = (0, 0, 0);
    for (n, call) in all.iter().enumerate() {
        let errors: &[&str] = if n % 2 == 0 { &["EIO", "ENOSPC"] } else { &["ENOSPC", "EIO"] };
        for error in &errors[..ERRORS] {
            bench.reset();
            let output = run_with(strace, &bench.command(line), call, Fault::Error(error));
            match judge(bench, &format!("{line}: {error} at {call}"), error, &output, &old, &new) {
                Outcome::Overcome => overcome += 1,
                Outcome::TakenBack => taken_back += 1,
            }
        }
        bench.reset();
        let output = run_with(strace, &bench.command(line), call, Fault::Kill);
        assert_eq!(output.status.signal(), Some(9), "{line}: not killed at {call}");
        unfinished += usize::from(timeless(&read_tree(&bench.root())) != new);
        let again = bench.run(line);
        let log = String::from_utf8_lossy(&again.stderr).into_owned();
        // Once the record is gone there is nothing to uninstall.
        let done =
            again.status.success() || (line.starts_with("uninstall") && again.status.code() == Some(12));
        assert!(done, "{line}: killed at {call}: {log}");
        assert_same(&format!("{line}: killed at {call}: {log}"), &timeless(&read_tree(&bench.root())), &new);
    }
    assert!(
        taken_back >= all.len() / 2 && unfinished >= all.len() / 2,
        "{taken_back} {unfinished} {}",
        all.len()
    );
    assert!(overcome > 0, "{line}");
    bench.reset();
    bench.ok(line);
}

#[test]
fn a_first_installation() {
    let bench = Bench::new(PROGRAM);
    fs::remove_dir_all(bench.root().join("etc/systemd")).ok();
    with_every_fault(&bench, "install --from v1");
}

/// An upgrade that creates, replaces, removes and keeps, over what etcd2-backup-coreos left.
#[test]
fn an_upgrade() {
    let bench = Bench::new(PROGRAM);
    bench.ok("install --from v1");
    let root = bench.root();
    put(&root.join("opt/bin/etcd2-join"), "#!/bin/sh\netcdctl member add\n");
    let run = root.join("run/systemd/system/etcd2-join.service.d");
    put(&run.join("30-etcd2-backup-restore.conf"), "ETCD_RESTORE_MASTER_ADV_PEER_URLS");
    symlink("/run/systemd/system/etcd2.service.d/20-cloudinit.conf", run.join("20-cloudinit.conf")).unwrap();
    put(&root.join(UNITS).join("etcd2-backup.timer"), "edited");
    put(&root.join(UNITS).join("etcd2-backup.service.d/40-mine.conf"), "mine");
    fs::set_permissions(root.join("opt/bin/etcd2-backup"), fs::Permissions::from_mode(0o700)).unwrap();
    with_every_fault(&bench, "install --force --from v2");
    let kept = fs::read(root.join(UNITS).join("etcd2-backup.timer.edited")).unwrap();
    assert_eq!(kept, b"edited");
}

#[test]
fn an_uninstallation() {
    let bench = Bench::new(PROGRAM);
    bench.ok("install --from v1");
    bench.ok("set-founder http://172.17.4.52:2380");
    let wants = bench.root().join(UNITS).join("timers.target.wants");
    create_dirs(&wants, 0o755).unwrap();
    symlink("/etc/systemd/system/etcd2-backup.timer", wants.join("etcd2-backup.timer")).unwrap();
    with_every_fault(&bench, "uninstall");
}

#[test]
fn another_founder() {
    let bench = Bench::new(PROGRAM);
    bench.ok("install --from v1");
    with_every_fault(&bench, "set-founder http://172.17.4.52:2380");
}

/// Killed in one version, gone on with in another, or with taking it away.
#[test]
fn what_was_killed_does_not_stand_in_the_way_of_anything_else() {
    let Some(strace) = tools::strace_from_env() else { return };
    let bench = Bench::new(PROGRAM);
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
    let bench = Bench::new(PROGRAM);
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

/// What may lie on a node before: files of our names with other texts, and somebody else's.
fn prior_trees() -> impl Strategy<Value = Vec<(String, String, u32)>> {
    let bench = Bench::new(PROGRAM);
    bench.ok("install --from v1");
    bench.ok("install --force --from v2");
    bench.ok("set-founder http://172.17.4.52:2380");
    let mut paths: Vec<String> =
        vec!["etc/hostname".into(), format!("{UNITS}/etcd2-join.service.d/40-mine.conf")];
    let root = bench.root();
    for (path, (mode, ..)) in read_tree(&root) {
        let own = path.ends_with("installed.json") || path.ends_with("os-release");
        if mode & 0o170_000 == 0o100_000 && !own {
            paths.push(path.to_str().unwrap().into());
        }
    }
    let text = prop::sample::select(vec!["", "somebody's\n", "[Service]\nNice=1\n"]).prop_map(str::to_owned);
    let file = (prop::sample::select(paths), text, prop::sample::select(vec![0o600, 0o644, 0o755]));
    prop::collection::vec(file, 0..10)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any tree, anything that the installer does, any call of it.
    #[test]
    fn any_one_error_on_any_tree_ends_in_that_tree(
        before in prior_trees(),
        (installed, line) in prop::sample::select(vec![
            (false, "install --from v1"),
            (false, "install --force --from v2"),
            (true, "install --from v2"),
            (true, "install --force --from v2"),
            (true, "uninstall"),
            (true, "uninstall --force"),
            (true, "set-founder http://172.17.4.53:2380"),
        ]),
        over in any::<bool>(),
        picks in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(vec!["EIO", "ENOSPC"])), 6),
    ) {
        let Some(strace) = tools::strace_from_env() else { return Ok(()) };
        let bench = Bench::new(PROGRAM);
        let lay = || for (path, text, mode) in &before {
            put(&bench.root().join(path), text);
            fs::set_permissions(bench.root().join(path), fs::Permissions::from_mode(*mode)).unwrap();
        };
        if over {
            lay();
        }
        if installed {
            bench.ok("install --from v1");
        }
        // Then these are edits of what is installed, which only --force takes away.
        if !over && line.contains("--force") {
            lay();
        }
        bench.save();
        let old = read_tree(&bench.root());
        let all = calls(strace, &bench.command(line), &bench.root());
        let new = timeless(&read_tree(&bench.root()));
        for (pick, error) in picks {
            let call = pick.get(&all);
            bench.reset();
            let output = run_with(strace, &bench.command(line), call, Fault::Error(error));
            judge(&bench, &format!("{line}: {error} at {call}"), error, &output, &old, &new);
        }
    }
}
