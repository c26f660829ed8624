//! What a backup starts goes with it, also if nobody could see to that; and what it says of a failure has no secret in it.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use etcd2_backup::paths::BUNDLED_RCLONE;
use testkit::faults::wrapper::Wrapper;
use testkit::files::{tree, write_program};
use testkit::node::Node;
use testkit::tools::Tools;
use testkit::wait::until;

use crate::PROGRAM;

const LIMIT: Duration = Duration::from_secs(60);

fn node(tools: &Tools) -> (Node, Wrapper) {
    let mut node = Node::new(PROGRAM, tools);
    node.put_fixture("v3423-single-snap-trimmed");
    let wrapper = Wrapper::new(&mut node, tools);
    (node, wrapper)
}

#[test]
fn a_backup_that_is_killed_leaves_no_rclone() {
    let Some(tools) = Tools::from_env() else { return };
    let (node, wrapper) = node(tools);
    let file = node.path("/pid");
    // The same process goes on as one that never ends.
    wrapper.instead(&format!("echo $$ >{0}.new; mv {0}.new {0}; exec sleep 600", file.display()));
    let mut backup = node.command(&["backup"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("rclone is started", LIMIT, || file.exists());
    let pid = fs::read_to_string(&file).unwrap();
    // One that has ended may wait for somebody to ask how.
    let runs = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    };
    assert!(runs());
    backup.kill().unwrap();
    backup.wait().unwrap();
    until("rclone runs on", LIMIT, || !runs());
}

#[test]
fn what_rclone_says_is_told_without_its_secrets() {
    let Some(tools) = Tools::from_env() else { return };
    let (node, wrapper) = node(tools);
    wrapper.instead(
        r#"echo 'Get "https://u:hunter2@dav.example/x?token=hunter2&n=1": {"access_token":"hunter2"} pass=hunter2' >&2; exit 7"#,
    );
    let run = node.run(&["--verbose", "backup"]);
    assert!(run.code == 13 && run.log.contains("https://u:***@dav.example/x?token=***&n=1"), "{}", run.log);
    assert!(!run.log.contains("hunter2"), "{}", run.log);
    for (path, content) in tree(&node.path("/var/lib/etcd2-backup")) {
        let content = content.unwrap_or_default();
        assert!(!content.windows(7).any(|w| w == b"hunter2"), "{}", path.display());
    }
    let run = {
        let mut command = node.command(&["backup"]);
        command.env("RCLONE_ENDPOINT", ":webdav,url=https://u:hunter2@h/,pass=hunter2:x").output().unwrap()
    };
    let log = String::from_utf8_lossy(&run.stderr);
    assert!(!run.status.success() && !log.contains("hunter2") && log.contains("hint: "), "{log}");
}

/// Told as if it had been started itself.
#[test]
fn an_rclone_that_cannot_be_started_is_told_as_such() {
    let Some(tools) = Tools::from_env() else { return };
    let (mut node, _) = node(tools);
    node.environment.insert("ETCD2_BACKUP_RCLONE_RUNNER".into(), "bundled".into());
    let rclone = node.path(BUNDLED_RCLONE);
    fs::create_dir_all(rclone.parent().unwrap()).unwrap();
    write_program(&rclone, "#!/no/such/program\n");
    let words = ["running rclone version (runner bundled", "starting /", "No such file", "build the tarball"];
    node.refused(&["backup"], 13, &words);
}
