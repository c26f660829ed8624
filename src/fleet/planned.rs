//! What a node would restore: its plan, asked for by who recovers all of them.

use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::said;
use super::steps::{Fleet, read};
use crate::archive::lineage::Record;
use crate::exit::{Exit, exit_of};

/// A point in the past may be fetched by a slow line.
const READING: Duration = Duration::from_secs(3600);
/// How a program before [`Planned`] begins the warnings that say what is in `refused`.
const REFUSED_BEFORE: &str = "a restore would be refused now";

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The record of the recovery, as it would be written.
    pub record: Record,
    /// What keeps it from being done now, for people: of a node whose etcd still runs, that.
    pub refused: Vec<String>,
}

impl Fleet {
    /// Asks a node what it would restore; nothing is changed. `which` are the arguments that say it.
    ///
    /// # Errors
    /// The node cannot be reached, or there is no such point; with what it said.
    pub fn planned(&self, target: &str, which: &[&str]) -> Result<Record> {
        let arguments = [&["restore", "--plan", "--json", "--as-founder"], which].concat();
        let apart = [&arguments[..], &["--refusals"]].concat();
        let (planned, stderr) = match self.ssh.run(target, &apart, &[], READING) {
            // It knows no such option.
            Err(e) if exit_of(&e) == Exit::Usage => {
                let output = self.ssh.run(target, &arguments, &[], READING)?;
                let record = read(target, &output.stdout)?;
                (Planned { record, refused: Vec::new() }, output.stderr)
            }
            output => {
                let output = output?;
                (read(target, &output.stdout)?, output.stderr)
            }
        };
        // All of it is asked again when etcd is stopped.
        planned.refused.iter().for_each(|why| log::debug!("{target}: {REFUSED_BEFORE}: {why}"));
        warnings(&stderr).iter().for_each(|line| log::warn!("{target}: {line}"));
        Ok(planned.record)
    }
}

/// What it warns of.
fn warnings(stderr: &str) -> Vec<String> {
    let warnings = stderr.lines().filter_map(|line| line.strip_prefix("warning: "));
    warnings.filter(|line| !line.starts_with(REFUSED_BEFORE)).map(said::visible).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::fleet::plan::tests::{found, nodes, record};
    use crate::fleet::ssh::Ssh;
    use crate::sys::fs::write_atomic;

    /// A fleet whose nodes run this shell script.
    fn fleet(dir: &std::path::Path, script: &str) -> Fleet {
        let file = dir.join("ssh");
        write_atomic(&file, script.as_bytes(), 0o600).unwrap();
        let ssh = Ssh { command: vec!["sh".into(), file.display().to_string()] };
        Fleet { ssh, wait: Duration::ZERO, started: Instant::now(), progress: Default::default() }
    }

    #[test]
    fn a_plan_is_understood_of_a_program_of_any_version() {
        let dir = tempfile::tempdir().unwrap();
        let record = record(&nodes([(found(1, 5), None), (None, None), (None, None)]));
        let planned = Planned { record: record.clone(), refused: vec!["etcd2.service is running".into()] };
        let (now, before) =
            (serde_json::to_string(&planned).unwrap(), serde_json::to_string(&record).unwrap());
        write_atomic(&dir.path().join("now"), now.as_bytes(), 0o600).unwrap();
        write_atomic(&dir.path().join("before"), before.as_bytes(), 0o600).unwrap();
        let there = dir.path().display();
        for (script, understood) in [
            (format!("case \"$*\" in *--refusals*) cat {there}/now;; *) exit 1;; esac"), true),
            (format!("case \"$*\" in *--refusals*) exit 2;; *) cat {there}/before;; esac"), true),
            // Its record alone is no answer to what was asked.
            (format!("cat {there}/before"), false),
            ("exit 2".into(), false),
            ("exit 12".into(), false),
        ] {
            let got = fleet(dir.path(), &script).planned("e1", &["--at", "-10min"]);
            assert_eq!(got.ok(), understood.then(|| record.clone()), "{script}");
        }
    }

    #[test]
    fn what_is_known_is_not_warned_of() {
        let stderr = "source: the archive\nwarning: a\x1b[2J\nwarning: a restore would be refused now: etcd2.service \
                      is running\nhint: warning: b\n";
        assert_eq!(warnings(stderr), ["a\\u{1b}[2J"]);
    }
}
