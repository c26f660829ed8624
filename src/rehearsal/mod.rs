//! A restore that is tried out: a private etcd on the restored data, and what it says against what the archive says.
//!
//! - [`account`]: the keys by the archive, compared with those by etcd · [`process`]: etcd in a network of its own

pub mod account;
pub mod process;
