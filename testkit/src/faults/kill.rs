//! Killing the program at each of its steps: before every system call of its main thread that changes a disk.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;

use crate::node::Node;

/// Every call that can change what a later run finds. Not modes: nothing here goes by them. Not fsync: for whoever looks
/// after a kill it changes nothing, so that the moment before it is the moment before the call behind it. A file that was
/// only opened is as one before its first `write`.
const CALLS: &str = "rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat,\
    write,ftruncate,fallocate,sendfile,copy_file_range,chown,fchown,lchown,fchownat";
/// Of these calls one after the other the first and each of so many more are taken: while a file grows or a tree is
/// removed, nobody looks at it yet or any more.
const ALIKE: [&str; 2] = ["write", "unlinkat"];
const RUN: usize = 8;

/// A step: the `nth` call of its name, as strace printed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    call: String,
    nth: usize,
    /// What strace printed of it.
    pub line: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "before {} {}: {}", self.call, self.nth, self.line)
    }
}

/// Runs the program to its end, which must be a good one, and gives its steps.
///
/// # Panics
/// It does not end well.
pub fn steps(node: &Node, strace: &Path, arguments: &[&str]) -> Vec<Step> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut runner = Command::new(strace);
    runner.arg("-qq").arg(format!("--trace={CALLS}")).arg("--output").arg(file.path());
    let output = node.command_below(runner, arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let steps = parse(&fs::read_to_string(file.path()).unwrap());
    assert!(!steps.is_empty());
    steps
}

/// Runs the program and kills it (no child of it) just before this step.
///
/// # Panics
/// It ends otherwise.
#[track_caller]
pub fn kill_at(node: &Node, strace: &Path, arguments: &[&str], step: &Step) {
    let mut runner = Command::new(strace);
    let inject = format!("--inject={}:signal=SIGKILL:when={}", step.call, step.nth);
    runner.args(["-qq", "--output=/dev/null"]).arg(format!("--trace={}", step.call)).arg(inject);
    let output = node.command_below(runner, arguments).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(9), "{step}: not killed: {:?} {log}", output.status);
}

/// The steps in what strace printed: calls counted by name, without what goes to stdout and stderr.
fn parse(trace: &str) -> Vec<Step> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut steps = Vec::new();
    let mut run = ("", 0);
    for line in trace.lines() {
        let Some((call, _)) = line.split_once('(') else { continue };
        let nth = counts.entry(call).or_default();
        *nth += 1;
        if ["write(1,", "write(2,"].iter().any(|log| line.starts_with(log)) {
            continue;
        }
        run = if run.0 == call { (call, run.1 + 1) } else { (call, 0) };
        if !ALIKE.contains(&call) || run.1 % RUN == 0 {
            steps.push(Step { call: call.to_owned(), nth: *nth, line: line.to_owned() });
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_becomes_steps() {
        let mut trace = String::from(
            "mkdir(\"/a\", 0700) = 0\nwrite(2, \"log\", 3) = 3\nrmdir(\"/b\") = 0\nwrite(3, \"x\", 1) = 1\n",
        );
        trace += &"write(3, \"y\", 1) = 1\n".repeat(RUN + 1);
        trace += "rmdir(\"/c\") = 0\n+++ exited with 0 +++\n";
        let got: Vec<(String, usize)> = parse(&trace).into_iter().map(|s| (s.call, s.nth)).collect();
        let expected = [("mkdir", 1), ("rmdir", 1), ("write", 2), ("write", 2 + RUN), ("rmdir", 2)];
        assert_eq!(got, expected.map(|(call, nth)| (call.to_owned(), nth)));
    }
}
