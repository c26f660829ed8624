//! What a bolt file's pages look like. Little-endian, as on every machine that etcd is built for.
//!
//! A page begins with 16 bytes: its number (8), flags (2), count of elements (2), pages that overflow from it (4). A branch
//! element is position (4), key size (4), child page (8); a leaf element flags (4), position (4), key size (4), value size
//! (4). Positions count from the element itself. Behind the elements lie keys and values in the same order, without gaps.

pub(super) const MAGIC: u32 = 0xED0C_DAED;
pub(super) const VERSION: u32 = 2;
pub(super) const PAGE_HEADER: usize = 16;
/// Of a branch as of a leaf.
pub(super) const ELEMENT: usize = 16;
pub(super) const FLAG_BRANCH: u16 = 0x01;
pub(super) const FLAG_LEAF: u16 = 0x02;
pub(super) const FLAG_META: u16 = 0x04;
pub(super) const FLAG_FREELIST: u16 = 0x10;
/// A leaf element whose value is a bucket.
pub(super) const BUCKET_ELEMENT: u32 = 1;
/// Root page (8) and sequence (8); with root page 0 the bucket's one leaf follows: it is inline.
pub(super) const BUCKET_HEADER: usize = 16;
pub(super) const META_BYTES: usize = 64;
/// In a meta page: there is no freelist on disk. etcd runs so on Linux.
pub(super) const NO_FREELIST: u64 = u64::MAX;
/// Bolt takes the page size of the machine.
pub(super) const PAGE_SIZES: [u64; 5] = [4096, 8192, 16384, 32768, 65536];

/// FNV-1a of 64 bits, the checksum of a meta page.
pub(super) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

fn at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

pub(super) fn u16_at(bytes: &[u8], place: usize) -> Option<u16> {
    at(bytes, place).map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], place: usize) -> Option<u32> {
    at(bytes, place).map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], place: usize) -> Option<u64> {
    at(bytes, place).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_fnv_and_nothing_is_read_beyond_the_end() {
        // FNV-1a of nothing and of "a", as published.
        assert_eq!((fnv1a(b""), fnv1a(b"a")), (0xcbf2_9ce4_8422_2325, 0xaf63_dc4c_8601_ec8c));
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(u64_at(&bytes, 1), Some(0x0908_0706_0504_0302));
        assert_eq!((u64_at(&bytes, 2), u32_at(&bytes, usize::MAX), u16_at(&bytes, 8)), (None, None, None));
    }
}
