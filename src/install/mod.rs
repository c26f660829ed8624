//! The unpacked tarball on a node: is it whole, what goes where, placing it, and taking it away again.
//!
//! A [`plan`] says what is to be done to which file; [`transaction`] does it all or not at all; [`record`] remembers what
//! was placed.

pub mod existing;
pub mod founder;
mod json;
pub mod leftovers;
pub mod needs;
pub mod payload;
pub mod plan;
pub mod post_install;
pub mod record;
pub mod sums;
pub mod system;
pub mod transaction;
