//! Where backups go, and how rclone is run to bring them there: all that the room of the remote knows of the settings.

use std::path::PathBuf;
use std::time::Duration;

/// See the module. Paths are inside the [`Root`](crate::sys::root::Root) already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteConfig {
    /// Where the backups of all machines lie, `remote:path` (`RCLONE_ENDPOINT`).
    pub endpoint: String,
    /// How rclone is run.
    pub runner: Runner,
    /// The rclone that came in the tarball, for [`Runner::Bundled`].
    pub bundled: PathBuf,
    /// rclone's configuration file (`RCLONE_CONFIG_PATH`).
    pub conf: PathBuf,
    /// Where the password of an encrypted rclone.conf is (`ETCD2_BACKUP_RCLONE_PASSWORD_FILE`).
    pub password_file: Option<PathBuf>,
    /// Folders from and to which objects are copied: a container must see them.
    pub folders: [PathBuf; 2],
    /// The longest one rclone call may take (`ETCD2_BACKUP_RCLONE_TIMEOUT`, default 10m).
    pub timeout: Duration,
    /// Whether an object that is there already is compared by its checksum, not by size alone (`RCLONE_CHECKSUM`).
    pub checksum: bool,
    /// How fast backups may send, as rclone writes it (`ETCD2_BACKUP_RCLONE_BWLIMIT`).
    pub bwlimit: Option<String>,
    /// Flags for each call of rclone (`ETCD2_BACKUP_RCLONE_FLAGS`, with spaces between them).
    pub flags: Vec<String>,
}

/// How rclone is run (`ETCD2_BACKUP_RCLONE_RUNNER`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runner {
    /// `rclone` of the node's PATH.
    Host,
    /// The rclone that came in the tarball.
    Bundled,
    /// A container, started by `docker` or `podman` from an image (`ETCD2_BACKUP_RCLONE_IMAGE`).
    Container {
        /// `docker` or `podman`.
        engine: String,
        /// The image; its entry point is rclone.
        image: String,
    },
}
