//! Real etcd and real rclone for the tests and the demo, on loopback, without installing anything.
//!
//! It shares no code with the node program: what judges that program must not repeat its mistakes.
//!
//! - [`tools`]: where etcd, etcdctl and rclone are, or how they are fetched
//! - [`etcd`]: members and clusters that start, stop, die and come back
//! - [`node`]: a whole node as a tree, with the product installed in it
//! - [`keys`]: what is in the v2 store, and whether two stores are the same
//! - [`replay`]: what the bytes of a log and of a snapshot say, read independently
//! - [`http`]: just enough HTTP for that
//! - [`fixtures`]: data directories of etcd versions that are not at hand
//! - [`ports`]: ports nobody else gets
//! - [`process`]: other programs, run within a time limit

pub mod etcd;
pub mod fixtures;
pub mod http;
pub mod keys;
pub mod node;
pub mod ports;
pub mod process;
pub mod replay;
pub mod tools;
