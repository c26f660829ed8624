//! What lies in the remote: listed, pruned, verified, copied to another machine, rehearsed; what of that takes long.

mod drill;
mod list;
mod migrate;
mod progress;
mod prune;
mod verify;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_etcd2-backup");
