//! WAL records, one frame at a time: length, walpb.Record, rolling CRC.
//!
//! A frame is an 8-byte little-endian length, then the record. etcd 3.x pads the record with zeros to a multiple of 8
//! and then sets the top byte of the length to `0x80 | padding`. The CRC-32C rolls over the data bytes of every record,
//! across segments; a record of type 4 carries it over and opens every segment.

use std::fmt;
use std::io::{self, Read, Write};

use crc32c::crc32c_append;

use self::record::{Parsed, contradiction, lengths, parse, wrong_length};
use super::wire::put_varint;

mod record;

pub(super) use self::record::{FIRST_BYTES, promised};

/// Read at once; small enough to stay in the processor's cache until it is verified.
const READ_BYTES: usize = 128 << 10;
/// Torn writes are told by whole zero sectors.
const SECTOR_BYTES: u64 = 512;
/// How far behind a zero length is looked for bytes that are not zero.
const ZERO_TAIL_CHECKED: usize = 1 << 20;

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

/// Reads the frames of one segment, through a buffer of its own that records borrow from.
///
/// It verifies lengths, padding, the record's encoding to the byte, and the rolling CRC. It does not verify what the
/// payloads say, and the CRC does not cover the type.
#[derive(Debug)]
pub struct FrameReader<R> {
    input: R,
    offset: u64,
    crc: u32,
    buffer: Vec<u8>,
    /// What is read and not yet used: `buffer[start..end]`, which begins at `offset`.
    start: usize,
    end: usize,
}

impl<R: Read> FrameReader<R> {
    /// Reads from `input`, which stands at file offset `offset` behind a record with the rolling CRC `crc` (0 and 0 at
    /// the start of a log; at the start of a later segment the CRC behind the one before).
    pub fn new(input: R, offset: u64, crc: u32) -> Self {
        Self { input, offset, crc, buffer: vec![0; READ_BYTES], start: 0, end: 0 }
    }

    /// File offset behind the last whole record.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The rolling CRC behind the last whole record.
    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// The next record, or why there is none; then there will be no other.
    ///
    /// # Errors
    /// The file could not be read; damage is a [`Stop`], not an error.
    pub fn next_record(&mut self) -> io::Result<Result<Record<'_>, Stop>> {
        if !self.holds(8)? {
            return Ok(Err(self.cut_off(8, 0)));
        }
        let at = self.start + 8;
        let field =
            u64::from_le_bytes(self.buffer[self.start..at].first_chunk().copied().unwrap_or_default());
        if field == 0 {
            return self.zero_tail().map(Err);
        }
        let Some((length, padding)) = lengths(field) else { return Ok(Err(wrong_length(field))) };
        let whole = 8 + length + padding;
        // Of a frame that is shorter than any, what tells so lies behind its end.
        self.holds(whole.max(FIRST_BYTES))?;
        if self.end - self.start < whole {
            return Ok(Err(self.cut_off(whole, length)));
        }
        // One slice, and all else taken from it: `holds` may have moved it, and each bound checked is time.
        let frame = &self.buffer[self.start..self.start + whole];
        let (message, zeros) = frame[8..].split_at(length);
        let Some(Parsed { kind, crc: expected, data }) = parse(message) else {
            return Ok(Err(self.senseless(whole, length)));
        };
        if padding > 0 && zeros.iter().any(|&b| b != 0) {
            return Ok(Err(self.torn_or(whole, "padding that is not zero".into())));
        }
        let data = &message[data..];
        let crc_before = self.crc;
        if kind == Kind::Crc {
            if crc_before != 0 && crc_before != expected {
                return Ok(Err(Stop::Corrupt(format!(
                    "CRC carried over is {expected:08x}, not {crc_before:08x}"
                ))));
            }
        } else {
            let crc = crc32c_append(crc_before, data);
            if crc != expected {
                return Ok(Err(self.torn_or(whole, format!("CRC is {crc:08x}, not {expected:08x}"))));
            }
        }
        let start = self.offset;
        self.offset += whole as u64;
        self.start += whole;
        self.crc = expected;
        Ok(Ok(Record { kind, data, start, end: self.offset, crc_before, crc: expected, padded: padding > 0 }))
    }

    /// Whether `wanted` bytes lie ahead; reads on if need be.
    #[inline(always)]
    fn holds(&mut self, wanted: usize) -> io::Result<bool> {
        if self.end - self.start < wanted {
            self.fill(wanted)?;
        }
        Ok(self.end - self.start >= wanted)
    }

    /// The buffer grows with what has arrived: a wrong length costs no more memory than the file has bytes.
    #[cold]
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        while self.end < wanted {
            if self.end == self.buffer.len() {
                let larger = wanted.min(2 * self.end);
                self.buffer.reserve_exact(larger - self.end);
                self.buffer.resize(larger, 0);
            }
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(n) => self.end += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    #[cold]
    fn cut_off(&self, wanted: usize, length: usize) -> Stop {
        match self.end - self.start {
            0 => Stop::Eof,
            n if wanted == 8 => Stop::Torn(format!("{n} of 8 length bytes")),
            n => {
                let reason = format!("{} of {} record bytes", n - 8, wanted - 8);
                // The length was altered: a write that was cut off leaves what it wrote as it was.
                match contradiction(length, &self.buffer[self.start + 8..self.end]) {
                    Some(other) => Stop::Corrupt(format!("{reason}, and the record says it has {other}")),
                    None => Stop::Torn(reason),
                }
            }
        }
    }

    /// A frame that is there to its end, and what it holds is no record.
    #[cold]
    fn senseless(&self, whole: usize, length: usize) -> Stop {
        let reason = "not a record as etcd writes it".to_owned();
        match contradiction(length, &self.buffer[self.start + 8..self.end]) {
            Some(other) => Stop::Corrupt(format!("{reason}: its length is {length}, and it says {other}")),
            None => self.torn_or(whole, reason),
        }
    }

    /// A length of 0 ends the segment. If other bytes follow from a later sector on, sectors arrived out of order; in the
    /// same sector no crash leaves zeros before them.
    #[cold]
    fn zero_tail(&mut self) -> io::Result<Stop> {
        let mut checked = 0;
        while checked < ZERO_TAIL_CHECKED {
            if !self.holds(1)? {
                break;
            }
            // No further, however much has been read at once.
            let there = (self.end - self.start).min(ZERO_TAIL_CHECKED - checked);
            let ahead = &self.buffer[self.start..self.start + there];
            if let Some(at) = ahead.iter().position(|&b| b != 0) {
                let reason = "zeros where a record should begin".to_owned();
                let sector = |offset: u64| offset / SECTOR_BYTES;
                let same = sector(self.offset) == sector(self.offset + (checked + at) as u64);
                return Ok(if same { Stop::Corrupt(reason) } else { Stop::Torn(reason) });
            }
            checked += ahead.len();
            self.start = self.end;
        }
        Ok(Stop::Zeros)
    }

    /// etcd's rule since 3.0: a bad record with a whole zero sector in it is a torn write. It is applied to logs of 2.x
    /// too, where etcd would give up: the data before the tear is the same.
    #[cold]
    fn torn_or(&self, whole: usize, reason: String) -> Stop {
        let body = &self.buffer[self.start + 8..self.start + whole];
        let first = (SECTOR_BYTES - (self.offset + 8) % SECTOR_BYTES) as usize;
        let (head, rest) = body.split_at(first.min(body.len()));
        let mut sectors =
            [head].into_iter().chain(rest.chunks(SECTOR_BYTES as usize)).filter(|s| !s.is_empty());
        if sectors.any(|sector| sector.iter().all(|&b| b == 0)) {
            Stop::Torn(reason)
        } else {
            Stop::Corrupt(reason)
        }
    }
}

/// Writes unpadded frames, which every version from 2.0 to 3.5 reads.
#[derive(Debug)]
pub struct FrameWriter<W> {
    output: W,
    crc: u32,
    /// All of a frame but its payload, kept to be used again.
    head: Vec<u8>,
}

impl<W: Write> FrameWriter<W> {
    /// Continues behind a record with the rolling CRC `crc`; call [`FrameWriter::crc_record`] first in a segment.
    pub fn new(output: W, crc: u32) -> Self {
        Self { output, crc, head: Vec::new() }
    }

    /// The record that carries the rolling CRC over.
    ///
    /// # Errors
    /// Writing failed.
    pub fn crc_record(&mut self) -> io::Result<()> {
        self.begin(Kind::Crc);
        self.write(&[])
    }

    /// A record of any other kind.
    ///
    /// # Errors
    /// Writing failed.
    pub fn record(&mut self, kind: Kind, data: &[u8]) -> io::Result<()> {
        self.crc = crc32c_append(self.crc, data);
        self.begin(kind);
        self.head.push(0x1a);
        put_varint(&mut self.head, data.len() as u64);
        self.write(data)
    }

    fn begin(&mut self, kind: Kind) {
        self.head.clear();
        self.head.extend([0; 8]);
        self.head.extend([0x08, kind as u8, 0x10]);
        put_varint(&mut self.head, self.crc.into());
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        let length = (self.head.len() - 8 + data.len()) as u64;
        self.head[..8].copy_from_slice(&length.to_le_bytes());
        self.output.write_all(&self.head)?;
        self.output.write_all(data)
    }

    /// Gives the output back.
    pub fn into_inner(self) -> W {
        self.output
    }
}

#[cfg(test)]
mod tests;
