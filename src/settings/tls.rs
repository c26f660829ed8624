//! The certificates that etcd is asked with: its own, or those that etcdctl is told of.
//!
//! CoreOS' and Flatcar's wrapper runs etcd in a container, where `ETCD_SSL_DIR` of the host is `/etc/ssl/certs`: etcd's
//! settings name the files as etcd sees them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::UnitEnvironment;
use super::values::{absolute, get};
use crate::sys::http::Tls;
use crate::sys::root::Root;

/// For the ports of peers: what etcd shows its peers.
///
/// # Errors
/// One is no absolute path.
pub(super) fn peers(unit: &UnitEnvironment, root: &Root) -> Result<Tls> {
    let ca = unit.get("peer-trusted-ca-file").or_else(|| unit.get("peer-ca-file"));
    let of_etcd = Seen::by_etcd(unit)?;
    let [cert, key] = [unit.get("peer-cert-file"), unit.get("peer-key-file")];
    Ok(Tls { cert: of_etcd.path(cert, root)?, key: of_etcd.path(key, root)?, ca: of_etcd.path(ca, root)? })
}

/// For the ports of clients: etcdctl's where they are set, else those that etcd shows its clients.
///
/// # Errors
/// One is no absolute path.
pub(super) fn clients(ours: &BTreeMap<String, String>, unit: &UnitEnvironment, root: &Root) -> Result<Tls> {
    // Each has one name for etcdctl's API 2 and another one for 3.
    let of = |names: [&str; 2]| {
        names.into_iter().find_map(|name| get(ours, name).or_else(|| get(&unit.variables, name)))
    };
    let (here, of_etcd) = (Seen::default(), Seen::by_etcd(unit)?);
    let (cert, key) = match of(["ETCDCTL_CERT_FILE", "ETCDCTL_CERT"]) {
        Some(cert) => {
            let key = of(["ETCDCTL_KEY_FILE", "ETCDCTL_KEY"]);
            (here.path(Some(cert), root)?, here.path(key, root)?)
        }
        None => (of_etcd.path(unit.get("cert-file"), root)?, of_etcd.path(unit.get("key-file"), root)?),
    };
    let ca = match of(["ETCDCTL_CA_FILE", "ETCDCTL_CACERT"]) {
        Some(ca) => here.path(Some(ca), root)?,
        None => of_etcd.path(unit.get("trusted-ca-file").or_else(|| unit.get("ca-file")), root)?,
    };
    Ok(Tls { cert, key, ca })
}

/// Where the wrapper has the folder in etcd's container.
const IN_CONTAINER: &str = "/etc/ssl/certs";

/// From where a path is seen.
#[derive(Debug, Default)]
struct Seen {
    /// What etcd has as [`IN_CONTAINER`], if that is another folder here.
    ssl_dir: Option<PathBuf>,
}

impl Seen {
    fn by_etcd(unit: &UnitEnvironment) -> Result<Self> {
        let dir = get(&unit.variables, "ETCD_SSL_DIR");
        Ok(Self { ssl_dir: dir.map(|dir| absolute("ETCD_SSL_DIR", dir)).transpose()? })
    }

    fn path(&self, value: Option<&str>, root: &Root) -> Result<Option<PathBuf>> {
        let Some(value) = value else { return Ok(None) };
        let path = absolute("a certificate of etcd", value)?;
        let moved = self.ssl_dir.as_deref().and_then(|dir| Some(dir.join(below(&path)?)));
        Ok(Some(root.join(moved.unwrap_or(path))))
    }
}

fn below(path: &Path) -> Option<&Path> {
    path.strip_prefix(IN_CONTAINER).ok().filter(|rest| !rest.as_os_str().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    fn shown(tls: &Tls) -> [String; 3] {
        [&tls.cert, &tls.key, &tls.ca]
            .map(|p| p.as_ref().map_or_else(String::new, |p| p.display().to_string()))
    }

    #[test]
    fn etcds_own_unless_etcdctl_is_told_of_others() {
        let etcds = [
            ("ETCD_CERT_FILE", "/c"),
            ("ETCD_KEY_FILE", "/k"),
            ("ETCD_TRUSTED_CA_FILE", "/ca"),
            ("ETCD_PEER_CERT_FILE", "/pc"),
            ("ETCD_PEER_KEY_FILE", "/pk"),
            ("ETCD_PEER_CA_FILE", "/pca"),
        ];
        let etcdctls = [("ETCDCTL_CERT_FILE", "/x"), ("ETCDCTL_KEY_FILE", "/y")];
        let root = Root::new("/t");
        let with = |more: &[(&str, &str)]| UnitEnvironment {
            variables: map(&[&etcds[..], more].concat()),
            ..UnitEnvironment::default()
        };
        let none = map(&[]);
        assert_eq!(shown(&peers(&with(&[]), &root).unwrap()), ["/t/pc", "/t/pk", "/t/pca"]);
        assert_eq!(shown(&clients(&none, &with(&[]), &root).unwrap()), ["/t/c", "/t/k", "/t/ca"]);
        assert_eq!(shown(&clients(&none, &with(&etcdctls), &root).unwrap()), ["/t/x", "/t/y", "/t/ca"]);
        let ours = map(&[("ETCDCTL_CERT", "/o"), ("ETCDCTL_CACERT", "/oca")]);
        assert_eq!(shown(&clients(&ours, &with(&[]), &root).unwrap()), ["/t/o", "", "/t/oca"]);
        assert_eq!(peers(&UnitEnvironment::default(), &root).unwrap(), Tls::default());
        assert!(clients(&map(&[("ETCDCTL_CA_FILE", "ca.pem")]), &with(&[]), &root).is_err());
    }

    #[test]
    fn what_etcd_sees_in_its_container_lies_in_ssl_dir() {
        let with = |dir: &str| UnitEnvironment {
            variables: map(&[
                ("ETCD_SSL_DIR", dir),
                ("ETCD_PEER_CERT_FILE", "/etc/ssl/certs/etcd/peer.crt"),
                ("ETCD_PEER_KEY_FILE", "/etc/ssl/certs-of-others/peer.key"),
                ("ETCD_PEER_TRUSTED_CA_FILE", "/elsewhere/ca.pem"),
                ("ETCD_CERT_FILE", "/etc/ssl/certs/c.crt"),
                ("ETCDCTL_CA_FILE", "/etc/ssl/certs/ca.pem"),
            ]),
            ..UnitEnvironment::default()
        };
        let root = Root::new("/t");
        let unit = with("/etc/ssl/etcd");
        let expected =
            ["/t/etc/ssl/etcd/etcd/peer.crt", "/t/etc/ssl/certs-of-others/peer.key", "/t/elsewhere/ca.pem"];
        assert_eq!(shown(&peers(&unit, &root).unwrap()), expected);
        // etcdctl runs on the host.
        let expected = ["/t/etc/ssl/etcd/c.crt", "", "/t/etc/ssl/certs/ca.pem"];
        assert_eq!(shown(&clients(&map(&[]), &unit, &root).unwrap()), expected);
        // As the wrapper has it where nobody says otherwise; empty is not set.
        for dir in ["/etc/ssl/certs", ""] {
            assert_eq!(shown(&peers(&with(dir), &root).unwrap())[0], "/t/etc/ssl/certs/etcd/peer.crt");
        }
        assert!(peers(&with("certs"), &root).is_err());
    }
}
