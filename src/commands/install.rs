//! `install`: check everything, then place the unpacked tarball's files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cli;
use crate::exit::{Exit, OrFault};
use crate::install::payload::{self, Payload};
use crate::install::place::{self, Placed};
use crate::install::{plan, system};
use crate::paths::{Root, STAMP_DIR};
use crate::sys::{fs, privilege, systemd};

pub(super) fn run(root: &Root, options: &cli::Install) -> Result<Exit> {
    system::check(root, options.force)?;
    let from = folder(options)?;
    if root.is_live() && !privilege::is_root() {
        privilege::exec_with_sudo(&arguments(options, &from))?;
    }
    let payload = Payload::verify(&from)?;
    let plan = plan::placements(&payload);
    place::check(root, &plan)?;

    let placed = place::place_all(root, &plan)?;
    // etcd's user looks for stamps in it.
    fs::create_dirs(&root.join(STAMP_DIR), 0o755)?;
    if root.is_live() {
        systemd::daemon_reload().or_fault(
            Exit::Failed,
            "all files are in place, but systemd did not read them",
            "run: sudo systemctl daemon-reload",
        )?;
    }
    let count = |what| placed.iter().filter(|p| **p == what).count();
    let (new, replaced, same) = (count(Placed::New), count(Placed::Replaced), count(Placed::Same));
    log::info!("installed: {new} placed, {replaced} replaced, {same} the same");
    tell_next(root, &from, payload.etcd_unit());
    Ok(Exit::Done)
}

/// The folder the tarball was unpacked to: where this program lies, if nothing else is said.
fn folder(options: &cli::Install) -> Result<PathBuf> {
    let from = match &options.from {
        Some(from) => from.clone(),
        None => fs::parent(&std::env::current_exe().context("looking up the path of this program")?),
    };
    std::path::absolute(&from).with_context(|| format!("looking up {}", from.display()))
}

/// The same command for sudo to run; there is no `--root`, as only the running node needs sudo.
fn arguments(options: &cli::Install, from: &Path) -> Vec<PathBuf> {
    let mut all = vec!["install".into(), "--from".into(), from.to_path_buf()];
    all.extend(options.force.then(|| "--force".into()));
    all.extend((log::max_level() >= log::LevelFilter::Debug).then(|| "--verbose".into()));
    all
}

fn tell_next(root: &Root, from: &Path, etcd_unit: &str) {
    if root.is_live() {
        log::info!("next, if this node is to make backups:");
        log::info!("  sudo systemctl enable etcd2-backup.timer");
        log::info!("  sudo systemctl start etcd2-backup.timer");
    } else {
        log::info!("systemd was not told, since this is not the running system; on the node, for backups:");
        log::info!("  systemctl enable etcd2-backup.timer");
    }
    log::info!("to recover a cluster that lost its quorum, with {etcd_unit} stopped on all nodes:");
    log::info!("  sudo systemctl start etcd2-restore.service && sudo systemctl start {etcd_unit}");
    log::info!(
        "    on the founding member; then on the others, one at a time (this starts {etcd_unit} too):"
    );
    log::info!("  sudo systemctl start etcd2-join.service");
    log::info!(
        "the unpacked files and the tarball contain the rclone secrets; when they are needed no more:"
    );
    let secret = [payload::RCLONE_CONF, "etcd2-backup.tgz"].map(|name| from.join(name));
    let secret: Vec<String> = secret.iter().filter(|p| p.exists()).map(|p| p.display().to_string()).collect();
    log::info!("  rm {}", secret.join(" "));
}
