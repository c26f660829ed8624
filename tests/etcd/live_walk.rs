//! One look at a log that changes meanwhile, in a given order: a write that stops after every byte, damage that is
//! really there, and segments that are cut, purged and repaired between two reads.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use etcd2_backup::backup::capture;
use etcd2_backup::etcd::datadir::DataDir;
use etcd2_backup::etcd::frame::{FrameReader, FrameWriter, Kind};
use etcd2_backup::etcd::proto::{Entry, EntryKind, LogPosition, Metadata};
use etcd2_backup::etcd::snap::SnapshotName;
use etcd2_backup::etcd::wal::{Place, Reading, SegmentName, Walk, walk};
use etcd2_backup::etcd::wire::Encoder;
use etcd2_backup::exit::{Exit, exit_of};

pub(crate) fn name(sequence: u64) -> SegmentName {
    SegmentName { sequence, index: sequence * 10 }
}

/// A segment's bytes, its rolling CRC and where each record ends.
pub(crate) fn segment(crc: u32, records: &[(Kind, Vec<u8>)]) -> (Vec<u8>, u32, Vec<u64>) {
    let mut writer = FrameWriter::new(Vec::new(), crc);
    writer.crc_record().unwrap();
    for (kind, data) in records {
        writer.record(*kind, data).unwrap();
    }
    let bytes = writer.into_inner();
    let mut reader = FrameReader::new(&bytes[..], 0, crc);
    let mut ends = Vec::new();
    while let Ok(record) = reader.next_record().unwrap() {
        ends.push(record.end);
    }
    let crc = reader.crc();
    (bytes, crc, ends)
}

/// The same records as 3.x frames them.
pub(crate) fn padded(unpadded: &[u8]) -> (Vec<u8>, Vec<u64>) {
    let (mut bytes, mut ends, mut rest) = (Vec::new(), Vec::new(), unpadded);
    while let Some((length, behind)) = rest.split_first_chunk::<8>() {
        let length = u64::from_le_bytes(*length);
        let (message, behind) = behind.split_at(length as usize);
        let padding = length.wrapping_neg() % 8;
        let top = if padding > 0 { (0x80 | padding) << 56 } else { 0 };
        bytes.extend((length | top).to_le_bytes());
        bytes.extend(message);
        bytes.extend(vec![0; padding as usize]);
        ends.push(bytes.len() as u64);
        rest = behind;
    }
    (bytes, ends)
}

pub(crate) fn entry(index: u64, data: &[u8]) -> (Kind, Vec<u8>) {
    (Kind::Entry, Entry { kind: EntryKind::Normal, term: 1, index, data }.encode())
}

pub(crate) fn entries(indexes: impl IntoIterator<Item = u64>) -> Vec<(Kind, Vec<u8>)> {
    indexes.into_iter().map(|i| entry(i, format!("entry {i}").as_bytes())).collect()
}

fn put(dir: &Path, segment: SegmentName, bytes: &[u8]) {
    overwrite(&segment.path(dir), bytes);
}

/// Writes into the file that is there: whoever has it open sees it.
fn overwrite(path: &Path, bytes: &[u8]) {
    File::create(path).unwrap().write_all(bytes).unwrap();
}

fn look(dir: &Path, from: SegmentName, reading: Reading) -> Result<Walk> {
    walk(dir, Place::start_of(from), reading, &mut |_, _| Ok(()))
}

#[test]
fn a_write_that_stops_after_any_byte_is_an_end_and_no_damage() {
    // Within a sector, over several sectors and over a page; with a last byte that is zero, and without.
    let mut records = vec![entry(1, b"short"), entry(2, &[b'x'; 1500])];
    records.extend([entry(3, &[&[7; 4000][..], &[0; 600], &[0]].concat()), entry(4, b"x\0\0\0")]);
    let (unpadded, _, ends) = segment(0, &records);
    let (aligned, aligned_ends) = padded(&unpadded);
    // Bytes, ends of records, and how far the file reaches before anything is written.
    let table = [(&unpadded, &ends, 0), (&unpadded, &ends, 16384), (&aligned, &aligned_ends, 16384)];
    for (bytes, ends, preallocated) in table {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(name(0).path(dir.path())).unwrap();
        file.set_len(preallocated).unwrap();
        for written in 0..=bytes.len() {
            if written > 0 {
                file.write_all_at(&bytes[written - 1..written], written as u64 - 1).unwrap();
            }
            let found =
                look(dir.path(), name(0), Reading::Live).unwrap_or_else(|e| panic!("{written}: {e:#}"));
            // Where zeros are there already, those of a record are written before it is their turn.
            let zeros = bytes[written..].iter().take_while(|&&b| preallocated > 0 && b == 0).count();
            let whole =
                ends.iter().copied().filter(|&end| end <= (written + zeros) as u64).max().unwrap_or(0);
            assert_eq!(found.end.offset, whole, "{written} bytes written");
        }
    }
}

#[test]
fn damage_is_reported_once_more_was_written_behind_it() {
    let (bytes, _, ends) = segment(0, &entries(1..9));
    let (record, last) = (ends[1] as usize, ends[7] as usize);
    // What is damaged: the length, the type, the CRC, the payload; then a whole sector is lost, or the length.
    let flips = [record, record + 9, record + 12, record + 20].map(|at| (at, 0x41));
    for preallocated in [0, 4096] {
        for (at, mask) in flips.into_iter().chain([(record, bytes[record])]) {
            let dir = tempfile::tempdir().unwrap();
            let mut bytes = bytes.clone();
            bytes[at] ^= mask;
            bytes.resize(bytes.len() + preallocated, 0);
            put(dir.path(), name(0), &bytes);
            let error = match look(dir.path(), name(0), Reading::Live) {
                // What is whole before it is not held back; then there is nothing new, and that has a reason.
                Ok(found) => {
                    assert_eq!(found.end.offset, record as u64, "byte {at}");
                    walk(dir.path(), found.end, Reading::Live, &mut |_, _| Ok(()))
                        .map(|w| w.stop)
                        .unwrap_err()
                }
                Err(e) => e,
            };
            assert_eq!(exit_of(&error), Exit::Corrupt, "byte {at}: {error:#}");
            assert!(error.to_string().contains(&format!(".wal@{record}: ")), "byte {at}: {error:#}");
        }
    }
    // The last record: damaged at its end, or inside with its end there.
    for at in [ends[8] as usize - 1, last + 20] {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x41;
        put(dir.path(), name(0), &bytes);
        let error = look(dir.path(), name(0), Reading::Live).unwrap_err();
        assert_eq!(exit_of(&error), Exit::Corrupt, "{error:#}");
    }
}

#[test]
fn a_record_that_is_mixed_of_old_and_new_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, _, ends) = segment(0, &entries(1..4));
    let mut mixed = whole.clone();
    mixed[ends[2] as usize + 20] ^= 0x41;
    put(dir.path(), name(0), &mixed);
    let mut looks = 0;
    let found = walk(dir.path(), Place::start_of(name(0)), Reading::Live, &mut |_, record| {
        // Once all before it was read, its write ends.
        if record.end == ends[2] {
            looks += 1;
            put(dir.path(), name(0), &whole);
        }
        Ok(())
    });
    assert_eq!((looks, found.unwrap().end.offset), (1, whole.len() as u64));
}

#[test]
fn what_was_written_before_a_cut_is_read_although_the_cut_came_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let (first, crc, ends) = segment(0, &entries(1..6));
    let (second, _, second_ends) = segment(crc, &entries(6..8));
    put(dir.path(), name(0), &first[..ends[2] as usize + 5]);
    let mut seen = Vec::new();
    let found = walk(dir.path(), Place::start_of(name(0)), Reading::Live, &mut |segment, record| {
        if (segment, record.end) == (name(0), ends[2]) {
            put(dir.path(), name(0), &first);
            put(dir.path(), name(1), &second);
        }
        seen.push((segment, record.end));
        Ok(())
    });
    let expected = ends.iter().map(|&e| (name(0), e)).chain(second_ends.iter().map(|&e| (name(1), e)));
    assert_eq!(seen, expected.collect::<Vec<_>>());
    assert_eq!(found.unwrap().extents.len(), 2);
}

#[test]
fn a_torn_tail_that_is_repaired_and_written_anew_meanwhile_is_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (old, crc, ends) = segment(0, &entries(1..3));
    let (torn, ..) = segment(0, &[entries(1..3), vec![entry(3, b"never whole")]].concat());
    put(dir.path(), name(0), &torn[..torn.len() - 3]);
    let mut writer = FrameWriter::new(old.clone(), crc);
    let (kind, data) = entry(3, b"another");
    writer.record(kind, &data).unwrap();
    let repaired = writer.into_inner();
    let found = look(dir.path(), name(0), Reading::Live).unwrap();
    assert_eq!(found.end.offset, *ends.last().unwrap());
    put(dir.path(), name(0), &repaired);
    let more = walk(dir.path(), found.end, Reading::Live, &mut |_, _| Ok(())).unwrap();
    assert_eq!((more.extents[0].from, more.end.offset), (found.end, repaired.len() as u64));
}

#[test]
fn a_purge_between_listing_and_reading_is_no_damage() {
    // Which segments go while the first record of segment 0 is read, and whether 3 and 4 come.
    let table: [(&[u64], bool); 3] = [(&[0, 1], false), (&[0, 1, 2], true), (&[0, 1, 2, 3], true)];
    for (purged, grows) in table {
        let dir = tempfile::tempdir().unwrap();
        let (mut crc, mut all) = (0, Vec::new());
        for i in 0..5 {
            let (bytes, behind, _) = segment(crc, &entries([i + 1]));
            crc = behind;
            all.push(bytes);
        }
        let listed = if grows { 1 } else { 3 };
        for (i, bytes) in (0..).zip(&all).take(listed) {
            put(dir.path(), name(i), bytes);
        }
        let found = walk(dir.path(), Place::start_of(name(0)), Reading::Live, &mut |_, _| {
            for (i, bytes) in (0..).zip(&all).skip(listed).filter(|_| grows) {
                put(dir.path(), name(i), bytes);
            }
            for &i in purged {
                let _ = fs::remove_file(name(i).path(dir.path()));
            }
            Ok(())
        });
        let error = found.unwrap_err();
        assert_eq!(exit_of(&error), Exit::NotFound, "{purged:?}: {error:#}");
    }
}

pub(crate) const IDS: Metadata = Metadata { member_id: 1, cluster_id: 2 };

/// A snapshot file as etcd writes it.
fn snapshot(at: LogPosition, store: &str) -> Vec<u8> {
    let voters = Encoder::default().number(1, IDS.member_id).done();
    let metadata = Encoder::default().bytes(1, &voters).number(2, at.index).number(3, at.term).done();
    let data = Encoder::default().bytes(1, store.as_bytes()).bytes(2, &metadata).done();
    Encoder::default().number(1, crc32c::crc32c(&data).into()).bytes(2, &data).done()
}

/// A log that begins at index 8 and knows the snapshot at 7.
fn behind_a_snapshot(data_dir: &Path) -> (LogPosition, PathBuf, DataDir) {
    let (snap, wal) = (data_dir.join("member/snap"), data_dir.join("member/wal"));
    fs::create_dir_all(&snap).unwrap();
    fs::create_dir_all(&wal).unwrap();
    let at = LogPosition { index: 7, term: 1 };
    let mut records = vec![(Kind::Metadata, IDS.encode()), (Kind::Snapshot, at.encode())];
    records.extend(entries(8..11));
    put(&wal, name(3), &segment(0, &records).0);
    let file = snap.join(SnapshotName { term: 1, index: 7 }.to_string());
    (at, file, DataDir::open(data_dir, None).unwrap())
}

#[test]
fn a_live_snapshot_that_is_half_written_is_waited_for() {
    let work = tempfile::tempdir().unwrap();
    let (at, file, dir) = behind_a_snapshot(work.path());
    let whole = snapshot(at, "{}");
    overwrite(&file, &whole[..whole.len() / 2]);
    let error = dir.scan(Reading::Still).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Corrupt);
    assert!(error.to_string().contains("begins at index 8 and no snapshot fits it"), "{error}");
    let contents = thread::scope(|scope| {
        scope.spawn(|| {
            // Time for a first look; without one there is nothing to wait for, and the outcome is the same.
            thread::sleep(Duration::from_millis(20));
            overwrite(&file, &whole);
        });
        dir.scan(Reading::Live).unwrap()
    });
    assert_eq!((contents.base_index(), contents.last().index), (7, 10));
}

#[test]
fn what_is_purged_behind_a_look_is_still_copied_and_what_is_written_anew_is_not() {
    let work = tempfile::tempdir().unwrap();
    let (at, file, dir) = behind_a_snapshot(work.path());
    let base = snapshot(at, "{}");
    overwrite(&file, &base);
    let log = fs::read(name(3).path(&dir.wal)).unwrap();

    let purged = capture::next(&dir, None).unwrap().new.unwrap();
    let anew = capture::next(&dir, None).unwrap().new.unwrap();
    // A snapshot of the same index, taken again after a crash, goes into the same file.
    overwrite(&file, &snapshot(at, "[]"));
    let error = anew.write_payload(&mut Vec::new()).unwrap_err();
    assert!(format!("{error:#}").contains("etcd rewrote it"), "{error:#}");
    overwrite(&file, &base);

    fs::remove_file(&file).unwrap();
    fs::remove_file(name(3).path(&dir.wal)).unwrap();
    let mut payload = Vec::new();
    purged.write_payload(&mut payload).unwrap();
    assert_eq!(payload, [base, log].concat());
}

#[test]
fn what_was_altered_between_look_and_copy_is_not_sent() {
    let work = tempfile::tempdir().unwrap();
    let (at, file, dir) = behind_a_snapshot(work.path());
    overwrite(&file, &snapshot(at, "{}"));
    let segment = name(3).path(&dir.wal);
    let whole = fs::read(&segment).unwrap();
    let open = File::options().write(true).open(&segment).unwrap();
    let capture = capture::next(&dir, None).unwrap().new.unwrap();
    let from = capture.tail.extents[0].from.offset as usize;
    let refused = |why: &str| {
        let error = capture.write_payload(&mut Vec::new()).unwrap_err();
        assert_eq!(exit_of(&error), Exit::Corrupt, "{why}: {error:#}");
        assert!(format!("{error:#}").contains(" was altered while it was copied"), "{why}: {error:#}");
    };
    for at in from..whole.len() {
        for mask in [1, 2, 3, 4, 6, 7, 0x80, 0xff] {
            open.write_all_at(&[whole[at] ^ mask], at as u64).unwrap();
            refused(&format!("byte {at} xor {mask:#04x}"));
        }
        open.write_all_at(&whole[at..=at], at as u64).unwrap();
    }
    for length in (0..whole.len()).rev() {
        open.set_len(length as u64).unwrap();
        refused(&format!("cut at {length}"));
    }
    open.write_all_at(&whole, 0).unwrap();
    // What etcd adds meanwhile is sent next time.
    open.write_all_at(b"more", whole.len() as u64).unwrap();
    let mut payload = Vec::new();
    capture.write_payload(&mut payload).unwrap();
    assert!(payload.ends_with(&whole[from..]));
    // Another file in its place is not the one that was opened.
    fs::remove_file(&segment).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &segment).unwrap();
    let mut again = Vec::new();
    capture.write_payload(&mut again).unwrap();
    assert_eq!(again, payload);
    let error = capture::next(&dir, None).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Corrupt, "{error:#}");
    assert!(error.to_string().contains("is a symbolic link, not a regular file"), "{error:#}");
}
