//! etcd's files: every fixture, a log that is being written, damage of every kind, also while writes go on, and what is written offline.

mod arrival;
mod copier;
mod fixtures;
mod inspect;
mod live_interleaved;
mod live_tail;
mod live_walk;
mod mutation;
mod rewrite;
mod running;
mod second_look;
mod v3;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_etcd2-backup");
