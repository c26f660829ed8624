//! etcd's member directory on the disk: whose it is, how an old one is kept, how a new one takes its place.
//!
//! - [`owner`]: the data directory and its owner · [`aside`]: old directories get another name, and are never deleted
//! - [`exchange`]: the new member directory for the old one, in one step

pub mod aside;
pub mod exchange;
pub mod owner;
