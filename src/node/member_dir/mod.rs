//! etcd's member directory on the disk: whose it is, how an old one is kept, how a new one takes its place.
//!
//! - [`owner`]: the data directory and its owner · [`aside`]: old directories get another name, and are never deleted
//! - [`places`]: which directories those are, a separate WAL directory too
//! - [`kept`]: the old ones that were kept
//! - [`empty_log`]: a member that has nothing but its IDs
//! - [`workshop`]: where a new one is made, which only root can enter
//! - [`exchange`]: the new directories for the old ones, all or none

pub mod aside;
pub mod empty_log;
pub mod exchange;
pub mod kept;
pub mod owner;
pub mod places;
pub mod workshop;
