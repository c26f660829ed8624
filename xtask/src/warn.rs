//! What works and yet is likely to hurt later. A build says it and goes on.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::site::{RCLONE_CONF, Runner, Site};

/// All warnings about a site that lies in `dir`.
pub(crate) fn warnings(site: &Site, dir: &Path) -> Vec<String> {
    let image = match &site.runner {
        Runner::Docker(image) | Runner::Podman(image) => about_image(image),
        Runner::Host | Runner::Bundled(_) => None,
    };
    let conf = dir.join(RCLONE_CONF);
    let mode = conf.metadata().map_or(0, |m| m.permissions().mode() & 0o777);
    let open = (mode & 0o077 != 0).then(|| {
        let conf = conf.display();
        format!("{conf} holds secrets and others may read or change it (mode {mode:04o}): chmod 600 {conf}")
    });
    image.into_iter().chain(open).collect()
}

/// An image that is not named by its digest may be another one tomorrow, or not to be had.
fn about_image(image: &str) -> Option<String> {
    if is_pinned(image) {
        return None;
    }
    // A colon behind the last slash; one before it belongs to the registry's port.
    let name = image.rsplit('/').next().unwrap_or(image);
    let (what, bare) = match name.rsplit_once(':') {
        _ if image.contains('@') => ("has no whole SHA-256", image.split('@').next().unwrap_or_default()),
        Some((_, "latest")) => {
            ("is whatever was pushed last", image.strip_suffix(":latest").unwrap_or(image))
        }
        Some(_) => ("can be pushed again under the same tag", image),
        None => ("is whatever was pushed last", image),
    };
    Some(format!(
        "rclone.image {image} {what}, and a node that has lost it must pull it on the day of the recovery, when its \
         registry, or the network that etcd configures, may be down. Bundle rclone instead (--bundle-rclone PATH), or name \
         the image by its digest ({bare}@sha256:…) and pull it on every node beforehand"
    ))
}

fn is_pinned(image: &str) -> bool {
    let digest = image.rsplit_once("@sha256:").map(|(_, digest)| digest);
    digest.is_some_and(|d| d.len() == 64 && d.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::tests::{CONF, MINIMAL, load_of};
    use etcd2_backup::sys::fs::write_atomic;

    #[test]
    fn an_image_without_a_digest_is_warned_of() {
        let digest = "0123456789abcdef".repeat(4);
        for (image, want) in [
            (format!("rclone/rclone@sha256:{digest}"), None),
            (format!("rclone/rclone:1.60.1@sha256:{digest}"), None),
            ("rclone/rclone@sha256:0123".into(), Some("has no whole SHA-256")),
            ("rclone/rclone".into(), Some("is whatever was pushed last")),
            ("localhost:5000/rclone".into(), Some("(localhost:5000/rclone@sha256:…)")),
            ("quay.io/coreos/rclone:latest".into(), Some("(quay.io/coreos/rclone@sha256:…)")),
            ("rclone/rclone:1.60.1".into(), Some("can be pushed again under the same tag")),
        ] {
            let said = about_image(&image);
            assert_eq!(said.is_some(), want.is_some(), "{image}: {said:?}");
            assert!(said.unwrap_or_default().contains(want.unwrap_or_default()), "{image}");
        }
    }

    #[test]
    fn an_open_rclone_conf_is_warned_of() {
        let mut site = load_of(MINIMAL, CONF).unwrap();
        site.runner = Runner::Host;
        let dir = tempfile::tempdir().unwrap();
        let conf = dir.path().join(RCLONE_CONF);
        for (mode, count) in [(0o600, 0), (0o400, 0), (0o644, 1), (0o620, 1), (0o601, 1)] {
            write_atomic(&conf, b"", mode).unwrap();
            let said = warnings(&site, dir.path());
            assert_eq!(said.len(), count, "{mode:o}: {said:?}");
            assert!(said.iter().all(|w| w.contains("chmod 600")), "{said:?}");
        }
        site.runner = Runner::Docker("rclone/rclone:latest".into());
        assert_eq!(warnings(&site, dir.path()).len(), 2);
    }
}
