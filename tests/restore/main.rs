//! A member comes back: from the archive, a disk, the original's backup; to any point, in any place, and back again.

mod candidates;
mod could_not_ask;
mod faults;
pub(crate) mod in_pieces;
mod legacy;
mod living_cluster;
mod not_roots;
mod places;
mod plan;
mod points;
mod restore;
mod space;
mod started_meanwhile;
mod undo;
mod v3_archive;
mod v3_disk;
mod v3_faults;
mod v3_kills;
mod v3_points;
mod v3_versions;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_etcd2-backup");
