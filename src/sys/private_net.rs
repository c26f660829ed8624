//! A network that nobody on this node shares: a namespace of its own, with nothing but loopback in it.
//!
//! Who may not make one makes a user namespace for it first, if the kernel allows that. It lasts as long as it is held or
//! somebody is in it; a program enters it as [`leash`](super::leash) starts it, and a container's is entered by its process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, send, socket};
use rustix::process::{getegid, geteuid};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// This program, whatever has its name by now.
pub(super) const OURSELVES: &str = "/proc/self/exe";
/// The only argument of the process that makes one.
pub(super) const MAKE: &str = "--make-private-net";

/// It is there as long as this is.
#[derive(Debug)]
pub struct PrivateNet {
    net: File,
    /// The user namespace that it belongs to, where that is not ours.
    user: Option<File>,
}

impl PrivateNet {
    /// Makes one. It takes a process to do so, and this one must not change.
    ///
    /// # Errors
    /// The kernel does not allow it, neither with root's rights nor in a user namespace.
    pub fn make() -> Result<Self> {
        let mut maker = Command::new(OURSELVES);
        maker.arg(MAKE).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut maker = maker.spawn().context("starting this program once more")?;
        // It writes a byte when all is made, and stays until nothing more can come from here.
        let stays = maker.stdin.take();
        let mut said = [0];
        let is_made = maker.stdout.as_mut().is_some_and(|out| out.read_exact(&mut said).is_ok());
        let made = is_made.then(|| Self::of_process(maker.id()));
        drop(stays);
        let output = maker.wait_with_output().context("waiting for this program")?;
        match made {
            Some(made) => made,
            None => bail!("{}", String::from_utf8_lossy(&output.stderr).trim()),
        }
    }

    /// That of a process, which has to be another one than ours: what is asked in it must never reach the node.
    ///
    /// # Errors
    /// The process is gone, or may not be looked at, or is in our own network.
    pub fn of_process(pid: u32) -> Result<Self> {
        let net = other_than_ours(pid, "net")?;
        let net = net.with_context(|| format!("process {pid} is in this node's network"))?;
        Ok(Self { net, user: other_than_ours(pid, "user")? })
    }

    /// How a process that this one starts is told which it is.
    pub(super) fn argument(&self) -> String {
        let user = self.user.iter().map(|user| format!(",{}", user.as_raw_fd()));
        user.fold(self.net.as_raw_fd().to_string(), |net, user| net + &user)
    }
}

/// A namespace of a process; `None` if it is ours.
fn other_than_ours(pid: u32, kind: &str) -> Result<Option<File>> {
    let path = format!("/proc/{pid}/ns/{kind}");
    let file = File::open(&path).with_context(|| format!("opening {path}"))?;
    let ours = format!("/proc/self/ns/{kind}");
    let ours = fs::metadata(&ours).with_context(|| format!("looking at {ours}"))?;
    let theirs = file.metadata().with_context(|| format!("looking at {path}"))?;
    Ok(Some(file).filter(|_| (theirs.dev(), theirs.ino()) != (ours.dev(), ours.ino())))
}

/// Enters one that `parent` holds, by its [`PrivateNet::argument`]. For a process with one thread.
pub(super) fn enter(parent: &str, argument: &str) -> io::Result<()> {
    let open = |handle: &str| File::open(format!("/proc/{parent}/fd/{handle}"));
    let (net, user) = match argument.split_once(',') {
        Some((net, user)) => (open(net)?, Some(open(user)?)),
        None => (open(argument)?, None),
    };
    let into = |space: &File, kind| move_into_link_name_space(space.as_fd(), Some(kind));
    match (into(&net, LinkNameSpaceType::Network), user) {
        // Its rights are those that one has in its user namespace.
        (Err(Errno::PERM), Some(user)) => {
            into(&user, LinkNameSpaceType::User)?;
            into(&net, LinkNameSpaceType::Network)?;
        }
        (entered, _) => entered?,
    }
    Ok(())
}

/// What the process of [`PrivateNet::make`] does. For a process with one thread.
pub(super) fn hold() -> io::Result<()> {
    let made = unshare(UnshareFlags::NEWNET).map_err(io::Error::from).and_then(|()| bring_loopback_up());
    match made {
        // Either right may be missing, as CAP_NET_ADMIN is in a container of systemd-nspawn.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            as_who_we_are()?;
            bring_loopback_up()?;
        }
        made => made?,
    }
    let mut out = io::stdout();
    out.write_all(b"\n")?;
    out.flush()?;
    io::stdin().read_to_end(&mut Vec::new()).map(|_| ())
}

/// The network in a user namespace where we are who we are, and nobody else is.
fn as_who_we_are() -> io::Result<()> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)?;
    let write = |file: &str, text: &str| {
        OpenOptions::new().write(true).open(format!("/proc/self/{file}"))?.write_all(text.as_bytes())
    };
    // Without it the groups may not be mapped.
    write("setgroups", "deny")?;
    write("uid_map", &format!("{uid} {uid} 1"))?;
    write("gid_map", &format!("{gid} {gid} 1"))
}

#[expect(deprecated, reason = "the successor is unsafe, for a flag that is not among ours: FILES")]
fn unshare(flags: UnshareFlags) -> Result<(), Errno> {
    rustix::thread::unshare(flags)
}

/// By one message to the kernel, as in netlink(7) and rtnetlink(7).
fn bring_loopback_up() -> io::Result<()> {
    const SIZE: u32 = 32;
    const NEW_LINK: u16 = 16;
    const REQUEST_WITH_ANSWER: u16 = 1 | 4;
    const LOOPBACK: i32 = 1;
    const UP: u32 = 1;
    let mut message = Vec::new();
    message.extend(SIZE.to_ne_bytes());
    message.extend(NEW_LINK.to_ne_bytes());
    message.extend(REQUEST_WITH_ANSWER.to_ne_bytes());
    // A number and a sender, which only one of several would need; family and type, which change nothing.
    message.extend([0; 12]);
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    // None: NETLINK_ROUTE.
    let kernel = socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    send(&kernel, &message, SendFlags::empty())?;
    let mut answer = [0; 256];
    let (_, length) = recv(&kernel, &mut answer, RecvFlags::empty())?;
    // A header of 16 bytes, then the error as a negative number; 0 is none.
    let error = answer[..length].get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match error {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::Error::other("the kernel does not say whether loopback is up")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is made and entered is seen of the real program: tests/archive/drill.rs.
    #[test]
    fn the_nodes_own_network_is_none() {
        let error = PrivateNet::of_process(std::process::id()).unwrap_err();
        assert!(error.to_string().ends_with("is in this node's network"), "{error}");
        assert!(PrivateNet::of_process(u32::MAX >> 1).is_err());
        // The unit tests' program does not know what to do.
        assert!(PrivateNet::make().is_err());
    }
}
