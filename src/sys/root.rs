//! The tree of files that is worked on.

use std::path::{Path, PathBuf};

/// The root of the node's file system: `/`, or a tree given with `--root`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// The tree at `path`; `/` is the running node.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Whether this is the running node itself, so that systemd may be asked.
    pub fn is_live(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// An absolute path of the node, inside this root.
    pub fn join(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let path = absolute.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The inverse of [`Root::join`]: the path as the node itself sees it.
    pub fn strip(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.0).map_or_else(|_| path.to_path_buf(), |p| Path::new("/").join(p))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_stay_inside_the_root() {
        let root = Root::new("/tmp/e1");
        assert_eq!(root.join("/etc/rclone.conf"), Path::new("/tmp/e1/etc/rclone.conf"));
        assert!(!root.is_live());
        assert_eq!(root.strip(&root.join("/var/lib/etcd2")), Path::new("/var/lib/etcd2"));
        assert_eq!(Root::new("/").strip(Path::new("/var/lib/etcd2")), Path::new("/var/lib/etcd2"));
        assert_eq!(Root::new("/").join("/etc/machine-id"), Path::new("/etc/machine-id"));
    }
}
