//! The node's files: rendered from a site's templates, and held to what they must keep.

mod directives;
pub(crate) mod exposure;
pub(crate) mod render;
pub(crate) mod rules;
mod sandbox;
pub(crate) mod systemd;
