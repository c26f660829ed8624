//! Brings parts a few at a time, so that they need little room, and checks each.

use std::io;

use anyhow::Result;

use super::finding::{Finding, Kind};
use super::plan::{Scope, batches};
use crate::archive::chain::Generation;
use crate::archive::check::Check;
use crate::archive::names::{PartName, PieceName};
use crate::archive::part::Part;
use crate::archive::pieces::Pieces;
use crate::exit::{Exit, exit_of};
use crate::remote::{Object, Proof, Remote};
use crate::sys::fs::remove_if_there;
use crate::sys::room::Scratch;

/// Brought by one call, if more than one part: enough that the calls do not count, little enough for any disk.
const BATCH_BYTES: u64 = 64 << 20;

/// What was read of a generation.
#[derive(Debug, Default)]
pub struct Read {
    /// Parts that were read.
    pub parts: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong with them.
    pub findings: Vec<Finding>,
}

/// Where parts come from, and where they lie while they are checked: beside a member that lives.
#[derive(Debug)]
pub struct Reader<'a, R> {
    /// The remote.
    pub remote: &'a R,
    /// The machine's folder there.
    pub folder: &'a str,
    /// A folder of its own.
    pub scratch: &'a Scratch,
}

impl<R: Remote> Reader<'_, R> {
    /// Reads what `scope` has of a generation.
    ///
    /// # Errors
    /// The remote could not be asked, or there is no room. What is wrong with a part is a finding.
    pub fn read(&self, generation: &Generation, scope: Scope) -> Result<Read> {
        let (mut read, mut check) = (Read::default(), Check::default());
        for batch in batches(generation, scope, BATCH_BYTES) {
            let done = self.batch(generation, &batch, &mut check, &mut read);
            self.scratch.empty()?;
            done?;
        }
        if let (Err(e), Some(last)) = (check.end(), generation.last()) {
            read.findings.push(Finding::of(generation, last, format!("{e:#}"), Kind::Damaged));
        }
        Ok(read)
    }

    fn batch(
        &self,
        generation: &Generation,
        batch: &[PartName],
        check: &mut Check,
        read: &mut Read,
    ) -> Result<()> {
        for (part, brought) in batch.iter().zip(self.bring(generation, batch)?) {
            let path = self.scratch.dir().join(generation.path(part));
            let opened = brought.and_then(|()| Part::open(&path, generation.name, *part));
            let checked = match opened {
                Ok(opened) => match self.pieces(generation, &opened)? {
                    Some(finding) => {
                        read.findings.push(finding);
                        Ok(())
                    }
                    None => check.part(&opened),
                },
                Err(e) => Err(e),
            };
            if let Err(e) = checked {
                let Some(kind) = kind(&e) else { return Err(e) };
                read.findings.push(Finding::of(generation, part, reason(&e), kind));
            }
            read.parts += 1;
            read.bytes += generation.bytes_of(part);
        }
        Ok(())
    }

    /// Checks the pieces of the v3 store that a base begins with, one at a time.
    fn pieces(&self, generation: &Generation, base: &Part) -> Result<Option<Finding>> {
        if !base.head.is_in_pieces() {
            return Ok(None);
        }
        let mut pieces = Pieces::default();
        for (name, object) in generation.pieces.iter().zip(generation.piece_objects()) {
            if let Err(e) = self.piece(&mut pieces, *name, &object) {
                // A remote that is down says nothing about the piece.
                let kind =
                    kind(&e).filter(|kind| *kind == Kind::Damaged || self.remote.list(self.folder).is_ok());
                let Some(kind) = kind else { return Err(e) };
                return Ok(Some(Finding::of_piece(generation, name, reason(&e), kind)));
            }
        }
        let wrong = pieces.are_of(&base.head).err().zip(generation.parts.first());
        Ok(wrong.map(|(e, part)| Finding::of(generation, part, format!("{e:#}"), Kind::Damaged)))
    }

    fn piece(&self, pieces: &mut Pieces, name: PieceName, object: &Object) -> Result<()> {
        let (dir, leave) = (self.scratch.dir(), self.scratch.leave());
        self.remote.get(self.folder, std::slice::from_ref(object), dir, leave, Proof::Remote)?;
        let path = dir.join(&object.path);
        pieces.read(&path, name, &mut io::sink())?;
        remove_if_there(&path)
    }

    /// Brings parts in one call, or one by one when one of them keeps the others from coming: behind crypt, rclone
    /// refuses an object that was altered.
    fn bring(&self, generation: &Generation, batch: &[PartName]) -> Result<Vec<Result<()>>> {
        let get = |parts: &[PartName]| {
            let (dir, leave) = (self.scratch.dir(), self.scratch.leave());
            self.remote.get(self.folder, &generation.objects(parts), dir, leave, Proof::Remote)
        };
        match get(batch) {
            Ok(()) => return Ok(batch.iter().map(|_| Ok(())).collect()),
            Err(e) if exit_of(&e) != Exit::Remote => return Err(e),
            Err(_) => {}
        }
        let mut brought = Vec::new();
        for part in batch {
            remove_if_there(&self.scratch.dir().join(generation.path(part)))?;
            match get(std::slice::from_ref(part)) {
                // A remote that is down says nothing about the part.
                Err(e) if exit_of(&e) != Exit::Remote || self.remote.list(self.folder).is_err() => {
                    return Err(e);
                }
                one => brought.push(one),
            }
        }
        Ok(brought)
    }
}

/// What befell an object that could not be used; `None`: a format that this program does not read is no damage, and no room is none
/// either.
fn kind(error: &anyhow::Error) -> Option<Kind> {
    match exit_of(error) {
        Exit::Corrupt => Some(Kind::Damaged),
        Exit::Remote => Some(Kind::Unreadable),
        _ => None,
    }
}

/// What is wrong, without where it was brought to.
fn reason(error: &anyhow::Error) -> String {
    let causes: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
    if causes.is_empty() { error.to_string() } else { causes.join(": ") }
}
