//! Parts that arrive, read once on their way to the disk: what they add up to is what a scan of the captured disk finds. And
//! what becomes of their bytes there, or of those that are written from them, is found before a member gets them.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use etcd2_backup::archive::part::{self, Head, Part};
use etcd2_backup::archive::unpack::unpack;
use etcd2_backup::backup::capture;
use etcd2_backup::etcd::datadir::{Contents, DataDir, Family};
use etcd2_backup::etcd::log::Log;
use etcd2_backup::etcd::rewrite::{NewMember, Purpose, Rewrite, Target, prove, write_member_dir};
use etcd2_backup::etcd::wal::Reading;
use etcd2_backup::sys::room::Leave;
use testkit::fixtures::{Fixture, NAMES};

/// So many bytes of a file are altered, each alone.
const ALTERED: usize = 150;

/// All of a data directory as one part.
fn captured(dir: &DataDir, folder: &Path) -> Part {
    let capture = capture::anew(dir, "a test").unwrap();
    let head = Head {
        generation: 1,
        sequence: 0,
        cluster_id: capture.metadata.cluster_id,
        member_id: capture.metadata.member_id,
        writer: 1,
        member_name: String::new(),
        peer_urls: Vec::new(),
        family: capture.family,
        time: 0,
        first: capture.first,
        last: capture.last(),
        commit: None,
        start_state: capture.start_state,
        predecessor: String::new(),
        marks: Vec::new(),
        parent: None,
        v3_data: false,
        db: None,
        snapshot: capture.base.as_ref().map(|b| (b.name.to_string(), b.size)),
        log: capture.tail.extents.clone(),
    };
    let written = part::write(folder, &head, |out| capture.write_payload(out)).unwrap();
    Part::open(&folder.join(written.name.to_string()), head.generation_name(), written.name).unwrap()
}

/// A fixture's data directory, and what arrives of it.
fn arrived(name: &str, work: &Path) -> (DataDir, DataDir, Contents) {
    let fixture = Fixture::unpack(name, work).unwrap();
    let dir = DataDir::open(&fixture.data_dir, None).unwrap();
    let parts = work.join("parts");
    fs::create_dir(&parts).unwrap();
    let (unpacked, contents) =
        unpack(&[captured(&dir, &parts)], &work.join("unpacked"), Leave::Nothing).unwrap();
    (dir, unpacked, contents)
}

#[test]
fn what_arrives_adds_up_to_what_a_scan_of_the_disk_finds() {
    let (mut with_base, mut within_a_segment) = (0, 0);
    for name in NAMES.into_iter().filter(|name| *name != "v238-flipped-wal") {
        let work = tempfile::tempdir().unwrap();
        let (dir, unpacked, contents) = arrived(name, work.path());
        let scanned = dir.scan(Reading::Still).unwrap();
        assert_eq!((contents.metadata, contents.family), (scanned.metadata, scanned.family), "{name}");
        assert_eq!(contents.start_state, scanned.start_state, "{name}");
        assert_eq!(contents.tail.extents, scanned.tail.extents, "{name}");
        // The end of a segment is the start of the next one, which alone is captured then.
        assert_eq!(contents.start, scanned.tail.extents[0].from, "{name}");
        // The clock may have been said last before the base, which the scan reads too.
        let Log { sync_time, .. } = contents.log;
        assert_eq!(contents.log, Log { sync_time, ..scanned.log.clone() }, "{name}");
        assert_eq!(contents.members().unwrap(), scanned.members().unwrap(), "{name}");
        match (&contents.base, &scanned.base) {
            (Some(arrived), Some(scanned)) => {
                assert!(arrived.is_copy_of(scanned), "{name}: {arrived:?}");
                assert_eq!(fs::read(&arrived.path).unwrap(), fs::read(&scanned.path).unwrap(), "{name}");
                with_base += 1;
            }
            (None, None) => {}
            other => panic!("{name}: {other:?}"),
        }
        within_a_segment += usize::from(contents.start.offset > 0);
        // And it can be read on from there.
        assert_eq!(restored(&unpacked, &contents, &work.path().join("a")), {
            restored(&dir, &scanned, &work.path().join("b"))
        });
    }
    assert!(with_base > 5 && within_a_segment > 5, "{with_base} with a base, {within_a_segment} within");
}

/// The log of a new member that is founded on it, proven; `None` if that cannot be.
fn restored(dir: &DataDir, contents: &Contents, path: &Path) -> Option<Vec<u8>> {
    let target = Target { member_id: 0xabc, path };
    let rewrite = rewrite();
    let done = write_member_dir(dir, contents, &rewrite, target)
        .and_then(|()| prove(contents, &rewrite, target))
        .map(|()| fs::read(log_of(path)).unwrap());
    fs::remove_dir_all(path).unwrap();
    done.ok()
}

fn rewrite() -> Rewrite {
    let new = NewMember { id: 0xabc, peer_urls: vec!["http://a:1".into()] };
    Rewrite {
        cluster_id: 7,
        purpose: Purpose::Found(vec![new]),
        up_to: None,
        family: Family::Two,
        bump: None,
    }
}

fn log_of(member: &Path) -> PathBuf {
    member.join("wal/0000000000000000-0000000000000000.wal")
}

/// Alters bytes from an offset on, each alone: how many of them `holds` noticed, and how many not.
fn altered(path: &Path, from: u64, mut holds: impl FnMut() -> bool) -> (usize, usize) {
    let bytes = fs::read(path).unwrap();
    let file: File = OpenOptions::new().write(true).open(path).unwrap();
    let (mut noticed, mut not) = (0, 0);
    let from = from as usize;
    // An odd number of bytes further each time, and so each time another bit.
    for at in (from..bytes.len()).step_by(((bytes.len() - from) / ALTERED) | 1) {
        file.write_all_at(&[bytes[at] ^ (1 << (at % 8))], at as u64).unwrap();
        if holds() {
            not += 1;
        } else {
            noticed += 1;
        }
        file.write_all_at(&[bytes[at]], at as u64).unwrap();
    }
    assert!(holds() && noticed > 50, "{noticed} were noticed");
    (noticed, not)
}

/// They were proven when they came in; between that and a new member they lie on a disk.
#[test]
fn a_byte_that_changes_on_the_disk_is_found_before_a_member_gets_it() {
    for name in ["v238-single-snap", "v3423-single-snap-trimmed"] {
        let work = tempfile::tempdir().unwrap();
        let (_, dir, contents) = arrived(name, work.path());
        let target = work.path().join("new");
        let whole = restored(&dir, &contents, &target).unwrap();
        let founded = || restored(&dir, &contents, &target).inspect(|log| assert!(*log == whole, "{name}"));
        let log = contents.start.segment.path(&dir.wal);
        // No CRC covers a record's type, and of hard states and snapshot records nothing goes into the new log.
        let (noticed, not) = altered(&log, contents.start.offset, || founded().is_some());
        assert!(not < noticed / 50, "{name}, the log: {not} beside {noticed}");
        let base = &contents.base.as_ref().unwrap().path;
        assert_eq!(altered(base, 0, || founded().is_some()).1, 0, "{name}, the snapshot");
    }
}

#[test]
fn a_byte_that_changes_in_what_was_written_is_found_when_it_is_read_back() {
    let work = tempfile::tempdir().unwrap();
    let (_, dir, contents) = arrived("v238-single-snap", work.path());
    let target = Target { member_id: 0xabc, path: &work.path().join("new") };
    write_member_dir(&dir, &contents, &rewrite(), target).unwrap();
    let proven = || prove(&contents, &rewrite(), target).is_ok();
    assert_eq!(altered(&log_of(target.path), 0, proven).1, 0, "the log");
    let base = target.path.join("snap").join(contents.base.as_ref().unwrap().name.to_string());
    assert_eq!(altered(&base, 0, proven).1, 0, "the snapshot");
}
