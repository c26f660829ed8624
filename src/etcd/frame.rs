//! WAL records, one frame at a time: length, walpb.Record, rolling CRC.
//!
//! A frame is an 8-byte little-endian length, then the record. etcd 3.x pads the record with zeros to a multiple of 8
//! and then sets the top byte of the length to `0x80 | padding`. The CRC-32C rolls over the data bytes of every record,
//! across segments; a record of type 4 carries it over and opens every segment.

use std::fmt;
use std::io::{self, Read, Write};

use crc32c::crc32c_append;

use super::wire::{Encoder, Fields, Value};

/// etcd 3.3 and later refuse records from 10 MiB on; what is larger than this is no record of any version.
const MAX_RECORD_BYTES: u64 = 32 << 20;
/// Torn writes are told by whole zero sectors.
const SECTOR_BYTES: u64 = 512;
/// How far behind a zero length is looked for bytes that are not zero.
const ZERO_TAIL_CHECKED: u64 = 1 << 20;

/// The type of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Member and cluster ID.
    Metadata = 1,
    /// A raft entry.
    Entry = 2,
    /// A raft hard state.
    HardState = 3,
    /// The rolling CRC so far.
    Crc = 4,
    /// A snapshot was taken here.
    Snapshot = 5,
}

/// A record that was read whole, with a right CRC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// What `data` is.
    pub kind: Kind,
    /// The payload.
    pub data: &'a [u8],
    /// File offset of its frame.
    pub start: u64,
    /// File offset behind its frame.
    pub end: u64,
    /// The rolling CRC before this record.
    pub crc_before: u32,
    /// The rolling CRC behind this record.
    pub crc: u32,
    /// Whether the frame has 3.x's padding.
    pub padded: bool,
}

/// Why reading a segment stopped where it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The file ends behind a whole record.
    Eof,
    /// Preallocated zeros follow the last record.
    Zeros,
    /// The last write did not arrive whole: legal at the end of the last segment, corruption anywhere else.
    Torn(String),
    /// The bytes are not what etcd wrote.
    Corrupt(String),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eof => f.write_str("end of file"),
            Self::Zeros => f.write_str("preallocated zeros"),
            Self::Torn(reason) => write!(f, "torn write: {reason}"),
            Self::Corrupt(reason) => write!(f, "corrupt: {reason}"),
        }
    }
}

/// Reads the frames of one segment.
///
/// It verifies lengths, the record's encoding and the rolling CRC. It does not verify what the payloads say, and the
/// CRC covers neither type nor padding.
#[derive(Debug)]
pub struct FrameReader<R> {
    input: R,
    offset: u64,
    crc: u32,
    buffer: Vec<u8>,
}

impl<R: Read> FrameReader<R> {
    /// Reads from `input`, which stands at file offset `offset` behind a record with the rolling CRC `crc` (0 and 0 at
    /// the start of a log; at the start of a later segment the CRC behind the one before).
    pub fn new(input: R, offset: u64, crc: u32) -> Self {
        Self { input, offset, crc, buffer: Vec::new() }
    }

    /// File offset behind the last whole record.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The rolling CRC behind the last whole record.
    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// The next record, or why there is none.
    ///
    /// # Errors
    /// The file could not be read; damage is a [`Stop`], not an error.
    pub fn next_record(&mut self) -> io::Result<Result<Record<'_>, Stop>> {
        let mut head = [0; 8];
        match read_up_to(&mut self.input, &mut head)? {
            0 => return Ok(Err(Stop::Eof)),
            8 => {}
            n => return Ok(Err(Stop::Torn(format!("{n} of 8 length bytes")))),
        }
        let field = u64::from_le_bytes(head);
        if field == 0 {
            return self.zero_tail().map(Err);
        }
        let (record_bytes, padding) = match field >> 56 {
            0 => (field, 0),
            top @ 0x80..=0x87 => (field & !(0xff << 56), top & 7),
            top => return Ok(Err(Stop::Corrupt(format!("length with the top byte {top:#04x}")))),
        };
        let total = record_bytes + padding;
        self.buffer.clear();
        let read = (&mut self.input).take(total.min(MAX_RECORD_BYTES)).read_to_end(&mut self.buffer)? as u64;
        if read < total {
            let reason = format!("{read} of {total} record bytes");
            let more = read == MAX_RECORD_BYTES;
            return Ok(Err(if more {
                Stop::Corrupt(format!("{reason}, too many"))
            } else {
                Stop::Torn(reason)
            }));
        }
        let range = match parse(&self.buffer[..record_bytes as usize]) {
            Ok(parsed) => parsed,
            Err(e) => return Ok(Err(self.torn_or(format!("{e:#}")))),
        };
        let Parsed { kind, crc: expected, data } = range;
        let crc_before = self.crc;
        let crc = if kind == Kind::Crc {
            if crc_before != 0 && crc_before != expected {
                let reason = format!("CRC carried over is {expected:08x}, not {crc_before:08x}");
                return Ok(Err(Stop::Corrupt(reason)));
            }
            expected
        } else {
            crc32c_append(crc_before, &self.buffer[data.clone()])
        };
        if crc != expected {
            return Ok(Err(self.torn_or(format!("CRC is {crc:08x}, not {expected:08x}"))));
        }
        let start = self.offset;
        self.offset += 8 + total;
        self.crc = crc;
        let record = Record {
            kind,
            data: &self.buffer[data],
            start,
            end: self.offset,
            crc_before,
            crc,
            padded: padding > 0,
        };
        Ok(Ok(record))
    }

    /// A length of 0 ends the segment; bytes other than 0 behind it mean that sectors arrived out of order.
    fn zero_tail(&mut self) -> io::Result<Stop> {
        self.buffer.clear();
        (&mut self.input).take(ZERO_TAIL_CHECKED).read_to_end(&mut self.buffer)?;
        let zeros = self.buffer.iter().all(|&b| b == 0);
        Ok(if zeros { Stop::Zeros } else { Stop::Torn("zeros where a record should begin".into()) })
    }

    /// etcd's rule since 3.0: a bad record with a whole zero sector in it is a torn write. It is applied to logs of 2.x
    /// too, where etcd would give up: the data before the tear is the same.
    fn torn_or(&self, reason: String) -> Stop {
        let first = (SECTOR_BYTES - (self.offset + 8) % SECTOR_BYTES) as usize;
        let (head, rest) = self.buffer.split_at(first.min(self.buffer.len()));
        let mut sectors =
            [head].into_iter().chain(rest.chunks(SECTOR_BYTES as usize)).filter(|s| !s.is_empty());
        if sectors.any(|sector| sector.iter().all(|&b| b == 0)) {
            Stop::Torn(reason)
        } else {
            Stop::Corrupt(reason)
        }
    }
}

fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

struct Parsed {
    kind: Kind,
    crc: u32,
    data: std::ops::Range<usize>,
}

fn parse(message: &[u8]) -> anyhow::Result<Parsed> {
    let (mut kind, mut crc, mut data) = (0, 0, 0..0);
    for field in Fields::new(message) {
        match field? {
            (1, Value::Varint(n)) => kind = n,
            (2, Value::Varint(n)) => crc = u32::try_from(n)?,
            (3, Value::Bytes(b)) => {
                let start = b.as_ptr() as usize - message.as_ptr() as usize;
                data = start..start + b.len();
            }
            (n, _) => anyhow::bail!("a record has no field {n} of this type"),
        }
    }
    let kind = match kind {
        1 => Kind::Metadata,
        2 => Kind::Entry,
        3 => Kind::HardState,
        4 => Kind::Crc,
        5 => Kind::Snapshot,
        other => anyhow::bail!("record type {other} does not exist"),
    };
    Ok(Parsed { kind, crc, data })
}

/// Writes unpadded frames, which every version from 2.0 to 3.5 reads.
#[derive(Debug)]
pub struct FrameWriter<W> {
    output: W,
    crc: u32,
}

impl<W: Write> FrameWriter<W> {
    /// Continues behind a record with the rolling CRC `crc`; call [`FrameWriter::crc_record`] first in a segment.
    pub fn new(output: W, crc: u32) -> Self {
        Self { output, crc }
    }

    /// The record that carries the rolling CRC over.
    ///
    /// # Errors
    /// Writing failed.
    pub fn crc_record(&mut self) -> io::Result<()> {
        self.frame(&Encoder::default().number(1, Kind::Crc as u64).number(2, self.crc.into()).done())
    }

    /// A record of any other kind.
    ///
    /// # Errors
    /// Writing failed.
    pub fn record(&mut self, kind: Kind, data: &[u8]) -> io::Result<()> {
        self.crc = crc32c_append(self.crc, data);
        let message = Encoder::default().number(1, kind as u64).number(2, self.crc.into()).bytes(3, data);
        self.frame(&message.done())
    }

    fn frame(&mut self, message: &[u8]) -> io::Result<()> {
        self.output.write_all(&(message.len() as u64).to_le_bytes())?;
        self.output.write_all(message)
    }

    /// Gives the output back.
    pub fn into_inner(self) -> W {
        self.output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Vec<u8> {
        let mut writer = FrameWriter::new(Vec::new(), 0);
        writer.crc_record().unwrap();
        writer.record(Kind::Metadata, b"ids").unwrap();
        writer.record(Kind::Entry, &[7; 2000]).unwrap();
        writer.into_inner()
    }

    /// All records' payloads, and why reading stopped.
    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, Stop) {
        let mut reader = FrameReader::new(bytes, 0, 0);
        let mut seen = Vec::new();
        loop {
            match reader.next_record().unwrap() {
                Ok(record) => seen.push(record.data.to_vec()),
                Err(stop) => return (seen, stop),
            }
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let (seen, stop) = read(&log());
        assert_eq!(seen, [vec![], b"ids".to_vec(), vec![7; 2000]]);
        assert_eq!(stop, Stop::Eof);
    }

    #[test]
    fn padded_frames_and_a_zero_tail_are_read() {
        let mut bytes = Vec::new();
        let message = Encoder::default().number(1, 4).number(2, 0).done();
        let padding = (8 - message.len() % 8) % 8;
        assert!(padding > 0);
        let length = message.len() as u64 | (0x80 | padding as u64) << 56;
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&message);
        bytes.extend(vec![0; padding + 64]);
        let (seen, stop) = read(&bytes);
        assert_eq!((seen.len(), stop), (1, Stop::Zeros));
        *bytes.last_mut().unwrap() = 1;
        assert!(matches!(read(&bytes).1, Stop::Torn(_)));
    }

    #[test]
    fn every_cut_is_a_torn_tail_behind_whole_records() {
        let whole = log();
        let (all, _) = read(&whole);
        let mut ends = Vec::new();
        let mut reader = FrameReader::new(&whole[..], 0, 0);
        while let Ok(record) = reader.next_record().unwrap() {
            ends.push(record.end);
        }
        for cut in 0..whole.len() {
            let (seen, stop) = read(&whole[..cut]);
            let complete = ends.iter().filter(|&&end| end <= cut as u64).count();
            assert_eq!(seen, all[..complete], "cut at {cut}");
            let between = cut == 0 || ends.contains(&(cut as u64));
            assert_eq!(stop == Stop::Eof, between, "cut at {cut}: {stop}");
            assert!(between || matches!(stop, Stop::Torn(_)), "cut at {cut}: {stop}");
        }
    }

    #[test]
    fn a_flipped_payload_is_corrupt_unless_a_whole_sector_is_zero() {
        let mut bytes = log();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert!(matches!(read(&bytes).1, Stop::Corrupt(_)));
        bytes[512..1024].fill(0);
        assert!(matches!(read(&bytes).1, Stop::Torn(_)));
    }

    #[test]
    fn a_length_beyond_all_bounds_allocates_nothing() {
        let mut bytes = (1_u64 << 55).to_le_bytes().to_vec();
        bytes.extend([0; 100]);
        assert!(matches!(read(&bytes).1, Stop::Torn(_)));
        let top = (0x40_u64 << 56 | 4).to_le_bytes();
        assert!(matches!(read(&top).1, Stop::Corrupt(_)));
    }

    #[test]
    fn a_wrong_carried_crc_is_corrupt() {
        let bytes = log();
        let mut reader = FrameReader::new(&bytes[..], 0, 5);
        assert!(matches!(reader.next_record().unwrap(), Err(Stop::Corrupt(_))));
    }
}
