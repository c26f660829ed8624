//! Taking a base: the copy of the store first, then what of the log belongs to it, as etcd has logged what it has applied.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::copy::{self, Way};
use super::prepared::{Log, Prepared, Progress, anew};
use crate::archive::chain;
use crate::archive::names::GenerationName;
use crate::archive::part::{self, Head};
use crate::backup::capture;
use crate::backup::state::State;
use crate::etcd::datadir::{Contents, DataDir};
use crate::etcd::v3::base::Base as V3Base;
use crate::exit::{Exit, exit_of, fault};
use crate::remote::{Object, Remote};
use crate::settings::Settings;
use crate::sys::random;
use crate::sys::terminal::table::bytes;

/// How long the log may take to have what the store has: no longer than a cycle.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);

/// Takes one, and gives it the next number of the machine's folder.
///
/// # Errors
/// [`Exit::Refused`] if no copy can be had, or the member is a learner; the remote could not be asked; etcd's files cannot be read, or
/// do not belong together.
pub fn take(settings: &Settings, remote: &dyn Remote, dir: &DataDir, looked: u64) -> Result<Prepared> {
    taken(None, settings, remote, dir, looked)
}

/// The same by one way alone.
///
/// # Errors
/// As [`take`].
pub fn by(
    way: Way,
    settings: &Settings,
    remote: &dyn Remote,
    dir: &DataDir,
    looked: u64,
) -> Result<Prepared> {
    taken(Some(way), settings, remote, dir, looked)
}

fn taken(
    way: Option<Way>,
    settings: &Settings,
    remote: &dyn Remote,
    dir: &DataDir,
    looked: u64,
) -> Result<Prepared> {
    let objects = remote.list(&settings.machine_id)?;
    let number = number(settings, &objects)?;
    let taken = take_as(number, way, settings, dir, looked);
    if taken.is_err() {
        Prepared::clear(&settings.backup_dir)?;
    }
    taken
}

/// The number for the generation that it will begin, apart from those that another machine may take at this moment.
fn number(settings: &Settings, objects: &[Object]) -> Result<u64> {
    // Read behind the listing: what a backup of this node has begun there by then, it has noted.
    let state = State::load(&settings.backup_dir)?.filter(|state| state.folder == settings.folder());
    let Some(state) = state else { return chain::next_number(objects, 0, 0) };
    let is_foreign =
        |name: GenerationName| name.number >= state.generation && name != state.generation_name();
    let foreign = chain::generations(objects).into_iter().any(|generation| is_foreign(generation.name));
    let [apart] = if foreign { random::bytes()? } else { [0] };
    chain::next_number(objects, state.generation, apart)
}

fn take_as(
    number: u64,
    way: Option<Way>,
    settings: &Settings,
    dir: &DataDir,
    looked: u64,
) -> Result<Prepared> {
    let place = anew(&settings.backup_dir)?;
    let (v3, way) = match way {
        Some(way) => (copy::by(way, settings, dir, &place)?, way),
        None => copy::take(settings, dir, &place)?,
    };
    let contents = with_log(dir, &v3)?;
    refuse_learner(&contents)?;
    let (applied, revision, size) = (v3.applied(), v3.state.revision, v3.size);
    let mut capture = capture::of(dir, contents, "a base of the v3 store")?;
    capture.v3 = None;

    let head = Head {
        generation: number,
        writer: u32::from_ne_bytes(random::bytes()?),
        commit: Some(capture.commit().max(applied)),
        v3_data: false,
        ..capture.head(&settings.etcd, looked)
    };
    let written = part::write(&place, &head, |out| capture.write_payload(out))?;
    let behind = capture.state_behind(None, &settings.folder(), &head, &written, looked);
    // What lies before the last entry of the store is no reason for another one.
    let state = State {
        v3_base: Some(size),
        v3_index: Some(applied),
        v3_time: Some(looked),
        log_bytes: 0,
        pending: None,
        ..behind
    };
    let crc = v3.crc().context("the copy was not read through")?;
    let progress = Progress {
        version: Progress::VERSION,
        writer: head.writer,
        way,
        applied,
        revision,
        size,
        crc,
        crc_sent: 0,
        sent: Vec::new(),
        arrived: false,
    };
    let log = Log { version: Progress::VERSION, part: written.name.to_string(), state };
    let prepared = Prepared { dir: place, progress, log };
    prepared.save_log()?;
    prepared.save_progress()?;
    log::info!(
        "took a base of the v3 store: {}, revision {revision}, index {applied}, by {way}, for generation {number}",
        bytes(size)
    );
    Ok(prepared)
}

/// The log and the snapshot beside a copy of the store. etcd may have applied what is not yet on the disk.
fn with_log(dir: &DataDir, v3: &V3Base) -> Result<Contents> {
    let began = Instant::now();
    loop {
        match dir.scan_on(v3.clone()) {
            Err(e) if matches!(exit_of(&e), Exit::Refused | Exit::NotFound) && began.elapsed() < PATIENCE => {
                thread::sleep(PAUSE);
            }
            contents => return contents,
        }
    }
}

/// What a learner has may be far behind, and it has no vote by which anybody would miss it.
fn refuse_learner(contents: &Contents) -> Result<()> {
    if !contents.is_of_learner()? {
        return Ok(());
    }
    let what = format!("member {:x} is a learner, of which no base is taken", contents.metadata.member_id);
    Err(fault(Exit::Refused, what, "back up a voting member, or promote it: etcdctl member promote ID"))
}
