//! Folders that are held open. Where others may write, a path leads elsewhere from one moment to the next: what root does there
//! by path, whoever owns a folder on the way can turn against any file of root's. A folder that is open stays the same one, and
//! what lies in it is named without following a link.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{Dir, Gid, Mode, OFlags, RenameFlags, Uid};
use rustix::io::Errno;

use super::fs::parent;
use crate::exit::{Exit, fault};

/// More links on one way are a circle.
const MOST_LINKS: usize = 40;
/// A folder that is only passed through: not even the right to list it is needed.
const PASSED: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// What is opened to be read, and is what has the name: no link is followed, no pipe waited for.
const ITSELF: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// A folder that is open.
#[derive(Debug)]
pub struct Folder {
    file: File,
    path: PathBuf,
}

impl Folder {
    /// Opens a folder. Links on the way are followed where they are root's, or this user's own: an administrator made those.
    ///
    /// # Errors
    /// It is not there; [`Exit::Refused`]: somebody else made a link that is on the way.
    pub fn open(path: &Path) -> Result<Self> {
        let doing = || format!("opening {}", path.display());
        let absolute = std::path::absolute(path).with_context(doing)?;
        let mut left: Vec<OsString> = names(&absolute);
        let (mut at, mut real) = (root().with_context(doing)?, PathBuf::from("/"));
        let mut links = 0;
        while let Some(name) = left.pop() {
            if name == ".." {
                real.pop();
                at = rustix::fs::openat(&at, "..", PASSED, Mode::empty()).with_context(doing)?;
                continue;
            }
            let next = rustix::fs::openat(&at, &name, PASSED, Mode::empty()).map_err(io::Error::from);
            let next = next.with_context(doing)?;
            let stat = rustix::fs::fstat(&next).with_context(doing)?;
            if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink() {
                real.push(&name);
                at = next;
                continue;
            }
            let link = real.join(&name);
            links += 1;
            if links > MOST_LINKS {
                return Err(io::Error::from(Errno::LOOP)).with_context(doing);
            }
            // One of root's that was linked to once more stands where somebody else put it.
            if !is_administrators(stat.st_uid) || stat.st_nlink > 1 {
                return Err(foreign(&link, stat.st_uid));
            }
            let target = rustix::fs::readlinkat(&next, "", Vec::new()).map_err(io::Error::from);
            let target = PathBuf::from(OsString::from_vec(target.with_context(doing)?.into_bytes()));
            if target.is_absolute() {
                (at, real) = (root().with_context(doing)?, PathBuf::from("/"));
            }
            left.extend(names(&target));
        }
        let opened = rustix::fs::openat(&at, ".", ITSELF | OFlags::DIRECTORY, Mode::empty());
        let file = File::from(opened.map_err(io::Error::from).with_context(doing)?);
        Ok(Self { file, path: real })
    }

    /// The folder that a path lies in, and its name there.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub fn above(path: &Path) -> Result<(Self, &OsStr)> {
        let name = path.file_name().with_context(|| format!("{} is no name", path.display()))?;
        Ok((Self::open(&parent(path))?, name))
    }

    /// A folder in it that is no link; `None` if nothing has that name.
    ///
    /// # Errors
    /// It is something else, or cannot be opened.
    pub fn inside(&self, name: &OsStr) -> Result<Option<Self>> {
        let path = self.path.join(name);
        match rustix::fs::openat(&self.file, name, ITSELF | OFlags::DIRECTORY, Mode::empty()) {
            Ok(opened) => Ok(Some(Self { file: File::from(opened), path })),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(io::Error::from(e)).with_context(|| format!("opening {}", path.display())),
        }
    }

    /// A folder in it that nobody but this user can enter: the one that is there, or a new one.
    ///
    /// # Errors
    /// Something else has that name, or it cannot be made.
    pub fn private(&self, name: &OsStr) -> Result<Self> {
        match rustix::fs::mkdirat(&self.file, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => {
                return Err(io::Error::from(e))
                    .with_context(|| format!("creating {}", self.path.join(name).display()));
            }
        }
        let made =
            self.inside(name)?.with_context(|| format!("{} is gone", self.path.join(name).display()))?;
        let (uid, _, mode) = made.owner_and_mode()?;
        if uid == rustix::process::geteuid().as_raw() && mode & 0o077 == 0 {
            return Ok(made);
        }
        let what = format!("{} already exists, and is not what this program creates", made.path.display());
        Err(fault(
            Exit::Refused,
            what,
            format!("look at it, and move it away: ls -la {}", made.path.display()),
        ))
    }

    /// A new folder in this one, which must be private: what is made where others may write is not surely what is opened then.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(&self, name: &OsStr, (uid, gid, mode): (u32, u32, u32)) -> Result<Self> {
        let create = || -> Result<Self> {
            rustix::fs::mkdirat(&self.file, name, Mode::RWXU)?;
            let made = self.inside(name)?.context("it is gone")?;
            made.give(uid, gid, mode)?;
            Ok(made)
        };
        create().with_context(|| format!("creating {}", self.path.join(name).display()))
    }

    /// Gives the folder itself to a user, with these permissions.
    ///
    /// # Errors
    /// That is not allowed.
    pub fn give(&self, uid: u32, gid: u32, mode: u32) -> Result<()> {
        own(&self.file, Some((uid, gid)))?;
        // It takes the set-ID bits away.
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode))?;
        Ok(self.file.sync_all()?)
    }

    /// Where it was found, links resolved.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The way to what has a name in it, for as long as it is open, whatever becomes of its path.
    pub fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd())).join(name)
    }

    /// User, group and permissions.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn owner_and_mode(&self) -> Result<(u32, u32, u32)> {
        let meta = self.file.metadata().with_context(|| format!("looking at {}", self.path.display()))?;
        Ok((meta.uid(), meta.gid(), meta.mode() & 0o7777))
    }

    /// Whether nobody but root and this user can change what has which name in it.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn is_administrators(&self) -> Result<bool> {
        let (uid, _, mode) = self.owner_and_mode()?;
        Ok(is_administrators(uid) && mode & 0o022 == 0)
    }

    /// Makes the names in it durable.
    ///
    /// # Errors
    /// It cannot be synced.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().with_context(|| format!("syncing {}", self.path.display()))
    }

    /// Removes what has a name in it, with all that is in that; nothing is fine. A link goes, and what it leads to stays.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, name: &OsStr) -> Result<()> {
        let path = self.at(name);
        let gone = match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(e) => Err(e),
        };
        match gone {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(e).with_context(|| format!("removing {}", self.path.join(name).display()))
            }
            _ => Ok(()),
        }
    }
}

/// Renames, by the folders that two paths lie in.
///
/// # Errors
/// One of the folders cannot be opened, or the rename fails.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    let doing = || format!("renaming {} to {}", from.display(), to.display());
    let ((old, from_name), (new, to_name)) = (Folder::above(from)?, Folder::above(to)?);
    rustix::fs::renameat(&old.file, from_name, &new.file, to_name)
        .map_err(io::Error::from)
        .with_context(doing)
}

/// Exchanges two names of one file system in one step; `false` where the kernel or the file system cannot.
///
/// # Errors
/// It could, and did not.
pub fn exchange(a: &Path, b: &Path) -> Result<bool> {
    let ((one, a_name), (other, b_name)) = (Folder::above(a)?, Folder::above(b)?);
    match rustix::fs::renameat_with(&one.file, a_name, &other.file, b_name, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::NOSYS) => Ok(false),
        Err(e) => {
            Err(io::Error::from(e)).with_context(|| format!("exchanging {} and {}", a.display(), b.display()))
        }
    }
}

/// Makes the names in the folder of a path durable.
///
/// # Errors
/// It cannot be opened or synced.
pub fn sync_above(path: &Path) -> Result<()> {
    Folder::above(path)?.0.sync()
}

/// Removes what a path names, with all that is in it; nothing is fine.
///
/// # Errors
/// It cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    match super::look::if_there(Folder::above(path))? {
        Some((folder, name)) => folder.remove(name),
        None => Ok(()),
    }
}

/// Gives what has a name in a private folder to a user and group, with all that is in it, and syncs it.
///
/// # Errors
/// There is something in it that is neither a file nor a folder; or that cannot be opened, given or synced.
pub fn hand_over(folder: &Folder, name: &OsStr, owner: Option<(u32, u32)>) -> Result<()> {
    let doing = || format!("syncing {}", folder.path.join(name).display());
    let opened = rustix::fs::openat(&folder.file, name, ITSELF, Mode::empty()).map_err(io::Error::from);
    let file = File::from(opened.with_context(doing)?);
    let file = if file.metadata().with_context(doing)?.is_dir() {
        let inner = Folder { file, path: folder.path.join(name) };
        for entry in Dir::read_from(&inner.file).with_context(doing)? {
            let entry = OsString::from_vec(entry.with_context(doing)?.file_name().to_bytes().to_vec());
            if entry != "." && entry != ".." {
                hand_over(&inner, &entry, owner)?;
            }
        }
        inner.file
    } else {
        file
    };
    own(&file, owner).and_then(|()| Ok(file.sync_all()?)).with_context(doing)
}

fn own(file: &File, owner: Option<(u32, u32)>) -> Result<()> {
    let Some((uid, gid)) = owner else { return Ok(()) };
    let now = file.metadata()?;
    if (now.uid(), now.gid()) != (uid, gid) {
        rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    Ok(())
}

/// Creates a folder where others may write, and gives it to a user with these permissions; missing parents are this user's. It
/// is made where nobody else can enter, and put there then.
///
/// # Errors
/// Something is there already, or it cannot be made.
pub fn create_as(path: &Path, owner: (u32, u32, u32)) -> Result<()> {
    super::fs::create_dirs(&parent(path), 0o755)?;
    let (above, name) = Folder::above(path)?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".new");
    above.remove(&hidden)?;
    let private = above.private(&hidden)?;
    private.create(name, owner)?;
    // Of folders, only an empty one is replaced.
    let put = rustix::fs::renameat(&private.file, name, &above.file, name).map_err(io::Error::from);
    let put = put.with_context(|| format!("creating {}", path.display()));
    above.remove(&hidden)?;
    put?;
    above.sync()
}

/// Sees to it that the user who owns `theirs` cannot put something else in the place of `ours`, a folder of this program's.
///
/// # Errors
/// [`Exit::Refused`]: that user owns it, or one that it lies in; or that cannot be asked.
pub fn refuse_if_replaceable(ours: &Path, theirs: &Path) -> Result<()> {
    let ours = Folder::open(ours)?.path;
    // Without one there is nobody yet.
    let Some(theirs) = super::look::if_there(Folder::open(theirs))? else { return Ok(()) };
    let (user, ..) = theirs.owner_and_mode()?;
    if is_administrators(user) {
        return Ok(());
    }
    for above in ours.ancestors() {
        if fs::metadata(above).with_context(|| format!("looking at {}", above.display()))?.uid() != user {
            continue;
        }
        let what = format!(
            "user {user} owns {} and {}, and so can replace anything in {}",
            theirs.path.display(),
            above.display(),
            ours.display()
        );
        let hint =
            format!("give {0} to root (sudo chown root: {0}), or set another directory", above.display());
        return Err(fault(Exit::Refused, what, hint));
    }
    Ok(())
}

fn is_administrators(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

fn foreign(link: &Path, uid: u32) -> anyhow::Error {
    let what = format!(
        "{} is a link that user {uid} made, not root. It is not followed, as it may lead to a directory of \
         root's",
        link.display()
    );
    let hint = format!(
        "look where it leads (ls -l {0}); if that is right, make it root's: sudo chown -h root: {0}",
        link.display()
    );
    fault(Exit::Refused, what, hint)
}

fn root() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/", PASSED, Mode::empty())?)
}

/// The names of a path, the first one last.
fn names(path: &Path) -> Vec<OsString> {
    let mut names: Vec<OsString> = path
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect();
    names.reverse();
    names
}

#[cfg(test)]
mod tests;
