//! The directives of systemd that units of ours use or an operator's are likely to, and how old a systemd knows them.

/// The oldest systemd that is served.
pub(crate) const OLDEST: u32 = etcd2_backup::settings::our_units::OLDEST_SYSTEMD;

/// Each directive and the systemd that brought it (0: before 200).
#[rustfmt::skip]
const DIRECTIVES: [(&str, u32); 31] = [
    ("AccuracySec", 209),
    ("After", 0),
    ("Also", 0),
    ("AssertPathExists", 218),
    ("ConditionPathExists", 0),
    ("Description", 0),
    ("Environment", 0),
    ("EnvironmentFile", 0),
    ("ExecCondition", 243),
    ("ExecStart", 0),
    ("ExecStartPost", 0),
    // "+" before the command is newer than the directive: 231.
    ("ExecStartPre", 231),
    ("ExecStopPost", 0),
    ("IOSchedulingClass", 0),
    ("IOSchedulingPriority", 0),
    ("Nice", 0),
    ("OOMScoreAdjust", 0),
    ("OnBootSec", 0),
    ("OnCalendar", 0),
    ("OnFailure", 0),
    ("OnUnitActiveSec", 0),
    ("PartOf", 0),
    ("Persistent", 212),
    ("RandomizedDelaySec", 229),
    ("SuccessExitStatus", 0),
    ("SyslogLevel", 0),
    // "infinity" is newer than the directive: 229.
    ("TimeoutStartSec", 229),
    ("Type", 0),
    ("UMask", 0),
    ("WantedBy", 0),
    ("Wants", 0),
];

/// What a unit does without: the processor is not left to others first, and what systemd itself says of the unit is in the journal. A
/// systemd that does not know one says so, and goes on.
const COMFORTS: [(&str, u32); 2] = [("CPUWeight", 232), ("LogLevelMax", 236)];

/// Those that take rights away from a service. A systemd that does not know one, or its value, says so and goes on without
/// it: nothing breaks, the service may do more.
#[rustfmt::skip]
const PROTECTIONS: [(&str, u32); 26] = [
    ("CapabilityBoundingSet", 0),
    ("IPAddressDeny", 235),
    ("LockPersonality", 235),
    ("MemoryDenyWriteExecute", 231),
    ("NoNewPrivileges", 0),
    ("PrivateDevices", 209),
    ("PrivateMounts", 239),
    ("PrivateNetwork", 0),
    ("PrivateTmp", 0),
    ("ProtectClock", 245),
    ("ProtectControlGroups", 232),
    ("ProtectHome", 214),
    ("ProtectHostname", 242),
    ("ProtectKernelLogs", 244),
    ("ProtectKernelModules", 232),
    ("ProtectKernelTunables", 232),
    ("ProtectProc", 247),
    // "full" came with the directive in 214, "strict" later.
    ("ProtectSystem", 232),
    ("ReadWritePaths", 231),
    ("RestrictAddressFamilies", 211),
    ("RestrictNamespaces", 233),
    ("RestrictRealtime", 231),
    ("RestrictSUIDSGID", 242),
    ("SystemCallArchitectures", 209),
    ("SystemCallErrorNumber", 209),
    // Groups are newer than the directive. One that an old systemd does not know (@reboot and @swap: 233) is left out there.
    ("SystemCallFilter", 231),
];

/// The systemd that brought a directive, if it is in a table.
pub(crate) fn since(name: &str) -> Option<u32> {
    DIRECTIVES
        .iter()
        .chain(&PROTECTIONS)
        .chain(&COMFORTS)
        .find(|(known, _)| *known == name)
        .map(|(_, since)| *since)
}

/// Whether a systemd that does not know it can do without.
pub(crate) fn is_dispensable(name: &str) -> bool {
    PROTECTIONS.iter().chain(&COMFORTS).any(|(known, _)| *known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::site::templates::stock;

    /// What operators read is what the code goes by, and what the templates use.
    #[test]
    fn the_documents_table_is_this_one() {
        let text = include_str!("../../../docs/hardening.md");
        let (_, table) = text.split_once("\n| directive | since |\n|---|---|\n").unwrap();
        let listed: Vec<(&str, u32)> = table
            .lines()
            .map_while(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | "))
            .map(|(name, since)| (name, since.parse().unwrap_or(0)))
            .collect();
        assert_eq!(listed, PROTECTIONS);
        let templates: String = stock().into_values().collect();
        for (name, _) in PROTECTIONS {
            assert!(templates.contains(&format!("\n{name}=")), "{name} is not used");
            assert!(!DIRECTIVES.iter().any(|(other, _)| *other == name), "{name} is in both tables");
        }
    }
}
