//! What lies behind the last whole record of a segment: nothing, a record that may still be on its way, or more.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::frame::{FIRST_BYTES, promised};

const READ_BYTES: usize = 128 << 10;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    /// There is nothing, or a record whose end may still come: it is not there, or zero, and so is all behind it. A
    /// damaged one that ends with a zero is taken for that until more follows.
    pub(super) unfinished: bool,
    /// Offset behind the last byte that is not zero.
    pub(super) reach: u64,
}

impl Tail {
    /// Looks at what is behind an offset.
    ///
    /// How far it goes comes first, what it begins with last. Who writes forward has then written what is in front before
    /// what is behind: zeros in front of other bytes were not left by a look that came between two writes.
    pub(super) fn look(file: &File, at: u64) -> io::Result<Self> {
        let reach = reach(file, at)?;
        let mut first = [0; FIRST_BYTES];
        let there = read_up_to(file, &mut first, at)?;
        let end = |bytes| at.saturating_add(bytes);
        let unfinished = there < 8 || promised(&first[..there]).is_some_and(|bytes| reach < end(bytes));
        Ok(Self { unfinished, reach })
    }
}

/// Offset behind the last byte that is not zero, from an offset on. Holes are passed over: 3.x preallocates 64 MB.
fn reach(file: &File, from: u64) -> io::Result<u64> {
    let (mut reach, mut at) = (from, from);
    let mut buffer = vec![0; READ_BYTES];
    while let Some(data) = next_data(file, at)? {
        let read = match file.read_at(&mut buffer, data) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            break;
        }
        if let Some(last) = buffer[..read].iter().rposition(|&b| b != 0) {
            reach = data + last as u64 + 1;
        }
        at = data + read as u64;
    }
    Ok(reach)
}

/// Where bytes that may not be zero come next; `None` if none do. Not every file system can tell.
fn next_data(file: &File, at: u64) -> io::Result<Option<u64>> {
    match seek(file, SeekFrom::Data(at)) {
        Ok(data) => Ok(Some(data)),
        Err(Errno::NXIO) => Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOTTY) => Ok(Some(at)),
        Err(e) => Err(e.into()),
    }
}

/// Reads as much as fits, or as there is.
fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], at + read as u64) {
            Ok(0) => break,
            Ok(n) => read += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::frame::{FrameWriter, Kind};

    /// A file with one record at offset 100, as it is after `change`.
    fn tail(change: impl FnOnce(&File, u64)) -> (bool, u64) {
        let mut writer = FrameWriter::new(Vec::new(), 0);
        writer.record(Kind::Entry, &[7; 500]).unwrap();
        let record = writer.into_inner();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 100], 0).unwrap();
        file.write_all_at(&record, 100).unwrap();
        change(&file, 100 + record.len() as u64);
        let Tail { unfinished, reach } = Tail::look(&file, 100).unwrap();
        (unfinished, reach)
    }

    #[test]
    fn what_may_still_come_is_told_from_what_lies_behind() {
        let end = tail(|_, _| {}).1;
        let put = |file: &File, at, bytes: &[u8]| file.write_all_at(bytes, at).unwrap();
        // Whole; cut; its last byte zero; then more, right behind it and behind a hole.
        assert!(!tail(|_, _| {}).0);
        assert_eq!(tail(|f, end| f.set_len(end - 1).unwrap()), (true, end - 1));
        assert_eq!(tail(|f, _| f.set_len(105).unwrap()), (true, 102));
        assert_eq!(tail(|f, _| f.set_len(100).unwrap()), (true, 100));
        assert_eq!(tail(|f, end| put(f, end - 1, &[0; 9000])), (true, end - 1));
        assert_eq!(tail(|f, end| put(f, end - 1, &[0, 1])), (false, end + 1));
        assert_eq!(tail(|f, end| put(f, end - 1 + (40 << 20), &[3])), (false, end + (40 << 20)));
        // Zeros in place of its length, alone and with the rest of it behind.
        assert_eq!(tail(|f, _| put(f, 100, &vec![0; 5000])), (true, 100));
        assert_eq!(tail(|f, _| put(f, 100, &[0; 8])), (false, end));
        // A length that it contradicts, or that none has, although the file ends before.
        for (at, byte) in [(101, 0x40), (102, 0x01), (103, 1), (104, 1), (106, 1), (107, 0x40)] {
            assert_eq!(tail(|f, _| put(f, at, &[byte])), (false, end), "{at}");
        }
        // Neither: a head that says nothing, and a length that may be.
        assert_eq!(tail(|f, _| put(f, 102, &[1, 0, 0, 0, 0, 0, 9])), (true, end));
    }
}
