//! An etcd of our own: on loopback, with nothing of our environment, ended with us or by the next one.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::exit::{Exit, fault};
use crate::sys::fs::write_atomic;
use crate::sys::http::Client;
use crate::sys::look;

/// The member's name.
pub const NAME: &str = "rehearsal";
const PAUSE: Duration = Duration::from_millis(20);
const END: Duration = Duration::from_secs(10);

/// Runs as long as it lives.
#[derive(Debug)]
pub struct Etcd {
    child: Child,
    /// Where its clients reach it.
    pub url: String,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A URL on loopback that nobody listens at.
///
/// # Errors
/// There is no port left.
pub fn free_url() -> Result<String> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port on loopback")?;
    Ok(format!("http://{}", listener.local_addr()?))
}

/// Whether a program is one, and not a script that starts a container: etcd has to see our folder.
///
/// # Errors
/// [`Exit::Settings`] if it is none.
pub fn refuse_script(program: &Path) -> Result<()> {
    let start = File::open(program).and_then(|mut file| {
        let mut start = [0; 4];
        std::io::Read::read_exact(&mut file, &mut start).map(|()| start)
    });
    if start.is_ok_and(|start| start == *b"\x7fELF") {
        return Ok(());
    }
    let what = format!("{} is no program of etcd's that can be started here", program.display());
    let hint = "give one with --etcd PATH; where etcd runs in a container, copy it out of the image";
    Err(fault(Exit::Settings, what, hint))
}

impl Etcd {
    /// Starts `program` on `dir/data`, and waits until it answers that it is healthy.
    ///
    /// # Errors
    /// [`Exit::Cluster`] if it ends or does not become healthy within `limit`, with the end of its log.
    pub fn start(program: &Path, dir: &Path, peer_url: &str, limit: Duration) -> Result<Self> {
        let (url, log) = (free_url()?, dir.join("etcd.log"));
        let output = File::create_new(&log).with_context(|| format!("creating {}", log.display()))?;
        let mut command = Command::new(program);
        command.arg("--data-dir").arg(dir.join("data")).args(["--name", NAME]);
        command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        command.args(["--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url]);
        command.args(["--initial-cluster", &format!("{NAME}={peer_url}")]);
        // Of the versions that know it, some have the v2 store off; the others pass over the variable.
        command.env_clear().env("ETCD_ENABLE_V2", "true").current_dir(dir).process_group(0);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        let mut etcd = Self { child, url };
        write_atomic(&dir.join("etcd.pid"), etcd.child.id().to_string().as_bytes(), 0o600)?;
        etcd.wait(limit).map_err(|why| {
            let tail = fs::read(&log).unwrap_or_default();
            let tail = String::from_utf8_lossy(&tail[tail.len().saturating_sub(600)..]).replace('\n', " | ");
            let hint = "is it the version that the node runs? see docs/verify.md";
            fault(Exit::Cluster, format!("etcd on the restored data {why}: {tail}"), hint)
        })?;
        Ok(etcd)
    }

    fn wait(&mut self, limit: Duration) -> Result<(), String> {
        let (deadline, health) = (Instant::now() + limit, format!("{}/health", self.url));
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("ended with {status}"));
            }
            let answer = Client::default().get(&health).ok().filter(|a| a.status == 200);
            if answer.is_some_and(|a| is_healthy(&a.body)) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(format!("was not healthy within {}", humantime::format_duration(limit)));
            }
            thread::sleep(PAUSE);
        }
    }
}

/// Whether it says `{"health": "true"}`, with a space or without.
fn is_healthy(body: &[u8]) -> bool {
    body.split(|b| *b == b':').nth(1).is_some_and(|value| value.trim_ascii_start().starts_with(b"\"true\""))
}

/// Ends what a rehearsal left running in `dir` that was killed itself. Only a process that was given this very folder.
///
/// # Errors
/// It is there and does not end.
pub fn end_leftover(dir: &Path) -> Result<()> {
    let text = look::read_if_there(&dir.join("etcd.pid"))?.unwrap_or_default();
    let pid = String::from_utf8_lossy(&text).trim().parse().ok();
    let Some(pid) = pid.filter(|pid| *pid > 0).and_then(Pid::from_raw) else { return Ok(()) };
    let own = dir.join("data");
    let cmdline = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
    let is_ours = || {
        // One that has ended has none.
        let line = fs::read(&cmdline).unwrap_or_default();
        line.split(|b| *b == 0).any(|word| word == own.as_os_str().as_encoded_bytes())
    };
    let deadline = Instant::now() + END;
    while is_ours() {
        if Instant::now() >= deadline {
            bail!("etcd of an earlier rehearsal, process {}, does not end", pid.as_raw_nonzero());
        }
        let _ = kill_process(pid, Signal::KILL);
        thread::sleep(PAUSE);
    }
    Ok(())
}
