//! A part of the archive: a file with a right checksum at its end, or a head and a payload, written and read.
#![no_main]

use std::io::Read;
use std::path::Path;

use etcd2_backup::archive::names::{GenerationName, PartName};
use etcd2_backup::archive::part::{self, Head, Part, prefix};
use etcd2_backup::archive::unpack::unpack;
use etcd2_backup::etcd::wal::{self, Reading};
use etcd2_backup::sys::digest::to_hex;
use etcd2_backup::sys::room::Leave;
use etcd2_backup_fuzz::input::Input;
use etcd2_backup_fuzz::scratch;
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

/// Bytes before the head.
const FIXED: usize = 16;
/// No payload of a small part is larger.
const MAX_PAYLOAD: u64 = 8 << 20;

/// Puts the right checksum behind a body, and gives the names that its head asks for.
fn raw(dir: &Path, body: &[u8]) -> Option<(GenerationName, PartName)> {
    let length = u32::from_le_bytes(body.get(12..FIXED)?.try_into().ok()?) as usize;
    let head: Head = serde_json::from_slice(body.get(FIXED..FIXED.checked_add(length)?)?).ok()?;
    let checksum = Sha256::digest(body);
    let link = if body.get(8) == Some(&1) { to_hex(&checksum) } else { head.link() };
    let bytes = [body, &checksum[..]].concat();
    let name = PartName {
        sequence: head.sequence,
        first: head.first,
        last: head.last.index,
        term: head.last.term,
        time: head.time,
        size: bytes.len() as u64,
        predecessor: prefix(&head.predecessor),
        link: prefix(&link),
    };
    std::fs::write(dir.join(name.to_string()), bytes).ok()?;
    Some((head.generation_name(), name))
}

/// Writes a part as the program does, and compares.
fn written(dir: &Path, mut input: Input<'_>) -> Option<(GenerationName, PartName)> {
    let head: Head = serde_json::from_slice(input.sized(2)).ok()?;
    let payload = input.0;
    let written = part::write(dir, &head, |out| Ok(out.write_all(payload)?)).ok()?;
    let read = Part::open(&dir.join(written.name.to_string()), head.generation_name(), written.name);
    let read = read.expect("what was written is read");
    assert_eq!((&read.head, &read.checksum, &read.link), (&head, &written.checksum, &written.link));
    let mut again = Vec::new();
    read.payload().and_then(|mut p| Ok(p.read_to_end(&mut again)?)).expect("what was written is read");
    assert_eq!(again, payload);
    Some((head.generation_name(), written.name))
}

fuzz_target!(|data: &[u8]| {
    let work = scratch::empty();
    let mut input = Input(data);
    let made = input.byte() & 1 != 0;
    let Some((generation, name)) = (if made { written(&work, input) } else { raw(&work, input.0) }) else {
        return;
    };
    let path = work.join(name.to_string());
    let Ok(part) = Part::open(&path, generation, name) else {
        assert!(!made);
        return;
    };
    assert_eq!(
        (part.head.generation_name(), name.size),
        (generation, path.metadata().expect("it is there").len())
    );
    // Names come back, but for a time outside the years that they can say.
    if let Some(parsed) = PartName::parse(&name.to_string()) {
        assert_eq!(parsed, name);
    }
    if let Some(parsed) = GenerationName::parse(&generation.to_string()) {
        assert_eq!(parsed, generation);
    }
    let Ok(payload) = part.payload() else { return };
    let length = std::io::copy(&mut payload.take(MAX_PAYLOAD), &mut std::io::sink());
    if length.is_ok_and(|n| n < MAX_PAYLOAD) {
        let target = work.join("unpacked");
        if let Ok((dir, contents)) = unpack(std::slice::from_ref(&part), &target, Leave::Nothing) {
            let announced: u64 = part.head.log.iter().map(|e| e.to - e.from.offset).sum();
            assert!(announced + part.head.snapshot.as_ref().map_or(0, |s| s.1) < MAX_PAYLOAD);
            let walk = wal::walk(&dir.wal, contents.start, Reading::Still, &mut |_, _| Ok(()));
            assert_eq!(walk.expect("it was just written"), contents.tail);
        }
    }
});
