//! Everything on this node that can keep a new member from starting, looked at before the cluster is asked for it.

use std::net::{IpAddr, TcpListener};

use anyhow::Result;

use crate::exit::{Exit, OrFault, fault};
use crate::member_dir::owner;
use crate::member_dir::places::Places;
use crate::settings::{Settings, urls};
use crate::sys::fs;

/// Two preallocated log segments and a first snapshot.
const NEEDED_BYTES: u64 = 192 << 20;

/// Whether something on this node holds the port of one of our peer URLs. Only addresses are tried, and only those this
/// node has; names are not resolved in-process.
pub fn peer_port_is_taken(peer_urls: &[String]) -> bool {
    let taken = |url: &String| {
        let (host, port) = urls::host_port(url)?;
        let address: IpAddr = host.parse().ok()?;
        let error = TcpListener::bind((address, port)).err()?;
        Some(error.kind() == std::io::ErrorKind::AddrInUse)
    };
    peer_urls.iter().any(|url| taken(url) == Some(true))
}

/// Sees to it that etcd's directories are there, writable and have room, and can be moved aside.
///
/// # Errors
/// One of that is not so.
pub fn directories(settings: &Settings) -> Result<()> {
    owner::ready(settings)?;
    let dirs = [Some(&settings.data_dir), settings.wal_dir.as_ref()];
    for dir in dirs.into_iter().flatten().filter(|d| d.exists()) {
        let probe = dir.join(".etcd2-backup-probe");
        fs::write_atomic(&probe, b"", 0o600).and_then(|()| fs::remove_if_there(&probe)).or_fault(
            Exit::Failed,
            format!("trying to write in {}", dir.display()),
            "is the file system mounted read-only, or this not root?",
        )?;
        let free = fs::free_bytes(dir)?;
        if free < NEEDED_BYTES {
            return Err(fault(
                Exit::NoSpace,
                format!(
                    "{} has {} MiB free; a new member needs {} and room for the data",
                    dir.display(),
                    free >> 20,
                    NEEDED_BYTES >> 20
                ),
                "free some space: old directories are kept beside the data as member.before-*",
            ));
        }
    }
    Places::of(settings)?.refuse_unmovable()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_taken_port_counts() {
        let held = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = held.local_addr().unwrap().port();
        assert!(peer_port_is_taken(&[format!("http://127.0.0.1:{port}")]));
        // Not an address of this machine, and a name that nobody may resolve here.
        assert!(!peer_port_is_taken(&[
            format!("http://192.0.2.1:{port}"),
            format!("http://localhost:{port}")
        ]));
        drop(held);
        assert!(!peer_port_is_taken(&[format!("http://127.0.0.1:{port}")]));
    }

    #[test]
    fn a_missing_data_dir_is_made_and_nothing_is_left_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let settings = crate::settings::tests::in_tree(&dir.path().join("a/etcd2"));
        directories(&settings).unwrap();
        assert_eq!(fs::owner_and_mode(&settings.data_dir).unwrap().2, 0o700);
        assert_eq!(std::fs::read_dir(&settings.data_dir).unwrap().count(), 0);
    }

    #[test]
    fn a_data_dir_that_is_a_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let settings = crate::settings::tests::in_tree(&dir.path().join("x"));
        std::fs::File::create(&settings.data_dir).unwrap();
        assert!(directories(&settings).unwrap_err().to_string().contains("trying to write in"));
    }
}
