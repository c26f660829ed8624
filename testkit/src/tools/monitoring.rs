//! Prometheus with its promtool, and node_exporter: in PATH, else of Debian's packages.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::Result;

use super::{FOLDER_VARIABLE, Missing, Program, default_folder, fetch, locate, skip_unless_ci};

/// What judges the metrics and the rules for them; only some tests need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitoring {
    /// Scrapes, and answers queries.
    pub prometheus: PathBuf,
    /// Checks rules, and plays them.
    pub promtool: PathBuf,
    /// Serves the metrics that lie in a folder.
    pub node_exporter: PathBuf,
}

const PROMETHEUS: Program = Program {
    name: "prometheus",
    package: "prometheus",
    version: "--version",
    fits: |printed| printed.starts_with("prometheus, version "),
};
const PROMTOOL: Program =
    Program { name: "promtool", fits: |printed| printed.starts_with("promtool, version "), ..PROMETHEUS };
const NODE_EXPORTER: Program = Program {
    name: "prometheus-node-exporter",
    package: "prometheus-node-exporter",
    version: "--version",
    fits: |printed| printed.starts_with("node_exporter, version "),
};

impl Monitoring {
    /// Finds them in PATH or in `folder`, and fetches what is missing into `folder`.
    ///
    /// # Errors
    /// [`Missing`]: one can neither be found nor fetched.
    pub fn locate_or_fetch(folder: &Path) -> Result<Self> {
        Self::each(|program| match locate(program, folder) {
            Some(path) => Ok(path),
            None => fetch::debian(program, folder).map_err(|e| missing(program, &format!("{e:#}"))),
        })
    }

    /// Them for a test; `None`, with the reason on stderr, lets it skip.
    ///
    /// # Panics
    /// They are not there, and this is CI, where a skip would go unseen.
    pub fn from_env() -> Option<&'static Self> {
        static FOUND: OnceLock<Option<Monitoring>> = OnceLock::new();
        let find = || {
            let folder = env::var_os(FOLDER_VARIABLE).map_or_else(default_folder, PathBuf::from);
            let there = |program: &Program| {
                locate(program, &folder).ok_or_else(|| missing(program, "none in PATH or target/tools"))
            };
            Self::each(there).inspect_err(skip_unless_ci).ok()
        };
        FOUND.get_or_init(find).as_ref()
    }

    fn each(find: impl Fn(&Program) -> Result<PathBuf>) -> Result<Self> {
        Ok(Self {
            prometheus: find(&PROMETHEUS)?,
            promtool: find(&PROMTOOL)?,
            node_exporter: find(&NODE_EXPORTER)?,
        })
    }
}

fn missing(program: &Program, why: &str) -> anyhow::Error {
    let hint = "`cargo xtask test` fetches it; Debian, Ubuntu: apt-get install --no-install-recommends prometheus \
                prometheus-node-exporter (their services are not needed: systemctl disable --now prometheus \
                prometheus-node-exporter)";
    Missing { what: format!("{}: {why}", program.name), hint }.into()
}
