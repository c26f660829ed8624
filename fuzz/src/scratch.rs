//! One folder for each process, below TMPDIR: `cargo xtask fuzz` puts that into memory and clears it away.

use std::fs;
use std::path::PathBuf;

/// The folder, emptied.
pub fn empty() -> PathBuf {
    let path = std::env::temp_dir().join(format!("etcd2-backup-fuzz-{}", std::process::id()));
    if path.exists() {
        fs::remove_dir_all(&path).expect("emptying the scratch folder");
    }
    fs::create_dir_all(&path).expect("making the scratch folder");
    path
}

/// The folder with one file in it, which is given.
pub fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = empty().join(name);
    fs::write(&path, content).expect("writing a scratch file");
    path
}
