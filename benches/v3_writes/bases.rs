//! Bases one after the other until a window ends, each in a process of its own: this program once more, with the priority of
//! `etcd2-backup-base.service`. It does what `etcd2-backup base --now` does, but by the way that it is told.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use etcd2_backup::backup::base::copy::{self, Way};
use etcd2_backup::backup::base::{prepared, send, take};
use etcd2_backup::etcd::datadir::DataDir;
use etcd2_backup::remote::rclone::Rclone;
use etcd2_backup::settings::{self, Settings, UnitEnvironment};
use etcd2_backup::sys::fs::{remove_dir_if_there, write_atomic};
use etcd2_backup::sys::root::Root;
use etcd2_backup::sys::time;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use testkit::tools::Tools;

use super::place::Place;

/// An [`Order`] for a process of ours.
const ORDER: &str = "V3_WRITES_ORDER";
/// What it prints once the store is copied and proven.
const COPIED: &str = "copied";
const MACHINE: &str = "0123456789abcdef0123456789abcdef";
/// For one outside of a window, on an etcd that has nothing else to do.
const LIMIT: Duration = Duration::from_secs(300);
const UNIT: &str = include_str!("../../templates/etc/systemd/system/etcd2-backup-base.service.tera");

/// What the unit says of it.
pub(crate) struct Priority {
    pub(crate) nice: &'static str,
    pub(crate) io_class: &'static str,
}

impl Priority {
    pub(crate) fn of_the_unit() -> Self {
        let of = |name: &str| UNIT.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        Self { nice: of("Nice="), io_class: of("IOSchedulingClass=") }
    }
}

/// What a process is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    way: Way,
    data_dir: PathBuf,
    backup_dir: PathBuf,
    client_url: String,
    /// A tree with rclone.conf, and the remote's folder.
    root: PathBuf,
    remote: PathBuf,
    sent: bool,
}

/// A base, or one that the end of the window cut off.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) began: Instant,
    pub(crate) copied: Option<Instant>,
    pub(crate) ended: Instant,
    pub(crate) end: End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Whole,
    CutOff,
    Failed(String),
}

pub(crate) struct Bases<'a> {
    order: Order,
    priority: &'a Priority,
    path: String,
}

impl<'a> Bases<'a> {
    pub(crate) fn of(place: &Place, tools: &Tools, priority: &'a Priority, only_copies: bool) -> Self {
        let order = Order {
            way: Way::Grpc,
            data_dir: place.leader().data_dir.clone(),
            backup_dir: place.backup_dir(),
            client_url: place.leader().client_url.clone(),
            root: place.root(),
            remote: place.remote(),
            sent: !only_copies,
        };
        write_atomic(&order.root.join("etc/rclone.conf"), b"[r]\ntype = local\n", 0o600).unwrap();
        // The store may come by curl.
        let path = format!("{}:/usr/bin:/bin", tools.rclone.parent().unwrap().display());
        Self { order, priority, path }
    }

    /// One, and nothing is left of it; or why there is none.
    pub(crate) fn one(&self, way: Way) -> Result<(), String> {
        let taken = self.take(way, Instant::now() + LIMIT);
        self.clear();
        match taken.end {
            End::Whole => Ok(()),
            End::CutOff => Err(format!("it was not done within {} s", LIMIT.as_secs())),
            End::Failed(why) => Err(why),
        }
    }

    /// One after the other; the last one is killed.
    pub(crate) fn until(&self, deadline: Instant, way: Way) -> Vec<Taken> {
        let mut all = Vec::new();
        while Instant::now() < deadline {
            all.push(self.take(way, deadline));
        }
        all
    }

    /// Removes what lies on the node and in the remote.
    pub(crate) fn clear(&self) {
        remove_dir_if_there(&self.order.backup_dir).unwrap();
        remove_dir_if_there(&self.order.remote).unwrap();
    }

    fn take(&self, way: Way, deadline: Instant) -> Taken {
        fs::create_dir_all(&self.order.remote).unwrap();
        let began = Instant::now();
        let mut child = self.command(way).spawn().unwrap();
        let (said, saying) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let reading = thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if line == COPIED {
                    let _ = said.send(Instant::now());
                }
            }
        });
        let copied = saying.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        // Nothing more is said: it closes its stdout as it ends.
        let ended = match copied {
            Err(RecvTimeoutError::Timeout) => false,
            _ => {
                let rest = deadline.saturating_duration_since(Instant::now());
                saying.recv_timeout(rest) == Err(RecvTimeoutError::Disconnected)
            }
        };
        if !ended {
            // It may have ended just now. What it has started ends with it.
            let _ = kill_process(Pid::from_child(&child), Signal::KILL);
        }
        let end = end(&mut child, ended);
        reading.join().unwrap();
        Taken { began, copied: copied.ok(), ended: Instant::now(), end }
    }

    fn command(&self, way: Way) -> Command {
        let order = Order { way, ..self.order.clone() };
        let mut command = Command::new("ionice");
        command.args(["-c", self.priority.io_class, "nice", "-n", self.priority.nice]);
        command.arg(env::current_exe().unwrap());
        command.env_clear().env("PATH", &self.path).env(ORDER, serde_json::to_string(&order).unwrap());
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

fn end(child: &mut Child, ended: bool) -> End {
    let mut said = String::new();
    let _ = child.stderr.take().unwrap().read_to_string(&mut said);
    let status = child.wait().unwrap();
    match (status.success(), ended) {
        (true, _) => End::Whole,
        (false, false) => End::CutOff,
        (false, true) => End::Failed(said.trim().to_owned()),
    }
}

/// What this process is to do in place of a benchmark.
pub(crate) fn order() -> Option<String> {
    env::var(ORDER).ok()
}

/// Does it.
#[allow(clippy::print_stderr, reason = "tells the process that started this one why there is no base")]
pub(crate) fn carry_out(order: &str) -> ExitCode {
    match base(order) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e:#}");
            ExitCode::FAILURE
        }
    }
}

fn base(order: &str) -> Result<()> {
    let order: Order = serde_json::from_str(order)?;
    let settings = settings(&order)?;
    let dir = DataDir::open(&order.data_dir, None)?;
    if !order.sent {
        copy::by(order.way, &settings, &dir, &prepared::anew(&settings.backup_dir)?)?;
        println!("{COPIED}");
        return Ok(());
    }
    let remote = Rclone::beside(&settings.remote, "base");
    let mut base = take::by(order.way, &settings, &remote, &dir, time::now())?;
    println!("{COPIED}");
    send::send(&mut base, &remote, &settings)
}

fn settings(order: &Order) -> Result<Settings> {
    let endpoint = format!("r:{}", order.remote.display());
    let pairs = [("RCLONE_ENDPOINT", endpoint.as_str()), ("ETCD2_BACKUP_RCLONE_RUNNER", "host")];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let root = Root::new(&order.root);
    let mut settings = settings::parse(&pairs, &UnitEnvironment::default(), MACHINE, &root)?;
    settings.etcd.data_dir.clone_from(&order.data_dir);
    settings.etcd.client_urls = vec![order.client_url.clone()];
    settings.backup_dir.clone_from(&order.backup_dir);
    Ok(settings)
}
