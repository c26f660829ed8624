//! One thing going wrong in the program: each system call that changes a disk fails, or the program dies before it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Every call that changes files, folders, their modes or what is durable of them.
const CALLS: &str = "openat,write,fsync,fchmod,chmod,fchmodat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,\
    unlink,unlinkat,rmdir,mkdir,mkdirat,ftruncate,sendfile,copy_file_range,chown,fchown,lchown,fchownat";

/// The `nth` call of its name, as strace printed it.
#[derive(Debug, Clone)]
pub struct Call {
    name: String,
    nth: usize,
    line: String,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.name, self.nth, self.line)
    }
}

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails so.
    Error(&'static str),
    /// The program is killed before it.
    Kill,
}

/// Runs a program to its end, which must be a good one, and gives the calls by which it changed something below `tree`.
///
/// # Panics
/// It does not end well, or changes nothing.
pub fn calls(strace: &Path, program: &Command, tree: &Path) -> Vec<Call> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new(strace);
    // -y: the path behind every descriptor.
    command.args(["-qq", "-y"]).arg(format!("--trace={CALLS}")).arg("--output").arg(file.path());
    let output = below(command, program);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let trace = fs::read_to_string(file.path()).unwrap();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut all = Vec::new();
    for line in trace.lines() {
        let Some((name, arguments)) = line.split_once('(') else { continue };
        let nth = counts.entry(name).or_default();
        *nth += 1;
        let reads = name == "openat" && !arguments.contains("O_CREAT");
        if arguments.contains(tree.to_str().unwrap()) && !reads {
            all.push(Call { name: name.to_owned(), nth: *nth, line: line.to_owned() });
        }
    }
    assert!(!all.is_empty());
    all
}

/// Runs a program with a fault at one call.
///
/// # Panics
/// It cannot be started.
pub fn run_with(strace: &Path, program: &Command, call: &Call, fault: Fault) -> Output {
    let mut command = Command::new(strace);
    let what = match fault {
        Fault::Error(error) => format!("error={error}"),
        Fault::Kill => "signal=SIGKILL".to_owned(),
    };
    command.args(["-qq", "--output=/dev/null"]).arg(format!("--trace={}", call.name));
    command.arg(format!("--inject={}:{what}:when={}", call.name, call.nth));
    below(command, program)
}

fn below(mut command: Command, program: &Command) -> Output {
    command.arg(program.get_program()).args(program.get_args()).output().unwrap()
}
