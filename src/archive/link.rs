//! What the next part names a part by: the position in the log at which it ends.
//!
//! Not the object's bytes: one part with all that several ones hold would else be none that the next one follows. At one position
//! (segment, offset, rolling CRC, entry and its term) of one member's log lies the same log.

use sha2::{Digest, Sha256};

use super::part::Head;
use crate::etcd::proto::{LogPosition, Metadata};
use crate::etcd::wal::Place;
use crate::sys::digest::to_hex;

/// Stands for a member's log up to a place, behind which `last` is the last known entry: SHA-256, 64 hex digits.
pub fn of(ids: Metadata, last: LogPosition, end: Place) -> String {
    at(ids, last, &format!("{end} {:08x}", end.crc))
}

/// The same for what a head announces.
pub fn of_head(head: &Head) -> String {
    let ids = Metadata { member_id: head.member_id, cluster_id: head.cluster_id };
    match head.log.last() {
        Some(end) => of(ids, head.last, Place { offset: end.to, crc: end.crc, ..end.from }),
        None => at(ids, head.last, "-"),
    }
}

fn at(Metadata { cluster_id, member_id }: Metadata, last: LogPosition, place: &str) -> String {
    let LogPosition { index, term } = last;
    to_hex(&Sha256::digest(format!("{cluster_id:x} {member_id:x} {index} {term} {place}")))
}

/// What stands for the content of parts up to one with this checksum, given that of those before it, or an empty string: SHA-256, 64
/// hex digits. Other than by a link, nobody can make other parts of the same.
pub fn content(before: &str, checksum: &str) -> String {
    to_hex(&Sha256::digest(format!("{before}\n{checksum}")))
}
