//! From a source to a new member directory: where the data comes from, and who the new members are.
//!
//! - [`options`]: what is asked of a restore · [`allowed`]: whether it may be done · [`recovery`]: whose recovery it is
//! - [`choose`]: its data · [`carry_out`]: what it changes on the node · [`text`]: what it says
//! - [`open`]: the archive or the local disk, read and proven · [`source`]: what came of it · [`fetch`]: a generation's parts, downloaded and checked
//! - [`candidates`]: what a restore could begin with, ranked
//! - [`point`]: where a point in the past lies · [`legacy`]: what etcd2-backup-coreos left
//! - [`other_history`]: whether another generation has another entry there · [`newest`]: how far the cluster came after it
//! - [`plan`]: what is going to be made · [`living_cluster`]: is the cluster really dead?
//! - [`has_run`]: whether a recovered cluster has run, by what it left
//! - [`from_record`]: what a recovery record names · [`export`]: data of this disk for the other nodes
//! - [`build`]: the new member directory, beside the old one · [`publish`]: what later backups and everyone else must know
//! - [`installed`]: whether the etcd on this node fits a v3 store
//! - [`expiry`]: which keys will have expired when etcd starts

pub mod allowed;
pub mod build;
pub mod candidates;
pub mod carry_out;
pub mod choose;
pub mod expiry;
pub mod export;
pub mod fetch;
pub mod from_record;
pub mod has_run;
pub mod installed;
pub mod legacy;
pub mod living_cluster;
pub mod newest;
pub mod open;
pub mod options;
pub mod other_history;
pub mod plan;
pub mod point;
pub mod publish;
pub mod recovery;
pub mod source;
pub mod text;
