//! When a restore is rehearsed, as the site says it.

use anyhow::Result;
use serde::Serialize;

use super::calendar::calendar_or_off;
use super::fragment::RehearseFragment;

/// As the templates write it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Rehearse {
    /// Whether the timer runs.
    pub(crate) on: bool,
    /// A calendar expression of systemd.
    pub(crate) schedule: String,
}

/// The values of `[rehearse]`, checked, and the defaults of what it leaves out.
pub(crate) fn resolve(said: &RehearseFragment) -> Result<Rehearse> {
    let (on, schedule) = calendar_or_off("rehearse.schedule", said.schedule.as_deref())?;
    Ok(Rehearse { on, schedule })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::fragment::parse_fragment;

    #[test]
    fn it_is_weekly_or_as_said_or_off() {
        for (lines, on, schedule) in [
            ("", true, "weekly"),
            ("schedule = \" Sun 04:00 \"", true, "Sun 04:00"),
            ("schedule = \"off\"", false, "weekly"),
        ] {
            let said = parse_fragment(&format!("version = 1\n[rehearse]\n{lines}")).unwrap().rehearse;
            assert_eq!(resolve(&said).unwrap(), Rehearse { on, schedule: schedule.into() }, "{lines}");
        }
        let said = RehearseFragment { schedule: Some("now and then".into()) };
        let error = resolve(&said).unwrap_err().to_string();
        assert!(error.starts_with("rehearse.schedule \"now and then\" is no calendar expression"), "{error}");
    }
}
