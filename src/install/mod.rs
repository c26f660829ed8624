//! The unpacked tarball on a node: is it whole, what goes where, and placing it.

pub mod payload;
pub mod place;
pub mod plan;
pub mod sums;
pub mod system;
