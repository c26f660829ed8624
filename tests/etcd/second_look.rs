//! A damaged log that etcd goes on writing: whatever was altered, the next two backups have sent what was written since, or
//! failed. What one of them saw unfinished, the next one looks at again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{io, thread};

use anyhow::Result;
use etcd2_backup::backup::capture::{self, Capture, Look};
use etcd2_backup::backup::state::{Checked, State};
use etcd2_backup::etcd::datadir::DataDir;
use etcd2_backup::etcd::frame::{FrameReader, FrameWriter, Kind};
use etcd2_backup::etcd::proto::{Entry, EntryKind, LogPosition};
use etcd2_backup::etcd::wal::{self, Place, Reading};
use etcd2_backup::exit::{Exit, exit_of};
use testkit::fixtures::Fixture;

use crate::live_walk::{IDS, entries, name, padded, segment};

/// They wait most of the time: what looks damaged is read again for a while.
const THREADS: usize = 64;
/// Zeros behind what 3.x writes.
const PREALLOCATED: u64 = 1 << 16;

/// A log of one segment, held as etcd holds it, and its backups, cycle by cycle.
struct Watch {
    _work: tempfile::TempDir,
    dir: DataDir,
    log: File,
    state: Option<State>,
    /// What writes nothing is held back.
    quiet: bool,
}

impl Watch {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let work = tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).unwrap();
        let wal = work.path().join("member/wal");
        fs::create_dir_all(&wal).unwrap();
        fs::create_dir_all(work.path().join("member/snap")).unwrap();
        let log = File::create(name(0).path(&wal)).unwrap();
        log.lock().unwrap();
        let dir = DataDir::open(work.path(), None).unwrap();
        Self { _work: work, dir, log, state: None, quiet: false }
    }

    /// These bytes are the log now.
    fn put(&self, bytes: &[u8]) {
        self.log.set_len(0).unwrap();
        self.log.write_all_at(bytes, 0).unwrap();
    }

    /// What a backup does with the log; whether it sent something.
    fn cycle(&mut self) -> Result<bool> {
        let Look { new, unfinished } = capture::next(&self.dir, self.state.as_ref())?;
        let sent = new.filter(|capture| !(self.quiet && capture.is_quiet()));
        match sent {
            Some(capture) => {
                capture.write_payload(&mut io::sink())?;
                self.state = Some(behind(&capture));
                Ok(true)
            }
            None => {
                self.state.as_mut().unwrap().unfinished = unfinished;
                Ok(false)
            }
        }
    }
}

/// The state behind a part, as far as it is about the log.
fn behind(capture: &Capture) -> State {
    State {
        version: State::VERSION,
        folder: String::new(),
        generation: 1,
        writer: 1,
        sequence: 0,
        checksum: String::new(),
        link: String::new(),
        content: String::new(),
        marks: Vec::new(),
        cluster_id: capture.metadata.cluster_id,
        member_id: capture.metadata.member_id,
        base_index: 0,
        base_size: 0,
        v3_base: None,
        v3_index: None,
        v3_time: None,
        log_bytes: 0,
        entries: 0,
        place: capture.tail.end,
        last_record: capture.last_record(),
        last: capture.last(),
        hard_state: capture.log.hard_state,
        time: 0,
        clock: 0,
        sync_time: None,
        checked: Checked { sequence: 0, link: String::new() },
        sent: None,
        unfinished: capture.tail.unfinished,
        pending: None,
        seen: None,
        given_up: None,
    }
}

/// Frames of entries that follow a place in a log, and the rolling CRC behind them.
fn frames(crc: u32, term: u64, entries: &[(u64, &[u8])]) -> (Vec<u8>, u32) {
    let mut writer = FrameWriter::new(Vec::new(), crc);
    for &(index, data) in entries {
        let entry = Entry { kind: EntryKind::Normal, term, index, data };
        writer.record(Kind::Entry, &entry.encode()).unwrap();
    }
    let bytes = writer.into_inner();
    let mut reader = FrameReader::new(&bytes[..], 8, crc);
    while let Ok(_record) = reader.next_record().unwrap() {}
    let crc = reader.crc();
    (bytes, crc)
}

fn altered(frame: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

/// How a backup ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Sent,
    Nothing,
    Damaged,
}
use Ended::{Damaged, Nothing, Sent};

fn ended(cycle: Result<bool>) -> Ended {
    match cycle {
        Ok(true) => Sent,
        Ok(false) => Nothing,
        Err(e) => {
            assert_eq!(exit_of(&e), Exit::Corrupt, "{e:#}");
            Damaged
        }
    }
}

#[test]
fn what_was_seen_unfinished_is_damage_once_the_log_went_on() {
    let (log, crc, _) = segment(0, &[vec![(Kind::Metadata, IDS.encode())], entries(1..5)].concat());
    let (frame, _) = frames(crc, 1, &[(5, &[7; 2000])]);
    let flipped = altered(&frame, 40, &[8]);
    // A whole sector of it never arrived; or all from there on is still to come.
    let lost = altered(&frame, 40, &[0; 1100]);
    let begun = altered(&frame, 1900, &vec![0; frame.len() - 1900]);
    // A length that may be, and nothing that tells otherwise.
    let long = |more: usize| [&3_000_000_u64.to_le_bytes()[..], &vec![9; more]].concat();
    let far = |behind: &[u8]| [&vec![0; 3 << 20], behind].concat();
    let more = |bytes: &[u8]| [bytes, &frame].concat();
    // What is behind the last record at the first look and at the second, and how that one ends while somebody has the log
    // open, and while nobody has.
    type Row = (&'static str, Vec<u8>, Vec<u8>, Ended, Ended);
    let table: [Row; 12] = [
        ("nothing", vec![], vec![], Nothing, Nothing),
        ("idle zeros", vec![0; 9000], vec![0; 9000], Nothing, Nothing),
        ("cut off, and idle", frame[..50].into(), frame[..50].into(), Nothing, Nothing),
        ("cut off before zeros, and idle", far(&[]), far(&[]), Nothing, Nothing),
        ("a write that ended", frame[..50].into(), frame.clone(), Sent, Sent),
        ("repaired, and written anew", long(50), frame.clone(), Sent, Sent),
        ("a length that may be, and idle", long(50), long(50), Nothing, Nothing),
        ("a length that may be, and more in it", long(50), long(900), Damaged, Nothing),
        ("a lost sector, and more behind it", begun, more(&lost), Damaged, Nothing),
        ("a lost sector of a record that is there", lost.clone(), lost, Damaged, Nothing),
        ("a hole, and more behind it", far(&[]), far(&frame), Damaged, Nothing),
        ("a flipped bit", flipped.clone(), more(&flipped), Damaged, Damaged),
    ];
    for (what, first, second, held, free) in table {
        for (expected, is_held) in [(held, true), (free, false)] {
            let mut watch = Watch::new();
            watch.put(&log);
            assert!(watch.cycle().unwrap());
            if !is_held {
                watch.log.unlock().unwrap();
            }
            watch.put(&[&log[..], &first].concat());
            // What is damaged at the first look may be called so then.
            let before = ended(watch.cycle());
            assert!(before == Nothing || before == expected, "{what}, held: {is_held}: {before:?} at once");
            watch.put(&[&log[..], &second].concat());
            assert_eq!(ended(watch.cycle()), expected, "{what}, held: {is_held}");
        }
    }
}

/// A generation that ends, as its base is not where the remote leads to now, begins at the first record again.
#[test]
fn what_was_seen_unfinished_is_damage_for_the_next_generation_too() {
    let (log, crc, _) = segment(0, &[vec![(Kind::Metadata, IDS.encode())], entries(1..5)].concat());
    let (frame, _) = frames(crc, 1, &[(5, &[7; 2000])]);
    let lost = altered(&frame, 40, &[0; 1100]);
    for (is_held, expected) in [(true, Damaged), (false, Sent)] {
        let mut watch = Watch::new();
        watch.put(&log);
        assert_eq!(ended(watch.cycle()), Sent);
        watch.put(&[&log[..], &frame[..1000]].concat());
        assert_eq!(ended(watch.cycle()), Nothing);
        watch.put(&[&log[..], &lost, &frame].concat());
        watch.state.as_mut().unwrap().given_up = Some("another place".into());
        if !is_held {
            watch.log.unlock().unwrap();
        }
        assert_eq!(ended(watch.cycle()), expected, "held: {is_held}");
    }
}

/// What is held back does not move the place that is read from: the tear is always behind something new.
#[test]
fn what_was_seen_unfinished_behind_entries_that_are_held_back_is_damage_too() {
    let (log, crc, _) = segment(0, &[vec![(Kind::Metadata, IDS.encode())], entries(1..5)].concat());
    let (idle, crc) = frames(crc, 1, &[(5, b"")]);
    let (mut lost, crc) = frames(crc, 1, &[(6, &[7; 2000])]);
    let (later, _) = frames(crc, 1, &[(7, b"acknowledged")]);
    lost[40..1140].fill(0);
    let mut watch = Watch::new();
    watch.quiet = true;
    watch.put(&log);
    assert_eq!(ended(watch.cycle()), Sent);
    watch.put(&[&log[..], &idle].concat());
    assert_eq!(ended(watch.cycle()), Nothing);
    watch.put(&[log, idle, lost, later].concat());
    assert_eq!(ended(watch.cycle()), Nothing);
    assert_eq!(ended(watch.cycle()), Damaged);
}

/// A fixture's log, to be altered and written on.
struct Written {
    bytes: Vec<u8>,
    /// Where each record begins, and the last one ends.
    edges: Vec<usize>,
    crc: u32,
    last: LogPosition,
    three: bool,
}

impl Written {
    /// Up to the last entry that ends with a zero, as most do: damaged, it may pass for a write that is on its way.
    fn of(name: &str) -> Self {
        let work = tempfile::tempdir().unwrap();
        let fixture = Fixture::unpack(name, work.path()).unwrap();
        let dir = DataDir::open(&fixture.data_dir, None).unwrap();
        let segment = wal::segments(&dir.wal).unwrap()[0];
        let (mut edges, mut end) = (vec![0], None);
        wal::walk(&dir.wal, Place::start_of(segment), Reading::Still, &mut |_, record| {
            edges.push(record.end as usize);
            if record.kind == Kind::Entry && record.data.ends_with(&[0]) {
                let Entry { index, term, .. } = Entry::decode(record.data)?;
                end = Some((edges.len(), record.crc, LogPosition { index, term }));
            }
            Ok(())
        })
        .unwrap();
        let (records, crc, last) = end.unwrap();
        edges.truncate(records);
        let mut bytes = fs::read(segment.path(&dir.wal)).unwrap();
        bytes.truncate(edges[records - 1]);
        Self { bytes, edges, crc, last, three: name.starts_with("v3") }
    }

    /// Two batches that etcd writes behind it: it knows nothing of the damage.
    fn batches(&self) -> [Vec<u8>; 2] {
        let next = self.last.index + 1;
        let (first, crc) = frames(self.crc, self.last.term, &[(next, b"one"), (next + 1, &[5; 700])]);
        let (second, _) = frames(crc, self.last.term, &[(next + 2, b"two")]);
        [first, second].map(|batch| if self.three { padded(&batch).0 } else { batch })
    }

    fn zeros(&self) -> u64 {
        if self.three { PREALLOCATED } else { 0 }
    }

    /// What becomes of the first batch if everything before the record at `start` was sent, and then a byte is altered.
    fn judge(&self, start: usize, at: usize, mask: u8) -> Result<&'static str, String> {
        let mut watch = Watch::new();
        watch.put(&self.bytes[..start]);
        watch.cycle().map_err(|e| format!("before it: {e:#}"))?;
        let mut bytes = self.bytes.clone();
        bytes[at] ^= mask;
        for (batch, refused) in [vec![]].into_iter().chain(self.batches()).zip(["at once", "next", "then"]) {
            bytes.extend(batch);
            watch.put(&bytes);
            watch.log.set_len(bytes.len() as u64 + self.zeros()).unwrap();
            match watch.cycle() {
                Ok(_) => {}
                Err(e) if matches!(exit_of(&e), Exit::Corrupt | Exit::Refused) => return Ok(refused),
                Err(e) => return Err(format!("{:?}: {e:#}", exit_of(&e))),
            }
        }
        let sent = watch.state.map_or(0, |state| state.last.index);
        if sent > self.last.index { Ok("sent") } else { Err(format!("it ends at {sent}, without an error")) }
    }

    /// Which bytes are altered, and how: some records from their length to their payload, and all of the last one. The CRC
    /// of a payload is no matter of who looks when.
    fn damage(&self) -> Vec<(usize, usize, u8)> {
        let records: Vec<_> = self.edges.windows(2).map(|edge| (edge[0], edge[1])).collect();
        let some = records.len() / 8;
        let mut all = Vec::new();
        for (i, &(start, end)) in records.iter().enumerate().skip(4) {
            let last = i + 1 == records.len();
            if !last && i % some != 0 && i + 3 < records.len() {
                continue;
            }
            for at in start..end {
                let masks: &[u8] = match at - start {
                    0..8 => &[1, 2, 4, 8, 16, 32, 64, 128, 0xff],
                    8..24 => &[1, 4, 0x80, 0xff],
                    _ if last || at + 2 >= end => &[1, 0xff],
                    _ => &[],
                };
                all.extend(masks.iter().map(|&mask| (start, at, mask)));
            }
        }
        all
    }
}

/// Alters each of these bytes, alone, and writes on: gives how often each legal outcome was met.
fn written_on(log: &Written) -> BTreeMap<&'static str, u64> {
    let damage = log.damage();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let outcomes = Mutex::new(BTreeMap::new());
    let work = || {
        while let Some(&(start, at, mask)) = damage.get(next.fetch_add(1, Ordering::Relaxed)) {
            match log.judge(start, at, mask) {
                Ok(outcome) => {
                    *outcomes.lock().unwrap().entry(outcome).or_insert(0) += 1;
                }
                Err(e) => {
                    wrong.lock().unwrap().push(format!("record at {start}, byte {at} xor {mask:#04x}: {e}"));
                }
            }
        }
    };
    thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
    let wrong = wrong.into_inner().unwrap();
    let (first, count) = (&wrong[..wrong.len().min(40)], wrong.len());
    assert!(wrong.is_empty(), "{count} of {} wrong: {first:#?}", damage.len());
    outcomes.into_inner().unwrap()
}

#[test]
fn behind_any_altered_byte_writes_of_2_3_are_sent_or_refused() {
    let outcomes = written_on(&Written::of("v238-single-nosnap"));
    assert!(outcomes.keys().eq(&["at once", "next"]), "{outcomes:?}");
}

#[test]
fn behind_any_altered_byte_writes_of_3_4_are_sent_or_refused() {
    let outcomes = written_on(&Written::of("v3423-single-nosnap-trimmed"));
    assert!(outcomes.keys().eq(&["at once", "next"]), "{outcomes:?}");
}
