//! The units of this program, and what each is: the only list of them, for the tarball, the installer, the build and the node.

/// What starts a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It is a timer itself.
    Timer,
    /// A timer, again and again: so it has to end by itself.
    ByTimer,
    /// The service of the backups, beside itself: so it has to end by itself, too.
    ByBackup,
    /// A person or another command, to look at something: it ends by itself, too.
    ByHand,
    /// A person, in a recovery: it takes as long as it takes, and decides itself what becomes of etcd.
    InRecovery,
}

/// One unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OurUnit {
    /// Its full name.
    pub name: &'static str,
    /// What starts it.
    pub start: Start,
    /// The subcommand that it runs; empty for a timer.
    pub command: &'static str,
}

/// The oldest systemd that they are written for, of 2016.
pub const OLDEST_SYSTEMD: u32 = 231;

/// All of them.
pub const UNITS: [OurUnit; 10] = [
    OurUnit { name: BACKUP, start: Start::ByTimer, command: "backup" },
    OurUnit { name: TIMER, start: Start::Timer, command: "" },
    OurUnit { name: BASE, start: Start::ByBackup, command: "base" },
    OurUnit { name: VERIFY, start: Start::ByTimer, command: "verify" },
    OurUnit { name: VERIFY_TIMER, start: Start::Timer, command: "" },
    OurUnit { name: REHEARSE, start: Start::ByTimer, command: "rehearse" },
    OurUnit { name: REHEARSE_TIMER, start: Start::Timer, command: "" },
    OurUnit { name: DOCTOR, start: Start::ByHand, command: "doctor" },
    OurUnit { name: RESTORE, start: Start::InRecovery, command: "restore" },
    OurUnit { name: JOIN, start: Start::InRecovery, command: "join" },
];
/// Sends what changed. Its drop-in holds our settings, for a command that was started by hand, too.
pub const BACKUP: &str = "etcd2-backup.service";
/// Brings the v3 store to the remote, where that is due.
pub const BASE: &str = "etcd2-backup-base.service";
/// What is enabled where backups are to be made. It starts and stops the timers of verification and drill.
pub const TIMER: &str = "etcd2-backup.timer";
/// Reads a share of the archive again.
pub const VERIFY: &str = "etcd2-backup-verify.service";
/// Starts that.
pub const VERIFY_TIMER: &str = "etcd2-backup-verify.timer";
/// Restores the newest point beside the data, and compares.
pub const REHEARSE: &str = "etcd2-backup-rehearse.service";
/// Starts that.
pub const REHEARSE_TIMER: &str = "etcd2-backup-rehearse.timer";
/// Tries what a backup needs, with the rights of one.
pub const DOCTOR: &str = "etcd2-backup-doctor.service";
/// Makes this node the first member of a recovered cluster.
pub const RESTORE: &str = "etcd2-restore.service";
/// Makes this node a member of a cluster that runs.
pub const JOIN: &str = "etcd2-join.service";

/// The names of all of them.
pub fn names() -> impl Iterator<Item = &'static str> {
    UNITS.into_iter().map(|unit| unit.name)
}

/// The names of those that run something, without the timers.
pub fn services() -> impl Iterator<Item = &'static str> {
    UNITS.into_iter().filter(|unit| unit.start != Start::Timer).map(|unit| unit.name)
}

/// The names of the timers.
pub fn timers() -> impl Iterator<Item = &'static str> {
    UNITS.into_iter().filter(|unit| unit.start == Start::Timer).map(|unit| unit.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_called_so_and_starts_a_service_of_ours() {
        for OurUnit { name, start, command } in UNITS {
            let timer = start == Start::Timer;
            assert_eq!((name.ends_with(".timer"), command.is_empty()), (timer, timer), "{name}");
            let starts = name.replace(".timer", ".service");
            assert!(UNITS.iter().any(|unit| unit.name == starts), "{name}");
        }
        let by_timer = UNITS.iter().filter(|unit| unit.start == Start::ByTimer).count();
        assert_eq!(by_timer, timers().count());
    }
}
