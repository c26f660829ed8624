//! What is printed and written for people: against the code.

mod asked;
mod book;
mod command_line;
mod docs;
mod order;
mod reference;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_etcd2-backup");
