//! The file is read while etcd commits nothing.
//!
//! Bolt never writes to a page of the newest transaction t. The next one, t + 1, writes other pages and then its meta page; only
//! t + 2 may write to what t + 1 has freed, and it begins when that meta page is written. So what was read while t was the newest all
//! the time is t, whole. Which is the newest is asked before the first byte and after the last one, of the same open file: of one
//! that etcd has replaced (a defragmentation, a snapshot from the leader) nobody writes the old one any more.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::target::Target;
use crate::etcd::bolt::{self, Db};
use crate::etcd::file;
use crate::sys::terminal::table::bytes;

const TRIES: u32 = 20;
/// A try that fails ends at a commit: then there is the most time until the next one. But etcd may be calmer in a while.
const TRIES_AT_ONCE: u32 = 4;
const PAUSE: Duration = Duration::from_secs(1);
/// No try begins later. One that nobody disturbs goes on.
const BEGUN_WITHIN: Duration = Duration::from_secs(30);
const PIECE: usize = 1 << 20;
/// After so many bytes it is looked whether it is of use to go on.
const LOOK_EVERY: u64 = 8 << 20;

/// Copies `db`.
pub(super) fn take(db: &Path, target: &Target) -> Result<()> {
    target.refuse_if_no_room()?;
    let source = file::reopen(db)?;
    let out = target.create()?;
    let began = Instant::now();
    for tried in 1..=TRIES {
        match attempt(&source, &out, &mut |_| {})? {
            Some(txid) => {
                target.write_back(&out)?;
                let copied = Db::open(file::reopen(&target.path())?)?.txid();
                ensure!(copied == txid, "the copy is of transaction {copied}, not {txid}");
                return Ok(());
            }
            None if began.elapsed() > BEGUN_WITHIN => break,
            None if tried % TRIES_AT_ONCE == 0 && tried < TRIES => thread::sleep(PAUSE),
            None => {}
        }
    }
    let size = bytes(source.metadata()?.len());
    bail!("etcd writes too much for its file of {size}: each time it committed before all of it was read")
}

/// Copies what is in use, and gives the transaction; `None` if there was another one before the end. `read` is told of each piece.
fn attempt(source: &File, out: &File, read: &mut dyn FnMut(u64)) -> Result<Option<u64>> {
    let copied = bolt::between_commits(source, |db| {
        let (txid, length) = (db.txid(), db.page_count() * db.page_size());
        copy(source, out, length, &mut |at| {
            read(at);
            // What cannot be told is told at the end.
            !at.is_multiple_of(LOOK_EVERY) || Db::open(source).map_or(true, |db| db.txid() == txid)
        })?;
        Ok(txid)
    });
    match copied {
        // One of the two meta pages is half written, and so was the other one a moment ago.
        Err(e) if Db::open(source).is_ok() => {
            log::debug!("{e:#}");
            Ok(None)
        }
        Err(e) => Err(e),
        Ok((txid, true)) => txid.map(Some),
        Ok((_, false)) => Ok(None),
    }
}

/// Copies so many bytes, as long as `goes_on` says so; it is asked at the end of each piece.
fn copy(source: &File, out: &File, length: u64, goes_on: &mut dyn FnMut(u64) -> bool) -> Result<()> {
    let (mut at, mut buffer) = (0, vec![0; PIECE]);
    while at < length {
        let room = PIECE.min(usize::try_from(length - at).unwrap_or(PIECE));
        let piece = &mut buffer[..room];
        source.read_exact_at(piece, at).context("reading the db")?;
        out.write_all_at(piece, at).context("writing the copy")?;
        at += room as u64;
        ensure!(goes_on(at), "a commit came between");
    }
    // An earlier try may have had more.
    out.set_len(length).context("cutting the copy")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::bolt::stub;
    use std::fs::OpenOptions;

    /// A db of so many pages, all but four of them free, and an empty file for a copy of it.
    fn files(pages: u64) -> (tempfile::TempDir, File, File) {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true).open(dir.path().join(name)).unwrap()
        };
        let (source, out) = (open("db"), open("copy"));
        source.write_all_at(&stub(7), 0).unwrap();
        source.set_len(pages * 4096 + 512).unwrap();
        for number in 0..2 {
            commit(&source, number, pages);
        }
        (dir, source, out)
    }

    /// Writes the meta page of a transaction.
    fn commit(file: &File, txid: u64, pages: u64) {
        let mut meta = vec![0; 64];
        let place = txid % 2 * 4096 + 16;
        file.read_exact_at(&mut meta, place).unwrap();
        meta[40..48].copy_from_slice(&pages.to_le_bytes());
        meta[48..56].copy_from_slice(&txid.to_le_bytes());
        let sum = meta[..56]
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        meta[56..].copy_from_slice(&sum.to_le_bytes());
        file.write_all_at(&meta, place).unwrap();
    }

    #[test]
    fn what_is_in_use_is_copied_and_no_more() {
        let (_dir, source, out) = files(600);
        // What an earlier try wrote there was longer.
        out.write_all_at(&[1; 4096], 700 * 4096).unwrap();
        assert_eq!(attempt(&source, &out, &mut |_| {}).unwrap(), Some(1));
        assert_eq!(out.metadata().unwrap().len(), 600 * 4096);
        assert_eq!(Db::open(&out).unwrap().txid(), 1);
    }

    #[test]
    fn a_commit_at_any_moment_undoes_the_copy() {
        let pages = 16 * 256;
        let (_dir, source, out) = files(pages);
        let last = pages * 4096;
        let mut txid = 1;
        for at in [1, 7, 8, 15, 16].map(|piece: u64| piece * PIECE as u64) {
            txid += 1;
            let (mut seen, was) = (0, txid);
            let got = attempt(&source, &out, &mut |read| {
                seen = read;
                if read == at {
                    commit(&source, was, pages);
                }
            });
            assert_eq!(got.unwrap(), None, "{at}");
            // It is not gone on with for long.
            assert!(seen < at + LOOK_EVERY && (seen == last) == (at > 8 * PIECE as u64));
            assert_eq!(attempt(&source, &out, &mut |_| {}).unwrap(), Some(txid));
        }
    }

    #[test]
    fn a_meta_page_that_is_half_written_is_no_commit_yet() {
        let (_dir, source, out) = files(600);
        let half = |_| source.write_all_at(&[0xff; 8], 16 + 48).unwrap();
        assert_eq!(attempt(&source, &out, &mut { half }).unwrap(), Some(1));
        // Both: it is no db.
        source.write_all_at(&[0xff; 8], 4096 + 16 + 48).unwrap();
        assert!(attempt(&source, &out, &mut |_| {}).is_err());
    }

    #[test]
    fn a_file_that_is_too_short_is_an_error_at_once() {
        let (_dir, source, out) = files(600);
        let cut = |_| source.set_len(300 * 4096).unwrap();
        assert!(attempt(&source, &out, &mut { cut }).is_err());
    }
}
