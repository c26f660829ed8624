//! What etcd2-backup-coreos left in the remote: a data directory as `etcdctl backup` wrote it, in the machine's folder, and
//! the one before it in `<machine-id>_backup`. It copied one onto the other, file by file, with no checksum anywhere: a
//! copy that was cut off, or a new one over an old one, shows only when it is read.

use anyhow::Result;

use super::source::{self, Origin, Source};
use crate::archive::chain;
use crate::etcd::datadir::DataDir;
use crate::etcd::wal::Reading;
use crate::exit::{Exit, exit_of};
use crate::remote::{Object, Proof, Remote};
use crate::sys::room::Scratch;
use crate::sys::{fs as files, look};

/// The folder of the backup before the last one.
pub fn before_of(folder: &str) -> String {
    format!("{folder}_backup")
}

/// The last backup if it is whole, else the one before it.
///
/// # Errors
/// Neither is whole, then what is wrong with the last; [`Exit::Remote`].
pub fn either(remote: &dyn Remote, folder: &str, objects: &[Object], scratch: &Scratch) -> Result<Source> {
    let error = match bring(remote, folder, objects, scratch) {
        // What could not be brought, or written here, may be whole.
        Err(error)
            if !look::is_unread(&error) && !matches!(exit_of(&error), Exit::Remote | Exit::NoSpace) =>
        {
            error
        }
        done => return done,
    };
    log::warn!("{folder} is not intact: {error:#}; looking for the backup before it");
    match before(remote, folder, scratch) {
        Ok(Some(source)) => Ok(source),
        Ok(None) => Err(error),
        Err(before) => Err(error.context(format!("{} cannot be used either: {before:#}", before_of(folder)))),
    }
}

/// The backup before the last one; `None` if there is none.
///
/// # Errors
/// It is damaged; [`Exit::Remote`].
pub fn before(remote: &dyn Remote, folder: &str, scratch: &Scratch) -> Result<Option<Source>> {
    let folder = before_of(folder);
    let objects = remote.list(&folder)?;
    if !chain::is_original(&objects) {
        return Ok(None);
    }
    let source = bring(remote, &folder, &objects, scratch)?;
    let (last, now) = (source.point, &source.origin);
    log::warn!("using {}: index {} of term {}", now.describe(), last.index, last.term);
    Ok(Some(source))
}

/// What lies in this very folder.
///
/// # Errors
/// It is damaged; [`Exit::Remote`].
pub fn bring(remote: &dyn Remote, folder: &str, objects: &[Object], scratch: &Scratch) -> Result<Source> {
    let members: Vec<Object> = objects.iter().filter(|o| o.path.starts_with("member/")).cloned().collect();
    scratch.empty()?;
    let data = scratch.dir().join("data");
    // A log without a snapshot yet has an empty folder there, which no remote keeps.
    files::create_dirs(&data.join("member/snap"), 0o700)?;
    remote.get(folder, &members, &data, scratch.leave(), Proof::Remote)?;
    let dir = DataDir::open(&data, None)?;
    let contents = dir.scan(Reading::Still)?;
    let bytes = Object::bytes(objects);
    Ok(Source { bytes, ..source::read(dir, contents, Origin::Original(folder.to_owned())) })
}
