//! The promise itself. Between rclone and the remote, and between etcd and its files, a seed draws sabotage, call by call and
//! cycle by cycle. No cycle ends with 0 and a point that a restore from the true remote does not have.
//!
//! What "has" means is what docs/design.md says under "What was sent is seen":
//!
//! - Where rclone's word is not enough (a generation's first part, the first part that goes another way, anything after the
//!   remote, its settings or rclone changed), the point is there, whatever rclone said.
//! - In an ordinary cycle rclone's word counts. A part that it lied about may be missing until the second look behind the lie,
//!   which ends the generation; between two looks no more than [`PARTS`] parts are sent.
//! - What is there is exactly what etcd wrote, entry by entry, also where somebody altered its files: then the cycle fails.
//! - The point holds what was acknowledged when the cycle began; where etcd's files are damaged and it writes on behind
//!   that, the second cycle that meets it fails.
//!
//! The remote is sabotaged during calls only: what is removed or damaged at rest is `verify`'s. So is content that is damaged on
//! its way and has its size: rclone compares hashes, and we see sizes. Whoever makes every listing show what is not there is
//! not found out.

mod etcd;
mod judge;
mod remote;

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, fs, thread};

use etcd2_backup::backup::state::State;
use etcd2_backup::etcd::proto::LogPosition;
use testkit::faults::wrapper::Wrapper;
use testkit::keys;
use testkit::node::Node;
use testkit::tools::Tools;

use self::etcd::Etcd;
use self::judge::Reach;
use self::remote::Remote;
use crate::PROGRAM;

/// So many seeds are a part of every run of the tests; `cargo xtask promise` plays more, from another one on.
const SEEDS: u64 = 16;
/// One in so many is played through rclone itself, and its last point restored and started by a real etcd.
const REAL: u64 = 16;
/// One in so many is long enough for looks that come by themselves.
const LONG: u64 = 8;
/// So many parts are sent between two looks at most.
const PARTS: u64 = 20;
/// They wait for what never comes.
const THREADS: usize = 6;

/// xorshift64*: the same numbers for the same seed.
struct Random(u64);

impl Random {
    /// A sequence for each seed, also for those that differ by a bit.
    fn of(seed: u64) -> Self {
        let mut this = Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            this.next();
        }
        this
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// What was met, over all seeds: a property that nothing happens to holds for nothing.
#[derive(Debug, Default)]
struct Met {
    promised: AtomicU64,
    failed: AtomicU64,
    lied: AtomicU64,
    behind: AtomicU64,
    damaged: AtomicU64,
    generations: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// One node, through all its cycles.
struct Play<'a> {
    met: &'a Met,
    random: Random,
    node: Node,
    remote: Remote,
    etcd: Etcd,
    /// An older state of etcd's files.
    copy: Option<Etcd>,
    /// What happened, for who reads a failure.
    story: Vec<String>,
    /// What decides where parts go: the place, and how often rclone became another one.
    way: (PathBuf, u32),
    /// By which way the last part went that was looked for.
    seen_way: (PathBuf, u32),
    /// Uploads that were only said to be done, since all was seen.
    lies: usize,
    /// Cycles with a look since a point was first behind what was said.
    looks: Option<u32>,
    /// Parts since the last look.
    parts: u64,
    /// Cycles in a row that ended with 0 and left out what was acknowledged, while etcd wrote on.
    blind: u32,
    generation: u64,
    is_real: bool,
}

impl<'a> Play<'a> {
    fn new(seed: u64, tools: &Tools, met: &'a Met) -> Self {
        let mut node = Node::new(PROGRAM, tools);
        let wrapper = Wrapper::new(&mut node, tools);
        node.environment.insert("ETCD2_BACKUP_RCLONE_TIMEOUT".into(), "3s".into());
        let is_real = seed.is_multiple_of(REAL);
        let remote = Remote::new(&mut node, wrapper, is_real);
        let etcd = Etcd::begin(&node.etcd.data_dir, 0xb1, 1);
        Self {
            met,
            random: Random::of(seed),
            way: (remote.folder(), 0),
            node,
            remote,
            etcd,
            copy: None,
            story: Vec::new(),
            seen_way: (PathBuf::new(), 0),
            lies: 0,
            looks: None,
            parts: 0,
            blind: 0,
            generation: 0,
            is_real,
        }
    }

    fn state(&self) -> Option<State> {
        State::load(&self.node.path("/var/lib/etcd2-backup")).unwrap()
    }

    fn play(&mut self, cycles: usize) {
        for cycle in 0..cycles {
            self.story.push(format!("cycle {cycle}:"));
            self.meddle_with_etcd();
            self.meddle_with_the_way(cycles);
            // Long ones are about what comes by itself: less of what ends a generation sooner.
            let calm = self.random.below(if cycles > 20 { 8 } else { 2 }) > 0;
            if calm {
                self.remote.honest();
            } else {
                self.meddle_with_calls();
            }
            self.back_up();
        }
        self.end();
        if self.is_real {
            self.restore();
        }
    }

    fn say(&mut self, what: &str) {
        self.story.push(format!("    {what}"));
    }

    fn read_to(&self) -> usize {
        self.state().map_or(0, |state| state.place.offset as usize)
    }

    fn meddle_with_etcd(&mut self) {
        let dir = self.node.etcd.data_dir.clone();
        let what = match self.random.below(24) {
            0 => {
                let read = self.read_to();
                self.etcd.write(&mut self.random);
                let (path, bytes, what) = self.etcd.altered(read, &mut self.random);
                etcd::put(&path, &bytes);
                what
            }
            1 => {
                let (member, cluster) = (0xb1 + self.random.below(3) as u64, 1 + self.random.below(2) as u64);
                self.etcd = Etcd::begin(&dir, member, cluster);
                "an empty etcd in the place of this one"
            }
            2 if !self.etcd.damaged => {
                self.copy = Some(self.etcd.copied(&self.node.path("/var/lib/copy")));
                "its directory is copied"
            }
            3 if self.copy.is_some() => {
                self.etcd = self.copy.take().unwrap().move_to(&dir);
                "the copy is put in its place"
            }
            4..=6 if self.etcd.damaged => {
                self.etcd.mend();
                "its files are mended"
            }
            _ => "",
        };
        if !what.is_empty() {
            self.say(what);
        }
        let did = self.etcd.work(&mut self.random);
        self.say(did);
    }

    fn meddle_with_the_way(&mut self, cycles: usize) {
        match self.random.below(if cycles > 20 { 200 } else { 12 }) {
            0 => {
                let what = self.remote.lead_elsewhere(&self.node, &mut self.random);
                self.say(what);
                self.way.0 = self.remote.folder();
            }
            1 => {
                self.remote.upgrade();
                self.say("another rclone");
                self.way.1 += 1;
            }
            2 => {
                let _ = fs::remove_file(self.node.path("/var/lib/etcd2-backup/state.json"));
                // With it what the last look saw unfinished.
                self.blind = 0;
                self.say("the state is lost");
            }
            _ => {}
        }
    }

    fn meddle_with_calls(&mut self) {
        let hit = (self.random.below(8) == 0).then(|| {
            let read = self.read_to();
            self.etcd.altered(read, &mut self.random)
        });
        let drawn =
            self.remote.draw(&mut self.random, hit.as_ref().map(|(path, bytes, _)| (&**path, &**bytes)));
        self.say(&drawn);
        if let Some((.., what)) = hit {
            self.say(&format!("beneath the first listing, if there is one: {what}"));
        }
    }

    /// One cycle, and what must be so behind it.
    fn back_up(&mut self) {
        let acknowledged = self.etcd.acknowledged;
        if self.etcd.damaged {
            count(&self.met.damaged);
        }
        let run = self.node.run(&["backup"]);
        let called = self.remote.called();
        self.say(&format!("{} {called:?} {}", run.code, run.log.trim().replace('\n', "\n        ")));
        if called.lies > 0 {
            count(&self.met.lied);
        }
        self.lies += called.lies;
        self.looks = self.looks.map(|looks| looks + u32::from(called.looks > 0));
        let (arrived, seen) = looked_for(&called.verbs);
        if run.code != 0 {
            count(&self.met.failed);
            assert!([11, 12, 13].contains(&run.code), "it ends with {}", run.code);
            self.blind = 0;
            // What waited was sent first and seen, and then something else went wrong.
            if arrived && self.state().is_some_and(|s| s.seen.is_some_and(|seen| seen.arrived)) {
                (self.lies, self.looks) = (called.lies, None);
                self.seen_way = self.way.clone();
            }
            return;
        }
        count(&self.met.promised);
        if arrived {
            (self.lies, self.looks) = (if seen { 0 } else { called.lies }, None);
            self.seen_way = self.way.clone();
        }
        let index = judge::index(&run.log).expect("it says up to where");
        let state = self.state().expect("there is a state");
        assert_eq!(index, state.last.index);
        let reach = self.reach(&state);
        if state.generation != self.generation {
            count(&self.met.generations);
            self.generation = state.generation;
        }
        let sent = called.verbs.iter().any(|verb| verb == "copy");
        if reach == Some(state.last) {
            self.looks = None;
        } else {
            count(&self.met.behind);
            let short = format!("{reach:?} is all there is, not {:?}", state.last);
            assert!(!sent || state.sequence > 0, "a generation's first part counts, and {short}");
            assert!(!seen, "a part that was looked for counts, and {short}");
            assert!(self.way == self.seen_way, "by another way {short}");
            assert!(self.lies > 0, "nobody lied, and {short}");
            let looks = *self.looks.get_or_insert(0);
            assert!(looks < 2, "{looks} looks behind the lie {short}");
        }
        let looked = called.verbs.iter().any(|verb| verb == "lsjson");
        self.parts = if looked { 0 } else { self.parts } + u64::from(sent && !seen);
        assert!(self.parts <= PARTS, "{} parts were sent without a look", self.parts);
        self.blind = if index < acknowledged { self.blind + u32::from(self.etcd.went_on()) } else { 0 };
        let allowed = u32::from(self.etcd.damaged);
        assert!(self.blind <= allowed, "it holds entries up to {index}; {acknowledged} was acknowledged");
    }

    /// How far a restore of this generation comes.
    fn reach(&self, state: &State) -> Option<LogPosition> {
        match judge::reach(&self.remote.folder(), state.generation_name(), &self.etcd, state.last) {
            Reach::To(index) => index,
            Reach::Altered(why) => panic!("what a restore has is not what etcd wrote: {why}"),
        }
    }

    /// All is mended and honest: the next backup sees it all, and a restore has it.
    fn end(&mut self) {
        self.story.push("at the end:".into());
        if self.etcd.damaged {
            self.etcd.mend();
        }
        self.remote.honest();
        self.remote.upgrade();
        self.way.1 += 1;
        self.etcd.write(&mut self.random);
        let failed = self.met.failed.load(Ordering::Relaxed);
        self.back_up();
        let said = self.story.last().unwrap().trim_start().to_owned();
        assert!(said.starts_with("0 "), "an honest cycle fails ({failed} did before)");
    }

    /// rclone itself brings it back, and etcd itself reads it.
    fn restore(&mut self) {
        let state = self.state().unwrap();
        self.node.destroy_data().unwrap();
        // What the seed made of the folder may be several histories: which one is meant has to be said.
        let number = state.generation.to_string();
        // The log is one of 2.3, and here another etcd may read it.
        let log = self.node.ok(&["restore", "--generation", &number, "--for-etcd", "3"]);
        let point = format!("generation {}, part {}, ", state.generation, state.sequence);
        assert!(log.contains(&point), "not {point:?}: {log}");
        self.node.etcd.start().unwrap();
        let keys = keys::dump(&self.node.etcd.client_url).unwrap();
        let found = keys.iter().filter_map(|(key, node)| Some((key.clone(), node.value.clone()?)));
        let found: BTreeMap<String, String> = found.filter(|(key, _)| key.starts_with("/bench/")).collect();
        assert_eq!(found, self.etcd.values(state.last.index));
    }
}

/// Whether the folder was listed behind an upload, and behind the last one.
fn looked_for(verbs: &[String]) -> (bool, bool) {
    let Some(look) = verbs.iter().rposition(|verb| verb == "lsjson") else { return (false, false) };
    let is_copy = |verb: &String| verb == "copy";
    (
        verbs[..look].iter().any(is_copy),
        verbs[..look].iter().any(is_copy) && !verbs[look..].iter().any(is_copy),
    )
}

/// How it went with one seed: what is wrong, and the story.
fn judge(seed: u64, tools: &Tools, met: &Met) -> Result<(), String> {
    let mut play = Play::new(seed, tools, met);
    let cycles = if seed % LONG == 1 { 70 } else { 12 };
    let ended = panic::catch_unwind(AssertUnwindSafe(|| play.play(cycles)));
    ended.map_err(|why| {
        let text = why.downcast_ref::<String>().cloned();
        let text = text.or_else(|| why.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        format!(
            "{}\nseed {seed}: {}\nagain: cargo xtask promise --seed {seed} --seeds 1",
            play.story.join("\n"),
            text.unwrap_or_default()
        )
    })
}

/// The first seed, and how many: `ETCD2_BACKUP_PROMISE=1000:500`.
fn seeds() -> (u64, u64) {
    let Ok(asked) = env::var("ETCD2_BACKUP_PROMISE") else { return (0, SEEDS) };
    let parsed = asked.split_once(':').and_then(|(first, n)| Some((first.parse().ok()?, n.parse().ok()?)));
    parsed.unwrap_or_else(|| panic!("ETCD2_BACKUP_PROMISE={asked}: not FIRST:COUNT"))
}

#[test]
#[allow(clippy::print_stdout, reason = "a run of random order says what it met")]
fn no_cycle_ends_well_with_a_point_that_a_restore_does_not_have() {
    let Some(tools) = Tools::from_env() else { return };
    let (first, seeds) = seeds();
    let (next, met, wrong) = (AtomicU64::new(0), Met::default(), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= seeds || !wrong.lock().unwrap().is_empty() {
                return;
            }
            if let Err(why) = judge(first + at, tools, &met) {
                wrong.lock().unwrap().push(why);
            }
        }
    };
    thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
    let wrong = wrong.into_inner().unwrap();
    println!("seeds {first} to {}: {met:?}", first + seeds - 1);
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let least = [&met.promised, &met.failed, &met.lied, &met.behind, &met.damaged, &met.generations];
    assert!(seeds < SEEDS || least.iter().all(|n| n.load(Ordering::Relaxed) >= seeds / 3), "{met:?}");
}
