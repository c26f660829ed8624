//! Backup and recovery of etcd's v2 and v3 stores: the node program as a library.
//!
//! The way of the data: a live data directory is read from where the last backup ended ([`etcd`]), put into one
//! checksummed part of an archive ([`archive`]) and sent by one rclone call ([`remote`]): [`backup`]. A recovery reads an archive
//! or a surviving disk, writes a new member directory offline and exchanges it for the old one: [`restore`].
//!
//! A room uses only rooms that stand below it in this list, which `tests/docs/order.rs` reads:
//!
//! - [`commands`]: the command line, and what each subcommand does in which order; no mechanism
//! - [`fleet`]: all nodes of a cluster at once, by ssh: what each says, the plan, the steps
//! - [`join`]: a node becomes a member of a living cluster
//! - [`verify`]: parts of an archive read back; the drill, a private etcd on restored data
//! - [`restore`]: from a source to a new member directory; the candidates for a source, ranked
//! - [`backup`]: one cycle: what is new in the log, made a part, sent, remembered, reported; status and doctor
//! - [`inspect`]: what a data directory, an archive or one of their files holds, for people and as JSON
//! - [`install`]: the unpacked tarball: what is in it, whether it is intact, where its files go
//! - [`archive`]: what lies in the remote: names, parts, chains, restore points, what is kept
//! - [`node`]: this node, opened once and handed on: fence, identity, lock, member directory, the etcd that runs
//! - [`cluster`]: a running cluster by its API: v2 where it is served, else v3
//! - [`remote`]: the contract with a remote, and rclone keeping it
//! - [`settings`]: every setting, read once from the units into plain values
//! - [`paths`]: every fixed path on a node
//! - [`etcd`]: etcd's files: bytes in, values out, and back
//! - [`sys`]: processes, files, locks, systemd, HTTP, the terminal; knows no etcd
//! - [`exit`]: exit codes, and the error that carries one and a hint

pub mod archive;
pub mod backup;
pub mod cluster;
pub mod commands;
pub mod etcd;
pub mod exit;
pub mod fleet;
pub mod inspect;
pub mod install;
pub mod join;
pub mod node;
pub mod paths;
pub mod remote;
pub mod restore;
pub mod settings;
pub mod sys;
pub mod verify;
