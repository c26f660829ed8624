//! The password of an encrypted rclone.conf: in a file that root alone can read, never in a tarball, argv or
//! log.

use std::path::Path;

use anyhow::Result;

use crate::exit::{Exit, OrFault};
use crate::sys::secret_file;

/// rclone's variable for it.
pub(super) const VARIABLE: &str = "RCLONE_CONFIG_PASS";

/// Reads the password: the file's only line.
///
/// # Errors
/// [`Exit::Settings`]: there is no such file, others than its owner may read or change it, or it holds no
/// password.
pub(super) fn read(path: &Path) -> Result<String> {
    let hint = format!(
        "as root: install -m 600 /dev/null {0}, then write the password of rclone.conf into {0}",
        path.display()
    );
    secret_file::read(path).or_fault(
        Exit::Settings,
        format!("reading the password of rclone.conf from {}", path.display()),
        hint,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{exit_of, hint_of};
    use crate::sys::fs::write_atomic;

    #[test]
    fn a_file_that_cannot_be_used_is_named_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rclone.pass");
        write_atomic(&path, b"hunter2\n", 0o644).unwrap();
        let error = read(&path).unwrap_err();
        assert_eq!(exit_of(&error), Exit::Settings);
        assert!(format!("{error:#}").contains("rclone.pass: its mode is 0644"), "{error:#}");
        assert!(hint_of(&error).unwrap().contains("install -m 600"), "{error:#}");
    }
}
