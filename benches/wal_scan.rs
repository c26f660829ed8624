//! Reading and verifying a log, beside the limit: `crc32c` called once per record over the same bytes.

#![allow(missing_docs, unreachable_pub, reason = "a program of its own")]

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use crc32c::crc32c_append;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use etcd2_backup::etcd::datadir::DataDir;
use etcd2_backup::etcd::frame::FrameReader;
use etcd2_backup::etcd::wal::Reading;
use testkit::store;

/// Bytes of values in a log.
const TOTAL: usize = 64 << 20;
/// Of each value.
const SIZES: [usize; 2] = [256, 4096];

fn main() {
    divan::main();
}

/// Where in a log the payload of each record lies.
fn payloads_of(log: &[u8]) -> Vec<Range<usize>> {
    let mut reader = FrameReader::new(log, 0, 0);
    let mut all = Vec::new();
    while let Ok(record) = reader.next_record().unwrap() {
        let end = record.end as usize;
        all.push(end - record.data.len()..end);
    }
    all
}

fn keys(value_bytes: usize) -> u64 {
    (TOTAL / value_bytes) as u64
}

fn data_dir(dir: &Path, value_bytes: usize) -> DataDir {
    store::data_dir(dir, keys(value_bytes), value_bytes, 0);
    DataDir::open(dir, None).unwrap()
}

/// Both sides count the same bytes: the payloads, which is what the CRC is over.
fn payload_bytes(payloads: &[Range<usize>]) -> BytesCount {
    BytesCount::new(payloads.iter().map(Range::len).sum::<usize>())
}

#[divan::bench_group(sample_count = 60, sample_size = 1)]
mod memory {
    use super::*;

    #[divan::bench(args = SIZES)]
    fn crc32c_once_per_record(bencher: Bencher<'_, '_>, value_bytes: usize) {
        let log = store::log(keys(value_bytes), value_bytes, 0);
        let payloads = payloads_of(&log);
        bencher.counter(payload_bytes(&payloads)).bench_local(|| {
            payloads.iter().fold(0, |crc, payload| crc32c_append(crc, &log[payload.clone()]))
        });
    }

    #[divan::bench(args = SIZES)]
    fn verified_records(bencher: Bencher<'_, '_>, value_bytes: usize) {
        let log = store::log(keys(value_bytes), value_bytes, 0);
        bencher.counter(payload_bytes(&payloads_of(&log))).bench_local(|| {
            let mut reader = FrameReader::new(&log[..], 0, 0);
            while let Ok(Ok(record)) = &reader.next_record() {
                black_box(record);
            }
        });
    }
}

#[divan::bench_group(sample_count = 60, sample_size = 1)]
mod file {
    use super::*;

    /// The whole file into a buffer that stays in the cache, and `crc32c` over pieces of the size of a record.
    #[divan::bench(args = SIZES)]
    fn read_and_crc32c_once_per_record(bencher: Bencher<'_, '_>, value_bytes: usize) {
        let dir = tempfile::tempdir().unwrap();
        let data = data_dir(dir.path(), value_bytes);
        let path = data.wal.join("0000000000000000-0000000000000000.wal");
        let log = std::fs::read(&path).unwrap();
        let payloads = payloads_of(&log);
        let piece = payloads[payloads.len() / 2].len();
        bencher.counter(payload_bytes(&payloads)).bench_local(|| read_and_crc(&path, piece));
    }

    /// All that a backup and a restore look at: lengths, CRC, entries, membership, where the snapshots fit.
    #[divan::bench(args = SIZES)]
    fn scan_of_the_data_directory(bencher: Bencher<'_, '_>, value_bytes: usize) {
        let dir = tempfile::tempdir().unwrap();
        let data = data_dir(dir.path(), value_bytes);
        let log = std::fs::read(data.wal.join("0000000000000000-0000000000000000.wal")).unwrap();
        bencher.counter(payload_bytes(&payloads_of(&log))).bench_local(|| data.scan(Reading::Still).unwrap());
    }

    fn read_and_crc(path: &Path, piece: usize) -> u32 {
        let mut file = File::open(path).unwrap();
        let mut buffer = vec![0; 128 << 10];
        let mut crc = 0;
        loop {
            match file.read(&mut buffer).unwrap() {
                0 => return crc,
                n => crc = buffer[..n].chunks(piece).fold(crc, crc32c_append),
            }
        }
    }
}
