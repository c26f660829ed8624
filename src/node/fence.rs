//! The fence: while its file exists, etcd's unit does not start, whoever asks and however often the node reboots.
//!
//! It is up before any data directory is emptied or exchanged. A member that came up on an empty directory with its old
//! flags would form a new, empty cluster and take writes.

use anyhow::{Context, Result};

use crate::paths::{FENCE, STAMP_DIR};
use crate::sys::root::Root;
use crate::sys::{fs, look};

/// Puts the fence up. `who` is the verb that does it; one that is up already is only rewritten.
///
/// # Errors
/// The file cannot be written.
pub fn raise(root: &Root, who: &str) -> Result<()> {
    fs::create_dirs(&root.join(STAMP_DIR), 0o755)?;
    fs::write_atomic(&root.join(FENCE), text(who).as_bytes(), 0o644).context("fencing etcd")
}

/// Puts the fence up, and asks then whether that may be: what began before it was up is found there, and behind it nothing
/// begins. Where the answer is no, the fence is what it was before.
///
/// # Errors
/// The answer; or the file cannot be written.
pub fn raise_if(root: &Root, who: &str, may_be: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = look::read_if_there(&root.join(FENCE))?;
    raise(root, who)?;
    may_be().or_else(|no| {
        match before {
            Some(text) => fs::write_atomic(&root.join(FENCE), &text, 0o644)?,
            None => lower(root)?,
        }
        Err(no)
    })
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

/// Whether etcd is kept from starting.
///
/// # Errors
/// It could not be asked.
pub fn is_up(root: &Root) -> Result<bool> {
    look::is_there(&root.join(FENCE))
}

/// Whether it is this verb that keeps it from starting.
///
/// # Errors
/// It could not be asked.
pub fn is_up_for(root: &Root, who: &str) -> Result<bool> {
    let text = look::read_if_there(&root.join(FENCE))?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&text).contains(&format!("`etcd2-backup {who}`")))
}

fn text(who: &str) -> String {
    format!(
        "While this file exists, etcd does not start on this node.\n\
         `etcd2-backup {who}` wrote it because it was changing etcd's data directory or its membership.\n\
         If that was interrupted, run it again: it goes on where it was and removes this file.\n\
         Do not remove it by hand before you know what lies in the data directory: an empty one would become\n\
         a new, empty cluster.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_down_and_both_twice() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        assert!(!is_up(&root).unwrap());
        lower(&root).unwrap();
        raise(&root, "join").unwrap();
        raise(&root, "restore").unwrap();
        assert!(is_up(&root).unwrap());
        assert_eq!(
            ["restore", "restore --undo", "join"].map(|who| is_up_for(&root, who).unwrap()),
            [true, false, false]
        );
        let text = std::fs::read_to_string(root.join(FENCE)).unwrap();
        assert!(text.contains("`etcd2-backup restore`") && !text.contains("etcd2-backup join"), "{text}");
        lower(&root).unwrap();
        assert!(!is_up(&root).unwrap());
    }

    #[test]
    fn one_that_may_not_be_is_gone_again_and_another_s_is_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let no = || {
            assert!(is_up_for(&root, "join").unwrap(), "it is asked behind the fence");
            anyhow::bail!("no")
        };
        assert_eq!(raise_if(&root, "join", no).unwrap_err().to_string(), "no");
        assert!(!is_up(&root).unwrap());
        raise(&root, "recover").unwrap();
        raise_if(&root, "join", no).unwrap_err();
        assert!(is_up_for(&root, "recover").unwrap());
        raise_if(&root, "join", || Ok(())).unwrap();
        assert!(is_up_for(&root, "join").unwrap());
    }
}
