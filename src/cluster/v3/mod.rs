//! etcd's v3 API, as far as a cluster is asked by it: its members, its state, changes of membership.
//!
//! - [`messages`]: what goes over the wire · [`shape`]: the same in JSON · [`calls`]: the calls and what their answers mean
//! - [`snapshot`]: a member's db, sent as it is

pub mod calls;
pub mod messages;
pub mod shape;
pub mod snapshot;
