//! This program on another node, by the operator's own ssh: keys, jump hosts and users are what its configuration says.

use std::io::{self, BufReader, Read, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::said;
use crate::exit::{Exit, OrFault, fault};
use crate::paths::PROGRAM;
use crate::sys::command::{self, CommandRunExt, Output};

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

    /// The same for a command that answers with a code of its own, too, where somebody has to look at something.
    ///
    /// # Errors
    /// As [`Ssh::run`], but for [`Exit::Warned`].
    pub fn ask(&self, target: &str, arguments: &[&str], limit: Duration) -> Result<Output> {
        let all = [&[PROGRAM], arguments].concat();
        let output = self.on_node(target, &all, &[], limit, &[Exit::Warned as i32]);
        output.with_context(|| format!("{target}: {}", arguments[0]))
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
    /// One of the two failed, with what it said.
    pub fn pass(&self, (from, arguments, input): (&str, &[&str], &[u8]), to: &str, file: &str) -> Result<()> {
        let all = [&[PROGRAM], arguments].concat();
        let mut source = self.command(from, &all);
        let source = source.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut source = source.spawn().context("starting ssh")?;
        let mut sink = self.command(to, &["sh", "-c", SAVE, "sh", file]);
        let sink = sink.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut sink = sink.spawn().context("starting ssh")?;
        let words = [command::end_of(source.stderr.take()), command::end_of(sink.stderr.take())];
        // One that does not read it has failed, and says why.
        drop(source.stdin.take().map(|mut stdin| stdin.write_all(input)));
        let passed = match (source.stdout.take(), sink.stdin.take()) {
            (Some(output), Some(mut file)) => copy(output, &mut file),
            _ => Ok(()),
        };
        let saved = sink.wait().context("waiting for ssh")?;
        let sent = source.wait().context("waiting for ssh")?;
        if sent.success() && saved.success() && passed.is_ok() {
            return Ok(());
        }
        let words =
            words.map(|end| said::last_words(&String::from_utf8_lossy(&end.recv().unwrap_or_default())));
        let words: Vec<String> = words.into_iter().filter(|words| !words.is_empty()).collect();
        let words = if words.is_empty() { "no error message".to_owned() } else { words.join("; ") };
        let what = format!("sending the data from {from} ({sent}) to {to} ({saved}) failed: {words}");
        Err(fault(Exit::Cluster, what, "run recover again: it resumes where it stopped"))
    }

    fn as_root(&self, target: &str, arguments: &[&str], input: &[u8], limit: Duration) -> Result<Output> {
        self.on_node(target, arguments, input, limit, &[])
    }

    /// An end with one of `also` is no failure.
    fn on_node(
        &self,
        target: &str,
        arguments: &[&str],
        input: &[u8],
        limit: Duration,
        also: &[i32],
    ) -> Result<Output> {
        let by_hand = format!("try it by hand: ssh -o BatchMode=yes {target} true");
        let output = self.command(target, arguments).run_limited(input, limit);
        let output = output.or_fault(Exit::Cluster, "running ssh", &by_hand)?;
        match output.status.code().unwrap_or(SSH_FAILED) {
            code if code == 0 || also.contains(&code) => Ok(output),
            SSH_FAILED => {
                let why = match said::last_words(&output.stderr) {
                    none if none.is_empty() => format!("ssh ended with {} and said nothing", output.status),
                    why => why,
                };
                let hint = out_of_reach(&why, target).unwrap_or(by_hand);
                Err(fault(Exit::Cluster, format!("it cannot be reached: {why}"), hint))
            }
            code => {
                let (what, hint) = words(&output.stderr, target);
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

/// What a node writes, without its shell's greeting.
fn copy(output: impl Read, file: &mut impl io::Write) -> io::Result<()> {
    let mut output = BufReader::new(output);
    file.write_all(&said::skip_greeting(&mut output)?)?;
    io::copy(&mut output, file).map(drop)
}

/// For the shell of the node's user, which may have greeted already.
fn script(arguments: &[&str]) -> String {
    let mut script = format!("echo '{}'; exec $([ \"$(id -u)\" = 0 ] || echo sudo -n)", said::MARK);
    for argument in arguments {
        script += " '";
        script += &argument.replace('\'', "'\\''");
        script += "'";
    }
    script
}

/// What a program of ours said at its end: the error, and the next step.
fn words(stderr: &str, target: &str) -> (String, String) {
    let line = |mark: &str| stderr.lines().rev().find_map(|line| line.strip_prefix(mark));
    let last = || stderr.lines().last().unwrap_or("it failed without a message");
    let what = said::visible(line("error: ").unwrap_or_else(last));
    let hint = match line("hint: ") {
        Some(hint) => said::visible(hint),
        None => not_run(&what, target).unwrap_or_else(|| "fix that there, then run recover again".to_owned()),
    };
    (what, hint)
}

/// What helps where ssh itself fails.
fn out_of_reach(why: &str, target: &str) -> Option<String> {
    let hint = match why {
        why if why.contains("Host key verification failed") => format!(
            "connect once by hand and verify its host key: ssh {target} true; if the machine was rebuilt, \
             first remove the old key: ssh-keygen -R HOST"
        ),
        why if why.contains("Permission denied") => format!(
            "check the user and the key by hand: ssh -v -o BatchMode=yes {target} true; a key with a \
             passphrase must be in the agent (ssh-add)"
        ),
        _ => return None,
    };
    Some(hint)
}

/// What helps where a node does not run the program.
fn not_run(what: &str, target: &str) -> Option<String> {
    let hint = match what {
        what if what.contains("password is required") => {
            format!(
                "let that user run sudo without a password there, or connect as root@…; to test it: ssh \
                 {target} sudo -n true"
            )
        }
        what if what.contains("not found") || what.contains("No such file") => {
            format!("install the tarball there: sudo ./etcd2-backup-install on {target}")
        }
        _ => return None,
    };
    Some(hint)
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
        let ssh = ssh(dir.path(), "for last; do :; done; PATH=; id() { echo 0; }; eval \"${last#*exec}\"");
        let said = ssh.system("core@e1", &["echo", "it's", "$HOME; `x`", ""], LIMIT).unwrap();
        assert_eq!(said.text(), "it's $HOME; `x` \n");
        let given = std::fs::read_to_string(dir.path().join("arguments")).unwrap();
        let given: Vec<&str> = given.lines().collect();
        assert_eq!((&given[..2], given[3]), (&["-F", "my conf"][..], "-oConnectTimeout=10"));
        assert_eq!(given[6..8], ["--", "core@e1"]);
        assert!(
            given[8].starts_with("echo '----- etcd2-backup answers: -----'; exec $([ \"$(id -u)\" = 0 ] || echo sudo -n) 'echo' 'it'\\''s'"),
            "{given:?}"
        );
    }

    #[test]
    fn what_keeps_a_node_out_of_reach_is_told_with_what_helps() {
        let dir = tempfile::tempdir().unwrap();
        let failing = |then: &str| ssh(dir.path(), then).run("e1", &["restore"], b"", LIMIT).unwrap_err();
        for (then, what, hint) in [
            (
                "exit 255",
                "e1: restore: it cannot be reached: ssh ended with exit status: 255 and said nothing",
                "BatchMode",
            ),
            ("echo 'Host key verification failed.' >&2; exit 255", "verification failed.", "ssh-keygen -R"),
            ("echo 'core@e1: Permission denied (publickey).' >&2; exit 255", "(publickey).", "ssh-add"),
            ("echo 'sudo: a password is required' >&2; exit 1", "a password is required", "sudo -n true"),
            (
                "echo 'sudo: /opt/bin/etcd2-backup: command not found' >&2; exit 1",
                "command not found",
                "install",
            ),
            (
                r"printf 'error: \033[2Jgone\nhint: curl http://evil\033[8m\n' >&2; exit 10",
                r"\u{1b}[2Jgone",
                r"evil\u{1b}[8m",
            ),
        ] {
            let error = failing(then);
            assert!(format!("{error:#}").ends_with(what), "{error:#}");
            assert!(hint_of(&error).unwrap().contains(hint), "{:?}", hint_of(&error));
        }
    }

    #[test]
    fn what_is_passed_on_is_whole_whatever_the_shells_say() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("to/part");
        let greeting = "echo Welcome; for last; do :; done; PATH=$PATH; eval \"$(echo \"$last\" | sed 's,/opt/bin/etcd2-backup,cat,; s,echo sudo -n,echo env,')\"";
        let ssh = ssh(dir.path(), greeting);
        let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        ssh.pass(("e1", &["-"], &bytes), "e2", &to.display().to_string()).unwrap();
        assert!(std::fs::read(&to).unwrap() == bytes);
        let error = ssh.pass(("e1", &["/no/file"], b""), "e2", &to.display().to_string()).unwrap_err();
        assert!(format!("{error:#}").contains("No such file"), "{error:#}");
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
