//! A test, or a benchmark, that mounts something runs in a mount namespace of its own.

use std::env;
use std::process::Command;

use crate::tools;

/// Set where the namespace is ours.
const INSIDE: &str = "ETCD2_BACKUP_TEST_IN_NAMESPACE";

/// Runs this test once more, in a mount namespace of its own; true there. `test` is its whole name in the program.
///
/// # Panics
/// It fails there; or there is no such namespace, and this is CI.
pub fn is_inside(test: &str) -> bool {
    if is_ours() {
        return true;
    }
    if !Command::new("unshare").args([flags(), "true"]).status().is_ok_and(|s| s.success()) {
        let why = "unshare: this user, or this container, may not have a mount namespace";
        tools::skip_unless_ci(&std::io::Error::other(why).into());
        return false;
    }
    let output = again().args([test, "--exact", "--nocapture"]).output().unwrap();
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{printed}");
    assert!(printed.contains("1 passed"), "{test} is not the name of this test: {printed}");
    false
}

/// Whether the mount namespace is one that [`again`] has made.
pub fn is_ours() -> bool {
    env::var_os(INSIDE).is_some()
}

/// This program once more, in a mount namespace of its own; its arguments are to be added. What is mounted there goes with it.
///
/// # Panics
/// This program cannot be found.
pub fn again() -> Command {
    let mut again = Command::new("unshare");
    again.arg(flags()).arg(env::current_exe().unwrap()).env(INSIDE, "1");
    again
}

fn flags() -> &'static str {
    if rustix::process::geteuid().is_root() { "-m" } else { "-rm" }
}
