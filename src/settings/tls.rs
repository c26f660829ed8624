//! The certificates that etcd is asked with: its own, or those that etcdctl is told of.

use std::collections::BTreeMap;

use anyhow::Result;

use super::UnitEnvironment;
use super::parse::{absolute, get};
use crate::paths::Root;
use crate::sys::http::Tls;

/// For the ports of peers: what etcd shows its peers.
///
/// # Errors
/// One is no absolute path.
pub(super) fn peers(unit: &UnitEnvironment, root: &Root) -> Result<Tls> {
    let ca = unit.get("peer-trusted-ca-file").or_else(|| unit.get("peer-ca-file"));
    tls(unit.get("peer-cert-file"), unit.get("peer-key-file"), ca, root)
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
    let (cert, key) = match of(["ETCDCTL_CERT_FILE", "ETCDCTL_CERT"]) {
        Some(cert) => (Some(cert), of(["ETCDCTL_KEY_FILE", "ETCDCTL_KEY"])),
        None => (unit.get("cert-file"), unit.get("key-file")),
    };
    let etcds = || unit.get("trusted-ca-file").or_else(|| unit.get("ca-file"));
    tls(cert, key, of(["ETCDCTL_CA_FILE", "ETCDCTL_CACERT"]).or_else(etcds), root)
}

fn tls(cert: Option<&str>, key: Option<&str>, ca: Option<&str>, root: &Root) -> Result<Tls> {
    let path = |value: Option<&str>| {
        value.map(|v| absolute("a certificate of etcd", v)).transpose().map(|p| p.map(|p| root.join(p)))
    };
    Ok(Tls { cert: path(cert)?, key: path(key)?, ca: path(ca)? })
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
}
