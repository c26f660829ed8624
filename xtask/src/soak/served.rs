//! The remote of a soak, and the processes that it kills.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use etcd2_backup::sys::fs::create_dirs;
use testkit::ports::Port;
use testkit::tools::Tools;

use super::LIMIT;

/// The remote: rclone serving a folder by WebDAV.
pub(super) struct Served {
    rclone: PathBuf,
    folder: PathBuf,
    pub(super) port: Port,
    process: Option<Child>,
    back: Instant,
}

impl Served {
    pub(super) fn start(tools: &Tools, folder: &Path) -> Result<Self> {
        create_dirs(folder, 0o700)?;
        let (rclone, port) = (tools.rclone.clone(), Port::reserve()?);
        let mut served = Self { rclone, folder: folder.into(), port, process: None, back: Instant::now() };
        served.up()?;
        Ok(served)
    }

    pub(super) fn up_if_due(&mut self) -> Result<()> {
        if self.process.is_none() && self.back <= Instant::now() { self.up() } else { Ok(()) }
    }

    /// Starts it, and waits until it answers.
    pub(super) fn up(&mut self) -> Result<()> {
        if self.process.is_some() {
            return Ok(());
        }
        let mut command = Command::new(&self.rclone);
        command.args(["serve", "webdav", "--addr", &self.port.address().to_string()]).arg(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn()?);
        let began = Instant::now();
        while TcpStream::connect_timeout(&self.port.address(), LIMIT).is_err() {
            ensure!(began.elapsed() < LIMIT, "the remote does not start");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub(super) fn kill(&mut self, away: Duration) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
            self.back = Instant::now() + away;
        }
        Ok(())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.kill(Duration::ZERO);
    }
}

/// How it ended; `None`: not in time, and it was killed.
pub(super) fn wait(child: &mut Child, limit: Duration) -> Result<Option<i32>> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.code().unwrap_or(-1)));
        }
        if began.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(5));
    }
}
