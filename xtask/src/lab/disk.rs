//! Makes the disks of fresh nodes: what each has over the base image.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use etcd2_backup::sys::command::CommandRunExt;
use etcd2_backup::sys::fs::{create_dirs, remove_dir_if_there, write_atomic};
use walkdir::WalkDir;

use super::Shape;
use super::place::{Lab, Node, all_labs};
use super::settings::Style;
use crate::checkout;

const SHORT: Duration = Duration::from_secs(30);

/// Makes the disks of fresh nodes, and the key to log in to them.
///
/// # Errors
/// A file cannot be written.
pub(super) fn make(lab: &Lab, shape: Shape) -> Result<()> {
    let key = make_key(lab)?;
    create_dirs(&lab.nodes_dir(), 0o755)?;
    allow_overlays(lab)?;
    let all = lab.nodes(shape.nodes);
    write_ssh_config(lab, &all)?;
    for node in &all {
        let dir = lab.node_dir(*node);
        for part in ["upper", "work", "root", "containers"] {
            create_dirs(&dir.join(part), 0o755)?;
        }
        write_disk(&dir.join("upper"), *node, &all, shape.settings, &key)
            .with_context(|| format!("writing the disk of {node}"))?;
    }
    let facts = format!("{} {:?}\n", shape.nodes, shape.settings).to_lowercase();
    write_atomic(&lab.dir.join("shape"), facts.as_bytes(), 0o644)
}

/// An overlay cannot be kept on every file system (not on an overlay, as in a container): there, on one in memory.
fn allow_overlays(lab: &Lab) -> Result<()> {
    let nodes = lab.nodes_dir();
    let probe = nodes.join("probe");
    for part in ["upper", "work", "root"] {
        create_dirs(&probe.join(part), 0o755)?;
    }
    let options = format!(
        "lowerdir={},upperdir={1}/upper,workdir={1}/work",
        all_labs().join("base").display(),
        probe.display()
    );
    let works = Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "--",
            "mount",
            "-t",
            "overlay",
            "overlay",
            "-o",
            &options,
        ])
        .arg(probe.join("root"))
        .run_ok(SHORT);
    remove_dir_if_there(&probe)?;
    if works.is_err() {
        println!("no overlay can be kept in {}: the nodes' disks are in memory", nodes.display());
        Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&nodes).run_ok(SHORT)?;
    }
    Ok(())
}

/// What a node has over the base image.
fn write_disk(upper: &Path, node: Node, all: &[Node], style: Style, key: &str) -> Result<()> {
    copy_tree(&checkout::root().join("tests/lab/node"), upper)?;
    let put = |path: &str, content: &str| {
        let path = upper.join(path);
        create_dirs(path.parent().unwrap_or(upper), 0o755)?;
        write_atomic(&path, content.as_bytes(), 0o644)
    };
    put("etc/ssh/lab_authorized_keys", key)?;
    put("etc/machine-id", &machine_id()?)?;
    put("etc/hostname", &format!("{node}\n"))?;
    let hosts: Vec<String> = all.iter().map(|n| format!("{} {n}\n", n.address())).collect();
    put("etc/hosts", &format!("127.0.0.1 localhost\n{}", hosts.concat()))?;
    for (path, content) in style.files(node, all) {
        put(path, &content)?;
    }
    let wants = upper.join("etc/systemd/system/multi-user.target.wants");
    create_dirs(&wants, 0o755)?;
    let mut enabled = vec!["lab-cloudinit.service"];
    if matches!(style, Style::Ignition | Style::Flatcar) {
        enabled.push(style.unit());
    }
    for unit in enabled {
        symlink(Path::new("/etc/systemd/system").join(unit), wants.join(unit))
            .with_context(|| format!("enabling {unit}"))?;
    }
    let other = if style == Style::Flatcar { Style::Ignition } else { Style::Flatcar };
    let other = upper.join("etc/systemd/system").join(other.unit());
    fs::remove_file(&other).with_context(|| format!("removing {}", other.display()))
}

/// Copies files with their modes; sudo wants its own closed.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for entry in WalkDir::new(from) {
        let entry = entry.context("reading the nodes' files")?;
        let target = to.join(entry.path().strip_prefix(from).unwrap_or(entry.path()));
        if entry.file_type().is_dir() {
            create_dirs(&target, 0o755)?;
        } else {
            fs::copy(entry.path(), &target).with_context(|| format!("writing {}", target.display()))?;
            let executable = entry.metadata().is_ok_and(|m| m.permissions().mode() & 0o100 != 0);
            // git keeps no other mode bits than this one.
            let mode = if executable { 0o755 } else { 0o644 };
            fs::set_permissions(&target, Permissions::from_mode(mode)).context("setting a mode")?;
        }
    }
    Ok(())
}

fn machine_id() -> Result<String> {
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").context("asking the kernel for a UUID")?;
    Ok(uuid.replace('-', ""))
}

/// Makes the key of the lab; returns its public half.
fn make_key(lab: &Lab) -> Result<String> {
    let dir = lab.dir.join("ssh");
    remove_dir_if_there(&dir)?;
    create_dirs(&dir, 0o700)?;
    let key = dir.join("key");
    Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f"])
        .arg(&key)
        .run_ok(SHORT)?;
    fs::read_to_string(key.with_extension("pub")).context("reading the new key")
}

fn write_ssh_config(lab: &Lab, all: &[Node]) -> Result<()> {
    let hosts: Vec<String> = all.iter().map(|n| format!("Host {n}\n  HostName {}\n", n.address())).collect();
    let common = format!(
        "Host *\n  User core\n  IdentityFile {}\n  IdentitiesOnly yes\n  BatchMode yes\n  ConnectTimeout 20\n  \
         ServerAliveInterval 5\n  ServerAliveCountMax 3\n  StrictHostKeyChecking no\n  \
         UserKnownHostsFile /dev/null\n  LogLevel ERROR\n",
        lab.dir.join("ssh/key").display()
    );
    write_atomic(&lab.ssh_config(), (hosts.concat() + &common).as_bytes(), 0o600)
}
