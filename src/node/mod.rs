//! This node: what keeps etcd from starting on the wrong data, etcd's directories on its disk, and the etcd that runs.
//!
//! - [`fence`]: the stamp that keeps etcd's unit from starting · [`guards`]: what keeps a recovery from doing harm
//! - [`member_dir`]: etcd's directory: its owner, the old one kept, the new one in its place
//! - [`under_fence`]: the exchange behind the fence, and one that was interrupted
//! - [`past_members`]: which members this node's disk has been
//! - [`running`]: the etcd that runs: which log it has open, how it was started

pub mod fence;
pub mod guards;
pub mod member_dir;
pub mod past_members;
pub mod running;
pub mod under_fence;
