//! The programs a node runs, ours and rclone: compiled or taken from where they are, checked, and of known origin.

pub(crate) mod checks;
pub(crate) mod compile;
mod elf;
pub(crate) mod prebuilt;
pub(crate) mod provenance;
pub(crate) mod rclone;
pub(crate) mod sbom;

use std::path::PathBuf;

use anyhow::Result;

use crate::checkout;
use provenance::Facts;

/// Where the node program comes from.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Source {
    /// Take this node program and its manifest, as a release publishes them, instead of compiling one
    #[arg(long, value_name = "PATH", conflicts_with = "target")]
    prebuilt: Option<PathBuf>,
    /// What the nodes are [default: x86_64-unknown-linux-musl; without its std x86_64-unknown-linux-gnu]
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
}

impl Source {
    /// The facts of its build, and the program itself if it was built elsewhere.
    pub(crate) fn load(&self) -> Result<(Option<Vec<u8>>, Facts)> {
        match &self.prebuilt {
            Some(path) => prebuilt::load(path).map(|(program, facts)| (Some(program), facts)),
            None => Ok((None, Facts::gather(checkout::root(), &compile::target_or(self.target.as_deref()))?)),
        }
    }
}
