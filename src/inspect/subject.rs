//! What a path is, and its content as one stream: the snapshot to begin with, and the log's records.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::archive::chain::{self, Generation};
use crate::archive::names::GenerationName;
use crate::archive::part::Part;
use crate::archive::pieces::Pieces;
use crate::archive::unpack::read_part;
use crate::etcd::datadir::DataDir;
use crate::etcd::file;
use crate::etcd::frame::{FrameReader, Stop};
use crate::etcd::replay::Sink;
use crate::etcd::snap::SnapshotName;
use crate::etcd::wal::{self, Extent, Place, Reading, SegmentName};
use crate::exit::{Exit, OrFault, fault};
use crate::remote::Object;
use crate::sys::look;

/// Something that can be inspected.
#[derive(Debug)]
pub enum Subject {
    /// etcd's data directory.
    DataDir(DataDir),
    /// A copy of a machine's folder in the remote, or of one of its generations.
    Archive(Archive),
    /// One segment of a log.
    Segment(PathBuf),
    /// One snapshot.
    Snapshot(PathBuf),
    /// One part of an archive.
    Part(PathBuf),
    /// A db of the v3 store.
    Db(PathBuf),
}

/// A local folder with generations in it.
#[derive(Debug)]
pub struct Archive {
    /// Where they lie.
    pub folder: PathBuf,
    /// Oldest first; there is one at least.
    pub generations: Vec<Generation>,
}

impl Subject {
    /// Finds out what lies at a path.
    ///
    /// # Errors
    /// [`Exit::NotFound`] if it is nothing that this program knows.
    pub fn find(path: &Path, wal_dir: Option<&Path>) -> Result<Self> {
        let known = "name a data directory, a machine's directory of the archive, or a .wal, .snap, .part or .db file";
        let is_dir = match fs::metadata(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Err(fault(Exit::NotFound, format!("there is no {}", path.display()), known));
            }
            metadata => metadata.with_context(|| format!("looking at {}", path.display()))?.is_dir(),
        };
        if is_dir {
            if let Some(archive) = Archive::find(path)?.filter(|_| wal_dir.is_none()) {
                return Ok(Self::Archive(archive));
            }
            let what = format!("{} is neither a data directory nor an archive", path.display());
            return DataDir::open(path, wal_dir).or_fault(Exit::NotFound, what, known).map(Self::DataDir);
        }
        match path.extension().and_then(|e| e.to_str()) {
            Some("wal") => Ok(Self::Segment(path.into())),
            Some("snap") => Ok(Self::Snapshot(path.into())),
            Some("part") => Ok(Self::Part(path.into())),
            Some("db") => Ok(Self::Db(path.into())),
            None if file_name(path) == "db" => Ok(Self::Db(path.into())),
            _ => Err(fault(
                Exit::NotFound,
                format!("{} is not a file of etcd or etcd2-backup", path.display()),
                known,
            )),
        }
    }

    /// Reads the snapshot to begin with, if there is one.
    ///
    /// # Errors
    /// It is damaged or was purged, or the sink fails.
    pub fn snapshot(&self, sink: &mut dyn Sink) -> Result<()> {
        match self {
            Self::DataDir(dir) => match dir.survey(Reading::Still)?.base {
                Some(base) => snapshot_file(&base.path, sink),
                None => Ok(()),
            },
            Self::Snapshot(path) => snapshot_file(path, sink),
            Self::Segment(_) | Self::Db(_) => Ok(()),
            Self::Part(path) => part_file(path, sink),
            Self::Archive(archive) => archive.read(archive.newest(), 1, sink).1,
        }
    }

    /// Where its db of the v3 store is, if it has one.
    pub fn db(&self) -> Option<PathBuf> {
        match self {
            Self::DataDir(dir) => Some(dir.snap.join("db")),
            Self::Db(path) => Some(path.clone()),
            _ => None,
        }
    }

    /// Reads the log's records, up to the first fault.
    ///
    /// # Errors
    /// The fault, or the sink's.
    pub fn records(&self, sink: &mut dyn Sink) -> Result<()> {
        match self {
            Self::DataDir(dir) => {
                let Some(first) = wal::segments(&dir.wal)?.first().copied() else { return Ok(()) };
                let from = Place::start_of(first);
                wal::walk(&dir.wal, from, Reading::Still, &mut |s, record| sink.record(s, record)).map(drop)
            }
            Self::Snapshot(_) | Self::Db(_) => Ok(()),
            Self::Segment(path) => match segment_file(path, sink) {
                (_, Ok(Stop::Corrupt(reason))) => bail!(reason),
                (_, read) => read.map(drop),
            },
            Self::Part(path) => part_file(path, sink),
            Self::Archive(archive) => archive.read(archive.newest(), usize::MAX, sink).1,
        }
    }
}

/// Opens a file that somebody named: links on the way to it are meant.
pub(super) fn open(path: &Path) -> Result<File> {
    let real = path.canonicalize().with_context(|| format!("opening {}", path.display()))?;
    file::open(&real)?.with_context(|| format!("{} is gone", path.display()))
}

/// Reads a snapshot file, whatever its name.
pub(super) fn snapshot_file(path: &Path, sink: &mut dyn Sink) -> Result<()> {
    let mut file = open(path)?;
    let size = file.metadata()?.len();
    let name = SnapshotName::parse(&file_name(path));
    sink.snapshot(name, size, &mut file).with_context(|| format!("reading {}", path.display()))
}

/// Reads one segment alone: the offset behind the last record, and why there is no other. A record that the sink does
/// not take is corrupt.
pub(super) fn segment_file(path: &Path, sink: &mut dyn Sink) -> (u64, Result<Stop>) {
    let name = SegmentName::parse(&file_name(path)).unwrap_or(SegmentName { sequence: 0, index: 0 });
    let file = match open(path) {
        Ok(file) => file,
        Err(e) => return (0, Err(e)),
    };
    let mut reader = FrameReader::new(file, 0, 0);
    let mut end = 0;
    loop {
        match reader.next_record().with_context(|| format!("reading {}", path.display())) {
            Ok(Ok(record)) => {
                if let Err(e) = sink.record(name, &record) {
                    return (end, Ok(Stop::Corrupt(format!("{e:#}"))));
                }
                end = record.end;
            }
            Ok(Err(stop)) => return (end, Ok(wal::with_records(stop, end))),
            Err(e) => return (end, Err(e)),
        }
    }
}

fn part_file(path: &Path, sink: &mut dyn Sink) -> Result<()> {
    read_part(&Part::read_unnamed(path)?, &mut None, sink)
}

/// A file's name, as far as it is text.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Archive {
    fn find(path: &Path) -> Result<Option<Self>> {
        let path = &path.canonicalize().with_context(|| format!("looking at {}", path.display()))?;
        let one = GenerationName::parse(&file_name(path)).is_some();
        let folder = if one { path.parent().unwrap_or(path).to_path_buf() } else { path.clone() };
        let mut objects = Vec::new();
        if one {
            list(path, &mut objects)?;
        } else {
            for entry in fs::read_dir(path).with_context(|| format!("listing {}", path.display()))? {
                let entry = entry?;
                let name = entry.file_name();
                if name.to_str().and_then(GenerationName::parse).is_some() && look::is_dir(&entry.path())? {
                    list(&entry.path(), &mut objects)?;
                }
            }
        }
        let generations = chain::generations(&objects);
        Ok((!generations.is_empty()).then_some(Self { folder, generations }))
    }

    /// The one that a restore takes.
    pub fn newest(&self) -> &Generation {
        &self.generations[self.generations.len() - 1]
    }

    /// Reads the first `count` parts of a generation: the number of parts that were read whole, and the first fault.
    pub fn read(&self, generation: &Generation, count: usize, sink: &mut dyn Sink) -> (usize, Result<()>) {
        let mut at: Option<Extent> = None;
        let mut before = String::new();
        for (read, name) in generation.parts.iter().take(count).enumerate() {
            let path = generation.path(name);
            let mut step = || {
                let part = Part::open(&self.folder.join(&path), generation.name, *name)?;
                if part.head.is_in_pieces() {
                    before = self.pieces(generation, &part)?;
                }
                if part.head.predecessor != before {
                    let what = format!("{path} does not follow the part before it");
                    return Err(fault(
                        Exit::Corrupt,
                        what,
                        "objects of the archive were mixed up: copy the directory from the remote again",
                    ));
                }
                before.clone_from(&part.link);
                read_part(&part, &mut at, sink).with_context(|| path.clone())
            };
            if let Err(e) = step() {
                return (read, Err(e));
            }
        }
        (generation.parts.len().min(count), Ok(()))
    }

    /// Reads the pieces of a generation's base; gives the link of the last one.
    fn pieces(&self, generation: &Generation, base: &Part) -> Result<String> {
        let mut pieces = Pieces::default();
        for (name, object) in generation.pieces.iter().zip(generation.piece_objects()) {
            pieces.read(&self.folder.join(object.path), *name, &mut io::sink())?;
        }
        pieces.are_of(&base.head)?;
        Ok(pieces.link)
    }
}

/// The files of a generation's folder, as a remote lists them.
fn list(folder: &Path, objects: &mut Vec<Object>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let entry = entry?;
        let path = format!("{}/{}", file_name(folder), entry.file_name().to_string_lossy());
        objects.push(Object { path, size: entry.metadata()?.len() });
    }
    Ok(())
}
