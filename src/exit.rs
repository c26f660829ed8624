//! How a command ended: the exit codes a unit, a script or a person can act on, and the error that carries one.

use std::{fmt, io};

use rustix::io::Errno;

/// What the process says to whoever started it. The numbers are part of the public interface (docs/reference/exit-codes.md).
///
/// From 3 on they begin at 10: `systemctl status` calls 3 to 7 by the names that init scripts gave them, and a refusal
/// would read as NOTIMPLEMENTED.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or there was nothing to do.
    Done = 0,
    /// Failed for a reason that has no code of its own.
    Failed = 1,
    /// The command line was not understood.
    Usage = 2,
    /// Refused: going on could destroy data or a healthy cluster. Nothing was changed.
    Refused = 10,
    /// Data is corrupt: it is not what its checksum or its name says.
    Corrupt = 11,
    /// There is nothing to work on: no data directory, no backup, no member.
    NotFound = 12,
    /// The remote, rclone or its container did not do what was asked in time.
    Remote = 13,
    /// A file system is full, or has too little room for what is announced. Nothing of it was written.
    NoSpace = 14,
    /// A setting is missing, malformed, or contradicts what etcd's unit says; or etcd's configuration file cannot be
    /// read or understood.
    Settings = 15,
    /// The cluster did not answer, or did not reach the awaited state in time.
    Cluster = 16,
    /// `inspect` only: intact except for the last write or upload, which is incomplete. etcd and a restore leave it
    /// out.
    Torn = 17,
    /// `prune` and `sources` only: nothing was removed, or no source was named. Somebody has to look first, and accept
    /// or choose.
    Paused = 18,
    /// `backup` and `status` only: this node is only a proxy, or etcd never ran as a member here.
    NoMember = 19,
    /// `status` only: it reported something that somebody has to look at.
    Warned = 20,
}

impl Exit {
    /// What a process of this program ended with.
    pub fn of_code(code: i32) -> Self {
        use Exit::{
            Cluster, Corrupt, NoMember, NoSpace, NotFound, Paused, Refused, Remote, Settings, Torn, Usage,
            Warned,
        };
        let all = [
            Usage, Refused, Corrupt, NotFound, Remote, NoSpace, Settings, Cluster, Torn, Paused, NoMember,
            Warned,
        ];
        all.into_iter().find(|exit| *exit as i32 == code).unwrap_or(Self::Failed)
    }
}

/// An error with its exit code and the next step for the reader.
///
/// It is the only typed error of the program; everything else is context around it.
#[derive(Debug)]
pub struct Fault {
    /// Which exit code the process ends with.
    pub exit: Exit,
    /// The thing and the reason, one line.
    pub what: String,
    /// What to do next, printed behind `hint:`.
    pub hint: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Fault {}

/// An error that names the thing, the reason and the next step.
pub fn fault(exit: Exit, what: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Fault { exit, what: what.into(), hint: hint.into() })
}

/// The same around an error that is its cause: `what: cause`.
pub fn because(
    error: impl Into<anyhow::Error>,
    exit: Exit,
    what: impl Into<String>,
    hint: impl Into<String>,
) -> anyhow::Error {
    error.into().context(Fault { exit, what: what.into(), hint: hint.into() })
}

/// Gives an error that has a cause an exit code and a hint: `what: cause`.
pub trait OrFault<T> {
    /// Wraps the error; `what` is a lower-case gerund and the thing, as in "listing s3:bucket/path".
    ///
    /// # Errors
    /// The error that was there, with the exit code and the hint.
    fn or_fault(self, exit: Exit, what: impl Into<String>, hint: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> OrFault<T> for Result<T, E> {
    fn or_fault(self, exit: Exit, what: impl Into<String>, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|e| because(e, exit, what, hint))
    }
}

/// The exit code of an error: that of the outermost [`Fault`], else a full disk, else [`Exit::Failed`].
pub fn exit_of(error: &anyhow::Error) -> Exit {
    match error.downcast_ref::<Fault>() {
        _ if is_full(error) => Exit::NoSpace,
        Some(fault) => fault.exit,
        None => Exit::Failed,
    }
}

/// The next step that an error itself names, if any: that of the outermost [`Fault`].
pub fn hint_of(error: &anyhow::Error) -> Option<&str> {
    let fault = error.downcast_ref::<Fault>();
    if is_full(error) && fault.is_none_or(|f| f.exit != Exit::NoSpace) {
        return Some("make room on that file system and run it again: nothing that was there before is lost");
    }
    fault.map(|f| f.hint.as_str()).filter(|hint| !hint.is_empty())
}

/// The next step for whoever reads an error: the one that it names, else what its cause calls for.
pub fn next_step(error: &anyhow::Error) -> &str {
    next_step_or(
        error,
        "run it again with --verbose, which shows every step; sudo /opt/bin/etcd2-backup doctor checks this \
         node, its etcd and the remote",
    )
}

/// The same for another program than the node's, which knows a better last word.
pub fn next_step_or<'a>(error: &'a anyhow::Error, otherwise: &'a str) -> &'a str {
    let systems = error.chain().filter_map(|e| e.downcast_ref::<io::Error>()).find_map(calls_for);
    hint_of(error).or(systems).unwrap_or(otherwise)
}

/// Ends a command, or a part of one: the error, and behind `hint:` the next step.
pub fn tell(error: &anyhow::Error) {
    log::error!("{error:#}");
    log::info!("hint: {}", next_step(error));
}

/// What an error of the system calls for, whatever was being done. A full file system has a code of its own.
fn calls_for(error: &io::Error) -> Option<&'static str> {
    use io::ErrorKind::{
        BrokenPipe, ConnectionRefused, NotFound, OutOfMemory, PermissionDenied, ReadOnlyFilesystem, TimedOut,
        UnexpectedEof,
    };
    let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    Some(match error.kind() {
        _ if is(Errno::MFILE) || is(Errno::NFILE) => {
            "too many files are open: see the limits with ulimit -n and cat /proc/sys/fs/file-nr, raise the one \
             that is reached, and run it again"
        }
        _ if is(Errno::IO) => "the disk or its file system is failing: see journalctl -k, then run it again",
        PermissionDenied => {
            "run it as root (sudo); if it is root, look at the path's attributes (lsattr), at SELinux (sudo \
             ausearch -m avc) and at the sandbox of the unit that ran it (systemctl cat)"
        }
        ReadOnlyFilesystem => {
            "the file system is mounted read-only: see why with journalctl -k, mount it writable and run it again"
        }
        OutOfMemory => "free memory on this node (see: free -m), then run it again",
        NotFound => {
            "something that must be there is missing, or was removed meanwhile: look at that path, then run it again"
        }
        UnexpectedEof => "a file ended earlier than it said: it may still be written; run it again",
        BrokenPipe => "whatever read the output has closed it: run it again and let it read to the end",
        ConnectionRefused => "nothing listens there: start it, then run it again",
        TimedOut => "it took too long: look at the disk and the network, then run it again",
        _ => return None,
    })
}

/// Whether a file system had no room, whatever was made of that.
fn is_full(error: &anyhow::Error) -> bool {
    let full = |e: &io::Error| matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    error.chain().filter_map(|e| e.downcast_ref::<io::Error>()).any(full)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_outermost_fault_decides_through_any_context() {
        let inner: anyhow::Result<()> =
            Err(fault(Exit::Corrupt, "part 3 is damaged", "ask for an older one"));
        let error = inner.context("reading the archive").unwrap_err();
        assert_eq!(exit_of(&error), Exit::Corrupt);
        assert_eq!(hint_of(&error), Some("ask for an older one"));
        let outer = Err::<(), _>(error).or_fault(Exit::Remote, "restoring", "look").unwrap_err();
        assert_eq!(exit_of(&outer), Exit::Remote);
        assert_eq!(format!("{outer:#}"), "restoring: reading the archive: part 3 is damaged");
    }

    #[test]
    fn a_full_disk_has_its_own_code_whatever_is_around_it() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = Err::<(), _>(full).or_fault(Exit::Failed, "writing x", "").unwrap_err();
        assert_eq!(exit_of(&error), Exit::NoSpace);
        assert!(hint_of(&error).unwrap().starts_with("make room"));
        assert_eq!(exit_of(&anyhow::anyhow!("other")), Exit::Failed);
    }

    /// Whatever the system says, and whatever is put around it: there is a next step, in one line.
    #[test]
    fn no_error_is_without_a_next_step() {
        let of_the_system = (0..200).map(io::Error::from_raw_os_error);
        let kinds = [io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidData, io::ErrorKind::Other];
        let mut steps = std::collections::BTreeSet::new();
        for error in of_the_system.chain(kinds.map(io::Error::from)) {
            let shown = format!("{error:?}");
            let bare = anyhow::Error::new(error);
            steps.insert(next_step(&bare).to_owned());
            for error in [bare.context("reading x"), anyhow::anyhow!("other"), fault(Exit::Failed, "x", "")] {
                let step = next_step(&error);
                assert!(step.len() > 30 && !step.contains(['\n', '\t']), "{shown}: {step:?}");
                assert!(!step.contains("  ") && !step.ends_with('.'), "{shown}: {step:?}");
            }
        }
        assert!(steps.len() > 9, "{steps:#?}");
        let denied = || anyhow::Error::new(io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(next_step(&denied().context("opening /x")).contains("run it as root (sudo)"));
        assert_eq!(next_step(&because(denied(), Exit::Failed, "opening /x", "look")), "look");
        assert_eq!(hint_of(&denied()), None);
    }
}
