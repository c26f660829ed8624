//! What works in a site and yet is likely to hurt later. A build says it and goes on.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use etcd2_backup::settings::urls::founder_doubt;

use super::finding::Finding;
use super::runner::{Runner, STOCK_IMAGE};

/// A warning about secrets that others on this machine can read or change.
pub(crate) fn about_mode(conf: &Path) -> Option<Finding> {
    let mode = conf.metadata().ok()?.permissions().mode() & 0o777;
    let who = match (mode & 0o007, mode & 0o070) {
        (0, 0) => return None,
        (0, _) => "its group",
        _ => "everybody on this machine",
    };
    let conf = conf.display();
    let what = format!("{conf} has mode {mode:04o}: {who} can read or change its secrets");
    Some(Finding::warning(what, format!("chmod 600 {conf}")))
}

/// A warning about a founding member's URL that is hardly meant.
pub(crate) fn about_founder(urls: &[String]) -> Option<Finding> {
    let (what, hint) = urls.iter().find_map(|url| founder_doubt(url))?;
    Some(Finding::warning(format!("founder: {what}"), hint))
}

/// A warning about a switch from the time when no v3 store was backed up.
pub(crate) fn about_v2_only(v2_only: bool) -> Option<Finding> {
    let what = "v2_only = true is only used where no base of the v3 store can be had: there the backups, and a restore \
                from them, lack the v3 store";
    let hint = "remove it, unless the data in the v3 store may be lost: without it such a backup fails, and says what to do";
    v2_only.then(|| Finding::warning(what, hint))
}

/// A warning about a recovery that depends on a registry.
pub(crate) fn about_runner(runner: &Runner) -> Option<Finding> {
    match runner {
        Runner::Docker(image) | Runner::Podman(image) => about_image(image),
        Runner::Host | Runner::Bundled(_) => None,
    }
}

/// An image that is not named by its digest may be another one tomorrow, or not to be had.
fn about_image(image: &str) -> Option<Finding> {
    // The stock one is of a version that its makers do not push anew.
    if is_pinned(image) || image == STOCK_IMAGE {
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
    let what = format!(
        "rclone.image {image} {what}, and a node that has lost it must pull it on the day of the recovery, when its \
         registry, or the network that etcd configures, may be down"
    );
    let hint = format!(
        "bundle rclone instead (--bundle-rclone PATH), or name the image by its digest ({bare}@sha256:…) and pull it on \
         every node beforehand"
    );
    Some(Finding::warning(what, hint))
}

fn is_pinned(image: &str) -> bool {
    let digest = image.rsplit_once("@sha256:").map(|(_, digest)| digest);
    digest.is_some_and(|d| d.len() == 64 && d.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd2_backup::sys::fs::write_atomic;

    #[test]
    fn an_image_without_a_digest_is_warned_of() {
        let digest = "0123456789abcdef".repeat(4);
        for (image, want) in [
            (format!("rclone/rclone@sha256:{digest}"), None),
            (format!("rclone/rclone:1.60.1@sha256:{digest}"), None),
            ("rclone/rclone@sha256:0123".into(), Some("has no whole SHA-256")),
            (STOCK_IMAGE.into(), None),
            ("rclone/rclone".into(), Some("is whatever was pushed last")),
            ("localhost:5000/rclone".into(), Some("(localhost:5000/rclone@sha256:…)")),
            ("quay.io/coreos/rclone:latest".into(), Some("(quay.io/coreos/rclone@sha256:…)")),
            ("rclone/rclone:1.60.1".into(), Some("can be pushed again under the same tag")),
        ] {
            for runner in [Runner::Docker(image.clone()), Runner::Podman(image.clone())] {
                let said = about_runner(&runner).map(|f| f.to_string());
                assert_eq!(said.is_some(), want.is_some(), "{image}: {said:?}");
                assert!(said.unwrap_or_default().contains(want.unwrap_or_default()), "{image}");
            }
        }
        assert_eq!(about_runner(&Runner::Host), None);
    }

    #[test]
    fn an_open_rclone_conf_is_warned_of() {
        let dir = tempfile::tempdir().unwrap();
        let conf = dir.path().join("c");
        assert_eq!(about_mode(&conf), None);
        for (mode, who) in [
            (0o600, None),
            (0o400, None),
            (0o640, Some("its group")),
            (0o620, Some("its group")),
            (0o644, Some("everybody on this machine")),
            (0o604, Some("everybody on this machine")),
            (0o601, Some("everybody on this machine")),
        ] {
            write_atomic(&conf, b"", mode).unwrap();
            let shown = conf.display();
            let want = who.map(|who| {
                let what = format!("{shown} has mode {mode:04o}: {who} can read or change its secrets");
                Finding::warning(what, format!("chmod 600 {shown}"))
            });
            assert_eq!(about_mode(&conf), want);
        }
    }
}
