//! What a node is given: one tarball.

pub(crate) mod tarball;
