//! What the fuzz targets share. A target makes its input into what it tests, and asserts more than that nothing panics.
//!
//! Random bytes never have a right CRC. So most targets take, beside raw bytes, a script: [`script`] writes a log from
//! it and sums its CRCs, [`tree`] a whole data directory, [`db`] a bolt file. Both also turn real ones into scripts, for the seeds.

pub mod db;
pub mod input;
pub mod scratch;
pub mod script;
pub mod tree;
