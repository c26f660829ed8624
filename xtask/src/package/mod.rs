//! What a node is given: one tarball.

pub(crate) mod manual;
pub(crate) mod tarball;
