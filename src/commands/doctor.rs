//! `doctor`: try what a backup needs, and say of each thing how it is.

use std::time::Duration;

use anyhow::Result;

use crate::backup::capture::{self, Capture};
use crate::backup::doctor::object::Trial;
use crate::backup::doctor::{self, Check, founder, node};
use crate::backup::state::State;
use crate::cluster::own::{self, Asked};
use crate::etcd::datadir::DataDir;
use crate::exit::{Exit, exit_of, fault};
use crate::node::running::{note, place};
use crate::remote::DOCTOR;
use crate::remote::rclone::Rclone;
use crate::settings::{Settings, endpoint};
use crate::sys::fs::{create_dirs, remove_dir_if_there};
use crate::sys::lock::Lock;
use crate::sys::root::Root;
use crate::sys::{random, systemd, terminal, time};

/// Somebody waits for the answer: an installation, half a minute.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn run(root: &Root) -> Result<Exit> {
    let mut settings = Settings::load(root)?;
    let doubt = place::settle(root, &mut settings)?;
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
    match DataDir::open(&settings.data_dir, settings.wal_dir.as_deref()) {
        Err(e) if exit_of(&e) == Exit::NotFound => checks.push(Check::noted(
            "log",
            format!("{e:#}"),
            "expected if etcd has never been started here, or is only a proxy",
        )),
        Err(e) => checks.push(Check::failed("log", &e)),
        Ok(dir) => {
            match log(&settings, &dir) {
                Err(e) => checks.push(Check::failed("log", &e)),
                Ok((etcd, all)) => {
                    checks.push(node::log(&all));
                    checks.push(node::log_as_far_as_etcd_says(&etcd, &all));
                    needed = all.read_bytes();
                    synced = all.log.synced();
                }
            }
            let is_active = root.is_live() && systemd::is_active(&settings.etcd_unit)?;
            checks.push(node::log_of_the_running_etcd(
                &note::open(root, &dir.wal),
                &dir,
                &settings.etcd_unit,
                is_active,
            ));
        }
    }
    checks.push(founder::check(&settings));
    checks.push(node::clock(time::now(), synced, state.as_ref()));
    checks.push(node::room(&settings.backup_dir, needed));
    checks.extend(settings.metrics_file.iter().map(|file| node::metrics(file)));
    checks.extend(of_remote(root, &settings)?);
    terminal::print(&doctor::text(&checks));
    Ok(doctor::exit(&checks))
}

/// What etcd says of itself, and its log.
fn log(settings: &Settings, dir: &DataDir) -> Result<(Asked, Capture)> {
    own::read_as_far(|| own::ask(settings, dir), || capture::anew(dir, ""), |all| (all.metadata, all.last()))
}

/// Sends a small object, and looks what becomes of it.
fn of_remote(root: &Root, settings: &Settings) -> Result<Vec<Check>> {
    let remote = Rclone::beside(settings, root, DOCTOR);
    let name = format!("{:032x}", u128::from_ne_bytes(random::bytes()?));
    // A container sees this folder.
    let scratch = settings.backup_dir.join(DOCTOR);
    remove_dir_if_there(&scratch)?;
    let folder = endpoint::join(&settings.machine_id, DOCTOR);
    let place = settings.folder_of(&folder);
    let patience = PATIENCE.min(settings.rclone_timeout);
    let trial = Trial { remote: &remote, folder: &folder, place: &place, patience };
    let checks = trial.run(&name, &scratch);
    remove_dir_if_there(&scratch)?;
    Ok(checks)
}
