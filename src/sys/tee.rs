//! What is read, written somewhere else as well.

use std::io::{self, Read, Write};

/// Copies what is read from `input` to `out`, before anybody has looked at it.
#[derive(Debug)]
pub struct Tee<R, W> {
    /// Where it comes from.
    pub input: R,
    /// Where it goes besides.
    pub out: W,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        self.out.write_all(&buffer[..n])?;
        Ok(n)
    }
}
