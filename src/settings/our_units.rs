//! The units of this program: the only list of them, for the tarball, the installer, the build and the node.

/// The oldest systemd that they are written for, of 2016.
pub const OLDEST_SYSTEMD: u32 = 231;

/// All of them.
pub const UNITS: [&str; 7] =
    [BACKUP, TIMER, VERIFY, VERIFY_TIMER, DOCTOR, "etcd2-restore.service", "etcd2-join.service"];
/// Sends what changed.
pub const BACKUP: &str = "etcd2-backup.service";
/// What is enabled where backups are to be made. It starts and stops the timer of the verification.
pub const TIMER: &str = "etcd2-backup.timer";
/// Reads a share of the archive again.
pub const VERIFY: &str = "etcd2-backup-verify.service";
/// Starts that.
pub const VERIFY_TIMER: &str = "etcd2-backup-verify.timer";
/// Tries what a backup needs, with the rights of one.
pub const DOCTOR: &str = "etcd2-backup-doctor.service";

/// Those that run something, without the timers.
pub fn services() -> impl Iterator<Item = &'static str> {
    UNITS.into_iter().filter(|unit| unit.ends_with(".service"))
}
