//! What `restore` is made of: where the data comes from, and who the new members are.
//!
//! - [`source`]: the archive or the local disk, read and proven · [`fetch`]: a generation's parts, brought and checked
//! - [`point`]: where a point in the past lies
//! - [`ids`]: token and new IDs · [`heal`]: is the cluster really dead?

pub mod fetch;
pub mod heal;
pub mod ids;
pub mod point;
pub mod source;
