//! Which file of the tarball goes where on the node.

use std::path::PathBuf;

use super::payload::{self, Payload};
use super::sums::Digest;
use crate::paths;

/// One file to place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The file in the unpacked folder.
    pub source: PathBuf,
    /// Its checksum.
    pub digest: Digest,
    /// Its path on the node, without the root.
    pub target: String,
    /// Its mode on the node.
    pub mode: u32,
}

/// All files to place, each behind what it needs: programs, settings, then the units that use them.
pub fn placements(payload: &Payload) -> Vec<Placement> {
    let mut all = Vec::new();
    let mut add = |name: &str, target: String, mode| {
        // Only the bundled rclone can be absent from a payload that was verified.
        all.extend(payload.digest(name).map(|digest| Placement {
            source: payload.path(name),
            digest,
            target,
            mode,
        }));
    };
    add(payload::PROGRAM, paths::PROGRAM.to_owned(), 0o755);
    add(payload::RCLONE, paths::BUNDLED_RCLONE.to_owned(), 0o755);
    add(payload::RCLONE_CONF, paths::RCLONE_CONF.to_owned(), 0o600);
    for unit in payload::UNITS.iter().filter(|u| u.ends_with(".service")) {
        add(payload::SETTINGS, drop_in(unit, payload::SETTINGS), 0o644);
    }
    for unit in payload::UNITS {
        add(unit, format!("{}/{unit}", paths::UNIT_DIR), 0o644);
    }
    add(payload::FENCE, drop_in(payload.etcd_unit(), payload::FENCE), 0o644);
    all
}

fn drop_in(unit: &str, name: &str) -> String {
    format!("{}/{unit}.d/{name}", paths::UNIT_DIR)
}
