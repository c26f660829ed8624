//! Boots and kills nodes. What runs is found by what it is, not by a list: so a crashed lab can be removed as well.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use etcd2_backup::exit::{Exit, fault};
use etcd2_backup::sys::command::CommandRunExt;
use etcd2_backup::sys::fs::{is_mount_point, remove_dir_if_there, write_atomic};
use walkdir::WalkDir;

use super::place::{Lab, Node, all_labs};
use super::settings::Style;
use super::{Shape, network};

/// From power-on to power-off.
const LAUNCH: &str = include_str!("node.sh");
/// Where the unified hierarchy may be mounted; node.sh makes a group for each node in it.
const CONTROLLERS: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
const SHORT: Duration = Duration::from_secs(30);
/// A loaded machine boots slowly.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
/// And one on a kernel of its own several times as slowly, with its disk to be made first.
const OWN_KERNEL_BOOT_LIMIT: Duration = Duration::from_secs(360);
const ETCD_LIMIT: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(100);

/// What [`make`] was called with.
///
/// # Errors
/// It was not called.
pub(super) fn shape_of(lab: &Lab) -> Result<Shape> {
    let text = fs::read_to_string(lab.dir.join("shape")).ok();
    let none = || fault(Exit::NotFound, format!("there is no lab {}", lab.name), "cargo xtask lab up");
    text.as_deref().and_then(parse_shape).ok_or_else(none)
}

fn parse_shape(text: &str) -> Option<Shape> {
    let (nodes, style) = text.trim().split_once(' ')?;
    Some(Shape { nodes: nodes.parse().ok()?, settings: Style::named(style)? })
}

/// Boots nodes side by side, and returns when one can log in to each. With a clock, in seconds from the right time, they run
/// on kernels of their own from then on.
///
/// # Errors
/// One runs already, or did not come up.
pub(super) fn boot(lab: &Lab, nodes: &[Node], clock: Option<i64>) -> Result<()> {
    let mut launched = Vec::new();
    for node in nodes {
        if !processes(lab, Some(*node))?.is_empty() {
            return Err(fault(Exit::Refused, format!("{node} is running"), "cut it first"));
        }
        launched.push((*node, launch(lab, *node, clock)?));
    }
    let limit = if clock.is_some() { OWN_KERNEL_BOOT_LIMIT } else { BOOT_LIMIT };
    let deadline = Instant::now() + limit;
    for (node, supervisor) in &mut launched {
        while !answers(lab, *node) {
            // Not by looking for processes: one that is about to run another program shows no command line.
            let off = supervisor.try_wait().context("looking after a node")?.is_some();
            if off || Instant::now() > deadline {
                let what = format!("{node} {}", if off { "died while booting" } else { "did not come up" });
                let console = lab.node_dir(*node).join("console.log");
                return Err(fault(Exit::Failed, what, format!("read {}", console.display())));
            }
            std::thread::sleep(POLL);
        }
    }
    Ok(())
}

fn launch(lab: &Lab, node: Node, clock: Option<i64>) -> Result<Child> {
    let dir = lab.node_dir(node);
    let console = File::options().create(true).append(true).open(dir.join("console.log"));
    let console = console.context("opening the console's log")?;
    Command::new("unshare")
        // A slave: what is unmounted on the host, such as another lab's namespace, is not held on to here.
        .args(["--mount", "--propagation", "slave", "--", "sh", "-c", LAUNCH, "etcd2lab-node"])
        .arg(all_labs().join("base"))
        .arg(&dir)
        .arg(lab.node_namespace(node))
        .arg(node.to_string())
        .arg(node.address())
        .arg(clock.map(|seconds| seconds.to_string()).unwrap_or_default())
        .stdin(Stdio::null())
        .stdout(console.try_clone().context("using the console's log twice")?)
        .stderr(console)
        // Ctrl-C is for us: nodes die when we say so.
        .process_group(0)
        .spawn()
        .with_context(|| format!("starting {node}"))
}

fn answers(lab: &Lab, node: Node) -> bool {
    let mut ssh = lab.ssh(node);
    ssh.arg("true").run_limited(&[], SHORT).is_ok_and(|output| output.status.success())
}

/// Waits until etcd answers on all nodes, where it comes up by itself.
///
/// # Errors
/// It did not.
pub(super) fn await_etcd(lab: &Lab, shape: Shape) -> Result<()> {
    if !shape.settings.starts_etcd() {
        return Ok(());
    }
    let deadline = Instant::now() + ETCD_LIMIT;
    for node in lab.nodes(shape.nodes) {
        let url = format!("http://{}:2379/health", node.address());
        let healthy = || {
            let output = lab.inside("curl").args(["-sS", "-m", "5", &url]).run_limited(&[], SHORT);
            output.is_ok_and(|o| o.text().contains("true"))
        };
        while !healthy() {
            if Instant::now() > deadline {
                let unit = shape.settings.unit();
                let hint = format!("cargo xtask lab --lab {} ssh {node} sudo journalctl -u {unit}", lab.name);
                return Err(fault(Exit::Failed, format!("etcd on {node} is not healthy"), hint));
            }
            std::thread::sleep(POLL);
        }
    }
    Ok(())
}

/// Cuts a node's power.
///
/// # Errors
/// Something of it cannot be killed.
pub(super) fn cut(lab: &Lab, node: Node) -> Result<()> {
    kill(lab, Some(node))
}

/// Kills everything of a lab: nodes, remotes, scenarios.
///
/// # Errors
/// Something of it cannot be killed.
pub(super) fn kill_all(lab: &Lab) -> Result<()> {
    kill(lab, None)
}

fn kill(lab: &Lab, node: Option<Node>) -> Result<()> {
    let deadline = Instant::now() + SHORT;
    loop {
        let pids = processes(lab, node)?;
        // A dying process has neither a command line nor a namespace, but it still holds the node's disk.
        if pids.is_empty() && !machines(lab, node).iter().any(|m| is_populated(m)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let what = format!("processes {pids:?} of lab {} do not die", lab.name);
            return Err(fault(Exit::Failed, what, "look at them with ps"));
        }
        if !pids.is_empty() {
            // One call: all of a node dies at the same moment, whatever supervises what.
            let list = pids.iter().map(ToString::to_string);
            // One that ended in between makes kill fail; the next round sees what is left.
            let _ = Command::new("kill").arg("-9").args(list).run_limited(&[], SHORT);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The names under which nodes are known to the kernel and to nspawn.
fn machines(lab: &Lab, node: Option<Node>) -> Vec<String> {
    match node {
        Some(node) => vec![lab.node_namespace(node)],
        None => (1..=9).map(|n| format!("{}-e{n}", lab.namespace())).collect(),
    }
}

/// Whether a process lives in a node's control group.
fn is_populated(machine: &str) -> bool {
    CONTROLLERS.iter().any(|controller| {
        let events = fs::read_to_string(Path::new(controller).join(machine).join("cgroup.events"));
        events.is_ok_and(|text| text.lines().any(|line| line == "populated 1"))
    })
}

/// What runs of a node or of the whole lab: supervisors, by their command line, and what is in the namespaces.
fn processes(lab: &Lab, node: Option<Node>) -> Result<Vec<i32>> {
    let dirs: Vec<PathBuf> = match node {
        Some(node) => vec![lab.node_dir(node)],
        None => (1..=9).map(|n| lab.nodes_dir().join(format!("e{n}"))).collect(),
    };
    let mut pids: Vec<i32> = Vec::new();
    for entry in fs::read_dir("/proc").context("reading /proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else { continue };
        // It may have ended in between.
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        if dirs.iter().any(|dir| supervises(&line, dir)) {
            pids.push(pid);
        }
    }
    let namespace = node.map(|n| lab.node_namespace(n));
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    pids.extend(network::processes(lab, namespace.as_deref())?);
    // A scenario calls us from inside the lab.
    pids.retain(|pid| *pid != own);
    Ok(pids)
}

/// Whether a command line is node.sh or nspawn of a node's folder.
fn supervises(command_line: &[u8], dir: &Path) -> bool {
    let dir = dir.to_string_lossy();
    let root = format!("{dir}/root");
    let words: Vec<&[u8]> = command_line.split(|b| *b == 0).collect();
    let of = |word: &str| words.contains(&word.as_bytes());
    (of("etcd2lab-node") && of(&dir)) || (words[0].ends_with(b"systemd-nspawn") && of(&root))
}

/// How a node is, for people.
pub(super) fn state(lab: &Lab, node: Node) -> String {
    match processes(lab, Some(node)) {
        Ok(pids) if pids.is_empty() => "off".into(),
        Ok(_) => {
            let script = "printf '%s, etcd2 ' \"$(systemctl is-system-running)\"; systemctl is-active etcd2";
            let answer = lab.ssh(node).arg(script).run_limited(&[], SHORT);
            let text = answer.map(|o| o.text().trim().to_owned()).unwrap_or_default();
            if text.is_empty() { "on, but does not answer".into() } else { text }
        }
        Err(e) => format!("{e:#}"),
    }
}

/// Keeps what the nodes' services said, beside a scenario's log. A node that does not answer has none.
pub(super) fn save_journals(lab: &Lab, shape: Shape, log: &Path) {
    let script = "sudo journalctl --no-pager --output=short-precise --unit='etcd*' --unit=lab-cloudinit";
    for node in lab.nodes(shape.nodes) {
        let answer = lab.ssh(node).arg(script).run_limited(&[], SHORT);
        let text = answer.map_or_else(|e| format!("{e:#}\n").into_bytes(), |output| output.stdout);
        // The scenario's failure is the news, not this.
        let _ = write_atomic(&log.with_extension(format!("{node}.journal")), &text, 0o644);
    }
}

/// Removes the disks of dead nodes, and what nspawn left on the host.
///
/// # Errors
/// A file cannot be removed.
pub(super) fn remove_all(lab: &Lab) -> Result<()> {
    for machine in machines(lab, None) {
        for controller in CONTROLLERS {
            remove_cgroup(&Path::new(controller).join(&machine));
        }
    }
    let nodes = lab.nodes_dir();
    if nodes.is_dir() && is_mount_point(&nodes)? {
        Command::new("umount").arg(&nodes).run_ok(SHORT)?;
    }
    // A node's podman leaves its storage mounted over itself only in the node's own mount namespace.
    remove_dir_if_there(&nodes)?;
    for part in ["dist", "remote", "site", "ssh", "work"] {
        remove_dir_if_there(&lab.dir.join(part))?;
    }
    etcd2_backup::sys::fs::remove_if_there(&lab.dir.join("shape"))
}

/// From the leaves up; the kernel removes no group that still has a process or a child.
fn remove_cgroup(dir: &Path) {
    for entry in WalkDir::new(dir).contents_first(true).into_iter().flatten() {
        if entry.file_type().is_dir() {
            // What cannot be removed is in use, and harmless.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supervisors_are_told_from_other_labs_and_from_onlookers() {
        let dir = Path::new("/t/lab/x/nodes/e1");
        for (line, ours) in [
            ("sh\0-c\0…\0etcd2lab-node\0/t/lab/base\0/t/lab/x/nodes/e1\0", true),
            ("systemd-nspawn\0-D\0/t/lab/x/nodes/e1/root\0", true),
            ("systemd-nspawn\0-D\0/t/lab/y/nodes/e1/root\0", false),
            ("less\0/t/lab/x/nodes/e1/root\0", false),
            ("less\0/t/lab/x/nodes/e1\0", false),
            ("", false),
        ] {
            assert_eq!(supervises(line.as_bytes(), dir), ours, "{line}");
        }
    }

    #[test]
    fn a_shape_is_read_as_it_was_written() {
        let shape = Shape { nodes: 4, settings: Style::Ignition };
        assert_eq!(parse_shape("4 ignition\n"), Some(shape));
        assert_eq!(parse_shape(""), None);
    }
}
