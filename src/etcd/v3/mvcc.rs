//! The bucket `key`: every revision of every key, in the order in which they were written.
//!
//! A row's key is the revision: main (8 bytes big-endian), `_`, sub (8 bytes), and `t` behind it if the key was deleted.
//! Its value is an mvccpb.KeyValue; that of a deletion has only the user's key.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Seek};

use anyhow::{Context, Result, ensure};

use crate::etcd::bolt::{Db, Order};
use crate::etcd::wire::Fields;

/// The bucket.
pub const BUCKET: &str = "key";

/// A row's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision {
    /// One for each request that writes.
    pub main: u64,
    /// One for each write of it, from 0 on.
    pub sub: u64,
    /// The key was deleted.
    pub tombstone: bool,
}

impl Revision {
    /// From a row's key, or from what `meta` says of compactions.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let number = |at: usize| {
            let bytes = bytes.get(at..at + 8).and_then(|b| b.try_into().ok());
            bytes.map(u64::from_be_bytes).context("a revision that is cut off")
        };
        let (main, sub) = (number(0)?, number(9)?);
        ensure!(bytes[8] == b'_', "a revision without its _");
        let tombstone = match &bytes[17..] {
            [] => false,
            [b't'] => true,
            _ => anyhow::bail!("a revision that goes on"),
        };
        ensure!(i64::try_from(main).is_ok() && i64::try_from(sub).is_ok(), "a revision below 0");
        Ok(Self { main, sub, tombstone })
    }
}

/// A key at a revision (mvccpb.KeyValue).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyValue<'a> {
    /// The user's key.
    pub key: &'a [u8],
    /// The revision that made it.
    pub create_revision: u64,
    /// This revision.
    pub mod_revision: u64,
    /// How often it was written since it was made, from 1 on.
    pub version: u64,
    /// The value.
    pub value: &'a [u8],
    /// The lease it goes with; 0 for none.
    pub lease: i64,
}

impl<'a> KeyValue<'a> {
    /// Decodes it.
    ///
    /// # Errors
    /// Not such a message.
    pub fn decode(message: &'a [u8]) -> Result<Self> {
        let mut this = Self::default();
        for field in Fields::new(message) {
            match field? {
                (1, v) => this.key = v.bytes()?,
                (2, v) => this.create_revision = v.number()?,
                (3, v) => this.mod_revision = v.number()?,
                (4, v) => this.version = v.number()?,
                (5, v) => this.value = v.bytes()?,
                (6, v) => this.lease = v.number()?.cast_signed(),
                (field, _) => anyhow::bail!("field {field} is not expected in a key"),
            }
        }
        Ok(this)
    }

    /// A row, and whether it is one that etcd writes.
    ///
    /// # Errors
    /// It is not.
    pub fn of_row(key: &[u8], value: &'a [u8]) -> Result<(Revision, Self)> {
        let revision = Revision::decode(key)?;
        let of = || format!("revision {}_{}", revision.main, revision.sub);
        let row = Self::decode(value).with_context(of)?;
        if revision.tombstone {
            let alone = Self { key: row.key, ..Self::default() };
            ensure!(row == alone, "{}: a deletion with more than its key", of());
        } else {
            ensure!(row.mod_revision == revision.main, "{}: it says {}", of(), row.mod_revision);
            let made = (1..=row.mod_revision).contains(&row.create_revision) && row.version > 0;
            ensure!(made, "{}: a key that was never made", of());
        }
        Ok((revision, row))
    }
}

/// Visits every key that is there, its newest change first.
///
/// Needs a hash (9 bytes in a table that is at most 7/8 full, so 10 to 20) for each key that ever was and is not compacted:
/// 20 MB for a million. The hash has 64 bits and a secret of this run; that one of a million keys is missed for an equal hash
/// has a chance of 1 in 37 million.
///
/// # Errors
/// The file cannot be read or is not sane, or `visit` fails.
pub fn visit_live<S: Read + Seek>(
    db: &mut Db<S>,
    visit: &mut dyn FnMut(&KeyValue<'_>) -> Result<()>,
) -> Result<()> {
    newest_first(db, &mut |row, newest, revision| match newest && !revision.tombstone {
        true => visit(row),
        false => Ok(()),
    })
}

/// All rows from the last one on, and whether it is the newest of its key.
fn newest_first<S: Read + Seek>(
    db: &mut Db<S>,
    visit: &mut dyn FnMut(&KeyValue<'_>, bool, Revision) -> Result<()>,
) -> Result<()> {
    let Some(mut bucket) = db.bucket(BUCKET)? else { return Ok(()) };
    let (hash, mut seen) = (RandomState::new(), HashSet::new());
    bucket.walk(Order::Backward, &mut |key, value| {
        let (revision, row) = KeyValue::of_row(key, value)?;
        let newest = seen.insert(hash.hash_one(row.key));
        visit(&row, newest, revision)
    })
}

/// What etcd answers to HashKV at the db's newest revision, if the compaction at `compacted` is finished: the CRC-32C of
/// all rows, without those up to that revision that a later one has replaced.
///
/// Needs what [`visit_live`] does, and a bit for each row.
///
/// # Errors
/// The file cannot be read or is not sane.
pub fn hash_kv<S: Read + Seek>(db: &mut Db<S>, compacted: Option<u64>) -> Result<u32> {
    let mut counts: Vec<bool> = Vec::new();
    newest_first(db, &mut |_, newest, revision| {
        let after = compacted.is_none_or(|compacted| revision.main > compacted);
        counts.push(after || newest && !revision.tombstone);
        Ok(())
    })?;
    let mut sum = crc32c::crc32c(BUCKET.as_bytes());
    let Some(mut bucket) = db.bucket(BUCKET)? else { return Ok(sum) };
    bucket.walk(Order::Forward, &mut |key, value| {
        if counts.pop().context("more rows than a moment ago")? {
            sum = crc32c::crc32c_append(crc32c::crc32c_append(sum, key), value);
        }
        Ok(())
    })?;
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::wire::Encoder;

    pub(crate) fn row_key(main: u64, sub: u64, end: &[u8]) -> Vec<u8> {
        [&main.to_be_bytes()[..], b"_", &sub.to_be_bytes(), end].concat()
    }

    #[test]
    fn revisions_are_read_or_refused() {
        let of = |main, sub, tombstone| Revision { main, sub, tombstone };
        assert_eq!(Revision::decode(&row_key(7, 1, b"")).unwrap(), of(7, 1, false));
        assert_eq!(Revision::decode(&row_key(1 << 40, 0, b"t")).unwrap(), of(1 << 40, 0, true));
        for (bytes, says) in [
            (row_key(7, 1, b"x"), "a revision that goes on"),
            (row_key(7, 1, b"tt"), "a revision that goes on"),
            (row_key(7, 1, b"")[..16].to_vec(), "a revision that is cut off"),
            (vec![], "a revision that is cut off"),
            (row_key(u64::MAX, 0, b""), "a revision below 0"),
            ([&7_u64.to_be_bytes()[..], b"-", &[0; 8]].concat(), "a revision without its _"),
        ] {
            assert_eq!(Revision::decode(&bytes).unwrap_err().to_string(), says);
        }
    }

    #[test]
    fn a_row_is_one_that_etcd_writes() {
        let row = |create, modified, version| {
            let e = Encoder::default().bytes(1, b"k").number(2, create).number(3, modified);
            e.number(4, version).bytes(5, b"v").number(6, u64::MAX).done()
        };
        let whole = row(5, 7, 2);
        let (revision, read) = KeyValue::of_row(&row_key(7, 1, b""), &whole).unwrap();
        let expected =
            KeyValue { key: b"k", create_revision: 5, mod_revision: 7, version: 2, value: b"v", lease: -1 };
        assert_eq!((revision.main, read), (7, expected));
        let gone = Encoder::default().bytes(1, b"k").done();
        assert!(KeyValue::of_row(&row_key(8, 0, b"t"), &gone).unwrap().0.tombstone);
        for (key, value, says) in [
            (row_key(8, 0, b""), row(5, 7, 2), "revision 8_0: it says 7"),
            (row_key(7, 0, b""), row(8, 7, 2), "revision 7_0: a key that was never made"),
            (row_key(7, 0, b""), row(0, 7, 2), "revision 7_0: a key that was never made"),
            (row_key(7, 0, b""), row(5, 7, 0), "revision 7_0: a key that was never made"),
            (row_key(7, 0, b"t"), row(5, 7, 2), "revision 7_0: a deletion with more than its key"),
            (row_key(7, 0, b"t"), vec![0x0a, 3], "revision 7_0: a field of 3 bytes is cut off after 0"),
            (row_key(7, 0, b""), vec![0x78, 3], "revision 7_0: field 15 is not expected in a key"),
        ] {
            assert_eq!(format!("{:#}", KeyValue::of_row(&key, &value).unwrap_err()), says);
        }
    }
}
