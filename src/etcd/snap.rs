//! Snapshot files: `%016x-%016x.snap` (term, index), a CRC over a raftpb.Snapshot, which holds the store as JSON.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Take, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use crc32c::crc32c_append;

use super::file;
use super::proto::{LogPosition, SnapshotMetadata};
use super::wal::pair;
use super::wire::varint;
use crate::sys::look;
use crate::sys::terminal::table::count;

/// The metadata of a snapshot is some IDs; more than this is none.
const MAX_METADATA_BYTES: u64 = 1 << 20;
const BUFFER_BYTES: usize = 256 << 10;

/// Name of a snapshot file; ordered as etcd orders them, by term and then by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotName {
    /// Raft term of the last entry in it.
    pub term: u64,
    /// Raft index of the last entry in it.
    pub index: u64,
}

impl SnapshotName {
    /// Reads `%016x-%016x.snap`.
    pub fn parse(name: &str) -> Option<Self> {
        let (term, index) = pair(name.strip_suffix(".snap")?)?;
        Some(Self { term, index })
    }

    /// The same as a place in the log.
    pub fn position(self) -> LogPosition {
        LogPosition { index: self.index, term: self.term }
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}.snap", self.term, self.index)
    }
}

/// A snapshot file whose CRC is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name.
    pub name: SnapshotName,
    /// Where it lies.
    pub path: PathBuf,
    /// Size of the file.
    pub size: u64,
    /// Its place in the log and the voters there.
    pub metadata: SnapshotMetadata,
    /// Where in the file the store's JSON lies: offset and length.
    store: (u64, u64),
    /// The CRC that the file says, and where the data begins that it is of.
    crc: (u32, u64),
}

/// The snapshot files in a folder, newest first. What a bad one is called by etcd (`.broken`) is not among them.
///
/// # Errors
/// The folder cannot be listed.
pub fn list(snap_dir: &Path) -> Result<Vec<SnapshotName>> {
    let names = look::list(snap_dir)?.into_iter().map(|entry| entry.file_name());
    let mut all: Vec<SnapshotName> = names.filter_map(|name| SnapshotName::parse(name.to_str()?)).collect();
    all.sort_unstable_by(|a, b| b.cmp(a));
    Ok(all)
}

impl Snapshot {
    /// Reads a snapshot file through once, in constant memory, and checks its CRC and that it is what its name says.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or was not written to its end yet.
    pub fn open(snap_dir: &Path, name: SnapshotName) -> Result<Self> {
        let path = snap_dir.join(name.to_string());
        let snapshot = Self::read(&path, name).with_context(|| format!("reading {}", path.display()))?;
        ensure!(
            snapshot.metadata.position == name.position(),
            "{} holds the state at term {}, index {}",
            path.display(),
            snapshot.metadata.position.term,
            snapshot.metadata.position.index
        );
        Ok(snapshot)
    }

    fn read(path: &Path, name: SnapshotName) -> Result<Self> {
        let mut file = file::open(path)?.context("it is gone")?;
        let size = file.metadata()?.len();
        let outline = read_through(&mut file, size, &mut |_| Ok(()))?;
        Ok(Self::copied(path, name, size, outline))
    }

    /// A file that was written while these bytes were read through.
    pub fn copied(path: &Path, name: SnapshotName, size: u64, outline: Outline) -> Self {
        let Outline { metadata, store, crc } = outline;
        Self { name, path: path.to_path_buf(), size, metadata, store, crc }
    }

    /// Opens the file again.
    ///
    /// # Errors
    /// It is gone, or cannot be opened.
    pub fn file(&self) -> Result<File> {
        file::reopen(&self.path)
    }

    /// Copies the file, which was opened again, and checks the CRC once more: after a crash etcd may write a snapshot of
    /// the same name into the same file.
    ///
    /// # Errors
    /// It is not the file that was read before.
    pub fn copy(&self, mut file: &File, out: &mut dyn Write) -> Result<()> {
        let (expected, data) = self.crc;
        let mut start = vec![0; usize::try_from(data)?];
        file.seek(SeekFrom::Start(0))?;
        file.read_exact(&mut start)?;
        out.write_all(&start)?;
        let mut rest = file.take(self.size - data);
        let crc = crc_of(&mut rest, &mut |bytes| Ok(out.write_all(bytes)?))?;
        ensure!(rest.limit() == 0 && crc == expected, "etcd rewrote it while it was copied");
        Ok(())
    }

    /// Whether two files say the same, by their size, their metadata and the CRC that was found right in each.
    pub fn is_copy_of(&self, other: &Self) -> bool {
        *self == Self { path: self.path.clone(), ..other.clone() }
    }

    /// The store's JSON.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn store(&self) -> Result<Take<BufReader<File>>> {
        let mut file = self.file()?;
        file.seek(SeekFrom::Start(self.store.0))?;
        Ok(BufReader::with_capacity(BUFFER_BYTES, file).take(self.store.1))
    }
}

/// The CRC of all that `input` gives, which is shown to `each` too.
fn crc_of(input: &mut impl Read, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<u32> {
    let mut buffer = vec![0; 256 << 10];
    let mut crc = 0;
    loop {
        match input.read(&mut buffer)? {
            0 => return Ok(crc),
            n => {
                crc = crc32c_append(crc, &buffer[..n]);
                each(&buffer[..n])?;
            }
        }
    }
}

/// What a snapshot says beside its store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// Its place in the log and the voters there.
    pub metadata: SnapshotMetadata,
    /// Where in it the store's JSON lies: offset and length.
    store: (u64, u64),
    /// The CRC that it says, and where the data begins that it is of.
    crc: (u32, u64),
}

/// Reads a snapshot of `size` bytes through, in constant memory, and checks its CRC. `store` gets the store's JSON, before
/// anybody knows whether the CRC is right; what it does not read of it is passed over.
///
/// # Errors
/// It cannot be read, is damaged, or `store` fails.
pub fn read_through(
    input: &mut dyn Read,
    size: u64,
    store: &mut dyn FnMut(&mut dyn Read) -> Result<()>,
) -> Result<Outline> {
    let input = &mut BufReader::with_capacity(BUFFER_BYTES, input);
    // snappb.Snapshot{1 crc, 2 data}: etcd always writes it in this order.
    let mut head = 0;
    ensure!(next_varint(input, &mut head)? == 1 << 3, "no CRC at its start");
    let expected = u32::try_from(next_varint(input, &mut head)?)?;
    ensure!(next_varint(input, &mut head)? == 2 << 3 | 2, "no data after its CRC");
    let length = next_varint(input, &mut head)?;
    let there = size.saturating_sub(head);
    ensure!(length == there, "{} announced, {there} there", count(length, "byte", "bytes"));
    ensure!(expected != 0 && length != 0, "it is empty");

    // raftpb.Snapshot{1 data, 2 metadata}
    let (mut data, mut at) = (Summed { input: input.take(length), crc: 0 }, 0);
    ensure!(next_varint(&mut data, &mut at)? == 1 << 3 | 2, "no store in it");
    let store_length = next_varint(&mut data, &mut at)?;
    let behind = length.checked_sub(at).and_then(|rest| rest.checked_sub(store_length));
    let behind = behind.context("its store is truncated")?;
    ensure!(behind <= MAX_METADATA_BYTES, "{} of metadata", count(behind, "byte", "bytes"));
    // A parser of JSON takes single bytes.
    let mut json = BufReader::with_capacity(BUFFER_BYTES, (&mut data).take(store_length));
    let stored = store(&mut json);
    io::copy(&mut json, &mut io::sink())?;
    let mut tail = Vec::new();
    data.read_to_end(&mut tail)?;
    ensure!(data.crc == expected, "CRC is {:08x}, not {expected:08x}", data.crc);

    let mut rest = &tail[..];
    ensure!(varint(&mut rest)? == 2 << 3 | 2, "no metadata after its store");
    let metadata_length = varint(&mut rest)?;
    ensure!(
        metadata_length == rest.len() as u64,
        "metadata of {} in {}",
        count(metadata_length, "byte", "bytes"),
        rest.len()
    );
    stored?;
    let metadata = SnapshotMetadata::decode(rest)?;
    Ok(Outline { metadata, store: (head + at, store_length), crc: (expected, head) })
}

/// Sums the CRC of what passes.
struct Summed<'a, 'r> {
    input: io::Take<&'a mut BufReader<&'r mut dyn Read>>,
    crc: u32,
}

impl Read for Summed<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        self.crc = crc32c_append(self.crc, &buffer[..n]);
        Ok(n)
    }
}

/// Reads a varint and counts its bytes.
fn next_varint(input: &mut dyn Read, count: &mut u64) -> Result<u64> {
    let mut bytes = Vec::new();
    while bytes.last().is_none_or(|b| b & 0x80 != 0) && bytes.len() < 10 {
        let mut byte = [0];
        input.read_exact(&mut byte)?;
        bytes.extend(byte);
    }
    *count += bytes.len() as u64;
    varint(&mut &bytes[..])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::etcd::wire::Encoder;
    use crate::sys::fs::write_atomic;

    /// A snapshot file as etcd writes it.
    pub(in crate::etcd) fn encode(position: LogPosition, voters: &[u64], store: &[u8]) -> Vec<u8> {
        let conf = voters.iter().fold(Encoder::default(), |e, &id| e.number(1, id)).done();
        let metadata =
            Encoder::default().bytes(1, &conf).number(2, position.index).number(3, position.term).done();
        let data = Encoder::default().bytes(1, store).bytes(2, &metadata).done();
        Encoder::default().number(1, crc32c::crc32c(&data).into()).bytes(2, &data).done()
    }

    const POSITION: LogPosition = LogPosition { index: 100, term: 2 };
    const NAME: SnapshotName = SnapshotName { term: 2, index: 100 };

    fn opened(bytes: &[u8]) -> Result<Snapshot> {
        let dir = tempfile::tempdir().unwrap();
        write_atomic(&dir.path().join(NAME.to_string()), bytes, 0o600).unwrap();
        let snapshot = Snapshot::open(dir.path(), NAME)?;
        let mut store = String::new();
        snapshot.store()?.read_to_string(&mut store)?;
        assert_eq!(store, r#"{"Root":{}}"#);
        Ok(snapshot)
    }

    #[test]
    fn a_whole_snapshot_is_read() {
        let snapshot = opened(&encode(POSITION, &[1, 2], br#"{"Root":{}}"#)).unwrap();
        assert_eq!(
            snapshot.metadata,
            SnapshotMetadata { position: POSITION, members: vec![1, 2], conf_state: vec![8, 1, 8, 2] }
        );
        assert_eq!(NAME.to_string(), "0000000000000002-0000000000000064.snap");
    }

    #[test]
    fn no_cut_and_no_flipped_bit_passes() {
        let whole = encode(POSITION, &[1, 2], br#"{"Root":{}}"#);
        for cut in 0..whole.len() {
            assert!(opened(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(opened(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_snapshot_under_another_name_is_refused() {
        let other = LogPosition { index: 101, term: 2 };
        let error = opened(&encode(other, &[1], br#"{"Root":{}}"#)).unwrap_err();
        assert!(error.to_string().ends_with("holds the state at term 2, index 101"), "{error}");
    }
}
