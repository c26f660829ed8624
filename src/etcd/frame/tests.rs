use super::record::MAX_RECORD_BYTES;
use super::*;

fn log() -> Vec<u8> {
    let mut writer = FrameWriter::new(Vec::new(), 0);
    writer.crc_record().unwrap();
    writer.record(Kind::Metadata, b"ids").unwrap();
    writer.record(Kind::Entry, &[7; 2000]).unwrap();
    writer.into_inner()
}

/// All records' payloads, and why reading stopped.
fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, Stop) {
    let mut reader = FrameReader::new(bytes, 0, 0);
    let mut seen = Vec::new();
    loop {
        match reader.next_record().unwrap() {
            Ok(record) => seen.push(record.data.to_vec()),
            Err(stop) => return (seen, stop),
        }
    }
}

#[test]
fn what_is_written_is_read() {
    let (seen, stop) = read(&log());
    assert_eq!(seen, [vec![], b"ids".to_vec(), vec![7; 2000]]);
    assert_eq!(stop, Stop::Eof);
}

/// A frame around `message`, with this top byte and this behind it.
fn frame(message: &[u8], top: u64, padding: &[u8]) -> Vec<u8> {
    let field = message.len() as u64 | top << 56;
    [&field.to_le_bytes()[..], message, padding].concat()
}

#[test]
fn padded_frames_and_a_zero_tail_are_read() {
    let mut bytes = frame(&[0x08, 4, 0x10, 0], 0x84, &[0; 4 + 64]);
    let (seen, stop) = read(&bytes);
    assert_eq!((seen.len(), stop), (1, Stop::Zeros));
    // The sector of the record that should be there ends at 512: what comes from there on was a write of its own.
    bytes.resize(600, 0);
    for (at, torn) in [(24, false), (300, false), (511, false), (512, true), (599, true)] {
        let mut bytes = bytes.clone();
        bytes[at] = 1;
        let stop = read(&bytes).1;
        assert_eq!(matches!(stop, Stop::Torn(_)), torn, "{at}: {stop}");
        assert_ne!(stop, Stop::Zeros, "{at}");
    }
}

/// Where each record of a log begins, and its end.
fn edges(log: &[u8]) -> Vec<usize> {
    let mut reader = FrameReader::new(log, 0, 0);
    let mut all = vec![0];
    while let Ok(record) = reader.next_record().unwrap() {
        all.push(record.end as usize);
    }
    all
}

/// A log whose payloads are whole sectors of zeros: they must not make a torn write of what is damaged elsewhere.
fn log_of_zeros() -> Vec<u8> {
    let mut writer = FrameWriter::new(Vec::new(), 0);
    writer.crc_record().unwrap();
    writer.record(Kind::Metadata, &[&[1][..], &[0; 3000]].concat()).unwrap();
    writer.record(Kind::Entry, &[&[0; 2000][..], &[1]].concat()).unwrap();
    writer.into_inner()
}

#[test]
fn a_length_that_the_record_contradicts_is_no_torn_tail() {
    for (whole, preallocated) in
        [(log(), 0), (log(), 1 << 15), (log_of_zeros(), 0), (log_of_zeros(), 1 << 15)]
    {
        let starts = edges(&whole);
        for &start in &starts[..starts.len() - 1] {
            for bit in 0..64 {
                let mut bytes = whole.clone();
                bytes[start + bit / 8] ^= 1 << (bit % 8);
                bytes.resize(whole.len() + preallocated, 0);
                let stop = read(&bytes).1;
                assert!(matches!(stop, Stop::Corrupt(_)), "bit {bit} of the length at {start}: {stop}");
            }
        }
    }
    // Of a torn write the rest may have come as zeros.
    let whole = log();
    let mut bytes = whole.clone();
    let last = bytes.len() - 2000;
    bytes[last - 9..].fill(0);
    bytes.truncate(whole.len() - 50);
    assert!(matches!(read(&bytes).1, Stop::Torn(_)));
}

#[test]
fn what_a_write_leaves_at_any_moment_promises_its_record() {
    let (whole, mut promises) = (log(), 0);
    for edge in edges(&whole).windows(2) {
        let frame = &whole[edge[0]..edge[1]];
        for written in 0..=frame.len().min(FIRST_BYTES) {
            // The file ends there, or zeros were there before.
            let zeros = [&frame[..written], &[0; FIRST_BYTES]].concat();
            for first in [&frame[..written], &zeros[..FIRST_BYTES]] {
                if let Some(bytes) = promised(first) {
                    promises += 1;
                    assert!(bytes <= frame.len() as u64, "{written}: {bytes}");
                    assert!(written < 8 || bytes == frame.len() as u64, "{written}: {bytes}");
                } else {
                    assert!(first.len() < 8, "{written} of {frame:02x?}");
                }
            }
        }
        // No bit of the length can be altered unseen.
        for bit in (0..64).filter(|_| frame.len() > FIRST_BYTES) {
            let mut first = frame[..FIRST_BYTES].to_vec();
            first[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(promised(&first), None, "bit {bit}");
        }
    }
    assert_eq!(promises, 96, "each of the three records was looked at");
}

#[test]
fn padding_is_zero_and_to_a_multiple_of_eight() {
    let (short, even) = ([0x08, 4, 0x10, 0], [0x08, 4, 0x10, 0x80, 0x80, 0x80, 0x80, 1]);
    let whole: [(&[u8], u64, &[u8]); 3] = [(&short, 0, &[]), (&short, 0x84, &[0; 4]), (&even, 0, &[])];
    for (message, top, padding) in whole {
        let (seen, stop) = read(&frame(message, top, padding));
        assert_eq!((seen.len(), stop), (1, Stop::Eof), "{message:02x?} {top:02x}");
    }
    let damaged: [(&[u8], u64, &[u8], &str); 7] = [
        (&short, 0x84, &[0, 0, 0, 1], "padding that is not zero"),
        (&short, 0x83, &[0; 3], "length 4 with the top byte 0x83"),
        (&short, 0x80, &[0; 4], "length 4 with the top byte 0x80"),
        (&short, 0x04, &[0; 4], "length 4 with the top byte 0x04"),
        (&short, 0xc4, &[0; 4], "length 4 with the top byte 0xc4"),
        (&even, 0x80, &[], "length 8 with the top byte 0x80"),
        (&even, 0x88, &[0; 8], "length 8 with the top byte 0x88"),
    ];
    for (message, top, padding, reason) in damaged {
        assert_eq!(read(&frame(message, top, padding)), (vec![], Stop::Corrupt(reason.into())), "{top:02x}");
    }
}

#[test]
fn a_record_in_any_other_form_than_etcds_is_damaged() {
    let crc = crc32c::crc32c(b"x");
    let mut whole = Vec::from([0x08, 2, 0x10]);
    put_varint(&mut whole, crc.into());
    whole.extend([0x1a, 1, b'x']);
    assert_eq!(read(&frame(&whole, 0, &[])), (vec![b"x".to_vec()], Stop::Eof));
    let [head, tail] = [&whole[..3], &whole[3..]];
    let damaged: [(&str, Vec<u8>); 10] = [
        ("nothing", vec![1]),
        ("a type that does not exist", [&[0x08, 6, 0x10], tail].concat()),
        ("CRC before type", [&[0x10], &tail[..5], &[0x08, 2], &tail[5..]].concat()),
        ("a longer payload", [&whole[..], b"y"].concat()),
        ("a shorter payload", [&whole[..whole.len() - 2], &[2, b'x']].concat()),
        ("an unknown field behind it", [&whole[..], &[0x20, 0]].concat()),
        ("a CRC of more bytes than it needs", [head, &[0x81, 0x00, 0x1a, 1, b'x']].concat()),
        ("a CRC of nine bytes", [head, &[0x80; 8], &[1, 0x1a, 1, b'x']].concat()),
        ("a CRC of more than 32 bits", [head, &[0xff, 0xff, 0xff, 0xff, 0x7f, 0x1a, 1, b'x']].concat()),
        ("a payload in a CRC record", [&[0x08, 4, 0x10], tail].concat()),
    ];
    for (what, message) in damaged {
        let (seen, stop) = read(&frame(&message, 0, &[]));
        assert!(seen.is_empty(), "{what}");
        assert!(stop.to_string().starts_with("corrupt: not a record as etcd writes it"), "{what}: {stop}");
    }
}

#[test]
fn records_of_every_size_pass_through_the_buffer() {
    let sizes = [0, 1, 100, READ_BYTES - 20, READ_BYTES, 1, 5 * READ_BYTES, 10 << 20, 7];
    let mut writer = FrameWriter::new(Vec::new(), 0);
    for size in sizes {
        writer.record(Kind::Entry, &vec![size as u8; size]).unwrap();
    }
    let (seen, stop) = read(&writer.into_inner());
    let expected = sizes.map(|size| vec![size as u8; size]);
    assert!(seen == expected && stop == Stop::Eof, "{} records, {stop}", seen.len());
}

#[test]
fn every_cut_is_a_torn_tail_behind_whole_records() {
    let whole = log();
    let (all, _) = read(&whole);
    let mut ends = Vec::new();
    let mut reader = FrameReader::new(&whole[..], 0, 0);
    while let Ok(record) = reader.next_record().unwrap() {
        ends.push(record.end);
    }
    for cut in 0..whole.len() {
        let (seen, stop) = read(&whole[..cut]);
        let complete = ends.iter().filter(|&&end| end <= cut as u64).count();
        assert_eq!(seen, all[..complete], "cut at {cut}");
        let between = cut == 0 || ends.contains(&(cut as u64));
        assert_eq!(stop == Stop::Eof, between, "cut at {cut}: {stop}");
        assert!(between || matches!(stop, Stop::Torn(_)), "cut at {cut}: {stop}");
    }
}

#[test]
fn a_flipped_payload_is_corrupt_unless_a_whole_sector_is_zero() {
    let mut bytes = log();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert!(matches!(read(&bytes).1, Stop::Corrupt(_)));
    bytes[512..1024].fill(0);
    assert!(matches!(read(&bytes).1, Stop::Torn(_)));
}

#[test]
fn a_wrong_length_allocates_nothing() {
    let behind = [7; 100];
    for (length, torn) in [(MAX_RECORD_BYTES, true), (MAX_RECORD_BYTES + 1, false), ((1 << 56) - 1, false)] {
        let bytes = [&length.to_le_bytes()[..], &behind].concat();
        let mut reader = FrameReader::new(&bytes[..], 0, 0);
        let stop = reader.next_record().unwrap().unwrap_err();
        assert_eq!(matches!(stop, Stop::Torn(_)), torn, "{length}: {stop}");
        assert_eq!(reader.buffer.capacity(), READ_BYTES, "{length}");
    }
}

#[test]
fn a_wrong_carried_crc_is_corrupt() {
    let bytes = log();
    let mut reader = FrameReader::new(&bytes[..], 0, 5);
    assert!(matches!(reader.next_record().unwrap(), Err(Stop::Corrupt(_))));
}

#[test]
fn how_far_zeros_are_looked_at_does_not_depend_on_how_they_are_read() {
    let whole = log();
    for (zeros, stop) in [
        (ZERO_TAIL_CHECKED - 1, "zeros where a record should begin"),
        (ZERO_TAIL_CHECKED, "preallocated zeros"),
    ] {
        let bytes = [&whole[..], &vec![0; zeros], b"x"].concat();
        assert!(read(&bytes).1.to_string().ends_with(stop), "{zeros}");
    }
}
