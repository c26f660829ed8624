//! What `restore` is made of, and what a `join` takes of it: where the data comes from, and who the new members are.
//!
//! - [`source`]: the archive or the local disk, read and proven · [`fetch`]: a generation's parts, brought and checked
//! - [`point`]: where a point in the past lies · [`original`]: what etcd2-backup-coreos left
//! - [`replaced`]: whether another generation has another entry there
//! - [`plan`]: what is going to be made · [`heal`]: is the cluster really dead?
//! - [`guards`]: what keeps a recovery from doing harm · [`swap`]: the exchange, and one that was interrupted
//! - [`ran`]: whether a recovered cluster has run, by what it left
//! - [`record`]: what a recovery record names · [`seed`]: what a joining member begins with
//! - [`export`]: data of this disk for the other nodes
//! - [`build`]: the new member directory, beside the old one · [`notes`]: what later backups and everyone else must know

pub mod build;
pub mod export;
pub mod fetch;
pub mod guards;
pub mod heal;
pub mod notes;
pub mod original;
pub mod plan;
pub mod point;
pub mod ran;
pub mod record;
pub mod replaced;
pub mod seed;
pub mod source;
pub mod swap;
