//! What is read again of an archive, and what is found.
//!
//! - [`plan`]: which parts a run reads · [`read`]: bringing and checking them · [`check`]: all of a run, by generations · [`finding`]: what is wrong, and what that
//!   means · [`outcome`]: what is noted of it on the node
//! - [`drill`]: a restore that is tried out

pub mod check;
pub mod drill;
pub mod finding;
pub mod outcome;
pub mod plan;
pub mod read;
