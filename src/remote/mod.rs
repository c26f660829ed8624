//! The contract with a remote: a place that keeps objects in folders.

pub mod conf;
mod conf_copy;
mod denied;
mod invocation;
mod listing;
mod mounts;
mod password;
pub mod rclone;
mod retry;
pub mod route;
pub mod variables;
pub mod version;

use std::path::Path;

use anyhow::Result;

use crate::sys::room::Leave;

/// The folder below a machine's that `doctor` tries the remote in. Whatever lies there is no part of the archive.
pub const DOCTOR: &str = "doctor";

/// One object as the remote lists it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// Path below the listed folder, `/` between its parts.
    pub path: String,
    /// Size in bytes (behind crypt: the decrypted size).
    pub size: u64,
}

impl Object {
    /// The size of one whose size the remote does not say: it counts as incomplete.
    pub const UNKNOWN_SIZE: u64 = u64::MAX;

    /// The bytes of all of these, as far as the remote says them.
    pub fn bytes(objects: &[Self]) -> u64 {
        let known = objects.iter().map(|o| o.size).filter(|size| *size != Self::UNKNOWN_SIZE);
        known.fold(0, u64::saturating_add)
    }
}

/// What is seen of a listing while it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen<'a> {
    /// It begins. It may do so again: then what came before does not count.
    Start,
    /// An object: its path below the listed folder, and its size.
    Object(&'a str, u64),
}

/// How it is known that an object arrived as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// It carries its own checksum, which whoever reads it checks.
    Own,
    /// rclone compares hashes, where the remote has them.
    Remote,
}

/// What backup and recovery need of a remote. `folder` is a machine's folder below the endpoint.
///
/// Every call is bounded in time, and every failure carries [`Exit::Remote`](crate::exit::Exit::Remote).
pub trait Remote {
    /// All objects below `folder`, in any order, without those in a machine's folder [`DOCTOR`] unless it is that one; empty
    /// when the folder does not exist.
    ///
    /// # Errors
    /// The remote could not be asked. An absent folder is no error.
    fn list(&self, folder: &str) -> Result<Vec<Object>> {
        self.list_only(folder, &[], &|_| true)
    }

    /// Of the same those that [`walk`](Remote::walk) sees with these patterns, and whose paths are wanted.
    ///
    /// # Errors
    /// As there.
    fn list_only(
        &self,
        folder: &str,
        only: &[String],
        is_wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<Object>> {
        let mut all: Vec<Object> = Vec::new();
        self.walk(folder, only, &mut |seen| match seen {
            Seen::Start => all.clear(),
            Seen::Object(path, size) if is_wanted(path) => all.push(Object { path: path.to_owned(), size }),
            Seen::Object(..) => {}
        })?;
        Ok(all)
    }

    /// The same one by one, of those alone that match one of these patterns (all, if there is none), and perhaps others: `*` stands
    /// for any part of a name, `**` for any of a path, and each begins with the `/` of the folder. What is not asked for costs
    /// nothing.
    ///
    /// # Errors
    /// The remote could not be asked; what was seen by then is not all.
    fn walk(&self, folder: &str, only: &[String], take: &mut dyn FnMut(Seen<'_>)) -> Result<()>;

    /// The folders at the top of the endpoint: the machines that ever wrote there.
    ///
    /// # Errors
    /// The remote could not be asked.
    fn folders(&self) -> Result<Vec<String>>;

    /// Sends every file below `local` to `folder`, with the same relative paths. An object that is there with the
    /// same size is left alone; one of another size (an upload that was killed) is replaced. Safe to repeat.
    ///
    /// # Errors
    /// Anything was not sent; some of it may have arrived.
    fn put(&self, local: &Path, folder: &str) -> Result<()>;

    /// Brings objects below `folder` to the folder `local`, with the same relative paths, if so much stays free there then.
    ///
    /// # Errors
    /// [`Exit::NoSpace`](crate::exit::Exit::NoSpace) before the first byte, if there is no room for the sizes that are listed;
    /// any of them did not arrive.
    fn get(&self, folder: &str, objects: &[Object], local: &Path, leave: Leave, proof: Proof) -> Result<()>;

    /// Copies the objects at `paths` from one folder to another, inside the remote where that can do it. One that is there
    /// with the same size is left alone, one of another size replaced. Safe to repeat.
    ///
    /// # Errors
    /// Any of them was not copied; others may be.
    fn copy(&self, from: &str, to: &str, paths: &[String]) -> Result<()>;

    /// The first `bytes` bytes of each object at `paths` below `folder`, or all of a shorter one: one behind the other in
    /// any order, so they must say themselves which is which. An object that is not there is left out.
    ///
    /// # Errors
    /// The remote could not be asked, or one of them could not be read.
    fn heads(&self, folder: &str, paths: &[String], bytes: u64) -> Result<Vec<u8>>;

    /// Removes the objects at `paths` below `folder`, in any order. One that is not there is no error.
    ///
    /// # Errors
    /// Any of them was not removed; others may be.
    fn remove(&self, folder: &str, paths: &[String]) -> Result<()>;

    /// Removes the folders below `folder` in which nothing is left, where the remote has such.
    ///
    /// # Errors
    /// Any of them was not removed.
    fn remove_empty_folders(&self, folder: &str) -> Result<()>;
}
