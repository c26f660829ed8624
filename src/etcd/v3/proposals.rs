//! Entries for the v3 store that a restore appends, as etcd's leader would have proposed them (etcdserverpb.InternalRaftRequest of
//! raft_internal.proto, with the requests of rpc.proto in it).
//!
//! Where authentication is on, etcd asks each entry for the user and the revision of the rights that it was proposed under, and
//! refuses an older one. The user `root` has every right, and there is no authentication without it.

use super::alarms::AlarmKind;
use crate::etcd::proto::{Entry, EntryKind};
use crate::etcd::wire::Encoder;

/// The union's fields.
const PUT: u64 = 4;
const DELETE_RANGE: u64 = 5;
const COMPACTION: u64 = 7;
const ALARM: u64 = 10;
const HEADER: u64 = 100;

/// AlarmRequest.AlarmAction: DEACTIVATE.
const DEACTIVATE: u64 = 2;
/// Later than any revision of the rights; etcd compares nothing but that it is not earlier.
const ANY_RIGHTS: u64 = 1 << 62;

/// Something that a restore wants of the v3 store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proposal<'a> {
    /// A key gets an empty value, which moves the revision by one.
    Put(&'a [u8]),
    /// A key goes, which moves the revision by one if it is there.
    Delete(&'a [u8]),
    /// Everything before this revision is forgotten; who watches from there is told so.
    Compact(u64),
    /// An alarm is over.
    Disarm {
        /// Who raised it.
        member_id: u64,
        /// Which it is.
        kind: AlarmKind,
    },
}

impl Proposal<'_> {
    /// The raft entry of this index and term; the index is the request's ID, too.
    pub fn entry(self, term: u64, index: u64) -> Vec<u8> {
        let encoder = Encoder::default();
        let (field, request) = match self {
            Self::Put(key) => (PUT, encoder.bytes(1, key)),
            Self::Delete(key) => (DELETE_RANGE, encoder.bytes(1, key)),
            Self::Compact(revision) => (COMPACTION, encoder.number(1, revision)),
            Self::Disarm { member_id, kind } => {
                (ALARM, encoder.number(1, DEACTIVATE).number(2, member_id).number(3, kind.number()))
            }
        };
        let header = Encoder::default().number(1, index).bytes(2, b"root").number(3, ANY_RIGHTS).done();
        let data = Encoder::default().bytes(field, &request.done()).bytes(HEADER, &header).done();
        Entry { kind: EntryKind::Normal, term, index, data: &data }.encode()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::request::Payload;

    #[test]
    fn each_is_a_request_of_its_kind() {
        for (proposal, name) in [
            (Proposal::Put(b"k"), "put"),
            (Proposal::Delete(b"k"), "delete_range"),
            (Proposal::Compact(7), "compaction"),
            (Proposal::Disarm { member_id: 1, kind: AlarmKind::NoSpace }, "alarm"),
        ] {
            let bytes = proposal.entry(3, 9);
            let entry = Entry::decode(&bytes).unwrap();
            assert_eq!((entry.kind, entry.term, entry.index), (EntryKind::Normal, 3, 9));
            assert_eq!(Payload::of(entry.data), Payload::V3(name));
        }
    }

    #[test]
    fn the_bytes_are_those_that_etcd_writes() {
        // As etcd 3.4's Marshal writes it, but for the order: the header's field has the highest number.
        let bytes = Proposal::Disarm { member_id: 5, kind: AlarmKind::NoSpace }.entry(2, 3);
        let request = [8, 2, 16, 5, 24, 1];
        let header = [8, 3, 18, 4, b'r', b'o', b'o', b't', 24, 128, 128, 128, 128, 128, 128, 128, 128, 64];
        let mut data = vec![82, request.len() as u8];
        data.extend(request);
        data.extend([0xa2, 6, header.len() as u8]);
        data.extend(header);
        assert_eq!(Entry::decode(&bytes).unwrap().data, data);
    }
}
