//! What lies in the remote below a machine's folder. "Archive" always means this, never the tarball.
//!
//! A **generation** is one base (a snapshot, or the start of the log) and an unbroken chain of log parts behind it. An
//! object is written once and never changed. Its name carries its size, so that a listing alone shows what is there completely, and
//! where in the log it begins and ends, so that it shows the chain. docs/format.md has it all.
//!
//! - [`names`]: names of generations and parts · [`part`]: the bytes of a part · [`hex_id`]: IDs in its head
//! - [`link`]: by what a part names the one before · [`pieces`]: the v3 store that a base begins with · [`chain`]: what a listing means
//! - [`catalog`]: the generations of a folder, and what their bases say
//! - [`unpack`]: parts back into a data directory · [`lineage`]: which history follows which · [`history`]: whether a
//!   member's generations are of one · [`recovery_records`]: what other machines' recovery records say of it
//! - [`ids`]: the IDs of a recovered cluster, and whether a record is the one that they follow from
//! - [`check`]: whether parts, read one after the other, could be restored · [`verified`]: which ones were
//! - [`migration`]: whether one folder may be copied into another
//! - [`retention`]: which generations are kept, and why · [`listing`]: the restore points of machines

pub mod catalog;
pub mod chain;
pub mod check;
pub mod hex_id;
pub mod history;
pub mod ids;
pub mod lineage;
pub mod link;
pub mod listing;
pub mod migration;
pub mod names;
pub mod part;
pub mod pieces;
pub mod recovery_records;
pub mod retention;
pub mod unpack;
pub mod verified;
