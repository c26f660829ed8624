//! Every fixed path on a node, relative to a [`Root`](crate::sys::root::Root). No other file spells one out.

use std::path::{Path, PathBuf};

use crate::sys::root::Root;

/// The installed node program.
pub const PROGRAM: &str = "/opt/bin/etcd2-backup";
/// The rclone that came in the tarball, for the runner `bundled`.
pub const BUNDLED_RCLONE: &str = "/opt/bin/etcd2-backup-rclone";
/// The operator's rclone configuration; root only, since it holds secrets.
pub const RCLONE_CONF: &str = "/etc/rclone.conf";
/// Units and drop-ins that survive a reboot.
pub const UNIT_DIR: &str = "/etc/systemd/system";
/// Stamps that outlive any data directory: fence, identity. Readable by etcd's user.
pub const STAMP_DIR: &str = "/etc/etcd2-backup";
/// While this file exists, etcd's unit does not start.
pub const FENCE: &str = "/etc/etcd2-backup/fence";
/// Which member this node was last seen to be; the guard compares against it.
pub const IDENTITY: &str = "/etc/etcd2-backup/identity.json";
/// What the last look at the running etcd found; gone after a reboot.
pub const LOOKED: &str = "/run/etcd2-backup-looked";
/// Lets etcd's unit start on an empty data directory once more.
pub const ALLOW_EMPTY: &str = "/etc/etcd2-backup/allow-empty-data-dir";
/// `user:password` for etcd's own authentication, where that is on; for root alone.
pub const AUTH: &str = "/etc/etcd2-backup/auth";
/// What the installer placed, with checksums; it survives a reboot.
pub const RECORD: &str = "/etc/etcd2-backup/installed.json";
/// What an installation that is under way, or was interrupted, was about to change.
pub const INSTALL_JOURNAL: &str = "/etc/etcd2-backup/install-journal.json";
/// Name of the drop-in of `set-founder`: it sorts behind the one with all settings, and before an operator's `40-`.
pub const FOUNDER_DROP_IN: &str = "31-etcd2-backup-founder.conf";
/// Units and drop-ins that are gone after a reboot; there while systemd is the first process: sd_booted(3).
pub const RUNTIME_UNIT_DIR: &str = "/run/systemd/system";
/// systemd's `%m`.
pub const MACHINE_ID: &str = "/etc/machine-id";
/// Which operating system this is.
pub const OS_RELEASE: &str = "/etc/os-release";
/// The same, where os-release(5) looks if the first one is missing.
pub const OS_RELEASE_VENDOR: &str = "/usr/lib/os-release";

/// The directory of drop-ins of a unit, for example `/etc/systemd/system/etcd2.service.d`.
pub fn drop_ins(root: &Root, unit: &str) -> PathBuf {
    root.join(UNIT_DIR).join(format!("{unit}.d"))
}

/// What the last rehearsal found, in `ETCD_BACKUP_DIR`.
pub fn rehearsed(backup_dir: &Path) -> PathBuf {
    backup_dir.join("rehearsed.json")
}

/// Why the timer's rehearsal does not run on this node, while that is so.
pub fn rehearse_skipped(backup_dir: &Path) -> PathBuf {
    backup_dir.join("rehearse-skipped.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drop_in_of_set_founder_sorts_behind_the_settings_and_before_an_operators() {
        assert!(FOUNDER_DROP_IN > crate::install::payload::SETTINGS);
        assert!(FOUNDER_DROP_IN < "40-mine.conf");
    }
}
