//! The v3 store's file beside a log, as what a restore begins with: `snap/db`, byte for byte.
//!
//! etcd starts with two indexes that know nothing of each other: the newest `.snap` in the log (S) and the last entry that the db has
//! applied (B, `consistent_index`). It applies the entries behind S to the v2 store and those behind B to the v3 store, up to the commit
//! index (N). So `S <= B <= N`, with every entry from S + 1 to N, is an ordinary restart. Of what is not that, etcd stops at some
//! and swallows others: a db that is newer than the log makes 3.4 and 3.5 start healthy, and lose each write up to B.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Result, ensure};
use crc32c::crc32c_append;

use super::alarms::AlarmKind;
use super::state::{V3State, consistent_index, last_row};
use crate::etcd::bolt::{self, Db};
use crate::etcd::file;
use crate::etcd::wal::Reading;
use crate::exit::{Exit, because, fault};
use crate::sys::look;

const BUFFER_BYTES: usize = 256 << 10;
/// How often a db that etcd writes is read.
const LIVE_TRIES: u32 = 5;
/// What to do where a disk's v3 store cannot be used.
const INSTEAD: &str = "take another member's data. To restore the v2 store alone and give up the v3 store: sudo \
                       ETCD2_BACKUP_V2_ONLY=true /opt/bin/etcd2-backup restore --source local";

/// A `snap/db` that was read through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Where it lies.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// What it says.
    pub state: V3State,
    /// CRC-32C of all its bytes; `None` while etcd may write it.
    crc: Option<u32>,
}

/// What has to be known of the log that a db lies beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BesideLog {
    /// Whose it is.
    pub member_id: u64,
    /// The index of the snapshot that it goes on from, 0 without one.
    pub base: u64,
    /// The index of its last entry.
    pub last: u64,
    /// Whether an entry behind the last one of the db makes this member one: so it is where nothing was started on a restored disk yet.
    pub adds_it: bool,
    /// The term that it has for the last entry of the db, if it has that entry.
    pub term_at_applied: Option<u64>,
}

impl Base {
    /// Reads the `db` of a `snap` folder: each page that is in use where nobody writes it, else what it says of itself.
    ///
    /// # Errors
    /// [`Exit::Corrupt`] if it is not there, or damaged; it cannot be read.
    pub fn open(snap_dir: &Path, reading: Reading) -> Result<Self> {
        let path = snap_dir.join("db");
        let Some(file) = file::open(&path)? else {
            let what = format!("the member has data in the v3 store, but {} is missing", path.display());
            return Err(fault(Exit::Corrupt, what, INSTEAD));
        };
        let what = format!("reading the v3 store, {}", path.display());
        Self::read(path, file, reading).map_err(|e| match look::is_unread(&e) {
            true => e.context(what),
            false => because(e, Exit::Corrupt, what, INSTEAD),
        })
    }

    fn read(path: PathBuf, mut file: File, reading: Reading) -> Result<Self> {
        let size = file.metadata()?.len();
        let (state, crc) = match reading {
            Reading::Live => (live(&mut file)?, None),
            Reading::Still => {
                // Each takes about as long as the other.
                let (mut again, mut summed) = (file::reopen(&path)?, Ok((0, 0)));
                let state = thread::scope(|scope| {
                    scope.spawn(|| summed = pass(&mut again, &mut std::io::sink()));
                    V3State::read(&mut Db::open(&mut file)?)
                })?;
                (state, Some(summed?.1))
            }
        };
        Ok(Self { path, size, state, crc })
    }

    /// The last entry that it contains.
    pub fn applied(&self) -> u64 {
        self.state.consistent_index
    }

    /// CRC-32C of all its bytes; `None` while etcd may write it.
    pub fn crc(&self) -> Option<u32> {
        self.crc
    }

    /// Refuses one that the log does not go on from.
    ///
    /// # Errors
    /// [`Exit::Refused`] if one of the two is too old for the other; [`Exit::Corrupt`] if etcd found the member's data to be corrupt,
    /// or the db is of another cluster or history.
    pub fn refuse_if_unfit(&self, log: &BesideLog) -> Result<()> {
        let (db, applied, BesideLog { base, last, .. }) = (self.path.display(), self.applied(), *log);
        if self.state.alarms.0.contains(&(log.member_id, AlarmKind::Corrupt)) {
            let what =
                "etcd found that the data of this member differs from the other members' (alarm CORRUPT)";
            return Err(fault(Exit::Corrupt, what, INSTEAD));
        }
        if applied > last {
            let what = format!(
                "{db} contains entries up to {applied}, but the WAL ends at {last}: etcd would start on them and lose what \
                 is written up to {applied}"
            );
            return Err(fault(Exit::Refused, what, INSTEAD));
        }
        if applied < base {
            let what = format!("{db} ends at entry {applied}, and the WAL has no entry before {base}");
            return Err(fault(Exit::Refused, what, INSTEAD));
        }
        self.refuse_foreign(log)
    }

    /// One that was copied from another cluster, or from another history of this one.
    fn refuse_foreign(&self, log: &BesideLog) -> Result<()> {
        let (db, applied, own) = (self.path.display(), self.applied(), log.member_id);
        let hint = "was it copied from another node or an older backup? Put the member's own file back, or take another \
                    member's data";
        let V3State { members, removed, .. } = &self.state;
        let known = members.contains_key(&own) || removed.contains(&own) || log.adds_it;
        if !members.is_empty() && !known {
            let what =
                format!("{db} is of another cluster: it does not know member {own:x}, whose WAL this is");
            return Err(fault(Exit::Corrupt, what, hint));
        }
        if let (Some(term), Some(in_log)) = (self.state.term, log.term_at_applied)
            && term != in_log
        {
            let what = format!(
                "{db} is of another history: its entry {applied} has term {term}, that of the WAL {in_log}"
            );
            return Err(fault(Exit::Corrupt, what, hint));
        }
        Ok(())
    }

    /// Writes its bytes.
    ///
    /// # Errors
    /// It is not what it was when it was read, or cannot be read or written.
    pub fn copy_to(&self, out: &mut dyn Write) -> Result<()> {
        if self.crc.is_none() {
            let what = format!("etcd is running and writes {}", self.path.display());
            return Err(fault(Exit::Refused, what, "stop etcd first: sudo systemctl stop etcd2.service"));
        }
        let copied = pass(&mut self.file()?, out)?;
        ensure!(Some(copied.1) == self.crc, "{} has changed since it was read", self.path.display());
        Ok(())
    }

    /// Opens it again.
    ///
    /// # Errors
    /// It is gone, or cannot be opened.
    pub fn file(&self) -> Result<File> {
        file::reopen(&self.path)
    }

    /// Whether a file has its bytes.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn is_copied(&self, path: &Path) -> Result<bool> {
        let (size, crc) = pass(&mut file::reopen(path)?, &mut std::io::sink())?;
        Ok((size, Some(crc)) == (self.size, self.crc))
    }
}

/// The state of a db that etcd writes: all of it if it can be read between two commits, else only how far it is.
fn live(file: &mut File) -> Result<V3State> {
    for _ in 0..LIVE_TRIES {
        if let (Ok(state), true) = bolt::between_commits(&mut *file, V3State::read)? {
            return Ok(state);
        }
    }
    let mut db = Db::open(file)?;
    Ok(V3State {
        consistent_index: consistent_index(&mut db)?,
        revision: last_row(&mut db)?,
        ..V3State::default()
    })
}

/// Reads a file from its start on to its end, into `out`: how many bytes it has, and their CRC-32C.
fn pass(file: &mut (impl Read + Seek), out: &mut dyn Write) -> Result<(u64, u32)> {
    file.seek(SeekFrom::Start(0))?;
    let (mut size, mut crc, mut buffer) = (0, 0, vec![0; BUFFER_BYTES]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((size, crc));
        }
        crc = crc32c_append(crc, &buffer[..read]);
        out.write_all(&buffer[..read])?;
        size += read as u64;
    }
}
