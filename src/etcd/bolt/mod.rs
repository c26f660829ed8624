//! Bolt, the file format of etcd's v3 store (`snap/db`): read page by page in little memory, and the stub that 3.x wants
//! beside a v2 snapshot.
//!
//! Read from bbolt at v1.3.6 to v1.4 and tried on real etcd 3.4 to 3.6. docs/etcd-formats.md has the facts.
//!
//! - `layout`: pages, elements, numbers · `meta`: the newest transaction · `page`: one page, checked
//! - [`tree`]: the one walk · [`db`]: a file that is read, its buckets, and whether all of it is sane
//! - [`filled`]: whether a bucket is empty · [`sum`]: the sha256 of a maintenance snapshot
//! - `stub`: the empty store

pub mod db;
pub mod filled;
mod layout;
mod meta;
mod page;
mod stub;
pub mod sum;
#[cfg(test)]
mod tests;
pub mod tree;

pub use db::{Bucket, Db, OnBucketRow, OnRow, Reached, between_commits};
pub use stub::stub;
pub use tree::{Order, PageSet};
