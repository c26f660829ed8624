//! A small file system of its own, filled as a test wants it, or one of a kind that clones files. Only in a namespace of its own: [`super::namespace`].

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a tmpfs counts in.
pub const PAGE: u64 = 4096;

/// See the module. It goes with the namespace.
#[derive(Debug)]
pub struct Disk(PathBuf);

/// A file system of this kind (`xfs`, `btrfs`) in the file `image` of a folder, mounted on `mounted` there; `None` if it cannot be mounted
/// here. An image that is there is used, and becomes as long as `bytes`.
///
/// # Panics
/// It cannot be made.
pub fn in_a_file(folder: &Path, kind: &str, bytes: u64) -> Option<PathBuf> {
    let (image, place) = (folder.join("image"), folder.join("mounted"));
    let file = File::options().create(true).truncate(false).write(true).open(&image).unwrap();
    file.set_len(bytes).unwrap();
    let made = Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image).status().unwrap();
    assert!(made.success(), "mkfs.{kind}");
    fs::create_dir(&place).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", kind, "-o", "loop"]).arg(&image).arg(&place);
    mount.status().unwrap().success().then_some(place)
}

impl Disk {
    /// One on this folder, which is made if it is not there; of a size as mount(8) takes it.
    ///
    /// # Panics
    /// It cannot be mounted.
    pub fn on(path: PathBuf, size: &str) -> Self {
        fs::create_dir_all(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "tmpfs"]).arg(&path);
        assert!(mount.status().unwrap().success());
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Bytes that can still be written.
    ///
    /// # Panics
    /// It cannot be asked.
    pub fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    /// Leaves so many pages free.
    ///
    /// # Panics
    /// There are not so many.
    pub fn leave(&self, pages: u64) {
        self.make_room();
        let mut fill = self.free().checked_sub(pages * PAGE).expect("so much is free");
        let mut filler = File::create(self.filler()).unwrap();
        while fill > 0 {
            let some = fill.min(1 << 20);
            filler.write_all(&vec![0; usize::try_from(some).unwrap()]).unwrap();
            fill -= some;
        }
        assert_eq!(self.free(), pages * PAGE);
    }

    /// Takes that back.
    pub fn make_room(&self) {
        fs::remove_file(self.filler()).ok();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}
