//! A test that mounts something runs in a mount namespace of its own.

use std::env;
use std::process::Command;

use testkit::tools;

/// Set where the namespace is ours.
const INSIDE: &str = "ETCD2_BACKUP_TEST_IN_NAMESPACE";

/// Runs this test once more, in a mount namespace of its own; true there.
pub(crate) fn is_inside(test: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let flags = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
    if !Command::new("unshare").args([flags, "true"]).status().is_ok_and(|s| s.success()) {
        let why = "unshare: this user, or this container, may not have a mount namespace";
        tools::skip_unless_ci(&std::io::Error::other(why).into());
        return false;
    }
    let mut again = Command::new("unshare");
    again.arg(flags).arg(env::current_exe().unwrap()).args([test, "--exact", "--nocapture"]);
    let output = again.env(INSIDE, "1").output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&printed));
    false
}
