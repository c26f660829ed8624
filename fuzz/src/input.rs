//! The fuzzer's bytes, taken off piece by piece; when they end, zeros follow.

/// What is left.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// Up to `length` bytes.
    pub fn take(&mut self, length: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        head
    }

    /// A little-endian number of up to 8 bytes.
    pub fn number(&mut self, bytes: usize) -> u64 {
        self.take(bytes).iter().rev().fold(0, |n, &b| n << 8 | u64::from(b))
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.number(1) as u8
    }

    /// Bytes with their length (in `bytes` bytes) before them.
    pub fn sized(&mut self, bytes: usize) -> &'a [u8] {
        let length = self.number(bytes);
        self.take(length as usize)
    }
}

/// Appends what [`Input::number`] reads.
pub fn put_number(out: &mut Vec<u8>, value: u64, bytes: usize) {
    out.extend_from_slice(&value.to_le_bytes()[..bytes]);
}

/// Appends what [`Input::sized`] reads.
pub fn put_sized(out: &mut Vec<u8>, value: &[u8], bytes: usize) {
    put_number(out, value.len() as u64, bytes);
    out.extend_from_slice(value);
}
