//! Real etcd and real rclone for the tests and the demo, on loopback, without installing anything.
//!
//! It shares no code with the node program: what judges that program must not repeat its mistakes.
//!
//! - [`tools`]: where etcd, etcdctl and rclone are, or how they are fetched
//! - [`etcd`]: members and clusters that start, stop, die and come back
//! - [`node`]: a node as a tree, and the node program run on it
//! - [`faults`]: what goes wrong: killed at a system call, errors, a lying rclone or curl, a disk of its own
//! - [`install_tree`]: the installer at work on one tree, again and again
//! - [`certificates`]: an authority and certificates of it
//! - [`bolt`]: what lies in a bucket of `snap/db`
//! - [`keys`]: what is in the v2 store, and whether two stores are the same
//! - [`v3`]: the v3 store by etcd's gateway: a sample, and what etcd answers
//! - [`store`]: a log and a snapshot of any size, as etcd would have written them
//! - [`replay`]: what the bytes of a log and of a snapshot say, read independently
//! - [`schema`]: what JSON is to look like
//! - [`http`]: just enough HTTP for that
//! - [`terminal`]: a terminal for a program, and what stands on it
//! - [`fixtures`]: data directories of etcd versions that are not at hand
//! - [`modules`]: what the modules of a crate name of each other
//! - [`checkout`]: the clone that is worked in
//! - [`files`]: files and trees
//! - [`ports`]: ports nobody else gets
//! - [`wait`]: until something holds · [`process`]: other programs, run within a time limit

pub mod bolt;
pub mod certificates;
pub mod checkout;
pub mod etcd;
pub mod faults;
pub mod files;
pub mod fixtures;
pub mod http;
pub mod install_tree;
pub mod keys;
pub mod modules;
pub mod node;
pub mod ports;
pub mod process;
pub mod replay;
pub mod schema;
pub mod store;
pub mod terminal;
pub mod tools;
pub mod v3;
pub mod wait;
