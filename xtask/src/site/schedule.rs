//! When and how gently a backup runs: the settings of the timer, and of its service's place in the queue.

use std::fmt;

use anyhow::Result;
use etcd2_backup::settings::checks;
use etcd2_backup::settings::span::parse_span;
use etcd2_backup::settings::table::default;

use super::calendar::check_calendar;
use super::faults::Faults;
use super::fragment::Fragment;
use super::validate::{read, refuse, text};

/// What starts a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum When {
    /// So long after the last one began.
    Every(String),
    /// At these times of the calendar.
    At(String),
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(span) => write!(f, "every {span}"),
            Self::At(calendar) => write!(f, "at {calendar}"),
        }
    }
}

impl Default for When {
    fn default() -> Self {
        Self::Every(default("interval").to_owned())
    }
}

/// The timer and its service's priority.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// What starts a backup.
    pub(crate) when: When,
    /// How long after boot the first one is made, as systemd writes it.
    pub(crate) boot_delay: String,
    /// Up to how much later than that each one begins, chosen anew each time; none if at once.
    pub(crate) jitter: Option<String>,
    /// The service's nice level.
    pub(crate) nice: i64,
    /// The service's class at the disk.
    pub(crate) io_class: String,
}

/// The schedule that the settings ask for.
pub(crate) fn resolve(said: &Fragment) -> Result<Schedule> {
    let mut faults = Faults::default();
    let when = match (&said.calendar, &said.interval) {
        (Some(_), Some(_)) => {
            let hint =
                "remove one: interval is a time from one backup to the next, calendar says at which hours";
            Err(refuse("interval and calendar exclude each other", hint))
        }
        (Some(calendar), None) => check_calendar("calendar", calendar).map(When::At),
        (None, interval) => text("interval", interval.as_deref()).map(When::Every),
    };
    let when = faults.take(when);
    let jitter = faults.take(text("jitter", said.jitter.as_deref()));
    let nice = said.nice.map(|level| level.to_string());
    let schedule = Schedule {
        when,
        boot_delay: faults.take(text("boot_delay", said.boot_delay.as_deref())),
        jitter: (parse_span(&jitter) != Ok(0)).then_some(jitter),
        nice: faults.take(read("nice", nice.as_deref(), checks::nice)),
        io_class: faults.take(text("io_class", said.io_class.as_deref())),
    };
    faults.or(schedule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd2_backup::exit::hint_of;
    use etcd2_backup::settings::checks::START_LIMIT;

    fn of(text: &str) -> Result<Schedule> {
        resolve(&crate::site::fragment::parse_fragment(&format!("version = 1\n{text}")).unwrap())
    }

    #[test]
    fn the_defaults_and_all_that_can_be_said() {
        let default = of("").unwrap();
        let want = Schedule {
            when: When::Every("30sec".into()),
            boot_delay: "1min".into(),
            jitter: None,
            nice: 10,
            io_class: "best-effort".into(),
        };
        assert_eq!(default, want);
        assert_eq!(default.when.to_string(), "every 30sec");
        let all =
            "calendar = \" *:0/15 \"\nboot_delay = \"0\"\njitter = \"20s\"\nnice = -20\nio_class = \"idle\"";
        let want = Schedule {
            when: When::At("*:0/15".into()),
            boot_delay: "0".into(),
            jitter: Some("20s".into()),
            nice: -20,
            io_class: "idle".into(),
        };
        assert_eq!(of(all).unwrap(), want);
        assert_eq!(want.when.to_string(), "at *:0/15");
        assert_eq!(of("jitter = \"0 s\"").unwrap().jitter, None);
        // A boot delay is of one start; a jitter only spreads what has its distance.
        for (text, when) in [
            ("interval = \"5s\"\nboot_delay = \"1ms\"\njitter = \"1ms\"", "every 5s"),
            ("interval = \"5\"\njitter = \"1h\"", "every 5"),
            ("interval = \"5000ms\"", "every 5000ms"),
            ("calendar = \"*:*:0/5\"\njitter = \"10s\"", "at *:*:0/5"),
        ] {
            assert_eq!(of(text).unwrap().when.to_string(), when, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        let nice = "write a number from -20 (before all others) to 19 (after them), for example nice = 10";
        for (text, want) in [
            (
                "interval = \"30sec\"\ncalendar = \"hourly\"",
                "interval and calendar exclude each other | remove one: interval is a time from one backup to the next, calendar says at which hours".to_owned(),
            ),
            ("nice = 20", format!("nice = 20 is no nice level | {nice}")),
            ("nice = -21", format!("nice = -21 is no nice level | {nice}")),
            ("io_class = \"idel\"", "io_class \"idel\" is not known | did you mean idle? It can be: best-effort, idle".into()),
            (
                "io_class = \"realtime\"",
                "io_class \"realtime\" is not allowed | write best-effort or idle: realtime would take the disk from etcd".into(),
            ),
            (
                "io_class = \"\"",
                "io_class \"\" is not known | write best-effort or idle".into(),
            ),
            (
                "jitter = \"some\"",
                "jitter \"some\" is no time span: \"some\" does not begin with a number | write a time span of systemd, for example jitter = \"30sec\" or jitter = \"1min 30s\"".into(),
            ),
            (
                "interval = \"4s 999ms\"",
                format!("interval \"4s 999ms\" is shorter than 5 s: {START_LIMIT} | write a longer one, for example interval = \"5s\" or interval = \"30sec\""),
            ),
            (
                "calendar = \"*:*:0/2\"\njitter = \"1h\"",
                format!("calendar \"*:*:0/2\" has times 2 s apart, less than 5 s: {START_LIMIT} | leave out some, for example calendar = \"*:*:0/10\" or calendar = \"*:0/5\""),
            ),
            (
                "calendar = \"\"",
                "calendar \"\" is no calendar expression: it is empty | write one of systemd 231, for example calendar = \"*-*-* 02:00:00\" or calendar = \"Mon..Fri *:0/15\"".into(),
            ),
        ] {
            let error = of(text).unwrap_err();
            assert_eq!(format!("{error} | {}", hint_of(&error).unwrap()), want);
        }
    }
}
