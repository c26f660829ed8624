//! What lies in the remote: listed, pruned, verified, copied to another machine, rehearsed; what of that takes long, and what is
//! printed of it as JSON.

mod by_hand;
mod drill;
mod format1;
mod json;
mod list;
mod migrate;
mod narrow;
mod progress;
mod prune;
mod verify;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_etcd2-backup");
