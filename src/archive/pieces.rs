//! The v3 store that a base begins with, as several objects: `snap/db` in pieces, so that what was sent of a large one need not be
//! sent again.
//!
//! Each piece is one zstd stream of the next bytes of the file, at most [`RAW_BYTES`] of them. It is linked by its content and that of
//! all before it ([`link::content`]); the base names the last one as its predecessor. So a base is whole if, and only if, the chain of
//! its pieces is, and a listing shows that.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sha2::Digest as _;

use super::link;
use super::names::PieceName;
use super::part::{self, Head};
use crate::exit::{Exit, OrFault};
use crate::sys::digest::{Hashing, to_hex};
use crate::sys::fs::{remove_if_there, sync_dir};
use crate::sys::terminal::table::{bytes, count};

/// The bytes of the file in each piece but the last.
pub const RAW_BYTES: u64 = 64 << 20;
/// As that of parts.
const LEVEL: i32 = 3;
const BUFFER_BYTES: usize = 128 << 10;

/// Pieces one behind the other, as far as they were written or read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pieces {
    /// How many.
    pub count: u64,
    /// The link of the last one, 64 hex digits; empty without any.
    pub link: String,
    /// Bytes of the file in them.
    pub bytes: u64,
}

impl Pieces {
    /// Writes the next piece of a file, of which `rest` is what is not in one yet, into `dir`, and syncs it. `applied` is the last entry
    /// that the store contains.
    ///
    /// # Errors
    /// It cannot be read or written; nothing is left then.
    pub fn write(&mut self, dir: &Path, applied: u64, rest: &mut dyn Read) -> Result<PieceName> {
        let temporary = dir.join(".piece.tmp");
        let written = self.write_to(&temporary, applied, rest).and_then(|(name, next)| {
            std::fs::rename(&temporary, dir.join(name.to_string()))?;
            sync_dir(dir)?;
            *self = next;
            Ok(name)
        });
        if written.is_err() {
            remove_if_there(&temporary)?;
        }
        written.with_context(|| format!("writing a piece of the v3 store into {}", dir.display()))
    }

    fn write_to(&self, path: &Path, applied: u64, rest: &mut dyn Read) -> Result<(PieceName, Self)> {
        let file = Hashing::of(BufWriter::with_capacity(BUFFER_BYTES, File::create(path)?));
        let mut compressed = zstd::Encoder::new(file, LEVEL)?;
        let bytes = io::copy(&mut rest.take(RAW_BYTES), &mut compressed)?;
        let Hashing { inner, hash, size } = compressed.finish()?;
        inner.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        let next = self.behind(&to_hex(&hash.finalize()), bytes);
        let name = PieceName {
            number: self.count,
            applied,
            size,
            predecessor: part::prefix(&self.link),
            link: part::prefix(&next.link),
        };
        Ok((name, next))
    }

    fn behind(&self, checksum: &str, bytes: u64) -> Self {
        let link = link::content(&self.link, checksum);
        Self { count: self.count + 1, link, bytes: self.bytes.saturating_add(bytes) }
    }

    /// Takes the next piece, if it is the one that its name says, and gives what was in it to `out`.
    ///
    /// # Errors
    /// [`Exit::Corrupt`] if it is not; it cannot be read, or `out` fails.
    pub fn read(&mut self, path: &Path, name: PieceName, out: &mut dyn Write) -> Result<()> {
        let what = || format!("the piece {} is corrupt", path.display());
        let hint = "its object in the remote was altered or truncated. To take the newest restore point before it: sudo \
                    /opt/bin/etcd2-backup restore --accept-older";
        let checksum = checksum(path, name.size).or_fault(Exit::Corrupt, what(), hint)?;
        let next = self.behind(&checksum, 0);
        let says = (name.number, name.predecessor, name.link);
        let found = (self.count, part::prefix(&self.link), part::prefix(&next.link));
        let named = || -> Result<()> {
            ensure!(says == found, "its content is not what its name says");
            Ok(())
        };
        named().or_fault(Exit::Corrupt, what(), hint)?;
        let bytes = copy(path, out)?;
        *self = Self { bytes: self.bytes.saturating_add(bytes), ..next };
        Ok(())
    }

    /// Whether these are all pieces of the base with this head.
    ///
    /// # Errors
    /// They are not.
    pub fn are_of(&self, head: &Head) -> Result<()> {
        ensure!(self.link == head.predecessor, "its pieces are not those that it names");
        let wanted = head.db.unwrap_or_default();
        ensure!(self.bytes == wanted, "the v3 store has {}, not {}", bytes(self.bytes), bytes(wanted));
        Ok(())
    }
}

/// The SHA-256 of a file of this size, 64 hex digits.
fn checksum(path: &Path, size: u64) -> Result<String> {
    let file = File::open(path)?;
    let there = file.metadata()?.len();
    ensure!(there == size, "{}, not {}", count(there, "byte", "bytes"), size);
    let mut content = Hashing::of(BufReader::with_capacity(BUFFER_BYTES, file));
    io::copy(&mut content, &mut io::sink())?;
    Ok(to_hex(&content.hash.finalize()))
}

/// Gives what is in a piece to `out`: no more than [`RAW_BYTES`].
///
/// # Errors
/// It cannot be read, or `out` fails.
pub fn copy(path: &Path, out: &mut dyn Write) -> Result<u64> {
    let file = BufReader::with_capacity(BUFFER_BYTES, File::open(path)?);
    let mut content = zstd::Decoder::with_buffer(file)?.take(RAW_BYTES + 1);
    let copied = io::copy(&mut content, out).with_context(|| format!("unpacking {}", path.display()))?;
    ensure!(copied <= RAW_BYTES, "{} holds more than {}", path.display(), bytes(RAW_BYTES));
    Ok(copied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::part::tests::head;

    /// A file of some megabytes in pieces of nothing but what is in it, and what is behind them.
    fn written(dir: &Path, content: &[u8]) -> (Vec<PieceName>, Pieces) {
        let (mut pieces, mut rest, mut names) = (Pieces::default(), content, Vec::new());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(1000));
            names.push(pieces.write(dir, 7, &mut { now }).unwrap());
            rest = later;
        }
        (names, pieces)
    }

    fn read(dir: &Path, names: &[PieceName]) -> Result<(Vec<u8>, Pieces)> {
        let (mut pieces, mut content) = (Pieces::default(), Vec::new());
        names.iter().try_for_each(|name| pieces.read(&dir.join(name.to_string()), *name, &mut content))?;
        Ok((content, pieces))
    }

    #[test]
    fn what_is_written_in_pieces_is_read_and_is_of_its_base_alone() {
        let dir = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..3500_u32).map(|n| (n * n) as u8).collect();
        let (names, pieces) = written(dir.path(), &content);
        assert_eq!((names.len(), pieces.count, pieces.bytes), (4, 4, 3500));
        assert!(names.windows(2).all(|two| two[1].predecessor == two[0].link));
        assert_eq!(read(dir.path(), &names).unwrap(), (content, pieces.clone()));
        let of = |predecessor: &str, db| pieces.are_of(&Head { db, ..head(0, predecessor) });
        of(&pieces.link, Some(3500)).unwrap();
        assert!(of(&pieces.link, Some(3501)).is_err() && of("00", Some(3500)).is_err());
        // One is missing, or they are in another order.
        for wrong in [&names[1..], &[names[0], names[2]], &[names[1], names[0]]] {
            assert!(read(dir.path(), wrong).is_err(), "{wrong:?}");
        }
        let (_, fewer) = read(dir.path(), &names[..3]).unwrap();
        assert!(fewer.are_of(&Head { db: Some(3500), ..head(0, &pieces.link) }).is_err());
    }

    #[test]
    fn no_altered_byte_and_no_cut_passes() {
        let dir = tempfile::tempdir().unwrap();
        let (names, _) = written(dir.path(), &[42; 1500]);
        let path = dir.path().join(names[1].to_string());
        let whole = std::fs::read(&path).unwrap();
        let refuse = |bytes: &[u8], what: &str| {
            crate::sys::fs::write_atomic(&path, bytes, 0o600).unwrap();
            let error = read(dir.path(), &names).unwrap_err();
            assert_eq!(crate::exit::exit_of(&error), Exit::Corrupt, "{what}: {error:#}");
        };
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x41;
            refuse(&bytes, &format!("byte {at}"));
            refuse(&whole[..at], &format!("cut at {at}"));
        }
    }
}
