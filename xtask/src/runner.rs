//! How rclone is run on a node: the `[rclone]` table, checked.

use std::path::Path;

use anyhow::Result;
use etcd2_backup::nearest::nearest;

use crate::bundle;
use crate::check::{self, refuse};
use crate::fragment::RcloneFragment;
use crate::site::Content;

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
    const RUNNERS: [&str; 4] = ["docker", "podman", "host", "bundled"];
    let name = said.runner.as_deref().unwrap_or("docker");
    if said.image.is_some() && ["host", "bundled"].contains(&name) {
        let what = format!("rclone.image has no meaning for the runner {name}");
        return Err(refuse(what, "remove image, or choose runner = \"docker\" or \"podman\""));
    }
    if said.bundle.is_some() && name != "bundled" && RUNNERS.contains(&name) {
        let what = format!("rclone.bundle has no meaning for the runner {name}");
        return Err(refuse(what, "remove bundle, or choose runner = \"bundled\""));
    }
    let image = said.image.unwrap_or_else(|| "quay.io/coreos/rclone:latest".into());
    check::check_image(&image)?;
    match name {
        "docker" => Ok(Runner::Docker(image)),
        "podman" => Ok(Runner::Podman(image)),
        "host" => Ok(Runner::Host),
        "bundled" => {
            let bundle = said.bundle.ok_or_else(|| {
                let what = "the runner bundled needs a static rclone to put into the tarball";
                refuse(what, "write bundle = \"path/of/rclone\", relative to this file")
            })?;
            bundle::read(dir, Path::new(&bundle)).map(Runner::Bundled)
        }
        _ => {
            let hint = match nearest(name, RUNNERS) {
                Some(near) => format!("did you mean {near}? The runners are: {}", RUNNERS.join(", ")),
                None => format!("the runners are: {}", RUNNERS.join(", ")),
            };
            Err(refuse(format!("rclone.runner {name:?} is not known"), hint))
        }
    }
}
