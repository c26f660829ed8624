//! Everything on this node that can keep a new member from starting, looked at before the cluster is asked for it.

use std::net::{IpAddr, TcpListener};

use anyhow::{Error, Result};

use crate::exit::{Exit, OrFault, fault};
use crate::node::member_dir::owner;
use crate::node::member_dir::places::Places;
use crate::node::running::version::{self, Version};
use crate::settings::started::{Started, started};
use crate::settings::{Settings, urls};
use crate::sys::folder::Folder;
use crate::sys::room::{self, Leave};
use crate::sys::{fs, look};

/// Two preallocated log segments and a first snapshot.
pub const NEEDED_BYTES: u64 = 192 << 20;

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
    owner::ready(&settings.etcd)?;
    let dirs = [Some(&settings.etcd.data_dir), settings.etcd.wal_dir.as_ref()];
    for dir in dirs.into_iter().flatten() {
        // A separate WAL directory is made by etcd.
        if !look::is_there(dir)? {
            continue;
        }
        let write = || -> Result<()> {
            let folder = Folder::open(dir)?;
            let probe = folder.at(".etcd2-backup-probe");
            fs::write_atomic(&probe, b"", 0o600)?;
            fs::remove_if_there(&probe)
        };
        write().or_fault(
            Exit::Failed,
            format!("trying to write in {}", dir.display()),
            "is the file system mounted read-only, or is this not run as root?",
        )?;
        room::check(dir, NEEDED_BYTES, Leave::Nothing, "a new member, without its data,")?;
    }
    Places::of(&settings.etcd)?.refuse_unmovable()
}

/// Runs what etcd's unit starts once, to see that it runs and is new enough for the cluster: the program, or its image, where that
/// is on this node. A script that starts a container is not run: it might bring one, or end another.
///
/// # Errors
/// [`Exit::Refused`]: the program is not there or does not run; or etcd is older than the cluster.
pub fn program(command: &[String], cluster: Option<&str>) -> Result<()> {
    let own = match started(command) {
        Started::Program(path) => version::of_program(&path).map_err(|e| refused(e.to_string()))?,
        // How the engine behaves is seen when the unit is started, before the cluster is changed.
        Started::Image(image) => match version::of_image(&image) {
            Ok(version) => version,
            Err(e) => {
                log::warn!("could not determine the version of etcd in {}: {e:#}", image.name);
                None
            }
        },
        Started::Engine(_) | Started::Unknown => None,
    };
    let own = own.map(Version::minor);
    match (own, cluster.and_then(Version::parse).map(Version::minor)) {
        (Some(own), Some(others)) if own < others => Err(refused(format!(
            "etcd on this node is {}.{}, but the cluster runs {}.{}: it would not start",
            own.0, own.1, others.0, others.1
        ))),
        _ => Ok(()),
    }
}

fn refused(what: String) -> Error {
    fault(
        Exit::Refused,
        what,
        "fix the etcd installation on this node, then run join again: sudo systemctl start \
         etcd2-join.service",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcds_program_has_to_run_and_to_be_new_enough() {
        let check = |command: &str, cluster| {
            let words = command.split(' ').filter(|w| !w.is_empty()).map(str::to_owned);
            program(&words.collect::<Vec<_>>(), cluster).map_err(|e| format!("{e:#}"))
        };
        assert_eq!(check("", Some("3.4.0")), Ok(()));
        // It says a version, though not etcd's.
        assert_eq!(check("/bin/true --name=x", Some("3.4.0")), Ok(()));
        assert!(
            check("/bin/false", None).unwrap_err().starts_with("etcd does not run on this node: /bin/false")
        );
        assert!(check("/no/etcd2", None).unwrap_err().starts_with("etcd's program /no/etcd2: No such file"));
        let dir = tempfile::tempdir().unwrap();
        let wrapper = dir.path().join("wrapper");
        fs::write_atomic(&wrapper, b"#!/bin/sh\nexit 1\n", 0o755).unwrap();
        assert_eq!(check(&wrapper.display().to_string(), None), Ok(()));
        // A shell's line and a container are no program to be run here; an image that is here is.
        assert_eq!(check("/bin/sh -c exit", Some("3.4.0")), Ok(()));
        assert_eq!(check("/usr/bin/rkt run quay.io/coreos/etcd", Some("3.4.0")), Ok(()));
        let docker = dir.path().join("docker");
        let engine = "#!/bin/sh\ncase \"$*\" in\n*inspect*' img') ;;\n*inspect*) echo 'no such image' >&2; exit 1 ;;\n\
                      'run --rm --network=none --entrypoint etcd img --version') echo 'etcd Version: 2.3.8' ;;\n\
                      *) exit 1 ;;\nesac\n";
        fs::write_atomic(&docker, engine.as_bytes(), 0o755).unwrap();
        let image =
            |image: &str, cluster| check(&format!("{} run -v /a:/b {image} etcd", docker.display()), cluster);
        assert_eq!((image("img", Some("2.3.0")), image("gone", Some("3.4.0"))), (Ok(()), Ok(())));
        assert!(
            image("img", Some("3.4.0"))
                .unwrap_err()
                .starts_with("etcd on this node is 2.3, but the cluster runs 3.4")
        );
        let Some(tools) = testkit::tools::Tools::from_env() else { return };
        let etcd = tools.etcd.display().to_string();
        for (cluster, good) in
            [(None, true), (Some("2.0.0"), true), (Some("not_decided"), true), (Some("99.0.0"), false)]
        {
            assert_eq!(check(&etcd, cluster).is_ok(), good, "{cluster:?}");
        }
    }

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
        assert_eq!(Folder::open(&settings.etcd.data_dir).unwrap().owner_and_mode().unwrap().2, 0o700);
        assert_eq!(std::fs::read_dir(&settings.etcd.data_dir).unwrap().count(), 0);
    }

    #[test]
    fn a_data_dir_that_is_a_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let settings = crate::settings::tests::in_tree(&dir.path().join("x"));
        std::fs::File::create(&settings.etcd.data_dir).unwrap();
        assert!(directories(&settings).unwrap_err().to_string().contains("opening "));
    }
}
