//! A snapshot file: raw, or its message with a right CRC.
#![no_main]

use std::io::Read;

use etcd2_backup::etcd::proto::SnapshotMetadata;
use etcd2_backup::etcd::snap::{Snapshot, SnapshotName};
use etcd2_backup::etcd::store;
use etcd2_backup::etcd::wire::Fields;
use etcd2_backup_fuzz::input::Input;
use etcd2_backup_fuzz::{scratch, tree};
use libfuzzer_sys::fuzz_target;

/// The name that a message asks for, if its metadata can be read.
fn name_of(message: &[u8]) -> Option<SnapshotName> {
    let metadata = Fields::new(message).filter_map(Result::ok).filter(|f| f.0 == 2).last()?.1.bytes().ok()?;
    let position = SnapshotMetadata::decode(metadata).ok()?.position;
    Some(SnapshotName { term: position.term, index: position.index })
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let how = input.byte();
    let bytes = if how & 1 != 0 { tree::with_crc(input.0) } else { input.0.to_vec() };
    let name = name_of(input.0).unwrap_or(SnapshotName { term: 2, index: 100 });
    let path = scratch::file(&name.to_string(), &bytes);
    let dir = path.parent().expect("it lies in a folder");
    let Ok(snapshot) = Snapshot::open(dir, name) else { return };

    assert_eq!((snapshot.size, snapshot.metadata.position), (bytes.len() as u64, name.position()));
    assert_eq!(snapshot, Snapshot::open(dir, name).expect("as before"));
    let mut json = Vec::new();
    snapshot.store().expect("it is there").read_to_end(&mut json).expect("it is there");
    assert!(
        json.len() < bytes.len() && bytes.windows(json.len().max(1)).any(|w| json.is_empty() || w == json)
    );
    let members = store::members(snapshot.store().expect("it is there"));
    assert_eq!(members.ok(), store::members(&json[..]).ok());

    // No altered byte and no cut passes.
    let at = usize::from(how) * bytes.len() / 256;
    let mut altered = bytes.clone();
    altered[at] ^= 1 << (how % 8);
    scratch::file(&name.to_string(), &altered);
    assert!(Snapshot::open(dir, name).is_err(), "byte {at}");
    scratch::file(&name.to_string(), &bytes[..at]);
    assert!(Snapshot::open(dir, name).is_err(), "cut at {at}");
});
