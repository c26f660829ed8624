//! What follows once files were placed or removed: SELinux's labels, and systemd reading its units again.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::plan::{Action, Plan, enabled};
use crate::exit::{Exit, OrFault};
use crate::paths::RECORD;
use crate::settings::our_units::TIMER;
use crate::sys::command::CommandRunExt;
use crate::sys::root::Root;
use crate::sys::systemd;

/// A few files; a node under load gets some more.
const LIMIT: Duration = Duration::from_secs(30);

/// Tells the running node; a tree is nobody's concern.
///
/// # Errors
/// systemd did not read its units again.
pub fn settle(root: &Root, plan: &Plan) -> Result<()> {
    if !root.is_live() {
        return Ok(());
    }
    let there = |s: &&super::plan::Step| matches!(s.action, Action::Create | Action::Replace | Action::Same);
    let targets = plan.steps.iter().filter(there).map(|s| s.target.as_str());
    let mut placed: Vec<PathBuf> = targets.map(PathBuf::from).collect();
    if !placed.is_empty() {
        placed.push(RECORD.into());
        if let Err(e) = restore_labels(&placed, None) {
            log::warn!("the SELinux labels of the placed files may be wrong: {e:#}");
        }
    }
    systemd::daemon_reload().or_fault(
        Exit::Failed,
        "the files are in place, but systemd did not reload its units",
        "run: sudo systemctl daemon-reload",
    )
}

/// What is left to do by hand until backups are made: verbs of `systemctl` for [`TIMER`]. An upgrade leaves nothing.
///
/// # Errors
/// systemd cannot be asked, or a folder of the tree cannot.
pub fn left_for_timer(root: &Root) -> Result<Vec<&'static str>> {
    if root.is_live() {
        return Ok(left(systemd::is_enabled(TIMER)?, systemd::is_active(TIMER)?));
    }
    let is_ours = |link: &String| link.ends_with(&format!("/{TIMER}"));
    // What is enabled in a tree is started by the boot.
    Ok(left(enabled(root)?.iter().any(is_ours), true))
}

fn left(is_enabled: bool, is_active: bool) -> Vec<&'static str> {
    let verbs = [("enable", is_enabled), ("start", is_active)];
    verbs.into_iter().filter(|(_, done)| !done).map(|(verb, _)| verb).collect()
}

/// Gives files the labels that the node's policy has for their paths, where there is a `restorecon`. Files keep the label
/// of the process that wrote them when they are renamed; systemd may not read them then.
fn restore_labels(paths: &[PathBuf], search: Option<&OsStr>) -> Result<()> {
    let search = search.map_or_else(|| std::env::var_os("PATH").unwrap_or_default(), OsStr::to_owned);
    match std::env::split_paths(&search).map(|dir| dir.join("restorecon")).find(|p| p.is_file()) {
        Some(program) => Command::new(program).args(paths).run_ok(LIMIT).map(drop),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs::write_atomic;

    #[test]
    fn what_is_done_is_not_asked_for() {
        assert_eq!(left(false, false), ["enable", "start"]);
        assert_eq!(left(false, true), ["enable"]);
        assert_eq!(left(true, false), ["start"]);
        assert_eq!(left(true, true), [""; 0]);
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        assert_eq!(left_for_timer(&root).unwrap(), ["enable"]);
        let wants = root.join("/etc/systemd/system/timers.target.wants");
        std::fs::create_dir_all(&wants).unwrap();
        std::os::unix::fs::symlink("../etcd2-backup.timer", wants.join(TIMER)).unwrap();
        assert_eq!(left_for_timer(&root).unwrap(), [""; 0]);
    }

    #[test]
    fn restorecon_is_run_once_with_all_paths_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let said = dir.path().join("said");
        let paths = [PathBuf::from("/etc/a b"), PathBuf::from("/opt/bin/c")];
        restore_labels(&paths, Some(dir.path().as_os_str())).unwrap();
        let script = |status: u8| {
            let text = format!(
                "#!/bin/sh\nprintf '%s|' \"$@\" >>{}\necho wrong >&2\nexit {status}\n",
                said.display()
            );
            write_atomic(&dir.path().join("restorecon"), text.as_bytes(), 0o755).unwrap();
        };
        script(0);
        restore_labels(&paths, Some(dir.path().as_os_str())).unwrap();
        assert_eq!(std::fs::read_to_string(&said).unwrap(), "/etc/a b|/opt/bin/c|");
        script(1);
        let error = restore_labels(&paths, Some(dir.path().as_os_str())).unwrap_err();
        assert!(error.to_string().ends_with("wrong"), "{error}");
    }
}
