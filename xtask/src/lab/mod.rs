//! `cargo xtask lab`: real nodes (systemd, sshd, etcd2.service) side by side on this machine, and the scenarios that run on
//! them. docs/lab.md shows how to use it.
//!
//! | file | what |
//! |---|---|
//! | `place.rs` | the names and folders of one lab |
//! | `image.rs` | what all nodes are made of |
//! | `network.rs` | the namespaces and cables |
//! | `settings.rs` | how a node is told its part in the cluster |
//! | `disk.rs` | what each node has over the base image |
//! | `node.rs` | boots and kills nodes |
//! | `scenario.rs` | what a scenario says about itself |
//! | `run.rs` | runs scenarios and reports |
//! | `watchdog.rs` | takes a lab down when its run dies |

mod disk;
mod image;
mod network;
mod node;
mod place;
mod run;
mod scenario;
mod settings;
mod watchdog;

use std::ffi::OsString;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use etcd2_backup::exit::{Exit, OrFault, fault};
use etcd2_backup::sys::command::CommandRunExt;
use etcd2_backup::sys::privilege::is_root;
use etcd2_backup::sys::terminal::table::count;

use place::Lab;
use settings::Style;

/// Debian's packages with the programs the lab runs on the host: the program, and its package.
const PACKAGES: [(&str, &str); 8] = [
    ("debootstrap", "debootstrap"),
    ("systemd-nspawn", "systemd-container"),
    ("ip", "iproute2"),
    ("ssh", "openssh-client"),
    ("rclone", "rclone"),
    ("jq", "jq"),
    ("linux.uml", "user-mode-linux"),
    ("mke2fs", "e2fsprogs"),
];
/// apt downloads some tens of megabytes.
const INSTALL_LIMIT: Duration = Duration::from_secs(600);

/// `lab`: real nodes on this machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Which lab: several can run side by side
    #[arg(long = "lab", value_name = "NAME", default_value = "lab", global = true)]
    name: String,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make fresh nodes e1, e2, … and boot them
    Up(Shape),
    /// Remove the nodes and everything they left
    Down,
    /// As `down`, then `up` with as many nodes as before
    Reset,
    /// Log in to a node, or run a command there
    Ssh {
        /// e1, e2, …
        node: String,
        /// The command
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Show the nodes and how they are
    Status,
    /// Run a scenario of tests/lab, or all of them, each on fresh nodes
    Run(run::Options),
    /// Cut a node's power: all its processes die at once
    Cut {
        /// e1, e2, …
        node: String,
    },
    /// Boot a node whose power was cut, or that was shut down
    Boot {
        /// e1, e2, …
        node: String,
        /// So many seconds from the right time, on a kernel of its own; it keeps that and its disk until the lab goes down
        #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
        clock: Option<i64>,
    },
    /// Take the lab down as soon as standard input ends
    #[command(hide = true)]
    Watchdog,
}

/// What a lab is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub(crate) struct Shape {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// How the nodes get their settings of etcd
    #[arg(long, value_enum, default_value_t = Style::Cloudinit)]
    settings: Style,
}

/// The task.
pub(crate) fn main(options: &Options) -> Result<()> {
    let lab = Lab::named(&options.name)?;
    if !is_root() {
        return Err(fault(
            Exit::Failed,
            "the lab needs root: it makes network namespaces and boots systemd in them",
            "sudo -E env PATH=\"$PATH\" cargo xtask lab …",
        ));
    }
    match &options.action {
        Action::Up(shape) => up(&lab, *shape),
        Action::Down => down(&lab),
        Action::Reset => up(&lab, node::shape_of(&lab)?),
        Action::Ssh { node, command } => ssh(&lab, node, command),
        Action::Status => status(&lab),
        Action::Run(options) => run::main(&lab, options),
        Action::Cut { node } => node::cut(&lab, lab.node(node)?),
        Action::Boot { node, clock } => node::boot(&lab, &[lab.node(node)?], *clock),
        Action::Watchdog => watchdog::main(&lab),
    }
}

/// Why no lab can be made on this machine, if so.
pub(crate) fn obstacle() -> Option<&'static str> {
    if !is_root() {
        return Some("it needs root");
    }
    let probe =
        Command::new("unshare").args(["--mount", "--net", "--", "true"]).run_ok(Duration::from_secs(10));
    probe.is_err().then_some("this machine lets root make no namespaces")
}

fn up(lab: &Lab, shape: Shape) -> Result<()> {
    prepare()?;
    let _only = lab.lock()?;
    let started = Instant::now();
    fresh(lab, shape)?;
    println!(
        "{} in {:.1} s: cargo xtask lab ssh e1",
        count(shape.nodes, "node", "nodes"),
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Takes down what there is of the lab, and boots new nodes in it.
fn fresh(lab: &Lab, shape: Shape) -> Result<()> {
    remove(lab)?;
    network::make(lab, shape.nodes)?;
    disk::make(lab, shape)?;
    node::boot(lab, &lab.nodes(shape.nodes), None)?;
    node::await_etcd(lab, shape)
}

fn down(lab: &Lab) -> Result<()> {
    let _only = lab.lock()?;
    remove(lab)?;
    println!("lab {}: nothing is left of it but its logs", lab.name);
    Ok(())
}

/// Works whatever the state of the lab: also for one whose making failed half-way.
fn remove(lab: &Lab) -> Result<()> {
    node::kill_all(lab)?;
    network::remove(lab)?;
    node::remove_all(lab)
}

/// What a lab needs of the host.
fn prepare() -> Result<()> {
    install_packages()?;
    image::make()
}

fn install_packages() -> Result<()> {
    let missing: Vec<&str> =
        PACKAGES.iter().filter(|(program, _)| !in_path(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing for the lab: apt-get install --no-install-recommends {}", missing.join(" "));
    let hint = "the lab runs on Debian 12; elsewhere install these packages by hand";
    let mut update = Command::new("apt-get");
    update.args(["update", "-q"]).run_ok(INSTALL_LIMIT).or_fault(Exit::NotFound, "running apt-get", hint)?;
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-q", "--no-install-recommends"]).args(&missing);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    install.run_ok(INSTALL_LIMIT).or_fault(
        Exit::NotFound,
        format!("installing {}", missing.join(" ")),
        hint,
    )?;
    Ok(())
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn ssh(lab: &Lab, node: &str, command: &[OsString]) -> Result<()> {
    let status = lab.ssh(lab.node(node)?).args(command).status().context("starting ssh")?;
    if status.success() {
        return Ok(());
    }
    Err(fault(Exit::Failed, format!("ssh {node} ended with {status}"), "cargo xtask lab status"))
}

fn status(lab: &Lab) -> Result<()> {
    let shape = node::shape_of(lab)?;
    for node in lab.nodes(shape.nodes) {
        println!("{node}  {}  {}", node.address(), node::state(lab, node));
    }
    println!("logs, keys, remote: {}", lab.dir.display());
    Ok(())
}
