//! How rclone is run on a node: the `[rclone]` table, checked.

use std::path::Path;

use anyhow::{Context, Result};
use etcd2_backup::settings::checks::{self, Write};
use etcd2_backup::settings::rclone_section::Section;
use etcd2_backup::settings::reach;

use super::faults::Faults;
use super::fragment::RcloneFragment;
use super::input::{self, Content};
use super::validate::{read, refuse, text};

/// rclone's own image, of the version that the tests run with. podman takes no name without a registry everywhere.
pub(crate) const STOCK_IMAGE: &str = "docker.io/rclone/rclone:1.75.2";

/// Where an rclone for the tarball comes from. Whether it is static is seen when it is packed.
pub(crate) const BUNDLE_HINT: &str =
    "take the static rclone of its own releases; a distribution's is linked against libraries";

/// How rclone is run on a node.
#[derive(Debug)]
pub(crate) enum Runner {
    /// In a container of this image, by docker.
    Docker(String),
    /// In a container of this image, by podman.
    Podman(String),
    /// The rclone of the node's PATH.
    Host,
    /// The rclone that travels in the tarball.
    Bundled(Content),
}

impl Runner {
    /// The runner's name in the settings.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Docker(_) => "docker",
            Self::Podman(_) => "podman",
            Self::Host => "host",
            Self::Bundled(_) => "bundled",
        }
    }
}

/// The runner that the settings ask for; paths are relative to the site's folder.
pub(crate) fn resolve(said: RcloneFragment, dir: &Path) -> Result<Runner> {
    let name = text("rclone.runner", said.runner.as_deref())?;
    if said.image.is_some() && ["host", "bundled"].contains(&name.as_str()) {
        let what = format!("rclone.image has no meaning for the runner {name}");
        return Err(refuse(what, "remove image, or choose runner = \"docker\" or \"podman\""));
    }
    if said.bundle.is_some() && name != "bundled" {
        let what = format!("rclone.bundle has no meaning for the runner {name}");
        return Err(refuse(what, "remove bundle, or choose runner = \"bundled\""));
    }
    let image = text("rclone.image", said.image.as_deref())?;
    match name.as_str() {
        "docker" => Ok(Runner::Docker(image)),
        "podman" => Ok(Runner::Podman(image)),
        "host" => Ok(Runner::Host),
        _ => {
            let bundle = said.bundle.ok_or_else(|| {
                let what = "the runner bundled needs a static rclone to put into the tarball";
                refuse(what, "write bundle = \"path/of/rclone\", relative to this file")
            })?;
            let bytes =
                input::read(dir, Path::new(&bundle), input::PROGRAM, BUNDLE_HINT).context("rclone.bundle")?;
            Ok(Runner::Bundled(Content(bytes)))
        }
    }
}

/// `--bundle-rclone PATH` over what the file says: the flag chooses the runner `bundled`.
pub(crate) fn bundle(said: &mut RcloneFragment, path: &Path) -> Result<()> {
    if let Some(other) = said.runner.as_deref().filter(|r| *r != "bundled") {
        let what = format!("--bundle-rclone contradicts rclone.runner {other:?}");
        return Err(refuse(what, "remove runner from etcd2-backup.toml, or leave --bundle-rclone out"));
    }
    let path = std::path::absolute(path)?;
    let Some(text) = path.to_str() else {
        return Err(refuse(
            format!("--bundle-rclone {path:?} is not UTF-8"),
            "rename the file or its folder",
        ));
    };
    said.runner = Some("bundled".into());
    said.bundle = Some(text.into());
    Ok(())
}

/// What a container cannot be given of the node would be missed by each backup, or go down with the container.
pub(crate) fn refuse_unmountable(
    runner: &Runner,
    endpoint: &str,
    sections: &[Section],
    flags: &[String],
) -> Result<()> {
    if !matches!(runner, Runner::Docker(_) | Runner::Podman(_)) {
        return Ok(());
    }
    let mut reach = reach::reach(endpoint, &|name| sections.iter().find(|s| s.name == name).cloned());
    reach.add_files(&reach::of_flags(flags));
    match reach.objections.first() {
        None => Ok(()),
        Some((what, hint)) => {
            let what =
                format!("{what}, and the runner {} is a container that does not see it", runner.name());
            Err(refuse(what, format!("{hint}; or choose runner = \"bundled\" or \"host\"")))
        }
    }
}

/// The flags, each of them one that may be added.
pub(crate) fn flags(said: &[String]) -> Result<Vec<String>> {
    let mut faults = Faults::default();
    for flag in said {
        let one = |_: &str, _: Write<'_>| checks::flag(flag);
        faults.take(read("rclone.flags", Some(flag), one));
    }
    faults.or(said.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stock_image_has_the_rclone_of_the_tests() {
        assert_eq!(STOCK_IMAGE, format!("docker.io/rclone/rclone:{}", testkit::tools::CURRENT_RCLONE));
        assert_eq!(STOCK_IMAGE, etcd2_backup::settings::table::default("rclone.image"));
    }

    #[test]
    fn what_a_container_cannot_be_given_is_refused() {
        let sections = etcd2_backup::settings::rclone_section::parse_sections(
            "[d]\ntype = local\n[s]\ntype = sftp\nkey_file = ~/id\n",
        );
        let docker = Runner::Docker(STOCK_IMAGE.into());
        let refused = |runner: &Runner, endpoint: &str, flag: &str| {
            let flags: Vec<String> = Some(flag.to_owned()).into_iter().filter(|f| !f.is_empty()).collect();
            refuse_unmountable(runner, endpoint, &sections, &flags).err().map(|e| e.to_string())
        };
        for (endpoint, flag, what) in [
            ("d:/", "", "the remote's path on the node is \"/\", and the runner docker is a container"),
            ("s:b", "", "key_file of [s] is \"~/id\""),
            ("d:/srv", "--ca-cert=ca.pem", "ca-cert is \"ca.pem\""),
        ] {
            let said = refused(&docker, endpoint, flag).unwrap();
            assert!(said.contains(what), "{said}");
            assert_eq!(refused(&Runner::Host, endpoint, flag), None);
        }
        assert_eq!(refused(&docker, "d:/srv/backups", "--ca-cert=/etc/ca.pem"), None);
    }

    #[test]
    fn the_flag_chooses_the_runner_unless_the_file_chose_another() {
        let said = |runner: Option<&str>| RcloneFragment {
            runner: runner.map(Into::into),
            bundle: Some("other".into()),
            ..RcloneFragment::default()
        };
        for runner in [None, Some("bundled")] {
            let mut fragment = said(runner);
            bundle(&mut fragment, Path::new("/r/rclone")).unwrap();
            assert_eq!(fragment.runner.as_deref(), Some("bundled"));
            assert_eq!(fragment.bundle.as_deref(), Some("/r/rclone"));
        }
        for runner in ["docker", "podman", "host", "x\"y"] {
            let error = bundle(&mut said(Some(runner)), Path::new("/r")).unwrap_err();
            assert_eq!(error.to_string(), format!("--bundle-rclone contradicts rclone.runner {runner:?}"));
        }
    }
}
