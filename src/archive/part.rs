//! The bytes of one part: a head that says what it is, the compressed payload, and a checksum over all of it.
//!
//! ```text
//! "E2BKPART"   8 bytes
//! version      1 byte   2; 1 is read, too
//! codec        1 byte   2 = zstd
//! reserved     2 bytes  0
//! head length  4 bytes  little-endian
//! head         JSON, a [`Head`]
//! payload      the chunks' bytes one behind the other, compressed as one stream
//! checksum     32 bytes SHA-256 of everything before it
//! ```

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Take, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::lineage::Parent;
use super::link;
use super::names::{self, GenerationName, PartName};
use crate::etcd::datadir::Family;
use crate::etcd::proto::{HardState, LogPosition, Metadata};
use crate::etcd::wal::{Extent, Place};
use crate::exit::{Exit, Fault, OrFault, fault};
use crate::sys::digest::{Hashing, to_hex};
use crate::sys::room::{self, Leave};
use crate::sys::terminal::table::count;

pub(super) const MAGIC: &[u8; 8] = b"E2BKPART";
/// Parts of this format are linked by their checksums.
const FORMAT_1: u8 = 1;
/// They are linked by the positions in the log at which they end ([`link`]), and their heads have IDs in hex.
const FORMAT_2: u8 = 2;
const ZSTD: u8 = 2;
/// The compression of zstd's own default: about 1/5 of the log's size at several hundred MB a second.
const LEVEL: i32 = 3;
pub(super) const FIXED_BYTES: u64 = 16;
const CHECKSUM_BYTES: u64 = 32;
/// The head names some files; more than this is damage.
pub(super) const MAX_HEAD_BYTES: u32 = 4 << 20;

/// What a part says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The generation's number.
    pub generation: u64,
    /// The part's place in it; 0 is the base.
    pub sequence: u64,
    /// The cluster.
    #[serde(with = "super::hex_id")]
    pub cluster_id: u64,
    /// The member whose data this is.
    #[serde(with = "super::hex_id")]
    pub member_id: u64,
    /// Of the generation, see [`GenerationName::writer`].
    #[serde(with = "super::hex_id")]
    pub writer: u32,
    /// The member's name, as far as its settings say it.
    pub member_name: String,
    /// The member's peer URLs, as far as its settings say them.
    pub peer_urls: Vec<String>,
    /// Which etcd wrote the data.
    pub family: Family,
    /// When it was captured, seconds since 1970.
    pub time: u64,
    /// Index of the first entry that may be in it.
    pub first: u64,
    /// The last entry known with it.
    pub last: LogPosition,
    /// The last index that was known to be committed with it; parts of before this was noted do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<u64>,
    /// The hard state before its first record.
    pub start_state: HardState,
    /// The predecessor's link, 64 hex digits; in the base that of the last of its [`pieces`](super::pieces), empty without any.
    pub predecessor: String,
    /// What was seen of the log while nothing was sent, oldest first: the log of the v3 store carries no time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
    /// In the bases of a recovered cluster: the history that it continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// The member was seen to hold data of the v3 store, which is not in the archive.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub v3_data: bool,
    /// Name and size of the snapshot, if the base has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<(String, u64)>,
    /// Size of the v3 store's file, whose bytes are in the pieces; without any, as in an export, before everything else in the payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub db: Option<u64>,
    /// The log's bytes, behind the snapshot's in the payload.
    pub log: Vec<Extent>,
}

/// How far the log was when somebody looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// What this node's clock said, seconds since 1970.
    pub time: u64,
    /// The last entry by then.
    pub index: u64,
}

/// What of a part's names its head says as well.
pub fn place_in_chain(generation: GenerationName, part: PartName) -> (GenerationName, PartName) {
    (generation, PartName { size: 0, link: 0, ..part })
}

impl Head {
    /// The generation's name.
    pub fn generation_name(&self) -> GenerationName {
        let Self { generation: number, cluster_id, member_id, writer, .. } = *self;
        GenerationName { number, cluster_id, member_id, writer }
    }

    /// What it says of its place: [`place_in_chain`].
    pub fn place_in_chain(&self) -> (GenerationName, PartName) {
        place_in_chain(self.generation_name(), self.part_name(0, ""))
    }

    /// What stands for the place in the log at which it ends: [`link`].
    pub fn link(&self) -> String {
        let ids = Metadata { member_id: self.member_id, cluster_id: self.cluster_id };
        let end = |end: &Extent| Place { offset: end.to, crc: end.crc, ..end.from };
        link::of(ids, self.last, self.log.last().map(end))
    }

    /// Whether the v3 store that it begins with is in pieces.
    pub fn is_in_pieces(&self) -> bool {
        self.sequence == 0 && !self.predecessor.is_empty()
    }

    /// Bytes of what it stands for, decompressed: of its payload, and of its pieces.
    pub fn announced(&self) -> u64 {
        self.in_payload().saturating_add(self.db.filter(|_| self.is_in_pieces()).unwrap_or_default())
    }

    /// Bytes of its payload, decompressed. What lies behind them is nothing that anybody reads.
    fn in_payload(&self) -> u64 {
        let extents = self.log.iter().map(|e| e.to.saturating_sub(e.from.offset));
        let db = self.db.filter(|_| !self.is_in_pieces());
        let files = db.into_iter().chain(self.snapshot.as_ref().map(|(_, size)| *size));
        files.chain(extents).fold(0, u64::saturating_add)
    }

    /// The part's name, given the size of the whole file and its link.
    fn part_name(&self, size: u64, link: &str) -> PartName {
        PartName {
            sequence: self.sequence,
            first: self.first,
            last: self.last.index,
            term: self.last.term,
            time: self.time,
            size,
            predecessor: prefix(&self.predecessor),
            link: prefix(link),
        }
    }
}

/// A part that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its name.
    pub name: PartName,
    /// Its whole checksum, 64 hex digits.
    pub checksum: String,
    /// Its whole link, 64 hex digits.
    pub link: String,
}

/// Writes a part into `dir` and syncs it. `payload` writes the bytes that the head announces.
///
/// # Errors
/// [`Exit::NoSpace`] before the first byte, if there is no room for what is announced; the payload fails, or the file cannot
/// be written. Then nothing is left, nor the folder if there was nothing in it.
pub fn write(dir: &Path, head: &Head, payload: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<Written> {
    let written = write_into(dir, head, payload);
    if written.is_err() {
        // Others may be in it.
        let _ = fs::remove_dir(dir);
    }
    written
}

fn write_into(
    dir: &Path,
    head: &Head,
    payload: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<Written> {
    // What cannot be compressed gets larger by as much.
    let most = head.in_payload().saturating_add(head.in_payload() / 256);
    room::check(dir, most, Leave::Reserve, "the next part")?;
    let temporary = dir.join(".part.tmp");
    let written = write_to(&temporary, head, payload).and_then(|written| {
        let folder = head.generation_name();
        let found = names::are_read_back(folder, written.name);
        ensure!(found, "no reader would take {folder}/{} for a part", written.name);
        fs::rename(&temporary, dir.join(written.name.to_string()))?;
        crate::sys::fs::sync_dir(dir)?;
        Ok(written)
    });
    if written.is_err() {
        crate::sys::fs::remove_if_there(&temporary)?;
    }
    written.with_context(|| format!("writing a part into {}", dir.display()))
}

fn write_to(path: &Path, head: &Head, payload: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<Written> {
    let (file, written) = stream(File::create(path)?, head, payload)?;
    file.sync_all()?;
    Ok(written)
}

/// Writes a part to where it is read by what it says of itself, as it needs no name there; `out` is given back, all written.
///
/// # Errors
/// The payload fails, or nobody takes it to its end.
pub fn stream<W: Write>(
    out: W,
    head: &Head,
    payload: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<(W, Written)> {
    let mut file = Hashing::of(BufWriter::with_capacity(128 << 10, out));
    let json = serde_json::to_vec(head)?;
    file.write_all(MAGIC)?;
    file.write_all(&[FORMAT_2, ZSTD, 0, 0])?;
    file.write_all(&u32::try_from(json.len())?.to_le_bytes())?;
    file.write_all(&json)?;
    let mut compressed = zstd::Encoder::new(file, LEVEL)?;
    payload(&mut compressed)?;
    let Hashing { mut inner, hash, size } = compressed.finish()?;
    let checksum = hash.finalize();
    inner.write_all(&checksum)?;
    let out = inner.into_inner().map_err(io::IntoInnerError::into_error)?;
    let (checksum, link) = (to_hex(&checksum), head.link());
    let written = Written { name: head.part_name(size + CHECKSUM_BYTES, &link), checksum, link };
    Ok((out, written))
}

/// A part file that is whole and is what its name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it says.
    pub head: Head,
    /// Its checksum, 64 hex digits.
    pub checksum: String,
    /// By what the next part names it, 64 hex digits.
    pub link: String,
    /// The files with the v3 store that it begins with, where it is in pieces and they were brought.
    pub pieces: Vec<PathBuf>,
    path: PathBuf,
    payload: (u64, u64),
}

impl Part {
    /// Reads a part through once and checks everything that can be checked without its neighbours.
    ///
    /// # Errors
    /// [`Exit::Corrupt`] with what is wrong.
    pub fn open(path: &Path, generation: GenerationName, name: PartName) -> Result<Self> {
        match Self::read(path, generation, name) {
            // It knows better: a format that this program does not read is no damage.
            Err(e) if e.is::<Fault>() => Err(e),
            part => part.or_fault(
                Exit::Corrupt,
                format!("the part {} is corrupt", path.display()),
                "its object in the remote was altered or truncated. To take the newest restore point before \
                 it: sudo /opt/bin/etcd2-backup restore --accept-older",
            ),
        }
    }

    fn read(path: &Path, generation: GenerationName, name: PartName) -> Result<Self> {
        let size = fs::metadata(path)?.len();
        ensure!(size == name.size, "{}, not {}", count(size, "byte", "bytes"), name.size);
        let part = Self::read_unnamed(path)?;
        let says = part.head.part_name(size, &part.link);
        let other = part.head.generation_name();
        ensure!(says == name && other == generation, "its head says that it is {says} of {other}");
        Ok(part)
    }

    /// The same for a file that may lie anywhere under any name.
    ///
    /// # Errors
    /// It is damaged, or of a format that this program does not read ([`Exit::Refused`]).
    pub fn read_unnamed(path: &Path) -> Result<Self> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        ensure!(size >= FIXED_BYTES + CHECKSUM_BYTES, "too short");
        let body = size - CHECKSUM_BYTES;
        // First of all, and the same in every version: only whole bytes are worth a look at what they say.
        let checksum = check(&mut file, body)?;

        file.seek(SeekFrom::Start(0))?;
        let mut fixed = [0; FIXED_BYTES as usize];
        file.read_exact(&mut fixed)?;
        let (format, length) = format_and_head_length(fixed)?;
        ensure!(
            u64::from(length) <= body - FIXED_BYTES,
            "its head has an impossible length, {}",
            count(length, "byte", "bytes")
        );
        let mut json = vec![0; length as usize];
        file.read_exact(&mut json)?;
        let head: Head = serde_json::from_slice(&json).context("reading its head")?;
        let start = FIXED_BYTES + u64::from(length);
        let link = match format {
            FORMAT_1 => checksum.clone(),
            _ => head.link(),
        };
        let (path, payload) = (path.to_path_buf(), (start, body - start));
        Ok(Self { head, checksum, link, pieces: Vec::new(), path, payload })
    }

    /// What stands for its content and that of those before it, given [`content`](Self::content) of the one before or an empty string.
    pub fn content(&self, before: &str) -> String {
        // In format 1 each link is a checksum over the link before it.
        if self.link == self.checksum { self.checksum.clone() } else { link::content(before, &self.checksum) }
    }

    /// The payload, decompressed.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn payload(&self) -> Result<zstd::Decoder<'static, BufReader<Take<File>>>> {
        let mut file = File::open(&self.path).with_context(|| format!("opening {}", self.path.display()))?;
        file.seek(SeekFrom::Start(self.payload.0))?;
        Ok(zstd::Decoder::new(file.take(self.payload.1))?)
    }
}

/// What the bytes before the head say.
fn format_and_head_length(fixed: [u8; FIXED_BYTES as usize]) -> Result<(u8, u32)> {
    let [.., version, codec, _, _, a, b, c, d] = fixed;
    ensure!(fixed.starts_with(MAGIC), "not a part written by etcd2-backup");
    if !matches!(version, FORMAT_1 | FORMAT_2) || codec != ZSTD {
        let what = format!(
            "format version {version}, codec {codec}; this program reads versions {FORMAT_1} and {FORMAT_2}, codec {ZSTD}"
        );
        return Err(fault(Exit::Refused, what, "use the etcd2-backup that wrote it, or a newer one"));
    }
    let length = u32::from_le_bytes([a, b, c, d]);
    ensure!(
        length <= MAX_HEAD_BYTES,
        "its head has an impossible length, {}",
        count(length, "byte", "bytes")
    );
    Ok((version, length))
}

/// The head out of a part's first bytes, unproven; `None` if it goes on behind them.
///
/// # Errors
/// They are no part's.
pub fn peek(bytes: &[u8]) -> Result<Option<Head>> {
    let Some(fixed) = bytes.first_chunk() else { return Ok(None) };
    let (start, length) = (FIXED_BYTES as usize, format_and_head_length(*fixed)?.1 as usize);
    let json = bytes.get(start..start + length);
    json.map(|json| serde_json::from_slice(json).context("reading its head")).transpose()
}

/// Compares the checksum behind the first `body` bytes with the one they have; 64 hex digits.
fn check(file: &mut File, body: u64) -> Result<String> {
    let mut input = Hashing::of(BufReader::with_capacity(256 << 10, file));
    let read = io::copy(&mut (&mut input).take(body), &mut io::sink())?;
    ensure!(read == body, "cut off");
    let mut expected = [0; CHECKSUM_BYTES as usize];
    input.inner.read_exact(&mut expected)?;
    let checksum = input.hash.finalize();
    ensure!(checksum[..] == expected, "its checksum is wrong");
    Ok(to_hex(&checksum))
}

/// The first 8 bytes of a link in hex, as names carry them; 0 for an empty one.
pub fn prefix(link: &str) -> u64 {
    link.get(..16).and_then(|p| u64::from_str_radix(p, 16).ok()).unwrap_or(0)
}

#[cfg(test)]
pub(super) mod tests {
    use sha2::Sha256;

    use super::*;
    use crate::exit::exit_of;

    pub(in crate::archive) fn head(sequence: u64, predecessor: &str) -> Head {
        Head {
            generation: 1,
            sequence,
            cluster_id: 0xc,
            member_id: 0xa,
            writer: 0xb,
            member_name: "e1".into(),
            peer_urls: vec!["http://e1:2380".into()],
            family: Family::Two,
            time: 1_769_903_999,
            first: 1,
            last: LogPosition { index: 9, term: 2 },
            commit: None,
            start_state: HardState::default(),
            predecessor: predecessor.into(),
            marks: Vec::new(),
            parent: None,
            v3_data: false,
            db: None,
            snapshot: None,
            log: Vec::new(),
        }
    }

    fn sample(dir: &Path) -> (PathBuf, GenerationName, PartName) {
        let head = head(0, "");
        let written = write(dir, &head, |out| Ok(out.write_all(&[42; 5000])?)).unwrap();
        (dir.join(written.name.to_string()), head.generation_name(), written.name)
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (path, generation, name) = sample(dir.path());
        let part = Part::open(&path, generation, name).unwrap();
        assert_eq!(part.head, head(0, ""));
        assert_eq!(part.link, part.head.link());
        let mut payload = Vec::new();
        part.payload().unwrap().read_to_end(&mut payload).unwrap();
        assert_eq!(payload, [42; 5000]);
        assert_eq!(fs::metadata(&path).unwrap().len(), name.size);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        // A name that nobody reads: rather no part at all.
        let late = Head { time: u64::MAX, ..head(1, "") };
        let error = write(dir.path(), &late, |_| Ok(())).unwrap_err();
        assert!(format!("{error:#}").contains("no reader would take 00000001-"), "{error:#}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn no_altered_byte_and_no_cut_passes() {
        let dir = tempfile::tempdir().unwrap();
        let (path, generation, name) = sample(dir.path());
        let whole = fs::read(&path).unwrap();
        let refuse = |bytes: &[u8], what: &str| {
            crate::sys::fs::write_atomic(&path, bytes, 0o600).unwrap();
            let error = Part::open(&path, generation, name).unwrap_err();
            assert_eq!(exit_of(&error), Exit::Corrupt, "{what}: {error:#}");
        };
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x41;
            refuse(&bytes, &format!("byte {at}"));
        }
        for cut in (0..whole.len()).step_by(7) {
            refuse(&whole[..cut], &format!("cut at {cut}"));
        }
    }

    /// As the first versions wrote it: IDs as numbers, linked by its checksum.
    #[test]
    fn format_1_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let json = br#"{"generation":1,"sequence":2,"cluster_id":12,"member_id":10,"writer":11,"member_name":"e1","peer_urls":["http://e1:2380"],"family":"2","time":1769903999,"first":1,"last":{"index":9,"term":2},"start_state":{"term":0,"vote":0,"commit":0},"predecessor":"00000000000000ff","log":[]}"#;
        let payload = zstd::encode_all(&[42; 5000][..], 3).unwrap();
        let length = (json.len() as u32).to_le_bytes();
        let mut bytes = [&MAGIC[..], &[1, 2, 0, 0], &length, json, &payload].concat();
        let checksum = Sha256::digest(&bytes);
        bytes.extend(checksum);
        let link = to_hex(&checksum);
        let head = head(2, "00000000000000ff");
        let name = head.part_name(bytes.len() as u64, &link);
        let path = dir.path().join(name.to_string());
        crate::sys::fs::write_atomic(&path, &bytes, 0o600).unwrap();
        let part = Part::open(&path, head.generation_name(), name).unwrap();
        assert_eq!((&part.head, &part.checksum, &part.link), (&head, &link, &link));
        assert_eq!(part.content("anything"), link);
        assert_eq!(peek(&bytes).unwrap(), Some(head));
    }

    #[test]
    fn a_newer_format_is_refused_by_its_number_and_not_called_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let (path, generation, name) = sample(dir.path());
        let mut bytes = fs::read(&path).unwrap();
        bytes[8] = 3;
        let body = bytes.len() - CHECKSUM_BYTES as usize;
        let checksum = Sha256::digest(&bytes[..body]);
        bytes[body..].copy_from_slice(&checksum);
        crate::sys::fs::write_atomic(&path, &bytes, 0o600).unwrap();
        let error = Part::open(&path, generation, name).unwrap_err();
        assert_eq!(exit_of(&error), Exit::Refused);
        assert!(error.to_string().contains("format version 3"), "{error}");
    }

    #[test]
    fn a_part_under_another_name_or_in_another_generation_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (path, generation, name) = sample(dir.path());
        let others =
            [GenerationName { cluster_id: 0xd, ..generation }, GenerationName { writer: 0xd, ..generation }];
        for other in others {
            assert!(Part::open(&path, other, name).is_err(), "{other}");
        }
        assert!(Part::open(&path, generation, PartName { last: 10, ..name }).is_err());
    }

    #[test]
    fn a_payload_that_fails_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("other");
        crate::sys::fs::write_atomic(&other, b"", 0o600).unwrap();
        assert!(write(dir.path(), &head(0, ""), |_| anyhow::bail!("no")).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::remove_file(other).unwrap();
        assert!(write(dir.path(), &head(0, ""), |_| anyhow::bail!("no")).is_err());
        assert!(!dir.path().exists());
    }
}
