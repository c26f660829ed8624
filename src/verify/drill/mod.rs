//! A restore that is tried out: a private etcd on the restored data, and what it says against what the archive says.
//!
//! - [`account`]: the keys by the archive, compared with those by etcd · [`answer`]: etcd's answer
//! - [`above`]: what holds for all that is in a folder · [`process`]: etcd in a network of its own · [`run`]: the steps
//! - [`v3`]: the v3 store of a disk, by etcd's own sum

pub mod above;
pub mod account;
pub mod answer;
pub mod process;
pub mod run;
pub mod v3;
