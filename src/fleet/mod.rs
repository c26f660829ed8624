//! All nodes of a cluster at once: what each says of itself, what follows for all of them, and the ssh that carries it.
//!
//! - [`report`]: what a node says of itself, as values · [`gather`]: how it finds out
//! - [`plan`]: what is to be done, from the reports alone, so that a recovery that was cut off goes on where it was ·
//!   [`text`]: the same for people
//! - [`steps`]: what is run on which node · [`ssh`]: this program on another node
//! - [`await_member`]: until etcd serves on this one

pub mod await_member;
pub mod gather;
pub mod plan;
pub mod report;
pub mod ssh;
pub mod steps;
pub mod text;
