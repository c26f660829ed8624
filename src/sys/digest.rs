//! Checksums: of what passes, and as text.

use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};

/// Lower-case hex, as `sha256sum` prints it.
pub fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, b| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{b:02x}");
        out
    })
}

/// Hashes and counts what passes.
#[derive(Debug)]
pub struct Hashing<T> {
    /// Where it comes from, or goes.
    pub inner: T,
    /// What has passed.
    pub hash: Sha256,
    /// How many bytes.
    pub size: u64,
}

impl<T> Hashing<T> {
    /// Nothing has passed.
    pub fn of(inner: T) -> Self {
        Self { inner, hash: Sha256::new(), size: 0 }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hash.update(&buffer[..n]);
        self.size += n as u64;
        Ok(n)
    }
}
