//! One base, from the decision to the last piece: whoever runs this holds a lock of its own, beside that of the backups.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::adopt::Ready;
use super::prepared::{Prepared, due_file, folder};
use super::{due, send, take};
use crate::archive::names::GenerationName;
use crate::backup::capture::{self, Follow};
use crate::backup::state::State;
use crate::etcd::datadir::DataDir;
use crate::etcd::v3::Db;
use crate::exit::{Exit, exit_of};
use crate::node::running::place::Doubt;
use crate::remote::Remote;
use crate::settings::Settings;
use crate::sys::fs::{remove_if_there, write_atomic};
use crate::sys::look;

const PAUSE: Duration = Duration::from_millis(200);

/// A node whose v3 store is to be brought to its folder in the remote.
#[derive(Debug, Clone, Copy)]
pub struct Bringing<'a> {
    /// Its settings.
    pub settings: &'a Settings,
    /// etcd's files.
    pub dir: &'a DataDir,
    /// Why what is read may not be what etcd wrote last.
    pub doubt: Option<&'a Doubt>,
    /// What this node's clock says.
    pub looked: u64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// No base is due.
    NotDue,
    /// One is in the remote, and waits for the next backup.
    Waits,
    /// Somebody else is at it.
    Elsewhere,
}

impl Bringing<'_> {
    /// Brings one if one is due, or in any case (`now`); goes on with one that was begun.
    ///
    /// # Errors
    /// As [`take::take`] and [`send::send`].
    pub fn bring(&self, remote: &dyn Remote, now: bool) -> Result<Came> {
        let Some(_lock) = self.settings.try_lock_base()? else { return Ok(Came::Elsewhere) };
        self.bring_locked(remote, now)
    }

    /// Brings one for a backup that has nothing else to do: without it no generation can begin.
    ///
    /// # Errors
    /// As [`Bringing::bring`].
    pub fn bring_and_wait(&self, remote: &dyn Remote) -> Result<()> {
        while self.bring(remote, true)? == Came::Elsewhere {
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn bring_locked(&self, remote: &dyn Remote, now: bool) -> Result<Came> {
        let Self { settings, .. } = *self;
        let begun = Prepared::load(&settings.backup_dir, &settings.folder())?;
        // Read behind it: a backup notes its generation before it removes the base that it has begun with.
        let state = State::load(&settings.backup_dir)?.filter(|state| state.folder == settings.folder());
        let mut prepared = match self.usable(begun, state.as_ref())? {
            Some(prepared) if prepared.progress.arrived => return Ok(Came::Waits),
            Some(prepared) => prepared,
            None => {
                let asked = now.then(|| "it was asked for".to_owned());
                let why = match asked {
                    Some(asked) => Some(asked),
                    None => self.why(state.as_ref())?,
                };
                let Some(why) = why else { return Ok(Came::NotDue) };
                if let Some(doubt) = self.doubt {
                    return Err(doubt.refusal());
                }
                log::debug!("taking a base of the v3 store: {why}");
                take::take(settings, remote, self.dir, self.looked)?
            }
        };
        match send::send(&mut prepared, remote, settings) {
            Err(e) if exit_of(&e) == Exit::Corrupt => {
                Prepared::clear(&settings.backup_dir)?;
                Err(e)
            }
            sent => sent.map(|()| Came::Waits),
        }
    }

    /// One that was begun, if it is not in a generation yet and can still begin one. Else nothing is left of it.
    fn usable(&self, begun: Option<Prepared>, state: Option<&State>) -> Result<Option<Prepared>> {
        let begun = begun.filter(|begun| begun.is_ahead_of(state));
        match begun.as_ref().map(|begun| begun.objection(self.dir)) {
            Some(None) => return Ok(begun),
            Some(Some(why)) => say_dropped(&why),
            None => {}
        }
        Prepared::clear(&self.settings.backup_dir)?;
        Ok(None)
    }

    /// Why one is due, if the member has data in its v3 store.
    fn why(&self, state: Option<&State>) -> Result<Option<String>> {
        let none = |why: String| matches!(Db::look(&self.dir.snap), Db::Holds(_)).then_some(why);
        let Some(state) = state.filter(|state| state.v3_base.is_some()) else {
            return Ok(none("no generation has the v3 store".into()));
        };
        let why = match capture::follow(self.dir, state)? {
            Follow::Broken(why) => none(why),
            _ => due::why(state, memory()?),
        };
        Ok(why)
    }
}

/// The base that waits for a backup to begin a generation with it, and the log behind it up to now. One that cannot begin any is
/// dropped: the generation before it goes on.
///
/// # Errors
/// It cannot be looked for, or not be removed.
pub fn ready(settings: &Settings, state: Option<&State>, dir: &DataDir) -> Result<Option<Ready>> {
    let waiting = waiting(settings, state)?.filter(|prepared| prepared.progress.arrived);
    let Some(prepared) = waiting else { return Ok(None) };
    let name = prepared.generation();
    match Ready::load(prepared, dir) {
        Ok(ready) => Ok(Some(ready)),
        Err(why) => drop_it(settings, name, &format!("{why:#}")).map(|()| None),
    }
}

/// What a cycle does for bases that others bring, at its end: none of its failures is one of the backup.
pub fn behind_a_cycle(bringing: &Bringing<'_>, remote: &dyn Remote, state: Option<&State>) {
    let settings = bringing.settings;
    let cared = || -> Result<()> {
        sweep(settings, state)?;
        let waiting = waiting(settings, state)?.filter(|prepared| !prepared.progress.arrived);
        let why = match (&waiting, state) {
            (Some(_), _) => Some("one was begun".to_owned()),
            (None, Some(state)) if state.v3_base.is_some() => due::why(state, memory()?),
            (None, _) => bringing.why(state)?,
        };
        say_due(settings, why.as_deref())?;
        if let Some(mut waiting) = waiting {
            waiting.keep_up(bringing.dir, bringing.looked)?;
        }
        // Where no unit brings them.
        if state.is_some_and(|state| memory().is_ok_and(|memory| due::is_overdue(state, memory))) {
            bringing.bring(remote, false)?;
        }
        Ok(())
    };
    if let Err(e) = cared() {
        log::warn!("could not see to the next base of the v3 store: {e:#}");
    }
}

/// Has systemd start the unit that brings a base beside the next backup, or not. Since when that is so, the file's time says.
///
/// # Errors
/// It cannot be written.
pub fn say_due(settings: &Settings, why: Option<&str>) -> Result<()> {
    let path = due_file(&settings.backup_dir);
    match why {
        Some(_) if look::is_file(&path)? => Ok(()),
        Some(why) => write_atomic(&path, why.as_bytes(), 0o600),
        None => remove_if_there(&path),
    }
}

/// Removes what lies there for nobody: a base that is in its generation, or of which not all was written. Who brings one holds the
/// lock.
///
/// # Errors
/// It cannot be looked for, or not be removed.
pub fn sweep(settings: &Settings, state: Option<&State>) -> Result<()> {
    if !look::is_dir(&folder(&settings.backup_dir))? {
        return Ok(());
    }
    let Some(_lock) = settings.try_lock_base()? else { return Ok(()) };
    match waiting(settings, state)? {
        Some(_) => Ok(()),
        None => Prepared::clear(&settings.backup_dir),
    }
}

/// Removes the base for this generation, which cannot begin it.
///
/// # Errors
/// It cannot be removed.
pub fn drop_it(settings: &Settings, name: GenerationName, why: &str) -> Result<()> {
    // Who holds it sees the same, and may be taking another one.
    let Some(_lock) = settings.try_lock_base()? else { return Ok(()) };
    let there = Prepared::load(&settings.backup_dir, &settings.folder())?;
    if there.is_some_and(|there| there.generation() != name) {
        return Ok(());
    }
    say_dropped(why);
    Prepared::clear(&settings.backup_dir)
}

/// What was taken and is in no generation yet.
fn waiting(settings: &Settings, state: Option<&State>) -> Result<Option<Prepared>> {
    let prepared = Prepared::load(&settings.backup_dir, &settings.folder())?;
    Ok(prepared.filter(|prepared| prepared.is_ahead_of(state)))
}

fn say_dropped(why: &str) {
    log::warn!(
        "dropping the base of the v3 store that was on its way: {why}; the backups go on, and another one is taken when one is due"
    );
}

fn memory() -> Result<Option<u64>> {
    let text = look::read_if_there(Path::new("/proc/meminfo"))?.unwrap_or_default();
    Ok(due::memory(&String::from_utf8_lossy(&text)))
}
