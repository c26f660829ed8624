//! The `snap/db` that etcd 3.x wants beside a v2 snapshot: an empty v3 store that says "applied up to here".
//!
//! A bolt file of four pages: two metas, a freelist, and one leaf with the bucket `meta` inline, whose only key
//! `consistent_index` is the index. Bolt is little-endian; the index is 8 bytes big-endian. etcd 3.4 and 3.5 open it.

use super::layout::{
    BUCKET_ELEMENT, ELEMENT, FLAG_FREELIST, FLAG_LEAF, FLAG_META, MAGIC, PAGE_HEADER, VERSION, fnv1a,
};

const PAGE: usize = 4096;
const BUCKET: &[u8] = b"meta";
const KEY: &[u8] = b"consistent_index";

/// The file's bytes.
pub fn stub(consistent_index: u64) -> Vec<u8> {
    let mut file = Vec::with_capacity(4 * PAGE);
    for number in 0..2 {
        file.extend(page(number, FLAG_META, 0, &meta(number)));
    }
    file.extend(page(2, FLAG_FREELIST, 0, &[]));
    file.extend(page(3, FLAG_LEAF, 1, &leaf(BUCKET_ELEMENT, BUCKET, &inline_bucket(consistent_index))));
    file
}

fn page_header(number: u64, flags: u16, count: u16) -> [u8; PAGE_HEADER] {
    let mut header = [0; PAGE_HEADER];
    header[..8].copy_from_slice(&number.to_le_bytes());
    header[8..10].copy_from_slice(&flags.to_le_bytes());
    header[10..12].copy_from_slice(&count.to_le_bytes());
    header
}

fn page(number: u64, flags: u16, count: u16, body: &[u8]) -> Vec<u8> {
    let mut page = page_header(number, flags, count).to_vec();
    page.extend_from_slice(body);
    page.resize(PAGE, 0);
    page
}

fn meta(txid: u64) -> Vec<u8> {
    let mut meta = Vec::new();
    for word in [MAGIC, VERSION, PAGE as u32, 0] {
        meta.extend(word.to_le_bytes());
    }
    // Root bucket at page 3 with sequence 0, freelist at page 2, high-water mark 4, transaction.
    for word in [3, 0, 2, 4, txid] {
        meta.extend(word.to_le_bytes());
    }
    let checksum = fnv1a(&meta);
    meta.extend(checksum.to_le_bytes());
    meta
}

/// One leaf element (flags, position, key size, value size), the key and the value.
fn leaf(flags: u32, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [flags, ELEMENT as u32, key.len() as u32, value.len() as u32] {
        out.extend(word.to_le_bytes());
    }
    out.extend_from_slice(key);
    out.extend_from_slice(value);
    out
}

/// A bucket small enough to live inside its parent: root page 0, sequence 0, then its own leaf page.
fn inline_bucket(consistent_index: u64) -> Vec<u8> {
    let mut out = vec![0; 16];
    out.extend(page_header(0, FLAG_LEAF, 1));
    out.extend(leaf(0, KEY, &consistent_index.to_be_bytes()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_that_of_bolt() {
        let file = stub(0x0102_0304_0506_0708);
        assert_eq!(file.len(), 16_384);
        assert_eq!(file[16..20], [0xed, 0xda, 0x0c, 0xed]);
        let value = [1, 2, 3, 4, 5, 6, 7, 8];
        let at = file.windows(8).position(|w| w == value).unwrap();
        assert_eq!(&file[at - KEY.len()..at], KEY);
        assert!(at > 3 * PAGE && !file[at + 8..].iter().any(|&b| b != 0));
    }
}
