//! How far a recovery is on each node: what somebody who interrupts it, or whom it fails, has to know.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::paths::FENCE;

/// How far a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// etcd is being stopped.
    Stopping,
    /// etcd is stopped and fenced; the old data is in its place.
    Fenced,
    /// The new data is being written.
    Writing,
    /// The new data is in its place; nothing keeps etcd from starting.
    Written,
    /// etcd was started on it.
    Started,
    /// The node is joining a cluster that lives.
    Joining,
}

impl Stage {
    fn of(self, list: &str) -> String {
        match self {
            Self::Stopping => format!("etcd being stopped, which continues there on its own: {list}"),
            Self::Fenced => format!("etcd stopped and fenced, old data in its place: {list}"),
            Self::Writing => format!(
                "new data being written, which continues there on its own, etcd fenced or stopped: {list}"
            ),
            Self::Written => format!("new data in its place, etcd stopped: {list}"),
            Self::Started => format!("etcd started on the new data: {list}"),
            Self::Joining => format!("joining, which continues there on its own: {list}"),
        }
    }
}

/// How far all are. Shared with whoever waits for an interrupt.
#[derive(Debug, Default)]
pub struct Progress(Mutex<BTreeMap<String, Stage>>);

impl Progress {
    /// Notes how far these nodes are now.
    pub fn note(&self, targets: &[&str], stage: Stage) {
        let mut stages = self.stages();
        for target in targets {
            stages.insert((*target).to_owned(), stage);
        }
    }

    /// What is left behind, and how to go on; `again` is the command that goes on.
    pub fn tell(&self, again: &str) -> Vec<String> {
        let stages = self.stages();
        if stages.is_empty() {
            return vec!["nothing was changed".to_owned()];
        }
        let mut by_stage: BTreeMap<Stage, Vec<&str>> = BTreeMap::new();
        for (target, stage) in stages.iter() {
            by_stage.entry(*stage).or_default().push(target);
        }
        let mut lines: Vec<String> =
            by_stage.iter().map(|(stage, targets)| stage.of(&targets.join(", "))).collect();
        lines.push(format!("to resume: {again}"));
        if stages.values().all(|stage| *stage <= Stage::Fenced) {
            lines.push(format!(
                "or, to go back to the old data: on each of these nodes sudo rm {FENCE}, then start etcd \
                 and etcd2-backup.timer"
            ));
        }
        lines
    }

    fn stages(&self) -> MutexGuard<'_, BTreeMap<String, Stage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_behind_is_told() {
        let progress = Progress::default();
        assert_eq!(progress.tell("x"), ["nothing was changed"]);
        progress.note(&["e1", "e2"], Stage::Fenced);
        let lines = progress.tell("recover e1 e2");
        assert_eq!(
            lines[..2],
            ["etcd stopped and fenced, old data in its place: e1, e2", "to resume: recover e1 e2"]
        );
        assert!(lines[2].contains("sudo rm /etc/etcd2-backup/fence"), "{lines:?}");
        progress.note(&["e1"], Stage::Written);
        let lines = progress.tell("recover e1 e2");
        assert_eq!(
            lines,
            [
                "etcd stopped and fenced, old data in its place: e2",
                "new data in its place, etcd stopped: e1",
                "to resume: recover e1 e2"
            ]
        );
    }
}
