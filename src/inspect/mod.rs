//! What a data directory, an archive or one of their files holds: told whether it is whole or not, as far as it can be
//! read. All of it is read as a stream, in constant memory.
//!
//! - [`subject`]: what a path is, and its content as one stream of snapshot and records
//! - [`gather`]: the content read through · [`report`]: what it adds up to · [`table`]: the same for people
//! - [`entries`], [`keys`]: the lists

pub mod entries;
pub mod gather;
pub mod keys;
pub mod report;
pub mod subject;
pub mod table;
