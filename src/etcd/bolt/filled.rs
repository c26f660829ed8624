//! Whether a bucket has anything in it, in a few bounded reads, also while etcd writes the file.

use std::io::{Read, Seek};

use anyhow::Result;

use super::db::Db;

/// Bolt copies on write: what the newest whole meta page leads to stays as it is until a later transaction frees and
/// reuses it. So a reading that fails is done again from the meta pages on.
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
    let mut db = Db::open(file)?;
    for bucket in buckets {
        if let Some(mut found) = db.bucket(bucket)?
            && !found.is_empty()?
        {
            return Ok(Some(bucket));
        }
    }
    Ok(None)
}
