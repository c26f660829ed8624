//! A whole segment, raw or made of a script, by FrameReader and Log.
#![no_main]

use std::io::{self, Read};

use etcd2_backup::etcd::frame::{FrameReader, FrameWriter, Kind, Stop};
use etcd2_backup::etcd::log::Log;
use etcd2_backup_fuzz::input::Input;
use etcd2_backup_fuzz::script;
use libfuzzer_sys::fuzz_target;

/// Kind and payload of a record.
type Seen = (Kind, Vec<u8>);

/// Gives a few bytes at once.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let few = buffer.len().min(1 + self.0.len() % 7);
        self.0.read(&mut buffer[..few])
    }
}

/// All records, their sum (up to the first that cannot be), where reading ended, and why.
fn read(input: impl Read, length: usize) -> (Vec<Seen>, Log, u64, Stop) {
    let mut reader = FrameReader::new(input, 0, 0);
    let (mut seen, mut log, mut legal, mut end) = (Vec::new(), Log::default(), true, 0);
    loop {
        match reader.next_record().expect("memory can be read") {
            Ok(record) => {
                assert!(record.start == end && record.end <= length as u64, "{record:?}");
                end = record.end;
                seen.push((record.kind, record.data.to_vec()));
                let before = log.clone();
                legal = legal && log.add(&record).is_ok();
                if legal {
                    assert!(log.hard_state.term >= before.hard_state.term);
                    assert!(log.hard_state.commit >= before.hard_state.commit);
                    assert!(log.run_first.is_none_or(|first| first <= log.last.index + 1));
                } else {
                    log = before;
                }
            }
            Err(stop) => {
                assert_eq!(reader.offset(), end);
                return (seen, log, end, stop);
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let made = input.byte() & 1 != 0;
    let bytes = if made { script::write(input, &mut 0) } else { input.0.to_vec() };
    let found = read(&bytes[..], bytes.len());
    let (seen, log, end, stop) = &found;
    assert_eq!(found, read(Slow(&bytes), bytes.len()), "it does not matter how many bytes come at once");

    // Without what comes behind the last whole record nothing is missing.
    let whole = &bytes[..*end as usize];
    assert_eq!(read(whole, whole.len()), (seen.clone(), log.clone(), *end, Stop::Eof));
    // Cut anywhere it is a prefix.
    let cut = whole.len() * data.len() % 251 / 251;
    let (prefix, ..) = read(&whole[..cut], cut);
    assert_eq!(prefix, seen[..prefix.len()]);
    if *stop == Stop::Eof {
        assert_eq!(*end, bytes.len() as u64);
    }

    // Written again the records are the same.
    let mut writer = FrameWriter::new(Vec::new(), 0);
    for (kind, data) in seen {
        match kind {
            Kind::Crc => writer.crc_record(),
            kind => writer.record(*kind, data),
        }
        .expect("memory can be written");
    }
    let again = writer.into_inner();
    assert_eq!(read(&again[..], again.len()).0, *seen);
});
