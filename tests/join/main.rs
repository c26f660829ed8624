//! The other members: joins of every kind, recoveries of several members, and the command for all nodes.

mod forged;
mod join;
mod join_access;
mod join_faults;
mod join_urls;
mod many;
mod parallel;
mod parallel_v3;
mod recover;
mod recover_said;
mod seeded;
mod v3_calls;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_etcd2-backup");
