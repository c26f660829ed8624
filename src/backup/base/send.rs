//! Sending the v3 store piece by piece: what was sent of it is not sent again.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crc32c::crc32c_append;

use super::prepared::{Prepared, Sent, emptied};
use crate::archive::names::PieceName;
use crate::archive::pieces::RAW_BYTES;
use crate::backup::arrival::PATIENCE;
use crate::exit::{Exit, fault};
use crate::remote::{Object, Remote};
use crate::settings::Settings;
use crate::sys::fs::remove_if_there;
use crate::sys::room::{self, Leave};
use crate::sys::terminal::table::bytes;

const PAUSE: Duration = Duration::from_secs(1);

/// Sends what is not sent yet, and sees that all of it arrived.
///
/// # Errors
/// The remote does not take it, or does not show it; then this goes on where it ended. [`Exit::Corrupt`] if the copy is not what was
/// taken: then it is of no use any more.
pub fn send(prepared: &mut Prepared, remote: &dyn Remote, settings: &Settings) -> Result<()> {
    if prepared.progress.arrived {
        return Ok(());
    }
    let path = prepared.db();
    let mut db = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    while prepared.progress.pieces().bytes < prepared.progress.size {
        next_piece(prepared, &mut db, remote, &settings.machine_id)?;
    }
    if prepared.progress.crc_sent != prepared.progress.crc {
        let what = format!("{} is not what was copied from etcd", path.display());
        return Err(fault(
            Exit::Corrupt,
            what,
            "does the disk lose writes? Take another one: sudo /opt/bin/etcd2-backup base",
        ));
    }
    see_arrived(prepared, remote, settings)?;
    prepared.progress.arrived = true;
    prepared.save_progress()?;
    log::info!(
        "the base is in the remote: {} in {} pieces; the next backup begins generation {} with it",
        bytes(prepared.progress.size),
        prepared.progress.sent.len(),
        prepared.generation().number
    );
    remove_if_there(&path)
}

fn next_piece(prepared: &mut Prepared, db: &mut File, remote: &dyn Remote, folder: &str) -> Result<()> {
    let out = prepared.dir.join("pieces");
    emptied(&out)?;
    let generation = out.join(prepared.generation().to_string());
    fs::create_dir(&generation).with_context(|| format!("creating {}", generation.display()))?;
    room::check(&generation, RAW_BYTES, Leave::Reserve, "the next piece of the v3 store")?;
    let mut pieces = prepared.progress.pieces();
    db.seek(SeekFrom::Start(pieces.bytes))?;
    let mut rest = Summing { input: &mut *db, crc: prepared.progress.crc_sent };
    let name = pieces.write(&generation, prepared.progress.applied, &mut rest)?;
    let crc_sent = rest.crc;
    remote.put(&out, folder)?;
    prepared.progress.sent.push(Sent { name: name.to_string(), link: pieces.link });
    prepared.progress.crc_sent = crc_sent;
    prepared.save_progress()?;
    emptied(&out)
}

/// The pieces are seen to be there; what is not is sent again by the next call.
fn see_arrived(prepared: &mut Prepared, remote: &dyn Remote, settings: &Settings) -> Result<()> {
    let Some(missing) = missing(prepared, remote, settings)? else { return Ok(()) };
    prepared.progress.sent.clear();
    prepared.progress.crc_sent = 0;
    prepared.save_progress()?;
    let what = format!("rclone reported a complete upload, but {missing} is not there");
    let hint = "the copy is kept on this node, and is uploaded again: sudo /opt/bin/etcd2-backup base";
    Err(fault(Exit::Remote, what, hint))
}

/// Lists until all pieces are there, for a while; gives the path of one that is not.
///
/// # Errors
/// The remote cannot be listed.
pub fn missing(prepared: &Prepared, remote: &dyn Remote, settings: &Settings) -> Result<Option<String>> {
    let (began, generation) = (Instant::now(), prepared.generation());
    let patience = PATIENCE.min(settings.remote.timeout);
    loop {
        let objects = remote.list(&settings.machine_id)?;
        let object = |piece: PieceName| Object { path: format!("{generation}/{piece}"), size: piece.size };
        let Some(late) = prepared.progress.names().map(object).find(|piece| !objects.contains(piece)) else {
            return Ok(None);
        };
        if began.elapsed() >= patience {
            return Ok(Some(late.path));
        }
        thread::sleep(PAUSE);
    }
}

/// Sums what is read.
struct Summing<R> {
    input: R,
    crc: u32,
}

impl<R: Read> Read for Summing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        self.crc = crc32c_append(self.crc, &buffer[..n]);
        Ok(n)
    }
}
