//! This program on another node, by the operator's own ssh: keys, jump hosts and users are what its configuration says.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::exit::{Exit, OrFault, fault};
use crate::paths::PROGRAM;
use crate::sys::command::{CommandRunExt, Output};

/// Nobody is asked for a password; a node that is gone, also while it works, must not hold up the others for long.
const OPTIONS: [&str; 4] =
    ["-oBatchMode=yes", "-oConnectTimeout=10", "-oServerAliveInterval=10", "-oServerAliveCountMax=3"];
/// What ssh ends with when it is ssh that failed.
const SSH_FAILED: i32 = 255;
/// Writes its stdin to a file that only root may read; one that is not whole does not stay.
const SAVE: &str = "umask 077; mkdir -p \"${1%/*}\" && cat >\"$1\" || { rm -f \"$1\"; exit 1; }";

/// How nodes are reached.
#[derive(Debug, Clone)]
pub struct Ssh {
    /// Program and first arguments; not empty.
    pub command: Vec<String>,
}

impl Ssh {
    /// Runs the node program there as root, with `input` on its stdin.
    ///
    /// # Errors
    /// The node cannot be reached ([`Exit::Cluster`]), or the program failed there: with its exit code, words and hint.
    pub fn run(&self, target: &str, arguments: &[&str], input: &[u8], limit: Duration) -> Result<Output> {
        let all = [&[PROGRAM], arguments].concat();
        self.as_root(target, &all, input, limit).with_context(|| format!("{target}: {}", arguments[0]))
    }

    /// Runs a program of the node's system there as root.
    ///
    /// # Errors
    /// As [`Ssh::run`].
    pub fn system(&self, target: &str, arguments: &[&str], limit: Duration) -> Result<Output> {
        self.as_root(target, arguments, &[], limit)
            .with_context(|| format!("{target}: {}", arguments.join(" ")))
    }

    /// Sends what the node program writes to stdout on one node to a file on another; nothing of it stays here.
    ///
    /// # Errors
    /// One of the two failed; what it said is on stderr.
    pub fn pass(&self, (from, arguments, input): (&str, &[&str], &[u8]), to: &str, file: &str) -> Result<()> {
        let all = [&[PROGRAM], arguments].concat();
        let mut source = self.command(from, &all);
        let mut source =
            source.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting ssh")?;
        let output = source.stdout.take().context("ssh has no output")?;
        let mut sink = self.command(to, &["sh", "-c", SAVE, "sh", file]);
        let sink = sink.stdin(output).stdout(Stdio::null()).spawn();
        // One that does not read it has failed, and says why.
        drop(source.stdin.take().map(|mut stdin| stdin.write_all(input)));
        let saved = sink.context("starting ssh")?.wait().context("waiting for ssh")?;
        let sent = source.wait().context("waiting for ssh")?;
        if sent.success() && saved.success() {
            return Ok(());
        }
        let what = format!("sending the data from {from} ({sent}) to {to} ({saved}) failed");
        Err(fault(Exit::Cluster, what, "run recover again: it goes on where it was"))
    }

    fn as_root(&self, target: &str, arguments: &[&str], input: &[u8], limit: Duration) -> Result<Output> {
        let by_hand = format!("try it by hand: ssh -o BatchMode=yes {target} true");
        let output = self.command(target, arguments).run_limited(input, limit);
        let output = output.or_fault(Exit::Cluster, "running ssh", &by_hand)?;
        match output.status.code().unwrap_or(SSH_FAILED) {
            0 => Ok(output),
            SSH_FAILED => {
                Err(fault(Exit::Cluster, format!("it cannot be reached: {}", output.stderr), by_hand))
            }
            code => {
                let (what, hint) = words(&output.stderr);
                Err(fault(Exit::of_code(code), what, hint))
            }
        }
    }

    fn command(&self, target: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).args(OPTIONS).arg("--").arg(target).arg(script(arguments));
        command
    }
}

/// For the shell of the node's user.
fn script(arguments: &[&str]) -> String {
    let mut script = String::from("exec $([ \"$(id -u)\" = 0 ] || echo sudo -n)");
    for argument in arguments {
        script += " '";
        script += &argument.replace('\'', "'\\''");
        script += "'";
    }
    script
}

/// What a program of ours said at its end: the error, and the next step.
fn words(stderr: &str) -> (String, String) {
    let line = |mark: &str| stderr.lines().rev().find_map(|line| line.strip_prefix(mark));
    let last = || stderr.lines().last().unwrap_or("it failed without a word");
    let what = line("error: ").unwrap_or_else(last).to_owned();
    (what, line("hint: ").unwrap_or("put that right there, then run recover again").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{exit_of, hint_of};
    use crate::sys::fs::write_atomic;

    const LIMIT: Duration = Duration::from_secs(20);

    /// In place of ssh: writes down its arguments, then does this. Read by a shell: another thread may be starting a
    /// process, which holds the file open for writing for a moment.
    fn ssh(dir: &std::path::Path, then: &str) -> Ssh {
        let file = dir.join("ssh");
        let text = format!("printf '%s\\n' \"$@\" >{}/arguments\n{then}\n", dir.display());
        write_atomic(&file, text.as_bytes(), 0o600).unwrap();
        Ssh { command: vec!["sh".into(), file.display().to_string(), "-F".into(), "my conf".into()] }
    }

    #[test]
    fn arguments_arrive_as_they_are_and_the_program_is_run_as_root() {
        let dir = tempfile::tempdir().unwrap();
        let ssh = ssh(dir.path(), "for last; do :; done; PATH=; id() { echo 0; }; eval \"${last#exec}\"");
        let said = ssh.system("core@e1", &["echo", "it's", "$HOME; `x`", ""], LIMIT).unwrap();
        assert_eq!(said.text(), "it's $HOME; `x` \n");
        let given = std::fs::read_to_string(dir.path().join("arguments")).unwrap();
        let given: Vec<&str> = given.lines().collect();
        assert_eq!((&given[..2], given[3]), (&["-F", "my conf"][..], "-oConnectTimeout=10"));
        assert_eq!(given[6..8], ["--", "core@e1"]);
        assert!(
            given[8].starts_with("exec $([ \"$(id -u)\" = 0 ] || echo sudo -n) 'echo' 'it'\\''s'"),
            "{given:?}"
        );
    }

    #[test]
    fn a_failure_there_is_one_here() {
        let dir = tempfile::tempdir().unwrap();
        let failing = |then: &str| ssh(dir.path(), then).run("e1", &["restore"], b"", LIMIT).unwrap_err();
        let error = failing("echo 'error: no room' >&2; echo 'hint: make some' >&2; exit 14");
        assert_eq!(format!("{error:#}"), "e1: restore: no room");
        assert_eq!((exit_of(&error), hint_of(&error)), (Exit::NoSpace, Some("make some")));
        let error = failing("echo 'no route' >&2; exit 255");
        assert_eq!(
            (exit_of(&error), format!("{error:#}").ends_with("reached: no route")),
            (Exit::Cluster, true)
        );
    }
}
