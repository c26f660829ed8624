//! `doctor`: try what a backup needs, and say of each thing how it is.

use std::io::stdout;
use std::time::Duration;

use anyhow::Result;

use crate::backup::capture::{self, Capture};
use crate::backup::doctor::object::Trial;
use crate::backup::doctor::{self, Check, founder, node as of_node};
use crate::backup::state::State;
use crate::cluster::own::{self, Asked};
use crate::etcd::datadir::DataDir;
use crate::exit::{Exit, exit_of, fault};
use crate::node::Node;
use crate::node::running::{note, place};
use crate::remote::DOCTOR;
use crate::remote::rclone::Rclone;
use crate::restore::installed;
use crate::settings::{Settings, endpoint};
use crate::sys::fs::{create_dirs, remove_dir_if_there};
use crate::sys::lock::Lock;
use crate::sys::root::Root;
use crate::sys::terminal::wrap;
use crate::sys::{random, systemd, terminal, time};

/// Somebody waits for the answer: an installation, half a minute.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn run(root: &Root) -> Result<Exit> {
    let mut node = Node::open(root)?;
    let doubt = place::settle(&mut node)?;
    let settings = &node.settings;
    create_dirs(&settings.backup_dir, 0o700)?;
    let Some(_lock) = Lock::try_take(&settings.backup_dir.join("doctor.lock"))? else {
        return Err(fault(
            Exit::Refused,
            "another doctor is running",
            "run it again when that one has finished",
        ));
    };
    let state = State::load(&settings.backup_dir)?.filter(|s| s.folder == settings.folder());
    let mut checks: Vec<Check> = doubt.iter().map(|doubt| Check::failed("place", &doubt.refusal())).collect();
    let (mut needed, mut synced) = (0, None);
    match DataDir::open(&settings.etcd.data_dir, settings.etcd.wal_dir.as_deref()) {
        Err(e) if exit_of(&e) == Exit::NotFound => checks.push(Check::noted(
            "log",
            format!("{e:#}"),
            "expected if etcd has never been started here, or is only a proxy",
        )),
        Err(e) => checks.push(Check::failed("log", &e)),
        Ok(dir) => {
            match log(settings, &dir) {
                Err(e) => checks.push(Check::failed("log", &e)),
                Ok((etcd, all)) => {
                    checks.push(of_node::log(&all));
                    checks.push(of_node::log_as_far_as_etcd_says(&etcd, &all));
                    let version = all.v3_data.is_some().then(|| installed::version(&node)).flatten();
                    let lossy = installed::lossy(version);
                    checks.extend(lossy.map(|[says, next]| Check::noted("version", says, next)));
                    needed = all.read_bytes();
                    synced = all.log.synced();
                }
            }
            let is_active = root.is_live() && systemd::is_active(&settings.etcd.unit)?;
            checks.push(of_node::log_of_the_running_etcd(
                &note::open(root, &dir.wal),
                &dir,
                &settings.etcd.unit,
                is_active,
            ));
        }
    }
    checks.push(founder::check(settings));
    checks.push(of_node::clock(time::now(), synced, state.as_ref()));
    checks.push(of_node::room(&settings.backup_dir, needed));
    checks.extend(settings.metrics_file.iter().map(|file| of_node::metrics(file)));
    checks.extend(of_remote(&node)?);
    terminal::print(&doctor::text(&checks, wrap::width(&stdout())));
    Ok(doctor::exit(&checks))
}

/// What etcd says of itself, and its log.
fn log(settings: &Settings, dir: &DataDir) -> Result<(Asked, Capture)> {
    own::read_as_far(|| own::ask(settings, dir), || capture::anew(dir, ""), |all| (all.metadata, all.last()))
}

/// Sends a small object, and looks what becomes of it.
fn of_remote(node: &Node) -> Result<Vec<Check>> {
    let settings = &node.settings;
    let remote = Rclone::beside(&settings.remote, DOCTOR);
    let name = format!("{:032x}", u128::from_ne_bytes(random::bytes()?));
    // A container sees this folder.
    let scratch = settings.backup_dir.join(DOCTOR);
    remove_dir_if_there(&scratch)?;
    let folder = endpoint::join(&settings.machine_id, DOCTOR);
    let place = settings.folder_of(&folder);
    let patience = PATIENCE.min(settings.remote.timeout);
    let trial = Trial { remote: &remote, folder: &folder, place: &place, patience };
    let checks = trial.run(&name, &scratch);
    remove_dir_if_there(&scratch)?;
    Ok(checks)
}
