//! The base of a log: what its entries are replayed on, where the v3 store is backed up too.
//!
//! - [`copy`]: the store of a running etcd, copied as of one moment

pub mod copy;
