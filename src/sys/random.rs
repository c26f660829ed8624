//! Bytes that nobody else has.

use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result};

/// Fresh random bytes.
///
/// # Errors
/// The kernel gives none.
pub fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut bytes)).context("reading /dev/urandom")?;
    Ok(bytes)
}
