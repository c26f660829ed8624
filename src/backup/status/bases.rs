//! How the v3 store gets into the archive: what the generation begins with, how much log follows it, and the next base.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::Warning;
use crate::archive::pieces::RAW_BYTES;
use crate::backup::base::prepared::{Prepared, due_file};
use crate::backup::state::State;
use crate::etcd::v3::Db;
use crate::settings::Settings;
use crate::sys::look;
use crate::sys::terminal::table::{age, bytes, count, span};
use crate::sys::time::rfc3339;

/// Due for longer than this, a base does not come by itself.
const LONG: u64 = 86_400;

/// The base that is to come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bases {
    /// Since when it is due, in seconds since 1970; `None`: none is, or the remote has all of it.
    pub due: Option<u64>,
    /// So many of its pieces are sent, and so many there are; `None`: none is on its way.
    pub pieces: Option<(u64, u64)>,
    /// The generation that is written, where it does not have the v3 store that the member has: one of an earlier version, or of
    /// `v2_only`. `None`: it has it, or there is none.
    pub left_out_of: Option<u64>,
}

impl Bases {
    /// What this node has noted of it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn look(settings: &Settings, state: Option<&State>) -> Result<Self> {
        let due = look::at(&due_file(&settings.backup_dir))?.and_then(|meta| meta.modified().ok());
        let due = due.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let prepared = Prepared::load(&settings.backup_dir, &settings.folder())?;
        let pieces = prepared
            .filter(|prepared| prepared.is_ahead_of(state))
            .map(|Prepared { progress, .. }| (progress.sent.len() as u64, progress.size.div_ceil(RAW_BYTES)));
        Ok(Self { due: due.map(|since| since.as_secs()), pieces, left_out_of: None })
    }

    /// The same, seen beside etcd's `snap` folder: it may have a v3 store that the backups leave out.
    pub fn beside(self, snap_dir: &Path, state: Option<&State>) -> Self {
        let without = state.filter(|state| state.v3_base.is_none()).map(|state| state.generation);
        Self { left_out_of: without.filter(|_| matches!(Db::look(snap_dir), Db::Holds(_))), ..self }
    }

    /// One line for people; `None` where nothing is known of a v3 store.
    pub(super) fn line(&self, state: Option<&State>, now: u64) -> Option<String> {
        let when =
            |time: u64| format!("{} ({})", rfc3339(time), age(Duration::from_secs(now.saturating_sub(time))));
        let of = |state: &State| {
            let (size, index, log) = (bytes(state.v3_base?), state.v3_index?, bytes(state.log_bytes));
            Some(format!("{size} up to index {index}, of {}; {log} of WAL follow", when(state.v3_time?)))
        };
        let had = state.and_then(of);
        let next = match (self.due, self.pieces) {
            (_, Some((sent, all))) if sent == all => {
                Some("the next base is sent, and begins a generation".into())
            }
            (due, Some((sent, all))) => {
                let since = due.map_or(String::new(), |due| format!("due since {}, ", when(due)));
                Some(format!("the next base is {since}{sent} of {} sent", count(all, "piece", "pieces")))
            }
            (Some(due), None) => Some(format!("the next base is due since {}", when(due))),
            (None, None) => None,
        };
        match (had, next) {
            (None, None) => None,
            (Some(had), Some(next)) => Some(format!("{had}; {next}")),
            (had, next) => had.or(next),
        }
    }

    /// The same for a program.
    pub(super) fn json(&self, state: Option<&State>) -> Value {
        let held = state.filter(|state| state.v3_base.is_some());
        if held.is_none() && *self == Self::default() {
            return Value::Null;
        }
        json!({
            "size": held.and_then(|state| state.v3_base),
            "index": held.and_then(|state| state.v3_index),
            "taken": held.and_then(|state| state.v3_time).map(rfc3339),
            "log_bytes": held.map(|state| state.log_bytes),
            "due": self.due.map(rfc3339),
            "pieces_sent": self.pieces.map(|(sent, _)| sent),
            "pieces": self.pieces.map(|(_, all)| all),
        })
    }

    /// What would be lost beside what the log says; `None`: nothing.
    pub(super) fn lost(&self) -> Option<String> {
        self.left_out_of
            .map(|generation| format!("the v3 store, which generation {generation} does not have"))
    }

    /// A store without a base, or a base that does not come.
    pub(super) fn warning(&self, now: u64) -> Option<Warning> {
        if let Some(generation) = self.left_out_of {
            let is_sent = self.pieces.is_some_and(|(sent, all)| sent == all);
            return Some(Warning {
                kind: "left-out",
                text: format!(
                    "the v3 store of this member is not backed up: generation {generation} does not have it"
                ),
                hint: match is_sent {
                    true => {
                        "the next backup begins a generation that has it: sudo systemctl start etcd2-backup.service"
                    }
                    false => {
                        "bring a base of it, with which the next backup begins a generation: sudo \
                         /opt/bin/etcd2-backup base --now"
                    }
                },
            });
        }
        let since = now.saturating_sub(self.due?);
        (since > LONG).then(|| Warning {
            kind: "base",
            text: format!("a base of the v3 store has been due for {}", span(Duration::from_secs(since))),
            hint: "restores have to replay all of the log until it is there. See why: journalctl -u \
                   etcd2-backup-base.service",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::state::tests::state;

    #[test]
    fn what_is_there_and_what_is_to_come_is_said() {
        let held = State {
            v3_base: Some(5000),
            v3_index: Some(70),
            v3_time: Some(1000),
            log_bytes: 300,
            ..state(1000)
        };
        let has = "5.0 kB up to index 70, of 1970-01-01T00:16:40Z (60 s ago); 300 B of WAL follow";
        let due = "the next base is due since 1970-01-01T00:17:30Z (10 s ago)";
        for (due_since, pieces, of, want) in [
            (None, None, None, None),
            (None, None, Some(&held), Some(has.to_owned())),
            (Some(1050), None, None, Some(due.to_owned())),
            (Some(1050), None, Some(&held), Some(format!("{has}; {due}"))),
            (Some(1050), Some((2, 7)), None, Some(format!("{due}, 2 of 7 pieces sent"))),
            (None, Some((0, 1)), None, Some("the next base is 0 of 1 piece sent".to_owned())),
            (None, Some((7, 7)), None, Some("the next base is sent, and begins a generation".to_owned())),
        ] {
            let bases = Bases { due: due_since, pieces, left_out_of: None };
            assert_eq!(bases.line(of, 1060), want);
            assert_eq!(bases.json(of).is_null(), want.is_none());
        }
        let said = Bases { due: Some(1050), pieces: Some((2, 7)), left_out_of: None }.json(Some(&held));
        assert_eq!(
            (&said["index"], &said["pieces"], &said["due"]),
            (&70.into(), &7.into(), &"1970-01-01T00:17:30Z".into())
        );
    }

    #[test]
    fn one_that_is_due_for_a_day_is_warned_of() {
        let bases = Bases { due: Some(10), pieces: None, left_out_of: None };
        assert_eq!(bases.warning(10 + LONG), None);
        assert_eq!(bases.warning(11 + LONG).unwrap().kind, "base");
        // A clock that was set back.
        assert_eq!(bases.warning(0), None);
        assert_eq!(Bases::default().warning(u64::MAX), None);
    }

    #[test]
    fn a_store_that_the_backups_leave_out_is_warned_of_at_once() {
        let bases = Bases { left_out_of: Some(3), ..Bases::default() };
        let warning = bases.warning(0).unwrap();
        assert_eq!((warning.kind, warning.text.contains("generation 3 ")), ("left-out", true));
        assert_eq!(bases.lost().unwrap(), "the v3 store, which generation 3 does not have");
        assert_eq!(warning.command(), "sudo /opt/bin/etcd2-backup base --now");
        // A program sees that there is one, of which nothing is held.
        assert!(bases.json(None)["size"].is_null() && bases.json(None).is_object());
        assert_eq!(Bases::default().lost(), None);
    }
}
