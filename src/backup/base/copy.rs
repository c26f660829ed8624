//! stub
use std::fmt;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::etcd::datadir::DataDir;
use crate::etcd::v3::base::Base as V3Base;
use crate::settings::Settings;

/// By which way a copy came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// x
    BetweenCommits,
}
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("between commits")
    }
}
/// x
///
/// # Errors
/// x
pub fn take(_: &Settings, dir: &DataDir, folder: &Path) -> Result<(V3Base, Way)> {
    use crate::etcd::bolt;
    for _ in 0..50 {
        let file = std::fs::File::open(dir.snap.join("db"))?;
        let (copied, same) =
            bolt::between_commits(file, |_| Ok(std::fs::copy(dir.snap.join("db"), folder.join("db"))?))?;
        copied?;
        if same {
            return Ok((V3Base::open(folder, crate::etcd::wal::Reading::Still)?, Way::BetweenCommits));
        }
    }
    anyhow::bail!("no copy")
}
