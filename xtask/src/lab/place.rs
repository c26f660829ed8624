//! The names and folders of one lab. Everything it makes on the host carries its name.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use etcd2_backup::exit::{Exit, fault};
use etcd2_backup::sys::fs::create_dirs;
use etcd2_backup::sys::lock::Lock;

use crate::checkout;

/// A lab of nine nodes is taken down in less, on a machine that is busy with others as well.
const LOCK_LIMIT: Duration = Duration::from_secs(60);
/// The host's address in the lab: remotes listen there.
pub(crate) const HOST_ADDRESS: &str = "10.77.0.1";

/// One lab.
#[derive(Debug)]
pub(crate) struct Lab {
    /// What tells it from other labs.
    pub(crate) name: String,
    /// Its folder.
    pub(crate) dir: PathBuf,
}

/// A node by its number: e1 is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node(u8);

impl Node {
    /// Its address in the lab.
    pub(crate) fn address(self) -> String {
        format!("10.77.0.{}", 10 + self.0)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

/// The folder of all labs.
pub(crate) fn all_labs() -> PathBuf {
    checkout::target().join("lab")
}

impl Lab {
    /// The lab of a name.
    pub(crate) fn named(name: &str) -> Result<Self> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        if name.is_empty() || name.len() > 20 || name == "base" || !name.bytes().all(plain) {
            let what = format!("{name:?} is no name for a lab");
            return Err(fault(Exit::Usage, what, "1 to 20 lower-case letters and digits, but not \"base\""));
        }
        Ok(Self { name: name.to_owned(), dir: all_labs().join(name) })
    }

    /// The `number`th of labs that run side by side; the first is this one.
    pub(crate) fn beside(&self, number: usize) -> Result<Self> {
        if number == 1 { Self::named(&self.name) } else { Self::named(&format!("{}x{number}", self.name)) }
    }

    /// Its nodes, when it has `count`.
    pub(crate) fn nodes(&self, count: u8) -> Vec<Node> {
        (1..=count).map(Node).collect()
    }

    /// The node `e1`, `e2`, ….
    pub(crate) fn node(&self, name: &str) -> Result<Node> {
        let number = name.strip_prefix('e').and_then(|n| n.parse().ok()).filter(|n| (1..=9).contains(n));
        let node = number.map(Node).filter(|n| self.node_dir(*n).is_dir());
        node.ok_or_else(|| {
            let what = format!("lab {} has no node {name}", self.name);
            fault(Exit::NotFound, what, "cargo xtask lab status")
        })
    }

    /// The namespace of the bridge; scenarios and remotes run in it.
    pub(crate) fn namespace(&self) -> String {
        format!("etcd2lab-{}", self.name)
    }

    /// The namespace of a node.
    pub(crate) fn node_namespace(&self, node: Node) -> String {
        format!("etcd2lab-{}-{node}", self.name)
    }

    /// The folder of all nodes: gone after `down`.
    pub(crate) fn nodes_dir(&self) -> PathBuf {
        self.dir.join("nodes")
    }

    /// What there is of a node: `upper`, `work`, `containers`, `root`, `console.log`.
    pub(crate) fn node_dir(&self, node: Node) -> PathBuf {
        self.nodes_dir().join(node.to_string())
    }

    /// The configuration of ssh and scp.
    pub(crate) fn ssh_config(&self) -> PathBuf {
        self.dir.join("ssh/config")
    }

    /// Starts a program in the namespace of the bridge.
    pub(crate) fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace())).arg("--").arg(program);
        command
    }

    /// ssh to a node; the remote command follows.
    pub(crate) fn ssh(&self, node: Node) -> Command {
        let mut command = self.inside("ssh");
        command.arg("-F").arg(self.ssh_config()).arg(node.to_string());
        command
    }

    /// At most one `up` or `run` at a time. A watchdog that takes the lab down is waited for.
    pub(crate) fn lock(&self) -> Result<Lock> {
        let deadline = Instant::now() + LOCK_LIMIT;
        loop {
            if let Some(lock) = self.try_lock()? {
                return Ok(lock);
            }
            if Instant::now() > deadline {
                let what = format!("lab {} is in use by another run", self.name);
                return Err(fault(Exit::Refused, what, "wait for it, or take another name: --lab NAME"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The same, and nothing if it is in use.
    pub(crate) fn try_lock(&self) -> Result<Option<Lock>> {
        create_dirs(&self.dir, 0o755)?;
        Lock::try_take(&self.dir.join("lock"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_stand_in_any_path_and_namespace() {
        for (name, good) in [
            ("lab", true),
            ("h2", true),
            ("base", false),
            ("", false),
            ("a/b", false),
            ("..", false),
            ("A", false),
        ] {
            assert_eq!(Lab::named(name).is_ok(), good, "{name:?}");
        }
    }

    #[test]
    fn names_and_addresses_follow_the_number() {
        let lab = Lab::named("x").unwrap();
        let nodes = lab.nodes(2);
        assert_eq!(lab.node_namespace(nodes[1]), "etcd2lab-x-e2");
        assert_eq!(nodes[0].address(), "10.77.0.11");
        assert_eq!(lab.node("e7").unwrap_err().to_string(), "lab x has no node e7");
    }
}
