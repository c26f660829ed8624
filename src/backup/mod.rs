//! One backup cycle, and what it says of itself.
//!
//! - [`cycle`]: the steps of one · [`capture`]: what is new in the log · [`spool`]: the parts that wait on this disk · [`way`]: from there to the remote
//! - [`state`]: what is remembered until the next cycle · [`arrival`]: looking for what was sent
//! - [`folder_check`]: whether the machine's directory in the remote still has what was sent
//! - [`base`]: the v3 store that a generation begins with, brought to the remote beside the cycles
//! - [`no_member`]: a node that has no log
//! - [`outcome`]: what a cycle did · [`summary`]: the same in the journal · [`metrics`]: the same for a monitor
//! - [`skipped`]: why no restore is rehearsed by the timer
//! - [`status`]: what would be lost now, and why · [`doctor`]: would a backup of this node do?

pub mod arrival;
pub mod base;
pub mod capture;
pub mod cycle;
pub mod doctor;
pub mod folder_check;
pub mod metrics;
pub mod no_member;
pub mod outcome;
pub mod skipped;
pub mod spool;
pub mod state;
pub mod status;
pub mod summary;
mod way;
