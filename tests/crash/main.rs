//! kill -9 at every step of every command that changes a disk.

mod backup_restore;
mod base;
mod join;
mod recovery;
mod seed;
mod undo;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_etcd2-backup");
