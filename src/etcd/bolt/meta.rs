//! The two meta pages of a bolt file: which transaction is the newest whole one, and where its tree begins.
//!
//! Behind the page's header: magic (4), version (4), page size (4), flags (4), root bucket (page 8, sequence 8), freelist's
//! page (8), high-water mark (8), transaction (8), FNV-1a of all that (8). Transactions write the two in turns, and the
//! page is synced behind all that it leads to, so the one with the later transaction and a right sum is the state.

use std::io::{Read, Seek, SeekFrom};

use anyhow::{Context, Result};

use super::layout::{MAGIC, META_BYTES, PAGE_HEADER, PAGE_SIZES, VERSION, fnv1a, u32_at, u64_at};

/// What a meta page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    /// In bytes.
    pub page_size: u64,
    /// The page of the tree of buckets.
    pub root: u64,
    /// [`super::layout::NO_FREELIST`] if there is none.
    pub freelist: u64,
    /// All pages in use have lower numbers.
    pub high_water: u64,
    /// The transaction.
    pub txid: u64,
}

/// Of the two meta pages the valid one with the later transaction, and how many are valid. The second one's place depends
/// on the page size, which a damaged first one does not say.
pub(super) fn newest(file: &mut (impl Read + Seek)) -> Result<(Meta, u8)> {
    let mut found: Vec<Meta> = Vec::new();
    for at in [0].into_iter().chain(PAGE_SIZES) {
        let page = bytes_at(file, at, (PAGE_HEADER + META_BYTES) as u64)?;
        let meta = parse(page.get(PAGE_HEADER..).unwrap_or_default());
        // A page of the tree may hold an old file as a value: with the first one valid, the place of the second is known.
        let first = found.first().map(|m| m.page_size);
        found.extend(meta.filter(|m| at == 0 || (at == m.page_size && first.is_none_or(|size| size == at))));
    }
    let valid = found.len() as u8;
    let meta = found.into_iter().max_by_key(|m| m.txid).context("no valid meta page")?;
    Ok((meta, valid))
}

fn parse(meta: &[u8]) -> Option<Meta> {
    let (sum, page_size) = (u64_at(meta, 56)?, u64::from(u32_at(meta, 8)?));
    let ours = u32_at(meta, 0)? == MAGIC && u32_at(meta, 4)? == VERSION;
    // The bolt of etcd 3.0 wrote no checksum.
    let whole = sum == 0 || sum == fnv1a(&meta[..56]);
    let meta = Meta {
        page_size,
        root: u64_at(meta, 16)?,
        freelist: u64_at(meta, 32)?,
        high_water: u64_at(meta, 40)?,
        txid: u64_at(meta, 48)?,
    };
    (ours && whole && PAGE_SIZES.contains(&page_size)).then_some(meta)
}

/// Up to `length` bytes; fewer at the end of the file.
pub(super) fn bytes_at(file: &mut (impl Read + Seek), at: u64, length: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(at)).context("seeking in the db")?;
    file.by_ref().take(length).read_to_end(&mut bytes).context("reading the db")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::stub;
    use super::*;

    #[test]
    fn the_later_whole_one_counts() {
        let file = stub(7);
        let read = |file: &[u8]| newest(&mut Cursor::new(file)).map(|(m, valid)| (m.txid, m.root, valid));
        assert_eq!(read(&file).unwrap(), (1, 3, 2));
        for (broken, txid) in [(0, 1), (4096, 0)] {
            for at in 0..META_BYTES {
                let mut file = file.clone();
                file[broken + PAGE_HEADER + at] ^= 1;
                assert_eq!(read(&file).unwrap(), (txid, 3, 1), "byte {at} of the meta at {broken}");
            }
        }
        let mut both = file;
        both[PAGE_HEADER] ^= 1;
        both[4096 + PAGE_HEADER] ^= 1;
        for bytes in [&both[..], b"", b"not bolt", &[0; 20_000]] {
            assert_eq!(read(bytes).unwrap_err().to_string(), "no valid meta page");
        }
    }
}
