use super::*;
use crate::etcd::frame::{FrameWriter, Kind};
use crate::exit::exit_of;
use crate::sys::fs::write_atomic;

fn segment(crc: u32, payloads: &[&[u8]]) -> (Vec<u8>, u32) {
    let mut writer = FrameWriter::new(Vec::new(), crc);
    writer.crc_record().unwrap();
    for data in payloads {
        writer.record(Kind::Entry, data).unwrap();
    }
    let bytes = writer.into_inner();
    let mut reader = FrameReader::new(&bytes[..], 0, crc);
    while let Ok(_record) = reader.next_record().unwrap() {}
    let crc = reader.crc();
    (bytes, crc)
}

fn name(sequence: u64) -> SegmentName {
    SegmentName { sequence, index: sequence * 10 }
}

fn walked(dir: &Path) -> Result<(Vec<Vec<u8>>, Walk)> {
    let mut seen = Vec::new();
    let walk = walk(dir, Place::start_of(name(0)), Reading::Still, &mut |_, r| {
        seen.extend((r.kind == Kind::Entry).then(|| r.data.to_vec()));
        Ok(())
    })?;
    Ok((seen, walk))
}

#[test]
fn names_are_read_as_they_are_written() {
    let name = SegmentName { sequence: 1, index: 0xab };
    assert_eq!(name.to_string(), "0000000000000001-00000000000000ab.wal");
    assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
    for bad in
        ["0.tmp", "1-2.wal", "000000000000001-00000000000000ab.wal", "+000000000000001-00000000000000ab.wal"]
    {
        assert_eq!(SegmentName::parse(bad), None, "{bad}");
    }
}

#[test]
fn a_walk_crosses_segments_and_stops_at_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let (first, crc) = segment(0, &[b"a", b"b"]);
    let (mut second, _) = segment(crc, &[b"c", b"d"]);
    second.truncate(second.len() - 1);
    write_atomic(&name(0).path(dir.path()), &first, 0o600).unwrap();
    write_atomic(&name(1).path(dir.path()), &second, 0o600).unwrap();
    let (seen, walk) = walked(dir.path()).unwrap();
    assert_eq!(seen, [b"a", b"b", b"c"]);
    assert!(matches!(walk.stop, Stop::Torn(_)));
    assert_eq!(walk.extents.len(), 2);
    assert_eq!((walk.end.segment, walk.extents[0].to), (name(1), first.len() as u64));
    // What was read can be read again from its end, and is empty then.
    assert!(record_at(dir.path(), walk.end, |_| ()).is_err());
}

#[test]
fn a_walk_from_within_is_the_end_of_the_whole_walk() {
    let dir = tempfile::tempdir().unwrap();
    let (first, crc) = segment(0, &[b"a", b"b"]);
    let (second, _) = segment(crc, &[b"c", b"d"]);
    write_atomic(&name(0).path(dir.path()), &first, 0o600).unwrap();
    write_atomic(&name(1).path(dir.path()), &second, 0o600).unwrap();
    let mut places = vec![Place::start_of(name(0))];
    let from_the_start = |visit: &mut dyn FnMut(SegmentName, &Record<'_>) -> Result<()>| {
        walk(dir.path(), Place::start_of(name(0)), Reading::Still, visit).unwrap()
    };
    let whole = from_the_start(&mut |segment, r| {
        places.push(Place { segment, offset: r.end, crc: r.crc });
        Ok(())
    });
    assert_eq!(places.len(), 1 + 3 + 3);
    for place in places {
        let walked = walk(dir.path(), place, Reading::Still, &mut |_, _| Ok(())).unwrap();
        assert_eq!(whole.clone().behind(place), walked, "{place}");
    }
}

#[test]
fn damage_before_the_tail_is_named_with_its_place() {
    let (first, crc) = segment(0, &[b"a", b"b"]);
    let (second, _) = segment(crc, &[b"c"]);
    let (foreign, _) = segment(crc ^ 1, &[b"c"]);
    let torn = &first[..first.len() - 1];
    let table: [(&[u8], &[u8], u64, &str); 3] = [
        (torn, &second, 1, "torn write"),
        (&first, &foreign, 1, "CRC carried over"),
        (&first, &second, 2, "one is missing"),
    ];
    for (first, second, sequence, message) in table {
        let dir = tempfile::tempdir().unwrap();
        write_atomic(&name(0).path(dir.path()), first, 0o600).unwrap();
        write_atomic(&name(sequence).path(dir.path()), second, 0o600).unwrap();
        let error = walked(dir.path()).unwrap_err();
        assert!(format!("{error:#}").contains(message), "{error:#}");
        assert!(error.to_string().contains(".wal@"), "{error}");
        assert_eq!(exit_of(&error), Exit::Corrupt);
        let (read, fault) =
            walk_to_fault(dir.path(), Place::start_of(name(0)), Reading::Still, &mut |_, _| Ok(()));
        assert_eq!(fault.unwrap().to_string(), error.to_string());
        assert!(error.to_string().contains(&format!("at {}: ", read.end)), "{error}: {}", read.end);
    }
}

#[test]
fn a_record_that_the_visitor_refuses_is_the_faults_place() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = segment(0, &[b"a", b"b"]);
    write_atomic(&name(0).path(dir.path()), &first, 0o600).unwrap();
    let mut refused = 0;
    let (walk, fault) = walk_to_fault(dir.path(), Place::start_of(name(0)), Reading::Still, &mut |_, r| {
        refused = r.start;
        anyhow::ensure!(r.data != b"b", "no");
        Ok(())
    });
    assert_eq!((fault.unwrap().to_string().as_str(), walk.end.offset), ("no", refused));
    assert!(refused > 0);
}

/// etcd gives a segment its name with its first records in it: what is empty lost them.
#[test]
fn a_newest_segment_without_a_record_is_torn_and_an_older_one_is_damage() {
    let (first, crc) = segment(0, &[b"a", b"b"]);
    let (third, _) = segment(crc, &[b"c"]);
    for length in [0, 1 << 12, 3 << 20] {
        let dir = tempfile::tempdir().unwrap();
        write_atomic(&name(0).path(dir.path()), &first, 0o600).unwrap();
        write_atomic(&name(1).path(dir.path()), &vec![0; length], 0o600).unwrap();
        for reading in [Reading::Still, Reading::Live] {
            let walk = walk(dir.path(), Place::start_of(name(0)), reading, &mut |_, _| Ok(())).unwrap();
            assert_eq!(walk.stop, Stop::Torn("the segment holds no record".into()), "{length}");
            assert_eq!((walk.end.segment, walk.end.offset), (name(1), 0));
        }
        write_atomic(&name(2).path(dir.path()), &third, 0o600).unwrap();
        let error = walked(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains(&format!("{}@0: torn write: the segment holds no record", name(1))),
            "{error}"
        );
    }
}
