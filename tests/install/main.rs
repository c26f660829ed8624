//! The installer over trees: cases, faults at each system call, promises, properties; what it needs, and who may run it.

mod asked;
mod faults;
mod needs;
mod privilege;
mod promises;
mod properties;
mod trees;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_etcd2-backup");
