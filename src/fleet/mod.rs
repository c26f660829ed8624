//! All nodes of a cluster at once: what each says of itself, what follows for all of them, and the ssh that carries it.
//!
//! - [`report`]: what a node says of itself, as values · [`gather`]: how it finds out
//! - [`way`]: nodes, wishes and ways, as values · [`refuse`]: what keeps a recovery from being begun
//! - [`plan`]: what is to be done, from the reports alone, so that a recovery that was cut off goes on where it was ·
//!   [`past`]: the same for a point in the past · [`text`]: for people
//! - [`steps`]: what is run on which node · [`planned`]: what one would restore · [`ssh`]: this program on another node · [`said`]: what that says ·
//!   [`progress`]: how far it is, for whoever is interrupted
//! - [`serving`]: until etcd serves on this one · [`overview`]: the `status` of each, one line a node

pub mod gather;
pub mod overview;
pub mod past;
pub mod plan;
pub mod planned;
pub mod progress;
pub mod refuse;
pub mod report;
pub mod said;
pub mod serving;
pub mod ssh;
pub mod steps;
pub mod text;
pub mod way;
