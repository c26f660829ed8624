//! The directives of systemd that units of ours use or an operator's are likely to, and how old a systemd knows them.

/// The oldest systemd that is served, of 2016.
pub(crate) const OLDEST: u32 = 231;

/// Each directive and the systemd that brought it (0: before 200).
#[rustfmt::skip]
const DIRECTIVES: [(&str, u32); 24] = [
    ("AccuracySec", 209),
    ("After", 0),
    ("Also", 0),
    ("AssertPathExists", 218),
    ("Description", 0),
    ("Environment", 0),
    ("EnvironmentFile", 0),
    ("ExecCondition", 243),
    ("ExecStart", 0),
    ("ExecStartPost", 0),
    ("ExecStartPre", 0),
    ("ExecStopPost", 0),
    ("IOSchedulingClass", 0),
    ("IOSchedulingPriority", 0),
    ("Nice", 0),
    ("OnBootSec", 0),
    ("OnCalendar", 0),
    ("OnFailure", 0),
    ("OnUnitActiveSec", 0),
    ("RandomizedDelaySec", 229),
    // "infinity" is newer than the directive: 229.
    ("TimeoutStartSec", 229),
    ("Type", 0),
    ("WantedBy", 0),
    ("Wants", 0),
];

/// The systemd that brought a directive, if it is in the table.
pub(crate) fn since(name: &str) -> Option<u32> {
    DIRECTIVES.iter().find(|(known, _)| *known == name).map(|(_, since)| *since)
}
