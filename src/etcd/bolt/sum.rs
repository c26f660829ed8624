//! The sha256 that etcd puts behind the db in a maintenance snapshot, which is what `etcdctl snapshot save` writes.
//!
//! A db's length is a multiple of 512, so 32 bytes more are that sum.

use std::io::{ErrorKind, Read, Seek, SeekFrom};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

const SECTOR: u64 = 512;
const SUM: u64 = 32;

/// The length of the db in a file of this length.
pub fn content_length(length: u64) -> u64 {
    if has_sum(length) { length - SUM } else { length }
}

/// Whether a file of this length ends with a sum.
pub fn has_sum(length: u64) -> bool {
    length % SECTOR == SUM
}

/// Reads a file through: whether its sum is right; `None` if it has none.
///
/// # Errors
/// It cannot be read.
pub fn check(source: &mut (impl Read + Seek)) -> Result<Option<bool>> {
    let length = source.seek(SeekFrom::End(0)).context("seeking in the db")?;
    if !has_sum(length) {
        return Ok(None);
    }
    source.seek(SeekFrom::Start(0)).context("seeking in the db")?;
    let (mut sum, mut left, mut buffer) = (Sha256::new(), length - SUM, vec![0; 64 << 10]);
    while left > 0 {
        let room = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match source.read(&mut buffer[..room]) {
            Ok(0) => break,
            Ok(read) => {
                sum.update(&buffer[..read]);
                left -= read as u64;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e).context("reading the db"),
        }
    }
    let mut said = [0; SUM as usize];
    source.read_exact(&mut said).context("reading the db's sum")?;
    Ok(Some(sum.finalize()[..] == said))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn a_sum_is_seen_by_the_length_and_compared() {
        let db = vec![7; 200 * 512];
        let mut summed = db.clone();
        summed.extend(&Sha256::digest(&db)[..]);
        let of = |file: &[u8]| check(&mut Cursor::new(file)).unwrap();
        assert_eq!((of(&db), of(&summed)), (None, Some(true)));
        for at in [0, 70_000, db.len() - 1, db.len(), summed.len() - 1] {
            let mut altered = summed.clone();
            altered[at] ^= 1;
            assert_eq!(of(&altered), Some(false), "byte {at}");
        }
        assert_eq!((content_length(512 + 32), content_length(512), content_length(31)), (512, 512, 31));
    }
}
