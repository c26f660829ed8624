//! Parts back into a data directory: `member/snap` with the base, `member/wal` with the log's bytes as they were captured.
//!
//! They lie at the same offsets in files of the same names as on the disk that they were read from. The first of them may begin
//! within a segment, with nothing before it: [`Contents::start`] says where to read from, and with which rolling CRC.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::part::{Head, Part};
use super::pieces;
use crate::etcd::datadir::{Contents, DataDir, Family};
use crate::etcd::frame::{FrameReader, Kind, Record, Stop};
use crate::etcd::log::Log;
use crate::etcd::proto::Metadata;
use crate::etcd::replay::{Replay, Sink};
use crate::etcd::snap::{Snapshot, SnapshotName};
use crate::etcd::wal::{Extent, SegmentName, Walk};
use crate::exit::{Exit, OrFault, exit_of, fault};
use crate::sys::fs::create_dirs;
use crate::sys::room::{self, Leave};
use crate::sys::tee::Tee;
use crate::sys::terminal::table;

/// Writes the parts of one generation, from its base on, into the new data directory `target`, if so much stays free then;
/// says what is in it. Each byte of a part is looked at once, on its way to the disk. What becomes of it there is for whoever
/// reads it again: the log has its CRCs still, and the copy of the snapshot is compared with [`Contents::base`].
///
/// # Errors
/// [`Exit::Corrupt`] if the parts do not follow one another, their content is damaged, or it does not lead from the base to
/// the last one's end; [`Exit::Refused`] for a log of an etcd that this program does not know; [`Exit::NoSpace`] before the
/// first byte if there is no room for what they announce.
pub fn unpack(parts: &[Part], target: &Path, leave: Leave) -> Result<(DataDir, Contents)> {
    check_links(parts)?;
    let announced = parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.head.announced()));
    room::check(target, announced, leave, "unpacking the parts")?;
    let dir = DataDir { snap: target.join("member/snap"), wal: target.join("member/wal") };
    create_dirs(&dir.snap, 0o700)?;
    create_dirs(&dir.wal, 0o700)?;

    let mut segments = Segments { snap: &dir.snap, wal: &dir.wal, open: None };
    let mut content = Unpacked { snap: &dir.snap, base: None, replay: before(&parts[0].head) };
    let mut at: Option<Extent> = None;
    for part in parts {
        let unpacked = copy_part(part, &mut at, &mut content, Some(&mut segments));
        let name = format!("part {} of generation {}", part.head.sequence, part.head.generation);
        passed(unpacked, &format!("unpacking {name}"), &format!("the content of {name} is corrupt"))?;
    }
    let what = format!("generation {} cannot be restored", parts[0].head.generation);
    let contents = content.ends(parts).and_then(|contents| match parts[0].head.db {
        Some(_) => dir.with_v3(contents),
        None => Ok(contents),
    });
    Ok((dir, passed(contents, &what, &what)?))
}

/// What goes wrong with parts is damage, unless there is a better name for it.
fn passed<T>(result: Result<T>, doing: &str, damaged: &str) -> Result<T> {
    match result {
        Err(e) if matches!(exit_of(&e), Exit::NoSpace | Exit::Refused) => Err(e.context(doing.to_owned())),
        other => other.or_fault(
            Exit::Corrupt,
            damaged,
            "to take the newest restore point before it: sudo /opt/bin/etcd2-backup restore --accept-older",
        ),
    }
}

/// Each part must name the one before as its predecessor, and all the same generation.
fn check_links(parts: &[Part]) -> Result<()> {
    let linked =
        |two: &[Part]| two[1].head.predecessor == two[0].link && two[1].head.sequence > two[0].head.sequence;
    let begins = |part: &Part| part.head.sequence == 0 && part.head.is_in_pieces() != part.pieces.is_empty();
    let of_one = |part: &Part| part.head.generation_name() == parts[0].head.generation_name();
    if parts.first().is_some_and(begins) && parts.windows(2).all(linked) && parts.iter().all(of_one) {
        return Ok(());
    }
    let hint = "objects in the remote were mixed up. Choose another generation: sudo /opt/bin/etcd2-backup \
                restore --generation N";
    Err(fault(Exit::Corrupt, "the parts of the generation do not follow one another", hint))
}

/// What is known before a part is read without the one before it.
pub fn before(head: &Head) -> Replay {
    let metadata = Some(Metadata { member_id: head.member_id, cluster_id: head.cluster_id });
    let log = match head.sequence {
        0 => Log { hard_state: head.start_state, ..Log::default() },
        _ => Log::behind_index(head.first.saturating_sub(1), head.start_state),
    };
    Replay::on(Log { metadata, ..log })
}

/// Reads a part's content through, checking lengths and the rolling CRC once more, and that it goes on where `at`, the
/// last extent before it, ends.
///
/// # Errors
/// It is damaged or does not go on there, or the sink fails.
pub fn read_part(part: &Part, at: &mut Option<Extent>, sink: &mut dyn Sink) -> Result<()> {
    copy_part(part, at, sink, None)
}

/// The same; the log's bytes go to its segments besides.
fn copy_part(
    part: &Part,
    at: &mut Option<Extent>,
    sink: &mut dyn Sink,
    mut segments: Option<&mut Segments<'_>>,
) -> Result<()> {
    let mut payload = part.payload()?;
    if part.head.is_in_pieces() {
        // Whoever reads the part alone has none.
        if let Some(segments) = &segments {
            segments.db(|db| part.pieces.iter().try_for_each(|piece| pieces::copy(piece, db).map(drop)))?;
        }
    } else if let Some(size) = part.head.db {
        let mut bytes = (&mut payload).take(size);
        match &segments {
            Some(segments) => segments.db(|db| Ok(io::copy(&mut bytes, db).map(drop)?))?,
            None => io::copy(&mut bytes, &mut io::sink()).map(drop)?,
        }
        ensure!(bytes.limit() == 0, "the v3 store is truncated: {} missing", table::bytes(bytes.limit()));
    }
    if let Some((name, size)) = &part.head.snapshot {
        let name =
            SnapshotName::parse(name).with_context(|| format!("{name:?} is not the name of a snapshot"))?;
        let mut bytes = (&mut payload).take(*size);
        sink.snapshot(Some(name), *size, &mut bytes)?;
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
        let mut nowhere = io::sink();
        let out: &mut dyn Write = match &mut segments {
            Some(segments) => segments.at(extent)?,
            None => &mut nowhere,
        };
        read_extent(Tee { input: &mut payload, out }, extent, &part.head, sink)?;
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

fn read_extent(payload: impl Read, extent: &Extent, head: &Head, sink: &mut dyn Sink) -> Result<()> {
    let length = extent.to.checked_sub(extent.from.offset).filter(|&length| length > 0);
    let length = length.with_context(|| format!("the log has nothing at {}", extent.from))?;
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

/// The files of the new data directory that nobody looks into while they are written: the log's segments, one behind the other, and
/// the v3 store.
struct Segments<'a> {
    snap: &'a Path,
    wal: &'a Path,
    open: Option<(SegmentName, File)>,
}

impl Segments<'_> {
    /// Writes the v3 store's file.
    fn db(&self, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
        let path = self.snap.join("db");
        let mut file = File::create_new(&path).with_context(|| format!("creating {}", path.display()))?;
        write(&mut file).with_context(|| format!("writing {}", path.display()))
    }

    /// Where an extent goes.
    fn at(&mut self, extent: &Extent) -> Result<&mut File> {
        let name = extent.from.segment;
        let path = name.path(self.wal);
        let open = self.open.take().filter(|open| open.0 == name);
        let file = open.map_or_else(|| File::create_new(&path), |open| Ok(open.1));
        let mut file = file.with_context(|| format!("creating {}", path.display()))?;
        file.seek(SeekFrom::Start(extent.from.offset))?;
        Ok(&mut self.open.insert((name, file)).1)
    }
}

/// The new data directory, as far as it was written.
struct Unpacked<'a> {
    snap: &'a Path,
    base: Option<Snapshot>,
    replay: Replay,
}

impl Unpacked<'_> {
    /// What is in it, if it leads to the end of the last part.
    fn ends(self, parts: &[Part]) -> Result<Contents> {
        let (first, end) = (&parts[0].head, parts[parts.len() - 1].head.last);
        let walk = Walk::of(parts.iter().flat_map(|part| part.head.log.iter().copied()));
        let walk = walk.context("there is no log in it")?;
        let beginning = (walk.extents[0].from, first.start_state);
        self.replay.is_continuous()?;
        self.replay.ends_at(end)?;
        // A part of few records need not show what wrote it, and a member may have been upgraded in between.
        let three = parts.iter().any(|part| part.head.family == Family::Three);
        let family = if three { Family::Three } else { Family::Two };
        Contents::behind(self.base, self.replay, beginning, walk, family)
    }
}

impl Sink for Unpacked<'_> {
    fn snapshot(&mut self, name: Option<SnapshotName>, size: u64, bytes: &mut dyn Read) -> Result<()> {
        let name = name.context("it has no name")?;
        let path = self.snap.join(name.to_string());
        let mut file = File::create_new(&path).with_context(|| format!("creating {}", path.display()))?;
        self.replay.snapshot(Some(name), size, &mut Tee { input: bytes, out: &mut file })?;
        self.base = self.replay.base.clone().map(|outline| Snapshot::copied(&path, name, size, outline));
        Ok(())
    }

    fn record(&mut self, segment: SegmentName, record: &Record<'_>) -> Result<()> {
        self.replay.record(segment, record)
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
        fn snapshot(&mut self, _: Option<SnapshotName>, _: u64, _: &mut dyn Read) -> Result<()> {
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
