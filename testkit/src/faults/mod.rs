//! What goes wrong around the program, and in it.

pub mod curl;
pub mod disk;
pub mod inject;
pub mod kill;
pub mod namespace;
pub mod wrapper;
