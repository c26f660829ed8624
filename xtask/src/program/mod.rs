//! The programs a node runs, ours and rclone: taken from where they are, checked, and of known origin.

pub(crate) mod checks;
pub(crate) mod elf;
pub(crate) mod prebuilt;
pub(crate) mod provenance;
pub(crate) mod rclone;
pub(crate) mod sbom;
