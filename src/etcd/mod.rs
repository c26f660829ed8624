//! etcd's files, bytes in and values out, and back again. Knows etcd 2.0 to 3.5 with v2 data, and reads
//! the v3 store of 3.4 to 3.6; knows nothing of
//! processes, networks or our archive.
//!
//! Read from etcd's sources at v2.0.13 to v3.5.9 and tried on real 2.3.8 and 3.4.23.
//!
//! - [`wire`], [`proto`]: the few protobuf messages · [`frame`]: one WAL record at a time · [`wal`]: segments and their order
//! - [`snap`]: a snapshot file · [`store`]: the member list inside a v2 store's JSON
//! - [`log`]: what the records of a log add up to · [`terms`]: the terms of its entries ·
//!   `snapshot_offsets`: where in it the entries behind a snapshot begin
//! - [`replay`]: what a snapshot and the records behind it add up to, wherever they are read
//! - [`datadir`]: which snapshot and which log a data directory really holds
//! - [`members`]: who is a voter, following the log · [`rewrite`]: the restored member directory ·
//!   [`empty_log`]: that of a member that has nothing but its IDs
//! - [`in_use`]: whether a log is held, or was written to since · [`file`]: opened only if it is one · `tail`: what lies behind a log's last record
//! - [`bolt`]: the file format of `snap/db`, read page by page; the stub that 3.x wants beside a snapshot
//! - [`clock`]: when entries were written · [`request`]: what an entry asks of the store · [`v3`]: the v3 store: what its db
//!   and its log entries say, whether a member holds data of it

pub mod bolt;
pub mod clock;
pub mod datadir;
pub mod empty_log;
pub mod file;
pub mod frame;
pub mod in_use;
pub mod log;
pub mod members;
pub mod proto;
pub mod replay;
pub mod request;
pub mod rewrite;
pub mod snap;
mod snapshot_offsets;
pub mod store;
mod tail;
pub mod terms;
pub mod v3;
pub mod wal;
pub mod wire;
