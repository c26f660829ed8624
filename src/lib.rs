//! Backup and recovery of etcd's v2 store: the node program as a library.
//!
//! The way of the data: a live data directory is read from where the last backup ended ([`etcd`]), put into one
//! checksummed part of an archive ([`archive`]), sent by one rclone call ([`remote`]). A recovery reads an archive or a
//! surviving disk, writes a new member directory offline and exchanges it for the old one ([`commands::restore`]).
//!
//! Nothing below points up:
//!
//! - [`commands`]: the command line, and one file per command: what happens in which order, no mechanism
//! - [`install`]: the unpacked tarball: what is in it, whether it is whole, where its files go
//! - [`inspect`]: what a data directory, an archive or one of their files holds, for people and as JSON
//! - [`listing`]: the restore points of machines, for people and as JSON
//! - [`sources`]: all that a recovery could begin with, and which of it is the freshest
//! - [`rehearsal`]: a private etcd on restored data, compared with the archive
//! - [`verify`]: what is read again of an archive, and what is found
//! - [`status`]: what would be lost now, and why
//! - [`doctor`]: whether a backup of this node would do: what it needs, tried one after the other
//! - [`telling`]: what a backup says of itself, in the journal and for a monitor
//! - [`fleet`]: all nodes of a cluster at once, by ssh: what each says, what is to be done
//! - [`recovery`]: what a restore is made of: source, new IDs, exchange
//! - [`cluster`]: a running cluster by its HTTP API: who is in it, who has caught up, how a member comes in
//! - [`fence`], [`identity`]: the stamps that keep etcd from starting on the wrong data
//! - [`member_dir`]: etcd's directory on the disk: its owner, the old one kept, the new one in its place
//! - [`running`]: the etcd that runs: which log it has open, how it was started
//! - [`settings`]: the environment of the unit and of etcd's unit, made into one `Settings`
//! - [`archive`]: what lies in the remote: names, parts, chains, which point to restore
//! - [`etcd`]: etcd's files: bytes in, values out, and back
//! - [`remote`]: the contract with a remote, and rclone keeping it
//! - [`sys`]: processes, files, locks, systemd, HTTP; knows nothing of etcd
//! - [`exit`]: exit codes and the error that carries one · [`paths`]: every fixed path on a node

pub mod archive;
pub mod cluster;
pub mod commands;
pub mod doctor;
pub mod etcd;
pub mod exit;
pub mod fence;
pub mod fleet;
pub mod identity;
pub mod inspect;
pub mod install;
pub mod listing;
pub mod member_dir;
pub mod paths;
pub mod recovery;
pub mod rehearsal;
pub mod remote;
pub mod running;
pub mod settings;
pub mod sources;
pub mod status;
pub mod sys;
pub mod telling;
pub mod verify;
