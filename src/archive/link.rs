//! What the next part names a part by: the position in the log at which it ends.
//!
//! Not the object's bytes: one part with all that several ones hold would else be none that the next one follows. At one position
//! (segment, offset, rolling CRC, entry and its term) of one member's log lies the same log.

use sha2::{Digest, Sha256};

use crate::etcd::proto::{LogPosition, Metadata};
use crate::etcd::wal::Place;
use crate::sys::digest::to_hex;

/// Stands for a member's log up to a place, behind which `last` is the last known entry: SHA-256, 64 hex digits. `None`: there is no log.
pub fn of(ids: Metadata, last: LogPosition, end: Option<Place>) -> String {
    let Metadata { cluster_id, member_id } = ids;
    let LogPosition { index, term } = last;
    let place = end.map_or_else(|| "-".into(), |end| format!("{end} {:08x}", end.crc));
    to_hex(&Sha256::digest(format!("{cluster_id:x} {member_id:x} {index} {term} {place}")))
}

/// What stands for the content of parts up to one with this checksum, given that of those before it, or an empty string: SHA-256, 64
/// hex digits. Other than by a link, nobody can make other parts of the same.
pub fn content(before: &str, checksum: &str) -> String {
    to_hex(&Sha256::digest(format!("{before}\n{checksum}")))
}
