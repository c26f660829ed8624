//! What a data directory, an archive or one of their files holds: told whether it is whole or not, as far as it can be
//! read. All of it is read as a stream, in constant memory but for the list of v3 keys.
//!
//! - [`subject`]: what a path is, and its content as one stream of snapshot and records
//! - [`gather`]: the content read through · [`report`]: what it adds up to · [`table`]: the same for people
//! - [`db`]: what the db of the v3 store says
//! - [`entries`], [`keys`], [`v3_keys`]: the lists · [`v3_entry`]: what an entry asks of the v3 store

pub mod db;
pub mod entries;
pub mod gather;
pub mod keys;
pub mod report;
pub mod subject;
pub mod table;
pub mod v3_entry;
pub mod v3_keys;
