//! What is around a node's data: a recovery that was not ended, the timers, what is installed, who the founding member is.

use serde_json::{Value, json};

use super::Warning;
use crate::install::record::Record;
use crate::node::fence::{By, Fence};
use crate::settings::our_units::{REHEARSE_TIMER, TIMER, VERIFY_TIMER};
use crate::sys::root::Root;
use crate::sys::time::rfc3339;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Around {
    /// Seconds since 1970.
    pub now: u64,
    /// Whether etcd is fenced, and by which command.
    pub fence: Fence,
    /// Our timers, in the order of [`TIMERS`]; none if systemd was not asked.
    pub timers: Vec<Timer>,
    /// Version and commit of this program.
    pub program: String,
    /// What became of the files that were installed.
    pub installed: Installed,
    /// The founding member's peer URLs.
    pub founder: Vec<String>,
    /// Whether these are this node's; `None`: this node's are not known.
    pub is_founder: Option<bool>,
}

/// The timers that are told of, with the word for each.
pub const TIMERS: [(&str, &str); 3] =
    [(TIMER, "backup"), (VERIFY_TIMER, "verify"), (REHEARSE_TIMER, "rehearse")];

/// A timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timer {
    /// What it starts, in one word.
    pub what: &'static str,
    /// Whether it runs.
    pub runs: bool,
    /// When it is due next, in seconds since 1970; `None`: not known, or its service runs just now.
    pub next: Option<u64>,
}

/// What became of the files that were installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installed {
    /// Nothing was installed here.
    Not,
    /// So many files are as the record says.
    AsRecorded(usize),
    /// These are not.
    Altered(Vec<String>),
    /// That could not be looked at.
    Unknown(String),
}

impl Installed {
    /// Compares the files with a record of them that was read, or could not be.
    pub fn of(record: anyhow::Result<Option<Record>>, root: &Root) -> Self {
        let record = match record {
            Ok(None) => return Self::Not,
            Ok(Some(record)) => record,
            Err(e) => return Self::Unknown(format!("{e:#}")),
        };
        match record.differences(root) {
            Ok(found) if found.is_empty() => Self::AsRecorded(record.files.len()),
            Ok(found) => {
                Self::Altered(found.into_iter().map(|d| format!("{} {}", d.target, d.problem)).collect())
            }
            Err(e) => Self::Unknown(format!("{e:#}")),
        }
    }
}

impl Around {
    /// What ends the recovery that put the fence up, ready to be pasted, and what is to be known of it.
    pub fn unfinished(&self) -> Option<(String, &'static str)> {
        let says = |who: &str| format!("{who} is at work, or was interrupted: etcd is fenced");
        Some(match self.fence {
            Fence::Down => return None,
            Fence::UpBy(By::Restore) => (says("a restore"), "sudo /opt/bin/etcd2-backup restore"),
            Fence::UpBy(By::Undo) => (says("an undo"), "sudo /opt/bin/etcd2-backup undo"),
            Fence::UpBy(By::Join) => (says("a join"), "sudo systemctl start etcd2-join.service"),
            Fence::UpBy(By::Recover) => (
                says("a recovery"),
                "etcd2-backup recover NODE…, as before, on the machine where it was begun",
            ),
            Fence::UpByAnother => {
                ("etcd is fenced, not by a command of this program".to_owned(), "cat /etc/etcd2-backup/fence")
            }
        })
    }

    /// What somebody has to look at.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut all = Vec::new();
        let mut warn = |kind, text, hint| all.push(Warning { kind, text, hint });
        if let Some((text, _)) = self.unfinished() {
            let hint = "the file /etc/etcd2-backup/fence says which command ends it; until then there are no \
                        backups";
            warn("recovery", text, hint);
        }
        if self.timers.first().is_some_and(|backup| !backup.runs) {
            let text = "etcd2-backup.timer does not run: automatic backups are off".to_owned();
            warn("timer", text, "sudo systemctl enable --now etcd2-backup.timer");
        }
        if let Installed::Altered(files) = &self.installed {
            let hint = "see all of them: sudo /opt/bin/etcd2-backup install --check; to have them as they were, \
                        install the tarball again";
            warn("altered", format!("not as it was installed: {}", files.join("; ")), hint);
        }
        all
    }

    /// The one command for this situation, given all that somebody has to look at; `None`: there is nothing to do.
    pub fn next(&self, warnings: &[Warning]) -> Option<&'static str> {
        let unfinished = self.unfinished().map(|(_, command)| command);
        unfinished.or_else(|| warnings.first().map(Warning::command))
    }

    /// The fields that it has in the JSON of `status`.
    pub fn json(&self) -> Value {
        let timer =
            |timer: &Timer| json!({"timer": timer.what, "runs": timer.runs, "next": timer.next.map(rfc3339)});
        let (installed, altered) = match &self.installed {
            Installed::Not => ("no", Vec::new()),
            Installed::AsRecorded(_) => ("as recorded", Vec::new()),
            Installed::Altered(files) => ("altered", files.clone()),
            Installed::Unknown(_) => ("unknown", Vec::new()),
        };
        json!({
            "format": 1,
            "time": rfc3339(self.now),
            "fenced_by": match self.fence {
                Fence::Down => Value::Null,
                Fence::UpBy(by) => by.name().into(),
                Fence::UpByAnother => "another".into(),
            },
            "program": self.program,
            "installed": installed,
            "altered": altered,
            "timers": self.timers.iter().map(timer).collect::<Vec<_>>(),
            "founder_urls": self.founder,
            "is_founder": self.is_founder,
        })
    }
}
