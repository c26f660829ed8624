//! One record: where it stands, then its frame, raw or made of a script.
#![no_main]

use etcd2_backup::etcd::frame::{FrameReader, FrameWriter, Kind};
use etcd2_backup_fuzz::input::Input;
use etcd2_backup_fuzz::script;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let (made, crc, offset) = (input.byte() & 1 != 0, input.number(4) as u32, input.number(2));
    let bytes = if made { script::write(input, &mut crc.clone()) } else { input.0.to_vec() };

    let mut reader = FrameReader::new(&bytes[..], offset, crc);
    let Ok(record) = reader.next_record().expect("memory can be read") else {
        assert_eq!(
            (reader.offset(), reader.crc()),
            (offset, crc),
            "a reader stays behind the last whole record"
        );
        return;
    };
    let length = (record.end - record.start) as usize;
    assert!(record.start == offset && length <= bytes.len() && record.data.len() < length);
    assert!(record.kind == Kind::Crc || record.crc_before == crc);

    // Written again it is the same to the byte, but for 3.x's padding and data that is empty instead of not there.
    let mut writer = FrameWriter::new(Vec::new(), if record.kind == Kind::Crc { record.crc } else { crc });
    match record.kind {
        Kind::Crc => writer.crc_record(),
        kind => writer.record(kind, record.data),
    }
    .expect("memory can be written");
    let again = writer.into_inner();
    if !record.padded && (record.kind == Kind::Crc || !record.data.is_empty()) {
        assert_eq!(again, &bytes[..length]);
    }
    let mut reader = FrameReader::new(&again[..], offset, crc);
    let second = reader.next_record().expect("memory can be read").expect("what was written is read");
    assert_eq!((second.kind, second.data, second.crc), (record.kind, record.data, record.crc));
});
