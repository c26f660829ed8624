//! When how much of the remote is read again, as the site says it.

use anyhow::Result;
use etcd2_backup::settings::table::default;
use serde::Serialize;

use super::calendar::check_calendar;
use super::faults::Faults;
use super::fragment::VerifyFragment;
use super::validate::refuse;

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

/// What switches it off.
const OFF: &str = "off";
/// The most shares that the node program takes.
const MOST: u64 = 1000;

/// The values of `[verify]`, checked, and the defaults of what it leaves out.
pub(crate) fn resolve(said: &VerifyFragment) -> Result<Verify> {
    let share = said.share.as_deref().unwrap_or(default("verify.share"));
    let of = share.strip_prefix("1/").and_then(|of| of.parse::<u64>().ok());
    let mut faults = Faults::default();
    if !of.is_some_and(|of| (1..=MOST).contains(&of)) {
        let hint = format!(
            "write 1/N, N from 1 to {MOST}, for example share = {:?}: 7 runs read every byte",
            default("verify.share")
        );
        faults.extend([refuse(format!("verify.share {share:?} is no share"), hint)]);
    }
    let schedule = said.schedule.as_deref().unwrap_or(default("verify.schedule")).trim();
    let on = schedule != OFF;
    let schedule = match on {
        // A timer that nothing starts must still be one.
        false => default("verify.schedule").to_owned(),
        true => faults.take(check_calendar("verify.schedule", schedule)),
    };
    faults.or(Verify { on, share: share.to_owned(), schedule })
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
