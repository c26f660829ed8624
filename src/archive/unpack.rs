//! Parts back into a data directory: `member/snap` with the base, `member/wal` with one segment.
//!
//! The log's records are framed anew, since the first part may begin in the middle of a segment and the CRC rolls from a
//! segment's start. Entries, hard states and snapshot records stay as they are, byte for byte.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::part::{Head, Part};
use crate::etcd::frame::{FrameReader, FrameWriter, Kind, Record, Stop};
use crate::etcd::proto::{LogPosition, Metadata};
use crate::etcd::snap::SnapshotName;
use crate::etcd::wal::{Extent, SegmentName};
use crate::exit::{Exit, OrFault, exit_of, fault};
use crate::sys::fs::create_dirs;
use crate::sys::room::{self, Leave};
use crate::sys::terminal::table;

/// Writes the parts of one generation, from its base on, into the new data directory `target`, if so much stays free then.
///
/// # Errors
/// [`Exit::Corrupt`] if the parts do not follow one another or their content is damaged; [`Exit::NoSpace`] before the first
/// byte if there is no room for what they announce.
pub fn unpack(parts: &[Part], target: &Path, leave: Leave) -> Result<()> {
    check_links(parts)?;
    let announced = parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.head.announced()));
    room::check(target, announced, leave, "unpacking the parts")?;
    let first = &parts[0].head;
    let (snap, wal) = (target.join("member/snap"), target.join("member/wal"));
    create_dirs(&snap, 0o700)?;
    create_dirs(&wal, 0o700)?;
    let path = SegmentName { sequence: 0, index: 0 }.path(&wal);
    let file = File::create_new(&path).with_context(|| format!("creating {}", path.display()))?;
    let mut writer = FrameWriter::new(BufWriter::with_capacity(256 << 10, file), 0);
    writer.crc_record()?;
    let metadata = Metadata { member_id: first.member_id, cluster_id: first.cluster_id };
    writer.record(Kind::Metadata, &metadata.encode())?;
    writer.record(Kind::Snapshot, &LogPosition::default().encode())?;
    writer.record(Kind::HardState, &first.start_state.encode())?;

    let mut target = Unpacked { snap: &snap, wal: writer };
    let mut at: Option<Extent> = None;
    for part in parts {
        let unpacked = read_part(part, &mut at, &mut target);
        let name = format!("part {} of generation {}", part.head.sequence, part.head.generation);
        match unpacked {
            Err(e) if exit_of(&e) == Exit::NoSpace => Err(e).with_context(|| format!("unpacking {name}"))?,
            other => other.or_fault(
                Exit::Corrupt,
                format!("the content of {name} is corrupt"),
                "to take the newest restore point before it: sudo /opt/bin/etcd2-backup restore \
                 --accept-older",
            )?,
        }
    }
    target.wal.into_inner().flush().with_context(|| format!("writing {}", path.display()))
}

/// Each part must name the one before as its predecessor, and all the same generation.
fn check_links(parts: &[Part]) -> Result<()> {
    let mut expected = (Some(0), String::new());
    let mut broken = parts.is_empty();
    for part in parts {
        broken |= (Some(part.head.sequence), &part.head.predecessor) != (expected.0, &expected.1);
        broken |= part.head.generation_name() != parts[0].head.generation_name();
        expected = (part.head.sequence.checked_add(1), part.checksum.clone());
    }
    if !broken {
        return Ok(());
    }
    let hint = "objects in the remote were mixed up. Choose another generation: sudo /opt/bin/etcd2-backup \
                restore --generation N";
    Err(fault(Exit::Corrupt, "the parts of the generation do not follow one another", hint))
}

/// What the content of parts goes to.
pub trait Sink {
    /// The base's snapshot file: its name, its size and its bytes. What is not read is passed over.
    ///
    /// # Errors
    /// It cannot be taken.
    fn snapshot(&mut self, name: SnapshotName, size: u64, bytes: &mut dyn Read) -> Result<()>;

    /// A record of the log.
    ///
    /// # Errors
    /// It cannot be taken.
    fn record(&mut self, segment: SegmentName, record: &Record<'_>) -> Result<()>;
}

/// Reads a part's content through, checking lengths and the rolling CRC once more, and that it goes on where `at`, the
/// last extent before it, ends.
///
/// # Errors
/// It is damaged or does not go on there, or the sink fails.
pub fn read_part(part: &Part, at: &mut Option<Extent>, sink: &mut dyn Sink) -> Result<()> {
    let mut payload = part.payload()?;
    if let Some((name, size)) = &part.head.snapshot {
        let name =
            SnapshotName::parse(name).with_context(|| format!("{name:?} is not the name of a snapshot"))?;
        let mut bytes = (&mut payload).take(*size);
        sink.snapshot(name, *size, &mut bytes)?;
        io::copy(&mut bytes, &mut io::sink())?;
        ensure!(
            bytes.limit() == 0,
            "the snapshot is truncated: {} of {} missing",
            table::bytes(bytes.limit()),
            table::bytes(*size)
        );
    }
    for extent in &part.head.log {
        let follows = at.is_none_or(|before| follows(&before, extent));
        ensure!(follows, "the log does not continue at {}", extent.from);
        read_extent(&mut payload, extent, &part.head, sink)?;
        *at = Some(*extent);
    }
    // The first of them is enough: a few kilobytes can stand for a terabyte.
    let more = io::copy(&mut payload.take(1), &mut io::sink())?;
    ensure!(more == 0, "it holds more than its head announces");
    Ok(())
}

fn follows(before: &Extent, next: &Extent) -> bool {
    let same = next.from.segment == before.from.segment && next.from.offset == before.to;
    let following = Some(next.from.segment.sequence) == before.from.segment.sequence.checked_add(1)
        && next.from.offset == 0;
    (same || following) && next.from.crc == before.crc
}

fn read_extent(payload: &mut impl Read, extent: &Extent, head: &Head, sink: &mut dyn Sink) -> Result<()> {
    let length = extent.to.checked_sub(extent.from.offset).context("an extent of negative length")?;
    let mut reader = FrameReader::new(payload.take(length), extent.from.offset, extent.from.crc);
    loop {
        match reader.next_record()? {
            Ok(record) => {
                if record.kind == Kind::Metadata {
                    let metadata = Metadata::decode(record.data)?;
                    let own = (metadata.member_id, metadata.cluster_id) == (head.member_id, head.cluster_id);
                    ensure!(own, "the log belongs to another member");
                }
                sink.record(extent.from.segment, &record)?;
            }
            Err(Stop::Eof) => break,
            Err(stop) => anyhow::bail!("at {}@{}: {stop}", extent.from.segment, reader.offset()),
        }
    }
    ensure!((reader.offset(), reader.crc()) == (extent.to, extent.crc), "it ends at {}", reader.offset());
    Ok(())
}

/// The new data directory: the snapshot as it is, the records framed anew.
struct Unpacked<'a> {
    snap: &'a Path,
    wal: FrameWriter<BufWriter<File>>,
}

impl Sink for Unpacked<'_> {
    fn snapshot(&mut self, name: SnapshotName, _: u64, bytes: &mut dyn Read) -> Result<()> {
        let file = File::create_new(self.snap.join(name.to_string()))?;
        let mut file = BufWriter::with_capacity(256 << 10, file);
        io::copy(bytes, &mut file)?;
        Ok(file.flush()?)
    }

    fn record(&mut self, _: SegmentName, record: &Record<'_>) -> Result<()> {
        match record.kind {
            Kind::Crc | Kind::Metadata => Ok(()),
            kind => Ok(self.wal.record(kind, record.data)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::archive::part;
    use crate::archive::part::tests::head;
    use crate::etcd::wal::Place;

    struct Nothing;

    impl Sink for Nothing {
        fn snapshot(&mut self, _: SnapshotName, _: u64, _: &mut dyn Read) -> Result<()> {
            Ok(())
        }

        fn record(&mut self, _: SegmentName, _: &Record<'_>) -> Result<()> {
            Ok(())
        }
    }

    /// Some kilobytes that say nothing of what they hold, and hold megabytes; of those only the first are whole.
    #[test]
    fn what_lies_behind_what_is_announced_is_not_decompressed() {
        let dir = tempfile::tempdir().unwrap();
        let written =
            part::write(dir.path(), &head(0, ""), |out| Ok(out.write_all(&vec![0; 64 << 20])?)).unwrap();
        let path = dir.path().join(written.name.to_string());
        let mut bytes = std::fs::read(&path).unwrap();
        assert!(bytes.len() < 64 << 10, "{}", bytes.len());
        let body = bytes.len() - 32;
        bytes[body - 64..body].fill(0);
        let checksum = Sha256::digest(&bytes[..body]);
        bytes[body..].copy_from_slice(&checksum);
        crate::sys::fs::write_atomic(&path, &bytes, 0o600).unwrap();
        let part = Part::read_unnamed(&path).unwrap();
        assert!(io::copy(&mut part.payload().unwrap(), &mut io::sink()).is_err());
        let error = read_part(&part, &mut None, &mut Nothing).unwrap_err();
        assert_eq!(error.to_string(), "it holds more than its head announces");
    }

    #[test]
    fn what_there_is_no_room_for_is_neither_unpacked_nor_written() {
        let dir = tempfile::tempdir().unwrap();
        let written = part::write(dir.path(), &head(0, ""), |_| Ok(())).unwrap();
        let mut part = Part::read_unnamed(&dir.path().join(written.name.to_string())).unwrap();
        let from = Place::start_of(SegmentName { sequence: 0, index: 0 });
        part.head.log = vec![Extent { from, to: 1 << 60, crc: 0 }];
        let target = dir.path().join("target");
        let error = unpack(std::slice::from_ref(&part), &target, Leave::Nothing).unwrap_err();
        assert_eq!(exit_of(&error), Exit::NoSpace, "{error:#}");
        assert!(!target.exists());
        // The sum may be more than a number holds.
        part.head.log = vec![Extent { from, to: u64::MAX, crc: 0 }; 2];
        assert_eq!(part.head.announced(), u64::MAX);
        let folder = dir.path().join("folder");
        std::fs::create_dir(&folder).unwrap();
        let error = part::write(&folder, &part.head, |_| panic!("it was begun")).unwrap_err();
        assert_eq!(exit_of(&error), Exit::NoSpace, "{error:#}");
        assert!(!folder.exists());
    }
}
