//! Whether a bucket of a bolt file has anything in it, in a few bounded reads.
//!
//! etcd may be writing the file. Bolt copies on write: what the newest whole meta page leads to stays as it is until a
//! later transaction frees and reuses it. So what is read is checked for being a page of its number, and a reading that
//! fails is done again from the meta pages on.

use std::io::{Read, Seek, SeekFrom};

use anyhow::{Context, Result, bail, ensure};

use super::{BUCKET_ELEMENT, FLAG_LEAF, LEAF_ELEMENT, MAGIC, PAGE_HEADER, VERSION, fnv1a};

const FLAG_BRANCH: u16 = 0x01;
const BRANCH_ELEMENT: usize = 16;
const BUCKET_HEADER: usize = 16;
const META_BYTES: usize = 64;
/// Bolt takes the machine's page size.
const PAGE_SIZES: [u64; 5] = [4096, 8192, 16384, 32768, 65536];
/// A page with the names of a dozen buckets is not larger, nor is the tree of them deeper.
const MAX_PAGE_BYTES: u64 = 1 << 20;
const MAX_DEPTH: u32 = 16;
const TRIES: u32 = 3;

/// The first of `buckets` that is not empty.
///
/// # Errors
/// Not a bolt file, a damaged one, or one that changes too fast.
pub fn first_filled<'a>(file: &mut (impl Read + Seek), buckets: &[&'a str]) -> Result<Option<&'a str>> {
    let mut tries = 1;
    loop {
        match look(file, buckets) {
            Err(_) if tries < TRIES => tries += 1,
            found => return found,
        }
    }
}

fn look<'a>(file: &mut (impl Read + Seek), buckets: &[&'a str]) -> Result<Option<&'a str>> {
    let meta = newest_meta(file)?;
    for bucket in buckets {
        if is_filled(file, meta, bucket).with_context(|| format!("looking for the bucket {bucket}"))? {
            return Ok(Some(bucket));
        }
    }
    Ok(None)
}

#[derive(Debug, Clone, Copy)]
struct Meta {
    page_size: u64,
    root: u64,
    transaction: u64,
}

/// Of the two meta pages the valid one with the later transaction. The second one's place depends on the page size,
/// which a damaged first one does not say.
fn newest_meta(file: &mut (impl Read + Seek)) -> Result<Meta> {
    let mut newest: Option<Meta> = None;
    for at in [0].into_iter().chain(PAGE_SIZES) {
        let page = bytes_at(file, at, (PAGE_HEADER + META_BYTES) as u64)?;
        let found = parse_meta(page.get(PAGE_HEADER..).unwrap_or_default());
        let here = found.filter(|m| at == 0 || at == m.page_size);
        newest = newest.into_iter().chain(here).max_by_key(|m| m.transaction);
    }
    newest.context("no valid meta page")
}

fn parse_meta(meta: &[u8]) -> Option<Meta> {
    let (sum, page_size) = (u64_at(meta, 56)?, u64::from(u32_at(meta, 8)?));
    let ours = u32_at(meta, 0)? == MAGIC && u32_at(meta, 4)? == VERSION;
    // The bolt of etcd 3.0 wrote no checksum.
    let whole = sum == 0 || sum == fnv1a(&meta[..56]);
    let meta = Meta { page_size, root: u64_at(meta, 16)?, transaction: u64_at(meta, 48)? };
    (ours && whole && PAGE_SIZES.contains(&page_size)).then_some(meta)
}

fn is_filled(file: &mut (impl Read + Seek), meta: Meta, bucket: &str) -> Result<bool> {
    let mut number = meta.root;
    for _ in 0..MAX_DEPTH {
        let page = Page::read(file, meta.page_size, number)?;
        if page.flags == FLAG_BRANCH {
            number = page.child(bucket.as_bytes())?;
            continue;
        }
        ensure!(page.flags == FLAG_LEAF, "page {number} is neither branch nor leaf");
        let Some(value) = page.bucket(bucket.as_bytes())? else { return Ok(false) };
        let root = u64_at(value, 0).context("a bucket without a header")?;
        // A small bucket lies in its parent: its page follows its header.
        let count = if root == 0 {
            u16_at(value, BUCKET_HEADER + 10).context("an inline bucket without a page")?
        } else {
            Page::read(file, meta.page_size, root)?.count
        };
        return Ok(count > 0);
    }
    bail!("the tree of buckets is too deep")
}

/// One page, with those that overflow from it.
struct Page {
    flags: u16,
    count: u16,
    bytes: Vec<u8>,
}

impl Page {
    fn read(file: &mut (impl Read + Seek), page_size: u64, number: u64) -> Result<Self> {
        let at = number.checked_mul(page_size).context("a page beyond all bounds")?;
        let head = bytes_at(file, at, PAGE_HEADER as u64)?;
        let cut = || format!("page {number} is cut off");
        ensure!(u64_at(&head, 0).with_context(cut)? == number, "page {number} is another one");
        let (flags, count) = (u16_at(&head, 8).with_context(cut)?, u16_at(&head, 10).with_context(cut)?);
        let overflow = u64::from(u32_at(&head, 12).with_context(cut)?);
        let length = page_size.saturating_mul(overflow + 1).min(MAX_PAGE_BYTES);
        Ok(Self { flags, count, bytes: bytes_at(file, at, length)? })
    }

    /// The elements' own bytes, from each one's start on: positions in it count from there.
    fn elements(&self, size: usize) -> impl Iterator<Item = Option<&[u8]>> {
        (0..usize::from(self.count)).map(move |i| self.bytes.get(PAGE_HEADER + i * size..))
    }

    /// The page that a key lies below.
    fn child(&self, wanted: &[u8]) -> Result<u64> {
        let mut found = None;
        for element in self.elements(BRANCH_ELEMENT) {
            let read = |e: &[u8]| {
                let (at, length) = (u32_at(e, 0)? as usize, u32_at(e, 4)? as usize);
                let below = e.get(at..at.checked_add(length)?)? <= wanted;
                Some((below, u64_at(e, 8)?))
            };
            let (below, number) = element.and_then(read).context("a damaged branch")?;
            if below || found.is_none() {
                found = Some(number);
            }
        }
        found.context("an empty branch")
    }

    /// The value of a bucket's element.
    fn bucket(&self, wanted: &[u8]) -> Result<Option<&[u8]>> {
        for element in self.elements(LEAF_ELEMENT) {
            let read = |e: &'_ [u8]| {
                let at = u32_at(e, 4)? as usize;
                let value = at.checked_add(u32_at(e, 8)? as usize)?;
                let end = value.checked_add(u32_at(e, 12)? as usize)?;
                (end <= e.len() && u32_at(e, 0)? == BUCKET_ELEMENT).then_some((at, value, end))
            };
            // An element that is no bucket has no place among them.
            let bytes = element.context("a damaged leaf")?;
            let (at, value, end) = read(bytes).context("a damaged leaf")?;
            if &bytes[at..value] == wanted {
                return Ok(Some(&bytes[value..end]));
            }
        }
        Ok(None)
    }
}

/// Up to `length` bytes; fewer at the end of the file.
fn bytes_at(file: &mut (impl Read + Seek), at: u64, length: u64) -> Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(bytes: &[u8], place: usize) -> Option<u16> {
    at(bytes, place).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], place: usize) -> Option<u32> {
    at(bytes, place).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], place: usize) -> Option<u64> {
    at(bytes, place).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::{FLAG_FREELIST, FLAG_META, PAGE, inline_bucket, leaf, page, page_header, stub};
    use super::*;

    fn filled(file: &[u8], bucket: &'static str) -> Result<Option<&'static str>> {
        first_filled(&mut Cursor::new(file), &["absent", bucket])
    }

    /// The two metas with the root at page 3, a freelist, then these pages.
    fn file(pages: &[Vec<u8>]) -> Vec<u8> {
        let mut file: Vec<u8> = (0..2).flat_map(|n| page(n, FLAG_META, 0, &super::super::meta(n))).collect();
        file.extend(page(2, FLAG_FREELIST, 0, &[]));
        file.extend(pages.iter().flatten());
        file
    }

    /// A branch's one element, of the key "a".
    fn branch(child: u64) -> Vec<u8> {
        let mut out: Vec<u8> = [16_u32, 1].iter().flat_map(|w| w.to_le_bytes()).collect();
        out.extend(child.to_le_bytes());
        out.push(b'a');
        out
    }

    fn bucket_at(root: u64) -> Vec<u8> {
        let mut header = root.to_le_bytes().to_vec();
        header.extend([0; 8]);
        header
    }

    #[test]
    fn buckets_inline_and_with_pages_of_their_own() {
        let mut empty_inline = vec![0; BUCKET_HEADER];
        empty_inline.extend(page_header(0, FLAG_LEAF, 0));
        let key = |value: &[u8]| page(3, FLAG_LEAF, 1, &leaf(BUCKET_ELEMENT, b"key", value));
        let entry = leaf(0, b"k", b"v");
        let below = page(4, FLAG_LEAF, 1, &leaf(BUCKET_ELEMENT, b"key", &bucket_at(5)));
        let table = [
            ("the stub has no such bucket", stub(7), None),
            ("inline, empty", file(&[key(&empty_inline)]), None),
            ("inline, one key", file(&[key(&inline_bucket(1))]), Some("key")),
            ("a leaf, empty", file(&[key(&bucket_at(4)), page(4, FLAG_LEAF, 0, &[])]), None),
            ("a leaf", file(&[key(&bucket_at(4)), page(4, FLAG_LEAF, 1, &entry)]), Some("key")),
            (
                "below a branch",
                file(&[page(3, FLAG_BRANCH, 1, &branch(4)), below, page(5, FLAG_LEAF, 1, &entry)]),
                Some("key"),
            ),
        ];
        for (what, file, expected) in table {
            assert_eq!(filled(&file, "key").unwrap(), expected, "{what}");
        }
        assert_eq!(filled(&stub(7), "meta").unwrap(), Some("meta"));
    }

    #[test]
    fn either_meta_page_serves_and_without_one_it_is_no_bolt_file() {
        for broken in [0, PAGE] {
            let mut file = stub(7);
            file[broken + PAGE_HEADER + 20] ^= 1;
            assert_eq!(filled(&file, "meta").unwrap(), Some("meta"), "meta at {broken}");
        }
        let mut both = stub(7);
        both[PAGE_HEADER] ^= 1;
        both[PAGE + PAGE_HEADER] ^= 1;
        for bytes in [&both[..], b"", b"not bolt", &[0; 20_000]] {
            assert!(filled(bytes, "meta").is_err());
        }
    }

    #[test]
    fn a_page_that_leads_to_itself_or_nowhere_ends_with_an_error() {
        let round = file(&[page(3, FLAG_BRANCH, 1, &branch(3))]);
        let nowhere = file(&[page(3, FLAG_BRANCH, 1, &branch(u64::MAX / 2))]);
        let other = file(&[page(9, FLAG_LEAF, 0, &[])]);
        for bytes in [round, nowhere, other] {
            assert!(filled(&bytes, "key").is_err());
        }
    }

    #[test]
    fn no_altered_byte_panics() {
        let whole = stub(7);
        for at in 0..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut file = whole.clone();
                file[at] ^= flip;
                let _ = filled(&file, "meta");
            }
        }
        for cut in (0..whole.len()).step_by(13) {
            let _ = filled(&whole[..cut], "meta");
        }
    }
}
