//! An etcd of our own: in a network of its own, where no other user of the node reads what it holds; with nothing of the node's
//! settings; ended with us. It is the node's program, or the image that etcd's unit runs, by the engine that the unit uses.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::exit::{Exit, OrFault, fault};
use crate::node::running::program::{Program, is_program};
use crate::sys::container::Image;
use crate::sys::http::Client;
use crate::sys::leash;
use crate::sys::private_net::PrivateNet;

/// The member's name.
pub const NAME: &str = "rehearsal";
/// Where it speaks to its peers. In its network all ports are free; these are none of the node's own etcd, should it ever be asked
/// in the wrong one.
pub const PEER_URL: &str = "http://127.0.0.1:62380";
const CLIENT_URL: &str = "http://127.0.0.1:62379";
/// Its container, where it is in one, and the folder of its data in there.
const CONTAINER: &str = "etcd2-backup-rehearse";
const INSIDE: &str = "/etcd2-rehearsal";
const PAUSE: Duration = Duration::from_millis(20);

/// What it is started from, and that is possible.
#[derive(Debug)]
pub enum Stage {
    /// A program of the node in this network.
    Here(PathBuf, Arc<PrivateNet>),
    /// An image that is on the node. Its container makes the network.
    In(Image),
}

/// Runs as long as it lives.
#[derive(Debug)]
pub struct Etcd {
    child: Child,
    /// What runs it, if that is a container.
    image: Option<Image>,
    /// A container has one once it runs.
    net: Option<Arc<PrivateNet>>,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // The engine's client ends with its container, and not the other way round.
        if let Some(image) = &self.image {
            image.remove(CONTAINER);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Stage {
    /// Sees to it that etcd can be started, before anything is downloaded that would be for nothing.
    ///
    /// # Errors
    /// [`Exit::Refused`] if the kernel does not allow a network; [`Exit::Settings`] if it is no program, or the image is not on
    /// this node.
    pub fn set(program: Program) -> Result<Self> {
        match program {
            Program::Here(path) if is_program(&path) => Ok(Self::Here(path, network()?)),
            Program::Here(path) => {
                let what = format!("{} is not an etcd program that can run here", path.display());
                let hint = "name etcd's own program with --etcd PATH, not a script or a program for another \
                            kind of machine";
                Err(fault(Exit::Settings, what, hint))
            }
            Program::In(image) => {
                let engine = image.engine.join(" ");
                let asked = format!("asking {engine} for the image {}", image.name);
                let hint =
                    format!("does `sudo {engine} images` work? Or name etcd's program with --etcd PATH");
                if !image.is_here().or_fault(Exit::Settings, asked, hint)? {
                    let what = format!("the image {} that etcd's unit runs is not on this node", image.name);
                    return Err(fault(Exit::Settings, what, format!("download it: {}", image.how_to_pull())));
                }
                // Of a run that was killed.
                image.remove(CONTAINER);
                Ok(Self::In(image))
            }
        }
    }

    /// The start of the command line, up to etcd's flags.
    fn command(&self, dir: &Path) -> Command {
        // Of the versions that know it, some have the v2 store off; the others pass over the variable.
        let v2 = "ETCD_ENABLE_V2=true";
        match self {
            Self::Here(program, net) => {
                let mut command = leash::killed_with_us_in(net, program);
                command.env_clear().envs(v2.split_once('=')).arg("--data-dir").arg(dir.join("data"));
                command
            }
            Self::In(image) => {
                let volume = format!("{}:{INSIDE}", dir.join("data").display());
                // Whoever the image runs as, and whatever root's number is in it: the data is root's, and labelled for nobody.
                let ours =
                    ["--user=0:0", "--userns=host", "--security-opt=label=disable", "--log-driver=none"];
                let more = ["--name", CONTAINER, "--env", v2, "--volume", &volume];
                let mut command = image.run(&[&ours[..], &more[..]].concat());
                command.args(["--data-dir", INSIDE]);
                command
            }
        }
    }
}

fn network() -> Result<Arc<PrivateNet>> {
    let what = "creating a network that no other user of this node can reach, so that nobody else can read \
                the restored keys";
    let hint = match rustix::process::geteuid().is_root() {
        true => {
            "root may not do so here; `unshare --net true` has to work. A unit of yours needs CAP_SYS_ADMIN and no \
             RestrictNamespaces=, a container --privileged"
        }
        false => "run it as root: sudo /opt/bin/etcd2-backup rehearse",
    };
    PrivateNet::make().map(Arc::new).or_fault(Exit::Refused, what, hint)
}

impl Etcd {
    /// Starts it on `dir/data`, and waits until it answers that it is healthy.
    ///
    /// # Errors
    /// [`Exit::Cluster`] if it ends or does not become healthy within `limit`, with the end of its log.
    pub fn start(stage: Stage, dir: &Path, limit: Duration) -> Result<Self> {
        let log = dir.join("etcd.log");
        let output = File::create_new(&log).with_context(|| format!("creating {}", log.display()))?;
        let mut command = stage.command(dir);
        command.args(["--name", NAME]);
        command.args(["--listen-client-urls", CLIENT_URL, "--advertise-client-urls", CLIENT_URL]);
        command.args(["--listen-peer-urls", PEER_URL, "--initial-advertise-peer-urls", PEER_URL]);
        command.args(["--initial-cluster", &format!("{NAME}={PEER_URL}")]);
        command.current_dir(dir).process_group(0);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().context("starting etcd on the restored data")?;
        let (image, net) = match stage {
            Stage::Here(_, net) => (None, Some(net)),
            Stage::In(image) => (Some(image), None),
        };
        let mut etcd = Self { child, image, net };
        etcd.wait(limit).map_err(|why| {
            let tail = fs::read(&log).unwrap_or_default();
            let tail = String::from_utf8_lossy(&tail[tail.len().saturating_sub(600)..]).replace('\n', " | ");
            let hint = "is it the version that the node runs? see docs/verify.md";
            fault(Exit::Cluster, format!("etcd on the restored data {why}: {tail}"), hint)
        })?;
        Ok(etcd)
    }

    /// How it is asked, and where; `None` if its network is not there yet.
    pub fn client(&self) -> Option<(Client, &'static str)> {
        Some((Client { within: Some(self.net.clone()?), ..Client::default() }, CLIENT_URL))
    }

    /// Finds the network of the container, once that runs.
    fn find_net(&mut self) -> Result<()> {
        if let (Some(image), None) = (&self.image, &self.net)
            && let Some(pid) = image.process(CONTAINER)?
        {
            self.net = Some(Arc::new(PrivateNet::of_process(pid)?));
        }
        Ok(())
    }

    fn wait(&mut self, limit: Duration) -> Result<(), String> {
        let deadline = Instant::now() + limit;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("ended with {status}"));
            }
            let found = self.find_net();
            if self.is_healthy() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let why = found.err().map(|e| format!(", as its network cannot be entered ({e:#})"));
                let limit = humantime::format_duration(limit);
                return Err(format!("was not healthy within {limit}{}", why.unwrap_or_default()));
            }
            thread::sleep(PAUSE);
        }
    }

    fn is_healthy(&self) -> bool {
        let Some((client, url)) = self.client() else { return false };
        let answer = client.get(&format!("{url}/health")).ok().filter(|a| a.status == 200);
        answer.is_some_and(|a| says_healthy(&a.body))
    }
}

/// Whether it is `{"health": "true"}`, with a space or without.
fn says_healthy(body: &[u8]) -> bool {
    body.split(|b| *b == b':').nth(1).is_some_and(|value| value.trim_ascii_start().starts_with(b"\"true\""))
}
