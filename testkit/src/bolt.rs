//! What lies in a bucket of a bolt file that nobody writes to: the keys that its newest transaction has.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// All keys of a bucket with their values; nothing if there is no such bucket.
///
/// # Errors
/// It cannot be read, or is no bolt file.
pub fn bucket(file: &Path, name: &str) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let bytes = std::fs::read(file)?;
    let page_size = number::<4>(&bytes, 24)?;
    let meta = |at: usize| {
        Ok::<_, anyhow::Error>((number::<8>(&bytes, at + 16 + 48)?, number::<8>(&bytes, at + 16 + 16)?))
    };
    let (_, root) = meta(0)?.max(meta(page_size)?);
    let buckets = leaves(&bytes, root * page_size, page_size)?;
    let Some(header) = buckets.get(name.as_bytes()) else { return Ok(BTreeMap::new()) };
    match number::<8>(header, 0)? {
        // A small one lies in its parent.
        0 => leaves(&header[16..], 0, page_size),
        root => leaves(&bytes, root * page_size, page_size),
    }
}

fn leaves(bytes: &[u8], page: usize, page_size: usize) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let (flags, count) = (number::<2>(bytes, page + 8)?, number::<2>(bytes, page + 10)?);
    let mut all = BTreeMap::new();
    for element in (0..count).map(|n| page + 16 + n * 16) {
        match flags {
            1 => all.extend(leaves(bytes, number::<8>(bytes, element + 8)? * page_size, page_size)?),
            2 => {
                let at = element + number::<4>(bytes, element + 4)?;
                let value = at + number::<4>(bytes, element + 8)?;
                let end = value + number::<4>(bytes, element + 12)?;
                let part = |from, to| bytes.get(from..to).context("an element beyond the file");
                all.insert(part(at, value)?.to_vec(), part(value, end)?.to_vec());
            }
            other => bail!("a page of kind {other}"),
        }
    }
    Ok(all)
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Result<usize> {
    let mut number = [0; 8];
    number[..N].copy_from_slice(bytes.get(at..at + N).context("the file ends early")?);
    Ok(usize::from_le_bytes(number))
}
