//! Which members this node's disk has been: the IDs in its WALs, also in directories that were set aside.

use std::path::Path;

use anyhow::Result;

use crate::etcd::{datadir, wal};
use crate::node::member_dir::places::Places;
use crate::settings::EtcdConfig;
use crate::sys::fs::parent;
use crate::sys::look;

/// Cluster ID and member ID of a WAL.
pub type Ids = (u64, u64);

/// The IDs of etcd's data directory as it is now; `None` if it holds no WAL.
///
/// # Errors
/// There is a WAL that cannot be read.
pub fn local_ids(etcd: &EtcdConfig) -> Result<Option<Ids>> {
    ids_of_wal(&etcd.effective_wal_dir())
}

/// The IDs of every directory that was set aside, without those that are damaged.
///
/// # Errors
/// They cannot be read: one of them may say that an ID must not be used again.
pub fn ids_set_aside(etcd: &EtcdConfig) -> Result<Vec<Ids>> {
    let mut ids = Vec::new();
    for place in Places::of(etcd)?.data() {
        let (dir, stem) = (parent(place), place.file_name().unwrap_or_default().to_string_lossy());
        for entry in look::list_if_there(&dir)?.unwrap_or_default() {
            let path = entry.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.strip_prefix(&*stem).is_some_and(|rest| rest.starts_with(".before-")) {
                ids.extend(match ids_if_whole(&path.join("wal"))? {
                    None => ids_if_whole(&path)?,
                    found => found,
                });
            }
        }
    }
    Ok(ids)
}

/// A damaged one is no reason to stop: it is only asked for IDs that must not be used again.
fn ids_if_whole(dir: &Path) -> Result<Option<Ids>> {
    match ids_of_wal(dir) {
        Err(e) if !look::is_unread(&e) => Ok(None),
        ids => ids,
    }
}

fn ids_of_wal(dir: &Path) -> Result<Option<Ids>> {
    if wal::segments_if_there(dir)?.is_empty() {
        return Ok(None);
    }
    let metadata = datadir::ids(dir)?;
    Ok(Some((metadata.cluster_id, metadata.member_id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::frame::{FrameWriter, Kind};
    use crate::etcd::proto::Metadata;
    use std::fs;

    /// A segment's start: CRC record, then the IDs of member 7 in cluster 9.
    fn head() -> Vec<u8> {
        let mut writer = FrameWriter::new(Vec::new(), 0);
        writer.crc_record().unwrap();
        writer.record(Kind::Metadata, &Metadata { member_id: 7, cluster_id: 9 }.encode()).unwrap();
        writer.into_inner()
    }

    #[test]
    fn ids_of_the_disk_now_and_before() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str| {
            let wal = dir.path().join(path);
            fs::create_dir_all(&wal).unwrap();
            crate::sys::fs::write_atomic(&wal.join("0000000000000000-0000000000000000.wal"), &head(), 0o600)
                .unwrap();
        };
        let etcd = crate::settings::tests::in_tree(dir.path()).etcd;
        assert_eq!(local_ids(&etcd).unwrap(), None);
        assert!(ids_set_aside(&etcd).unwrap().is_empty());
        write("member/wal");
        assert_eq!(local_ids(&etcd).unwrap(), Some((9, 7)));
        assert!(ids_set_aside(&etcd).unwrap().is_empty());
        write("member.before-join-20160101T000000Z/wal");
        assert_eq!(ids_set_aside(&etcd).unwrap(), [(9, 7)]);
    }
}
