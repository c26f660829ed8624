//! The clone of this project that is worked in: the one around the working directory. A program does not know it from its
//! compilation: a clone that is copied or moved takes the programs in its `target` along.

use std::path::{Path, PathBuf};

/// The clone that `dir` lies in: the nearest folder upwards that has the manifest of this project's workspace.
pub fn around(dir: &Path) -> Option<&Path> {
    dir.ancestors()
        .find(|folder| std::fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| is_ours(&text)))
}

/// Whether a `Cargo.toml` is that of this project's workspace.
fn is_ours(manifest: &str) -> bool {
    let says = |wanted: &str| manifest.lines().any(|line| line.trim_end() == wanted);
    says("[workspace]") && says("name = \"etcd2-backup\"")
}

/// The clone whose tests run.
///
/// # Panics
/// The working directory lies in none. cargo and nextest start tests in the folder of their package.
pub fn root() -> PathBuf {
    let dir = std::env::current_dir().expect("there is a working directory");
    around(&dir).unwrap_or_else(|| panic!("{} lies in no clone of etcd2-backup", dir.display())).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clone_is_the_nearest_workspace_of_this_name() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let folder = dir.path().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            crate::files::write(&folder.join("Cargo.toml"), text);
        };
        let ours = "[workspace]\nmembers = [\"a\"]\n\n[package]\nname = \"etcd2-backup\"\r\n";
        put("clone", ours);
        put("clone/fuzz", "[workspace]\n\n[package]\nname = \"etcd2-backup-fuzz\"\n");
        put("clone/xtask", "[package]\nname = \"xtask\"\n");
        put("clone/target/verify", ours);
        put("vendored", "[package]\nname = \"etcd2-backup\"\n");
        put("other", "[workspace]\n[package]\nname = \"other\"\n");
        std::fs::create_dir_all(dir.path().join("clone/xtask/src")).unwrap();
        for (from, wanted) in [
            ("clone", Some("clone")),
            ("clone/xtask/src", Some("clone")),
            ("clone/fuzz", Some("clone")),
            ("clone/target/verify", Some("clone/target/verify")),
            ("vendored", None),
            ("other", None),
            ("", None),
            ("not-there", None),
        ] {
            let wanted = wanted.map(|name| dir.path().join(name));
            assert_eq!(around(&dir.path().join(from)), wanted.as_deref(), "{from}");
        }
        assert!(root().join("testkit/src/checkout.rs").is_file());
    }
}
