//! Which directories make up a member on this node, where they really lie, and what lies beside them.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::exit::{Exit, fault};
use crate::settings::EtcdConfig;
use crate::sys::folder::Folder;
use crate::sys::fs::is_mount_point;
use crate::sys::look;

/// A member's directories. Each can be renamed within the folder it lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// `member` of the data directory.
    pub member: PathBuf,
    /// The WAL directory, if it is a separate one.
    pub wal: Option<PathBuf>,
    /// What etcd would trip over beside them: `proxy` and `member` together are fatal, `snap` and `wal` of 2.0.0 are
    /// moved over those in `member`.
    pub others: Vec<PathBuf>,
}

impl Places {
    /// Those of this node. Where one is a symbolic link, it is what that leads to: the data stays on the disk that
    /// somebody chose for it.
    ///
    /// # Errors
    /// A link leads nowhere or is not root's, or it could not be asked whether it is one.
    pub fn of(etcd: &EtcdConfig) -> Result<Self> {
        let member = real(&etcd.data_dir.join("member"))?;
        let wal = etcd.wal_dir.as_deref().filter(|wal| *wal != etcd.data_dir.join("member/wal"));
        let wal = wal.map(real).transpose()?;
        let mut others = ["proxy", "snap", "wal"].map(|name| etcd.data_dir.join(name)).to_vec();
        others.retain(|other| Some(other) != wal.as_ref());
        Ok(Self { member, wal, others })
    }

    /// Sees to it that each can be renamed by itself.
    ///
    /// # Errors
    /// [`Exit::Refused`]: a mount point, or a WAL directory and `member` in each other; or it could not be asked.
    pub fn refuse_unmovable(&self) -> Result<()> {
        let member = &self.member;
        if let Some(wal) = self.wal.as_ref().filter(|wal| wal.starts_with(member) || member.starts_with(wal))
        {
            let what = format!(
                "of the WAL directory {} and {}, one is inside the other",
                wal.display(),
                member.display()
            );
            return Err(fault(
                Exit::Refused,
                what,
                "set ETCD_WAL_DIR to a directory of its own, or remove that setting",
            ));
        }
        for dir in self.all() {
            look::if_there(Folder::above(dir))?;
        }
        for dir in self.data() {
            if !is_mount_point(dir)? {
                continue;
            }
            let what = format!("{} is a mount point and cannot be renamed", dir.display());
            let hint = "move the files in it to a subdirectory by hand, and name that one in etcd's settings";
            return Err(fault(Exit::Refused, what, hint));
        }
        Ok(())
    }

    /// The directories that hold the data.
    pub fn data(&self) -> impl Iterator<Item = &PathBuf> + Clone {
        [&self.member].into_iter().chain(&self.wal)
    }

    /// All that may be set aside.
    pub fn all(&self) -> impl Iterator<Item = &PathBuf> + Clone {
        self.data().chain(&self.others)
    }
}

/// What a link of root's leads to; anything else is what it is. Whoever owns the folder that the link lies in could have made it:
/// what it leads to would be written, renamed and given away.
fn real(path: &Path) -> Result<PathBuf> {
    if !look::at_name(path)?.is_some_and(|found| found.is_symlink()) {
        return Ok(path.to_path_buf());
    }
    Ok(Folder::open(path)?.path().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::exit_of;
    use std::fs;
    use std::os::unix::fs::{lchown, symlink};

    #[test]
    fn links_are_followed_and_folders_in_each_other_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for folder in ["data", "disk/real", "log"] {
            fs::create_dir_all(path(folder)).unwrap();
        }
        symlink(path("log"), path("log-link")).unwrap();
        let of = |wal: Option<&str>| {
            let wal_dir = wal.map(path);
            Places::of(&EtcdConfig { wal_dir, ..crate::settings::tests::in_tree(&path("data")).etcd })
        };
        let wal = |name: Option<&str>| of(name).unwrap().wal;
        assert_eq!(wal(None), None);
        assert_eq!(wal(Some("data/member/wal")), None);
        assert_eq!(wal(Some("log")), Some(path("log")));
        assert_eq!(wal(Some("log-link")), Some(path("log")));
        assert_eq!(wal(Some("not-there-yet")), Some(path("not-there-yet")));
        of(Some("data/wal")).unwrap().refuse_unmovable().unwrap();
        for bad in ["data/member/log", "data/member", "data"] {
            let refused = of(Some(bad)).unwrap().refuse_unmovable();
            assert_eq!(exit_of(&refused.unwrap_err()), Exit::Refused, "{bad}");
        }
        // What etcd is told to use is nothing that was left behind.
        assert_eq!(of(Some("data/wal")).unwrap().others, [path("data/proxy"), path("data/snap")]);
        symlink(path("disk/real"), path("data/member")).unwrap();
        assert_eq!(of(None).unwrap().member, path("disk/real"));
        fs::remove_dir(path("disk/real")).unwrap();
        assert!(of(None).is_err());
        // Only root can make another user's.
        fs::create_dir(path("disk/real")).unwrap();
        if lchown(path("data/member"), Some(65534), Some(65534)).is_ok() {
            let refused = of(None).unwrap_err();
            assert!(refused.to_string().contains("is a link that user 65534 made"), "{refused:#}");
            assert_eq!(exit_of(&refused), Exit::Refused);
        }
    }
}
