//! What a backup needs, tried one after the other: a line for each thing that was looked at.
//!
//! - [`object`]: whether what is sent to the remote arrives, and can be read and removed
//! - [`node`]: this node's clock, room and log · [`founder`]: whether the founding member is one of the cluster

pub mod founder;
pub mod node;
pub mod object;

use anyhow::Error;

use crate::exit::{Exit, exit_of, next_step};
use crate::sys::terminal::table::{Column, table};

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it has to be.
    Good,
    /// Backups and recoveries can do with it, and somebody should know of it; or it could not be asked.
    Noted,
    /// A backup or a recovery would fail of it, with this code.
    Failed(Exit),
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What it is called.
    pub name: &'static str,
    /// What came of it.
    pub outcome: Outcome,
    /// What was seen, one line.
    pub says: String,
    /// The next step, where there is one.
    pub hint: Option<String>,
}

impl Check {
    /// It is as it has to be.
    pub fn good(name: &'static str, says: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Good, says: says.into(), hint: None }
    }

    /// Somebody should know of it.
    pub fn noted(name: &'static str, says: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Noted, says: says.into(), hint: Some(hint.into()) }
    }

    /// Something would fail of it.
    pub fn failed(name: &'static str, error: &Error) -> Self {
        Self {
            name,
            outcome: Outcome::Failed(exit_of(error)),
            says: format!("{error:#}"),
            hint: Some(next_step(error).to_owned()),
        }
    }
}

/// For people, in lines of `width`: what was seen by each check, and below it the next step.
pub fn text(checks: &[Check], width: usize) -> String {
    let rows = |check: &Check| {
        let word = match check.outcome {
            Outcome::Good => "ok",
            Outcome::Noted => "note",
            Outcome::Failed(_) => "FAILED",
        };
        // Always as wide, whatever came of it.
        let seen = vec![format!("{word:<6}"), format!("{:<7}", check.name), check.says.clone()];
        let hint =
            check.hint.as_ref().map(|hint| vec![String::new(), String::new(), format!("hint: {hint}")]);
        [Some(seen), hint].into_iter().flatten()
    };
    let rows: Vec<Vec<String>> = checks.iter().flat_map(rows).collect();
    table(&[Column::left(""), Column::left(""), Column::prose("")], &rows, width)
}

/// The code of the first check that failed.
pub fn exit(checks: &[Check]) -> Exit {
    let failed = checks.iter().find_map(|check| match check.outcome {
        Outcome::Failed(exit) => Some(exit),
        Outcome::Good | Outcome::Noted => None,
    });
    failed.unwrap_or(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::fault;

    #[test]
    fn each_check_has_a_line_and_the_first_that_failed_decides() {
        let error = fault(Exit::Remote, "it is not there", "look");
        let checks = [
            Check::good("room", "enough"),
            Check::noted("remove", "may not", "fine"),
            Check::failed("list", &error),
            Check::failed("clock", &fault(Exit::Refused, "wrong", "set it")),
        ];
        let want = "ok      room     enough\n\
                    note    remove   may not\n                 hint: fine\n\
                    FAILED  list     it is not there\n                 hint: look\n\
                    FAILED  clock    wrong\n                 hint: set it\n";
        assert_eq!(text(&checks, usize::MAX), want);
        let long =
            Check::noted("room", "9.8 GB free in /var/lib/etcd2-backup; 1.2 MB may be needed", "df -h");
        let want = "note    room     9.8 GB free in\n                 /var/lib/etcd2-backup;\n\
                    \x20                1.2 MB may be needed\n                 hint: df -h\n";
        assert_eq!(text(&[long], 40), want);
        assert_eq!([exit(&checks), exit(&checks[..2]), exit(&[])], [Exit::Remote, Exit::Done, Exit::Done]);
    }
}
