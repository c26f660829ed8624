//! When how much of the remote is read again, as the site says it.

use anyhow::Result;
use serde::Serialize;

use super::calendar::calendar_or_off;
use super::faults::Faults;
use super::fragment::VerifyFragment;
use super::validate::text;

/// As the templates write it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Verify {
    /// Whether the timer runs.
    pub(crate) on: bool,
    /// `1/N`: so many runs in a row read every byte.
    pub(crate) share: String,
    /// A calendar expression of systemd.
    pub(crate) schedule: String,
}

/// The values of `[verify]`, checked, and the defaults of what it leaves out.
pub(crate) fn resolve(said: &VerifyFragment) -> Result<Verify> {
    let mut faults = Faults::default();
    let share = faults.take(text("verify.share", said.share.as_deref()));
    let (on, schedule) = faults.take(calendar_or_off("verify.schedule", said.schedule.as_deref()));
    faults.or(Verify { on, share, schedule })
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd2_backup::exit::hint_of;

    fn of(lines: &str) -> Result<Verify> {
        resolve(
            &crate::site::fragment::parse_fragment(&format!("version = 1\n[verify]\n{lines}"))
                .unwrap()
                .verify,
        )
    }

    #[test]
    fn the_defaults_and_all_that_can_be_said() {
        for (lines, on, share, schedule) in [
            ("", true, "1/7", "daily"),
            ("share = \"1/1000\"\nschedule = \" Sat 03:00 \"", true, "1/1000", "Sat 03:00"),
            ("schedule = \"off\"", false, "1/7", "daily"),
        ] {
            let want = Verify { on, share: share.into(), schedule: schedule.into() };
            assert_eq!(of(lines).unwrap(), want, "{lines}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        let share = "write 1/N, N from 1 to 1000, for example share = \"1/7\": 7 runs read every byte";
        for (lines, want) in [
            ("share = \"2/7\"", format!("verify.share \"2/7\" is no share | {share}")),
            ("share = \"1/0\"", format!("verify.share \"1/0\" is no share | {share}")),
            ("share = \"1/1001\"", format!("verify.share \"1/1001\" is no share | {share}")),
            (
                "schedule = \"*:*:*\"",
                "verify.schedule \"*:*:*\" has times 1 s apart, less than 5 s: systemd refuses to start a service more \
                 than 5 times in 10 s | leave out some, for example schedule = \"*:*:0/10\" or schedule = \"*:0/5\""
                    .into(),
            ),
            (
                "schedule = \"never\"",
                "verify.schedule \"never\" is no calendar expression: \"never\" is no day of the week | write one of \
                 systemd 231, for example schedule = \"*-*-* 02:00:00\" or schedule = \"Mon..Fri *:0/15\""
                    .into(),
            ),
        ] {
            let error = of(lines).unwrap_err();
            assert_eq!(format!("{error} | {}", hint_of(&error).unwrap()), want);
        }
    }
}
