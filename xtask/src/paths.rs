//! Where things are in the checkout.

use std::path::{Path, PathBuf};

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

/// What the tasks make for the operator.
pub(crate) fn dist() -> PathBuf {
    root().join("dist")
}

/// What cargo makes for itself.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// What a build need not find out twice, each under the checksum of what it is about.
pub(crate) fn cache() -> PathBuf {
    target().join("cache")
}
