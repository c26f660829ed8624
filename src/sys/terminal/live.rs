//! Work that takes long, shown while it runs: on a terminal as one line that is redrawn, elsewhere as a line in the log now and
//! then ([`super::progress`] says which and when).
//!
//! What is under way is known to the whole program, since one command waits at one place for whatever it calls: a part of the
//! code that may take long begins a [`Step`], and it is shown as long as that lives. The line stands on stderr, as the log does,
//! which takes it away before each of its own lines.

use std::borrow::Cow;
use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::termios::{tcgetpgrp, tcgetwinsize};

use super::progress::{Progress, Unit};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);
/// A look at a folder may take so much of the time: one in so many.
const SHARE: u32 = 20;
/// Where the terminal does not say how wide it is.
const COLUMNS: usize = 80;
/// From here on rclone writes a file at several places at once.
const IN_STREAMS: u64 = 64 << 20;

/// How it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Not at all.
    Off,
    /// A line in the log now and then.
    Log,
    /// One line that is redrawn.
    Line,
}

#[derive(Debug)]
struct Open {
    number: u64,
    progress: Progress,
    /// How much of it is done, without what is arriving.
    done: u64,
    /// Whether what is downloaded counts for it.
    downloads: bool,
    /// What is arriving.
    arriving: Option<Arriving>,
}

/// What is arriving in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Arriving {
    /// It tells one download from the next.
    number: u64,
    folder: PathBuf,
    /// The bytes that lay there before.
    before: u64,
}

#[derive(Debug)]
struct Live {
    mode: Mode,
    /// The newest is shown.
    steps: Vec<Open>,
    /// The number of the next step or download.
    next: u64,
    /// Whether the line is there.
    drawn: bool,
    /// Whether somebody looks already.
    watched: bool,
}

static LIVE: Mutex<Live> =
    Mutex::new(Live { mode: Mode::Off, steps: Vec::new(), next: 0, drawn: false, watched: false });
/// There is a step.
static BEGUN: Condvar = Condvar::new();

fn live() -> MutexGuard<'static, Live> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Time since the first call.
fn now() -> Duration {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    FIRST.get_or_init(Instant::now).elapsed()
}

/// Whether stderr is a terminal that can move its cursor.
pub fn is_terminal() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// From now on steps are shown: on a terminal as a line there, elsewhere as lines in the log.
pub fn start() {
    live().mode = if is_terminal() { Mode::Line } else { Mode::Log };
}

/// The same on a terminal only, for a program that has no log.
pub fn start_on_terminal() {
    live().mode = if is_terminal() { Mode::Line } else { Mode::Off };
}

/// Nothing is shown any more: the program is about to end.
pub fn stop() {
    let mut live = live();
    live.erase();
    live.mode = Mode::Off;
}

/// Writes to stderr what is to stand above the line.
pub fn above(write: impl FnOnce(&mut io::StderrLock<'_>)) {
    let mut live = live();
    let was_drawn = live.drawn;
    live.erase();
    write(&mut io::stderr().lock());
    if was_drawn {
        live.draw();
    }
}

/// A piece of work that may take long. It is shown as long as this lives.
#[derive(Debug)]
#[must_use = "it is shown as long as it lives"]
pub struct Step(Option<u64>);

/// Begins one of which nothing is known but its name, as `starting etcd`.
pub fn step(what: impl Into<Cow<'static, str>>) -> Step {
    let mut live = live();
    if live.mode == Mode::Off {
        return Step(None);
    }
    let number = live.number();
    let progress = Progress::new(what.into().into_owned(), now());
    live.steps.push(Open { number, progress, done: 0, downloads: false, arriving: None });
    if !live.watched {
        // Without a thread nothing is shown, which nobody needs.
        live.watched = thread::Builder::new().name("progress".into()).spawn(watch).is_ok();
    }
    BEGUN.notify_one();
    Step(Some(number))
}

/// Begins one that is done when so many bytes have been downloaded: it counts them itself.
pub fn downloads(what: impl Into<Cow<'static, str>>, bytes: u64) -> Step {
    let step = step(what);
    step.with(|open| {
        open.downloads = true;
        open.progress.of(Unit::Bytes, Some(bytes));
    });
    step
}

impl Step {
    /// None: for what runs beside the work that is shown.
    pub fn hidden() -> Self {
        Self(None)
    }

    fn with(&self, change: impl FnOnce(&mut Open)) {
        let mut live = live();
        if let Some(open) = live.steps.iter_mut().find(|open| Some(open.number) == self.0) {
            change(open);
        }
    }

    /// It has another name from now on.
    pub fn rename(&self, what: String) {
        self.with(|open| open.progress.what = what);
    }

    /// It is counted in this, and there is so much of it, if that is known.
    pub fn of(&self, unit: Unit, total: Option<u64>) {
        self.with(|open| open.progress.of(unit, total));
    }

    /// So much is done in all.
    pub fn done(&self, done: u64) {
        self.with(|open| open.set(done));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        let mut live = live();
        let Some(at) = live.steps.iter().position(|open| Some(open.number) == self.0) else { return };
        live.steps.remove(at);
        if at == live.steps.len() {
            live.erase();
        }
    }
}

/// A download under way.
#[derive(Debug)]
#[must_use = "it is watched as long as it lives"]
pub struct Download {
    /// Which step counts it.
    step: u64,
    /// Its own number.
    number: u64,
    /// That step, if it was begun for this one.
    _own: Option<Step>,
}

/// From now on so many bytes arrive in `folder`, where nothing else grows. They count for the step that is shown, if it counts
/// downloads; else they are a step of their own.
pub fn download(folder: &Path, bytes: u64) -> Option<Download> {
    let takes = |live: &Live| live.steps.last().filter(|open| open.downloads).map(|open| open.number);
    let given = takes(&live());
    let own = given.is_none().then(|| downloads("downloading", bytes));
    let step = given.or(own.as_ref().and_then(|own| own.0))?;
    let before = bytes_in(folder);
    let mut live = live();
    let number = live.number();
    let open = live.steps.iter_mut().find(|open| open.number == step)?;
    open.arriving = Some(Arriving { number, folder: folder.to_owned(), before });
    Some(Download { step, number, _own: own })
}

impl Download {
    /// All of them have arrived.
    pub fn arrived(self, bytes: u64) {
        let mut live = live();
        if let Some(open) = live.steps.iter_mut().find(|open| open.number == self.step) {
            open.arriving = None;
            open.set(open.done.saturating_add(bytes));
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let mut live = live();
        let open = live.steps.iter_mut().find(|open| open.number == self.step);
        let is_it = |arriving: &Arriving| arriving.number == self.number;
        if let Some(open) = open.filter(|open| open.arriving.as_ref().is_some_and(is_it)) {
            open.arriving = None;
            open.set(open.done);
        }
    }
}

impl Open {
    fn set(&mut self, done: u64) {
        self.done = done;
        self.progress.at(now(), done);
    }
}

impl Live {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn erase(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = io::stderr().write_all(b"\r\x1b[K");
        }
    }

    fn draw(&mut self) {
        let mut stderr = io::stderr();
        let Some(open) = self.steps.last().filter(|_| self.mode == Mode::Line && is_in_foreground(&stderr))
        else {
            return;
        };
        let columns = tcgetwinsize(&stderr).map_or(0, |size| usize::from(size.ws_col));
        let columns = if columns == 0 { COLUMNS } else { columns };
        // In the last column some terminals go on to the next line.
        if let Some(text) = open.progress.shown(now(), columns - 1) {
            self.drawn = stderr.write_all(format!("\r{text}\x1b[K").as_bytes()).is_ok();
        }
    }
}

/// Whether this program has the terminal for itself, and not a shell that started it with `&`. One that is not asked for this
/// by its terminal has no such.
fn is_in_foreground(stderr: &io::Stderr) -> bool {
    tcgetpgrp(stderr).map_or(true, |group| group == rustix::process::getpgrp())
}

/// Looks again and again, as long as there is a step.
fn watch() {
    let mut pause = PAUSE;
    loop {
        let arriving = {
            let mut guard = live();
            while guard.steps.is_empty() {
                guard = BEGUN.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
            drop(guard);
            thread::sleep(pause);
            live().steps.last().and_then(|open| open.arriving.clone())
        };
        let began = Instant::now();
        let there = arriving.as_ref().map(|a| bytes_in(&a.folder).saturating_sub(a.before));
        pause = PAUSE.max(began.elapsed() * SHARE);
        let mut live = live();
        let Live { mode, steps, .. } = &mut *live;
        let Some(open) = steps.last_mut() else { continue };
        // By now it may be another one.
        let there = there.filter(|_| open.arriving == arriving).unwrap_or(0);
        open.progress.at(now(), open.done.saturating_add(there));
        let line = if *mode == Mode::Log { open.progress.line(now()) } else { None };
        live.draw();
        // The log asks for the line.
        drop(live);
        if let Some(line) = line {
            log::info!("{line}");
        }
    }
}

/// The bytes of all files of a folder, as far as they can be seen: they are being written.
fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes_in(&entry.path()),
        Ok(data) if data.len() >= IN_STREAMS => written(&entry.path()).unwrap_or(data.len()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.map(size).fold(0, u64::saturating_add)
}

/// What of a file was written: it may have holes that are still to be filled.
fn written(path: &Path) -> Option<u64> {
    use rustix::fs::{SeekFrom, seek};
    let file = fs::File::open(path).ok()?;
    let (mut sum, mut at) = (0, 0);
    // Behind the last data there is none: an error.
    while let Ok(data) = seek(&file, SeekFrom::Data(at)) {
        at = seek(&file, SeekFrom::Hole(data)).ok()?;
        sum += at - data;
    }
    Some(sum)
}
