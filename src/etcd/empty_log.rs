//! The smallest log that etcd starts on as a given member of a given cluster: a checksum, the IDs, a snapshot at 0/0 and a
//! hard state at 0/0/0.
//!
//! To etcd this is a member that ran before. It heeds no setting that is for a first start (`initial-cluster` and its kin, a
//! token, discovery), founds nothing, takes no writes, and waits for a leader that knows it and sends the rest. Tried on 2.3.8,
//! 3.4.23, 3.5.1 to 3.5.30, 3.6.14 and 3.7.1, with stale settings of another cluster in place. `force-new-cluster` alone is
//! heeded, and makes a new cluster of it.

use anyhow::Result;

use super::frame::{FrameWriter, Kind};
use super::proto::{HardState, LogPosition, Metadata};
use super::wal::SegmentName;

/// The name of its one segment.
pub const SEGMENT: SegmentName = SegmentName { sequence: 0, index: 0 };

/// IDs that no member has, for trying how etcd starts: etcd makes an ID of a hash, and takes no 0.
pub const NOBODY: Metadata = Metadata { member_id: 0x6e6f_626f_6479, cluster_id: 0x006e_6f77_6865_7265 };

/// What is in that segment.
///
/// # Errors
/// None, as it is written to memory.
pub fn bytes(ids: Metadata) -> Result<Vec<u8>> {
    let mut log = FrameWriter::new(Vec::new(), 0);
    log.crc_record()?;
    log.record(Kind::Metadata, &ids.encode())?;
    log.record(Kind::Snapshot, &LogPosition::default().encode())?;
    log.record(Kind::HardState, &HardState::default().encode())?;
    Ok(log.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::datadir::{self, DataDir};
    use crate::etcd::wal::Reading;
    use crate::sys::fs::write_atomic;

    #[test]
    fn it_is_the_given_member_s_and_has_no_entry() {
        let dir = tempfile::tempdir().unwrap();
        let wal = dir.path().join("member/wal");
        std::fs::create_dir_all(&wal).unwrap();
        std::fs::create_dir_all(dir.path().join("member/snap")).unwrap();
        let ids = Metadata { member_id: u64::MAX, cluster_id: 7 };
        let log = bytes(ids).unwrap();
        assert!(log.len() < 120, "{}", log.len());
        write_atomic(&SEGMENT.path(&wal), &log, 0o600).unwrap();
        assert_eq!(datadir::ids(&wal).unwrap(), ids);
        let contents = DataDir::open(dir.path(), None).unwrap().scan(Reading::Still).unwrap();
        assert_eq!((contents.metadata, contents.last()), (ids, LogPosition::default()));
        assert!(contents.base.is_none() && contents.torn().is_none());
    }
}
