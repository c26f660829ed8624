//! The fence: while its file exists, etcd's unit does not start, whoever asks and however often the node reboots.
//!
//! It is up before any data directory is emptied or exchanged. A member that came up on an empty directory with its old
//! flags would form a new, empty cluster and take writes.

use anyhow::{Context, Result};

use crate::paths::{FENCE, STAMP_DIR};
use crate::sys::root::Root;
use crate::sys::{fs, look};

/// The commands that put it up. What is half done behind it only the same command goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// `restore`.
    Restore,
    /// `undo`.
    Undo,
    /// `join`.
    Join,
    /// `recover`, by the `stand-by` that it runs on each node.
    Recover,
}

impl By {
    const ALL: [Self; 4] = [Self::Restore, Self::Undo, Self::Join, Self::Recover];

    /// The command, as the file's first line and the command line have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Restore => "restore",
            Self::Undo => "undo",
            Self::Join => "join",
            Self::Recover => "recover",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.name() == name)
    }

    /// The one in the sentence that was all the file had before it had [`KEY`].
    fn in_sentence(text: &str) -> Option<Self> {
        let (_, command) = text.split_once("`etcd2-backup ")?;
        match command.split_once('`')?.0 {
            // What it was called until it became a command of its own.
            "restore --undo" => Some(Self::Undo),
            name => Self::named(name),
        }
    }
}

/// Whether etcd is kept from starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// It is not.
    Down,
    /// It is, by this command.
    UpBy(By),
    /// It is, by somebody with a `touch`, or by a command that only a newer program has.
    UpByAnother,
}

impl Fence {
    /// Reads how it is.
    ///
    /// # Errors
    /// It could not be asked.
    pub fn read(root: &Root) -> Result<Self> {
        Ok(Self::of(text(root)?.as_deref()))
    }

    /// What the file's text says; `None`: there is no file.
    fn of(text: Option<&[u8]>) -> Self {
        let Some(text) = text.map(String::from_utf8_lossy) else { return Self::Down };
        let by = match text.lines().next().unwrap_or_default().strip_prefix(KEY) {
            Some(name) => By::named(name.trim_end()),
            None => By::in_sentence(&text),
        };
        by.map_or(Self::UpByAnother, Self::UpBy)
    }

    /// Whether it is up, whoever did that.
    pub fn is_up(self) -> bool {
        self != Self::Down
    }
}

/// With the name of the command behind it, the file's first line.
const KEY: &str = "by=";

/// Puts the fence up; one that is up already is only rewritten.
///
/// # Errors
/// The file cannot be written.
pub fn raise(root: &Root, by: By) -> Result<()> {
    fs::create_dirs(&root.join(STAMP_DIR), 0o755)?;
    fs::write_atomic(&root.join(FENCE), text_by(by).as_bytes(), 0o644).context("fencing etcd")
}

/// Puts the fence up, and asks then whether that may be: what began before it was up is found there, and behind it nothing
/// begins. Where the answer is no, the fence is what it was before; else that is told.
///
/// # Errors
/// The answer; or the file cannot be written.
pub fn raise_if(root: &Root, by: By, may_be: impl FnOnce() -> Result<()>) -> Result<Fence> {
    let before = text(root)?;
    raise(root, by)?;
    match may_be() {
        Ok(()) => Ok(Fence::of(before.as_deref())),
        Err(no) => {
            match before {
                Some(text) => fs::write_atomic(&root.join(FENCE), &text, 0o644)?,
                None => lower(root)?,
            }
            Err(no)
        }
    }
}

/// Takes the fence down, durably; one that is not up is fine.
///
/// # Errors
/// The file cannot be removed, or it could not be asked whether it is there.
pub fn lower(root: &Root) -> Result<()> {
    if is_up(root)? {
        fs::remove_if_there(&root.join(FENCE))?;
        fs::sync_dir(&root.join(STAMP_DIR)).context("letting etcd start again")?;
    }
    Ok(())
}

/// Whether etcd is kept from starting, by whomever.
///
/// # Errors
/// It could not be asked.
pub fn is_up(root: &Root) -> Result<bool> {
    look::is_there(&root.join(FENCE))
}

fn text(root: &Root) -> Result<Option<Vec<u8>>> {
    look::read_if_there(&root.join(FENCE))
}

fn text_by(by: By) -> String {
    let name = by.name();
    format!(
        "{KEY}{name}\n\
         While this file exists, etcd does not start on this node.\n\
         `etcd2-backup {name}` wrote it because it was changing etcd's data directory or its membership.\n\
         If that was interrupted, run it again: it goes on where it was and removes this file.\n\
         Do not remove it by hand before you know what lies in the data directory: an empty one would become\n\
         a new, empty cluster.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file as it was before it had a first line of its own.
    fn before(who: &str) -> String {
        format!(
            "While this file exists, etcd does not start on this node.\n\
             `etcd2-backup {who}` wrote it because it was changing etcd's data directory or its membership.\n\
             If that was interrupted, run it again: it goes on where it was and removes this file.\n"
        )
    }

    #[test]
    fn who_put_it_up_is_read_from_the_files_of_every_version() {
        let of = |text: &str| Fence::of(Some(text.as_bytes()));
        for by in By::ALL {
            assert_eq!(of(&text_by(by)), Fence::UpBy(by));
            assert_eq!(of(&before(by.name())), Fence::UpBy(by), "an older program's");
            // An older program looks for this.
            assert!(text_by(by).contains(&format!("`etcd2-backup {}`", by.name())));
        }
        let newer = text_by(By::Restore).replacen("by=restore", "by=restore-all", 1);
        let table = [
            (before("restore --undo"), Fence::UpBy(By::Undo)),
            ("by=join".into(), Fence::UpBy(By::Join)),
            ("by=join \r\n".into(), Fence::UpBy(By::Join)),
            // The first line is what counts, even where it is not understood.
            (format!("by=undo\n{}", before("restore")), Fence::UpBy(By::Undo)),
            (newer, Fence::UpByAnother),
            ("by=\n".into(), Fence::UpByAnother),
            (before("restore-all"), Fence::UpByAnother),
            (before("restore --clone"), Fence::UpByAnother),
            ("`etcd2-backup restore".into(), Fence::UpByAnother),
            (String::new(), Fence::UpByAnother),
            ("do not start etcd here\n".into(), Fence::UpByAnother),
        ];
        for (text, expected) in table {
            assert_eq!(of(&text), expected, "{text}");
        }
        assert_eq!(Fence::of(Some(b"by=join\n\xff")), Fence::UpBy(By::Join));
        assert_eq!(Fence::of(None), Fence::Down);
    }

    #[test]
    fn up_down_and_both_twice() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        assert!(!is_up(&root).unwrap());
        lower(&root).unwrap();
        raise(&root, By::Join).unwrap();
        raise(&root, By::Restore).unwrap();
        assert!(is_up(&root).unwrap());
        assert_eq!(Fence::read(&root).unwrap(), Fence::UpBy(By::Restore));
        let text = std::fs::read_to_string(root.join(FENCE)).unwrap();
        assert!(text.starts_with("by=restore\n") && !text.contains("etcd2-backup join"), "{text}");
        lower(&root).unwrap();
        assert_eq!(Fence::read(&root).unwrap(), Fence::Down);
    }

    #[test]
    fn one_that_may_not_be_is_gone_again_and_another_s_is_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let no = || {
            assert_eq!(Fence::read(&root).unwrap(), Fence::UpBy(By::Join), "it is asked behind the fence");
            anyhow::bail!("no")
        };
        assert_eq!(raise_if(&root, By::Join, no).unwrap_err().to_string(), "no");
        assert!(!is_up(&root).unwrap());
        fs::write_atomic(&root.join(FENCE), b"by=somebody\n", 0o644).unwrap();
        raise_if(&root, By::Join, no).unwrap_err();
        assert_eq!(std::fs::read_to_string(root.join(FENCE)).unwrap(), "by=somebody\n");
        assert_eq!(raise_if(&root, By::Join, || Ok(())).unwrap(), Fence::UpByAnother);
        assert_eq!(Fence::read(&root).unwrap(), Fence::UpBy(By::Join));
        lower(&root).unwrap();
        assert_eq!(raise_if(&root, By::Undo, || Ok(())).unwrap(), Fence::Down);
    }
}
