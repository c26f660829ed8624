//! How a command ended: the exit codes a unit, a script or a person can act on, and the error that carries one.

use std::{fmt, io};

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
    pub hint: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Fault {}

/// An error that names the thing, the reason and the next step.
pub fn fault(exit: Exit, what: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Fault { exit, what: what.into(), hint: Some(hint.into()) })
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
        self.map_err(|e| e.into().context(Fault { exit, what: what.into(), hint: Some(hint.into()) }))
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

/// The next step an error names, if any.
pub fn hint_of(error: &anyhow::Error) -> Option<&str> {
    let fault = error.downcast_ref::<Fault>();
    if is_full(error) && fault.is_none_or(|f| f.exit != Exit::NoSpace) {
        return Some("make room on that file system and run it again: nothing that was there before is lost");
    }
    fault.and_then(|f| f.hint.as_deref())
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
}
