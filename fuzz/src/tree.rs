//! A data directory as a script: snapshots by name and content, segments by name and [`script`](crate::script).

use std::fs;
use std::path::Path;

use etcd2_backup::etcd::bolt;
use etcd2_backup::etcd::snap::SnapshotName;
use etcd2_backup::etcd::wal::SegmentName;
use etcd2_backup::etcd::wire::{Encoder, Fields};

use crate::input::{Input, put_number, put_sized};
use crate::script;

/// A snapshot's message as it is, with a right CRC.
const WHOLE: u8 = 0;
/// The file as it is.
const RAW: u8 = 1;
/// More files than this say nothing new.
const MAX_FILES: u8 = 5;

/// Writes the tree that `input` describes: `member/snap` and `member/wal` in `data_dir`.
pub fn write(mut input: Input<'_>, data_dir: &Path) {
    let (snap, wal) = (data_dir.join("member/snap"), data_dir.join("member/wal"));
    for dir in [&snap, &wal] {
        fs::create_dir_all(dir).expect("making the scratch tree");
    }
    if input.byte() & 1 != 0 {
        fs::write(snap.join("db"), db(&mut input)).expect("writing a scratch file");
    }
    for _ in 0..input.byte() % MAX_FILES {
        let (term, index) = (input.number(2), input.number(8));
        let how = input.byte();
        let content = input.sized(4);
        let content = if how == WHOLE { with_crc(content) } else { content.to_vec() };
        fs::write(snap.join(SnapshotName { term, index }.to_string()), content).expect("writing a snapshot");
    }
    let mut crc = 0;
    for _ in 0..input.byte() % MAX_FILES {
        let (sequence, index) = (input.number(2), input.number(4));
        let content = script::write(Input(input.sized(4)), &mut crc);
        fs::write(SegmentName { sequence, index }.path(&wal), content).expect("writing a segment");
    }
}

/// A `snap/db`: the stub that a restore writes, with some places overwritten.
fn db(input: &mut Input<'_>) -> Vec<u8> {
    let mut content = bolt::stub(input.number(4));
    for _ in 0..input.byte() % 8 {
        let at = input.number(2) as usize % content.len();
        let patch = input.sized(1);
        let end = content.len().min(at + patch.len());
        content[at..end].copy_from_slice(&patch[..end - at]);
    }
    content
}

/// A snapshot file around its message (a raftpb.Snapshot).
pub fn with_crc(message: &[u8]) -> Vec<u8> {
    Encoder::default().number(1, crc32c::crc32c(message).into()).bytes(2, message).done()
}

/// The script of a real tree. Of the stores only the cluster's own part is kept: the rest is large, and not read.
pub fn describe(data_dir: &Path) -> Vec<u8> {
    let files = |folder: &str, ending: &str| {
        let listed = fs::read_dir(data_dir.join("member").join(folder)).expect("a fixture");
        let mut all: Vec<_> = listed.map(|e| e.expect("a fixture").path()).collect();
        all.retain(|p| p.to_string_lossy().ends_with(ending));
        all.sort();
        all.into_iter().rev().take(usize::from(MAX_FILES) - 1).rev().collect::<Vec<_>>()
    };
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let has_db = data_dir.join("member/snap/db").exists();
    let mut out = vec![u8::from(has_db)];
    if has_db {
        // The stub for index 9, as it is.
        put_number(&mut out, 9, 4);
        out.push(0);
    }
    let snapshots = files("snap", ".snap");
    out.push(snapshots.len() as u8);
    for path in snapshots {
        let parsed = SnapshotName::parse(&name(&path)).expect("a fixture");
        put_number(&mut out, parsed.term, 2);
        put_number(&mut out, parsed.index, 8);
        match message(&fs::read(&path).expect("a fixture")) {
            Some(message) => {
                out.push(WHOLE);
                put_sized(&mut out, &message, 4);
            }
            None => {
                out.push(RAW);
                put_sized(&mut out, b"\x08\x01\x12\x01x", 4);
            }
        }
    }
    let segments = files("wal", ".wal");
    out.push(segments.len() as u8);
    for path in segments {
        let parsed = SegmentName::parse(&name(&path)).expect("a fixture");
        put_number(&mut out, parsed.sequence, 2);
        put_number(&mut out, parsed.index, 4);
        put_sized(&mut out, &script::describe(&fs::read(&path).expect("a fixture")), 4);
    }
    out
}

/// The message in a snapshot file, with the cluster's part of the store alone.
pub fn message(file: &[u8]) -> Option<Vec<u8>> {
    let field = |message: &[u8], wanted: u64| -> Option<Vec<u8>> {
        let mut fields = Fields::new(message).filter_map(Result::ok);
        fields.find(|f| f.0 == wanted).and_then(|f| f.1.bytes().ok()).map(<[u8]>::to_vec)
    };
    let whole = field(file, 2)?;
    let mut store: serde_json::Value = serde_json::from_slice(&field(&whole, 1)?).ok()?;
    store.as_object_mut()?.retain(|name, _| name == "Root");
    store.pointer_mut("/Root/Children")?.as_object_mut()?.retain(|name, _| name == "0");
    let store = serde_json::to_vec(&store).ok()?;
    Some(Encoder::default().bytes(1, &store).bytes(2, &field(&whole, 2)?).done())
}
