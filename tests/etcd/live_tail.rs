//! The data directories of a running cluster, copied every 50 ms under load while members are killed and come back:
//! every copy of the leader's is a prefix of the log that holds all writes acknowledged before the copy began.

#![allow(clippy::print_stdout, reason = "a run under load says what it met")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use etcd2_backup::etcd::datadir::{Contents, DataDir, Family};
use etcd2_backup::etcd::rewrite::{NewMember, Purpose, Rewrite, Target, prove, write_member_dir};
use etcd2_backup::etcd::wal;
use testkit::etcd::{Cluster, Member, raft};
use testkit::keys::{self, Client, How};
use testkit::tools::{Tools, etcd_version};

use super::copier::Copier;

const WRITERS: usize = 6;
const PAUSE: Duration = Duration::from_millis(50);
const LIMIT: Duration = Duration::from_secs(90);
/// Together they fill a segment of 64 MB.
const BULK: (usize, usize) = (220, 400_000);
const KILLS: usize = 6;
/// Copies that are started under a real etcd.
const STARTED: usize = 6;

/// Where a member is, running or not.
struct Seat {
    url: String,
    data_dir: PathBuf,
}

/// The writers' books.
#[derive(Default)]
struct Books {
    /// The numbers each writer was told are written.
    acknowledged: [Mutex<Vec<u64>>; WRITERS],
    failed: AtomicU64,
    bulk: AtomicU64,
    copies: AtomicU64,
    end: AtomicBool,
}

impl Books {
    /// How many numbers of each writer are acknowledged by now.
    fn lengths(&self) -> [usize; WRITERS] {
        std::array::from_fn(|w| self.acknowledged[w].lock().unwrap().len())
    }

    fn total(&self) -> usize {
        self.lengths().iter().sum()
    }
}

fn key(writer: usize, number: u64) -> String {
    format!("/live/{writer}/{number}")
}

fn value(writer: usize, number: u64) -> String {
    format!("{number} of {writer} {}", "x".repeat((number % 300) as usize))
}

/// Writes keys that nobody else writes, one behind the other, to whichever member answers.
fn write(writer: usize, seats: &[Seat], books: &Books) {
    let mut at = writer;
    let mut client = Client::new(&seats[at % 3].url).unwrap();
    for number in 0.. {
        if books.end.load(SeqCst) {
            return;
        }
        // What is not acknowledged may be written or not: nothing follows from it.
        if client.put(&key(writer, number), &value(writer, number)).is_ok() {
            books.acknowledged[writer].lock().unwrap().push(number);
        } else {
            books.failed.fetch_add(1, SeqCst);
            at += 1;
            client = Client::new(&seats[at % 3].url).unwrap();
            thread::sleep(PAUSE);
        }
    }
}

/// Fills segments: a value for a key that must exist and does not is in the log, and in no store or snapshot.
fn fill(seats: &[Seat], books: &Books) {
    let junk = "j".repeat(BULK.1);
    let how = How { prev_exist: Some(true), ..How::default() };
    let mut at = 0;
    while books.bulk.load(SeqCst) < BULK.0 as u64 && !books.end.load(SeqCst) {
        let refused = Client::new(&seats[at % 3].url).unwrap().put_how("/absent", &junk, &how).unwrap_err();
        if format!("{refused:#}").contains("answered 404") {
            books.bulk.fetch_add(1, SeqCst);
        } else {
            at += 1;
            thread::sleep(PAUSE);
        }
    }
}

/// Whether a member leads the newest term. A write acknowledged before in a newer one would be on two members, and
/// these would know of that term.
fn leads(seats: &[Seat], which: usize) -> bool {
    let all: Vec<_> = seats.iter().map(|s| raft(&s.url).ok()).collect();
    let Some(own) = all[which].filter(|r| r.leads) else { return false };
    let known: Vec<u64> = all.iter().flatten().map(|r| r.term).collect();
    known.len() >= 2 && known.iter().all(|&term| term == own.term)
}

fn leader(seats: &[Seat]) -> Option<usize> {
    let terms = seats
        .iter()
        .enumerate()
        .filter_map(|(i, s)| raft(&s.url).ok().filter(|r| r.leads).map(|r| (r.term, i)));
    terms.max().map(|(_, i)| i)
}

/// A copy that is started later, and what must be in it.
struct Sample {
    dir: DataDir,
    contents: Contents,
    keys: HashMap<String, String>,
}

/// What the copier did.
#[derive(Default)]
struct Report {
    of_leader: u64,
    of_others: u64,
    parts: u64,
    entries: u64,
    checked: u64,
    samples: Vec<Sample>,
}

struct Copies<'a> {
    seats: &'a [Seat],
    books: &'a Books,
    work: &'a Path,
    copiers: Vec<Copier>,
    /// How many of each writer's acknowledged numbers were found in a member's generation already.
    found: Vec<(u64, [usize; WRITERS])>,
    /// Every entry ever copied: equal index and term is the same entry, on every member.
    log: HashMap<(u64, u64), u32>,
    report: Report,
}

impl Copies<'_> {
    fn run(&mut self) -> Result<()> {
        let dirs: Vec<DataDir> =
            self.seats.iter().map(|s| DataDir::open(&s.data_dir, None)).collect::<Result<_>>()?;
        let mut which = 0;
        for number in 0_u64.. {
            let tick = Instant::now();
            if self.books.end.load(SeqCst) {
                return Ok(());
            }
            let leading = leader(self.seats).unwrap_or(which);
            which = if number % 4 == 3 { (leading + 1 + (number / 4 % 2) as usize) % 3 } else { leading };
            self.copy(number, which, &dirs[which])
                .with_context(|| format!("copy {number}, of member {which}"))?;
            self.books.copies.fetch_add(1, SeqCst);
            thread::sleep(PAUSE.saturating_sub(tick.elapsed()));
        }
        Ok(())
    }

    fn copy(&mut self, number: u64, which: usize, dir: &DataDir) -> Result<()> {
        let acknowledged = self.books.lengths();
        let of_leader = leads(self.seats, which);
        let copier = &mut self.copiers[which];
        let new = copier.copy(dir, number % 13 == 12)?;
        for entry in &copier.added {
            let known = *self.log.entry((entry.index, entry.term)).or_insert(entry.check);
            ensure!(known == entry.check, "entry {} of term {} is another one", entry.index, entry.term);
        }
        self.report.parts += u64::from(new);
        self.report.entries += copier.added.len() as u64;
        if of_leader {
            self.report.of_leader += 1;
            self.holds_all(which, acknowledged)?;
        } else {
            self.report.of_others += 1;
        }
        if number % 20 == 19 && !self.copiers[which].content.keys.is_empty() {
            let copier = &self.copiers[which];
            let data_dir = self.work.join(format!("unpacked-{number}"));
            let (dir, contents) = copier.unpack(&data_dir)?;
            copier.tidy()?;
            self.report.samples.push(Sample { dir, contents, keys: copier.content.keys.clone() });
        }
        Ok(())
    }

    fn holds_all(&mut self, which: usize, acknowledged: [usize; WRITERS]) -> Result<()> {
        let copier = &self.copiers[which];
        // What was found in a generation stays in it, unless entries were taken back.
        let stamp = copier.generations() << 32 | copier.content.overwrites;
        if self.found[which].0 != stamp {
            self.found[which] = (stamp, [0; WRITERS]);
        }
        for (writer, &count) in acknowledged.iter().enumerate() {
            let numbers = self.books.acknowledged[writer].lock().unwrap();
            let found = &mut self.found[which].1[writer];
            for &number in &numbers[(*found).min(count)..count] {
                let (key, value) = (key(writer, number), value(writer, number));
                ensure!(
                    copier.content.keys.get(&key) == Some(&value),
                    "{key} was acknowledged and is not in it"
                );
                self.report.checked += 1;
            }
            *found = count.max(*found);
        }
        Ok(())
    }
}

/// Waits until something holds, or the copier has failed.
fn wait(books: &Books, what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() && !books.end.load(SeqCst) {
        assert!(Instant::now() < deadline, "{what}: not within {} s", LIMIT.as_secs());
        thread::sleep(PAUSE);
    }
}

/// Kills leader and followers in turn and starts them again; the last ones when the segments are full.
fn kill_and_restart(cluster: &mut Cluster, seats: &[Seat], books: &Books) {
    let mut killed = 0;
    let mut behind = 0;
    while killed < KILLS || behind < 2 {
        let (copies, writes) = (books.copies.load(SeqCst), books.total());
        wait(books, "copies and writes", || {
            books.copies.load(SeqCst) >= copies + 20 && books.total() >= writes + 500
        });
        if books.end.load(SeqCst) {
            return;
        }
        behind += usize::from(books.bulk.load(SeqCst) >= BULK.0 as u64);
        let victim = (leader(seats).unwrap_or(killed % 3) + [0, 1, 0, 2][killed % 4]) % 3;
        cluster.members[victim].kill().unwrap();
        killed += 1;
        let copies = books.copies.load(SeqCst);
        wait(books, "copies of a cluster that lost one", || books.copies.load(SeqCst) >= copies + 8);
        cluster.members[victim].start().unwrap();
    }
    println!("{killed} kills");
}

/// Restores a copy, starts it under etcd and compares every key.
fn start(tools: &Tools, sample: &Sample, data_dir: &Path) {
    let Sample { dir, contents, keys } = sample;
    let mut member = Member::new(tools, "restored", data_dir).unwrap();
    let new = NewMember { id: 0x1234, peer_urls: vec![member.peer_url.clone()] };
    let family = if etcd_version(&tools.etcd).unwrap().0 == 2 { Family::Two } else { Family::Three };
    let path = data_dir.join("member");
    let target = Target { member_id: new.id, path: &path };
    let rewrite =
        Rewrite { cluster_id: 7, purpose: Purpose::Found(vec![new]), up_to: None, family, bump: None };
    write_member_dir(dir, contents, &rewrite, target).unwrap();
    prove(contents, &rewrite, target).unwrap();
    member.start().unwrap();
    let listed = keys::dump(&member.client_url).unwrap();
    let found: HashMap<String, String> =
        listed.into_iter().filter_map(|(key, node)| Some((key, node.value?))).collect();
    assert_eq!(found.len(), keys.len());
    assert!(found == *keys, "{}", dir.wal.display());
}

#[test]
fn every_copy_of_a_cluster_under_load_and_kill_is_a_prefix_with_all_acknowledged_writes() {
    let Some(tools) = Tools::from_env() else { return };
    let work = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(tools, &["e1", "e2", "e3"].map(|n| (n, work.path().join(n)))).unwrap();
    for (variable, value) in
        [("ETCD_SNAPSHOT_COUNT", "500"), ("ETCD_MAX_WALS", "1"), ("ETCD_MAX_SNAPSHOTS", "2")]
    {
        cluster.set(variable, value);
    }
    cluster.start().unwrap();
    let seats: Vec<Seat> = cluster
        .members
        .iter()
        .map(|m| Seat { url: m.client_url.clone(), data_dir: m.data_dir.clone() })
        .collect();
    let books = Books::default();
    let archive = |i: usize| Copier::new(&work.path().join(format!("archive-{i}")));
    let mut copies = Copies {
        seats: &seats,
        books: &books,
        work: work.path(),
        copiers: (0..3).map(archive).collect(),
        found: vec![(0, [0; WRITERS]); 3],
        log: HashMap::new(),
        report: Report::default(),
    };
    let started = Instant::now();
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (seats, books) = (&seats, &books);
            scope.spawn(move || write(writer, seats, books));
        }
        scope.spawn(|| fill(&seats, &books));
        let copying = scope.spawn(|| {
            let result = copies.run();
            books.end.store(true, SeqCst);
            result
        });
        kill_and_restart(&mut cluster, &seats, &books);
        books.end.store(true, SeqCst);
        copying.join().unwrap().unwrap_or_else(|e| panic!("{e:#}"));
    });
    let wrote = started.elapsed();
    cluster.stop().unwrap();

    let report = copies.report;
    let generations: u64 = copies.copiers.iter().map(Copier::generations).sum();
    let segments: Vec<Vec<u64>> = seats
        .iter()
        .map(|s| wal::segments(&s.data_dir.join("member/wal")).unwrap().iter().map(|s| s.sequence).collect())
        .collect();
    println!(
        "{wrote:.1?}: {} writes acknowledged, {} not; {} copies of the leader, {} others; {} parts, {generations} \
         generations, {} entries; {} acknowledged writes looked up; segments at the end {segments:?}",
        books.total(),
        books.failed.load(SeqCst),
        report.of_leader,
        report.of_others,
        report.parts,
        report.entries,
        report.checked,
    );
    assert!(report.of_leader >= 50 && report.of_others >= 20, "too few copies");
    assert!(segments.iter().any(|s| s[0] > 0), "no member purged a segment: {segments:?}");
    assert!(report.samples.len() >= STARTED, "{} samples", report.samples.len());
    let every = report.samples.len() / STARTED;
    thread::scope(|scope| {
        for (i, sample) in report.samples.iter().step_by(every).enumerate() {
            let data_dir = work.path().join(format!("restored-{i}"));
            scope.spawn(move || start(tools, sample, &data_dir));
        }
    });
}
