//! A v3 store in the archive. `cycle`: what a cycle costs beside `etcdctl snapshot save` and `rclone copy`, with a small and a large
//! db. `latency`: what who writes to etcd notices while a base is taken, and what a base takes.

#![allow(missing_docs, reason = "a program of its own")]
#![allow(clippy::print_stdout, reason = "its results")]

mod kubernetes;
mod place;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use etcd2_backup::backup::base::copy::{self, Way};
use etcd2_backup::etcd::datadir::DataDir;
use etcd2_backup::settings::{self, Settings, UnitEnvironment};
use etcd2_backup::sys::root::Root;
use kubernetes::{Random, key, object};
use place::{Place, asked, changed, cpu_of_children, files, memory_of, read_bytes, run};
use serde_json::{Value, json};
use testkit::tools::Tools;
use testkit::v3::{Client, base64};

const SMALL: u64 = 4_500;
const LARGE: u64 = 135_000;
/// Of a cycle: half of them to so many objects, the others to any.
const PER_SECOND: u32 = 30;
const CYCLE: u32 = 30;
const HOT: u64 = 100;
const ROUNDS: usize = 5;
/// Of one writer, while its latency is measured.
const PUTS_PER_SECOND: u32 = 200;
const MEASURED: Duration = Duration::from_secs(10);
const LATENCY_ROUNDS: usize = 4;

fn main() {
    if !(asked("cycle") || asked("latency")) {
        return;
    }
    let all = Tools::all_with_v3();
    let Some(tools) = all.first() else { return };
    println!("{}", tools.etcd.display());
    if asked("cycle") {
        cycle(tools);
    }
    if asked("latency") {
        latency(tools);
    }
}

fn cycle(tools: &Tools) {
    let nodes = [SMALL, LARGE].map(|objects| Node::filled(tools, objects));
    for node in &nodes {
        node.backup();
    }
    let mut costs = [(); 2].map(|()| (Vec::new(), Vec::new()));
    for round in 0..ROUNDS as u64 {
        thread::scope(|scope| {
            for node in &nodes {
                scope.spawn(move || node.write(round));
            }
        });
        for (node, (ours, peer)) in nodes.iter().zip(&mut costs) {
            // Who is first finds the machine, and etcd's db, as the writes left them.
            if round % 2 == 0 {
                ours.push(node.backup());
                peer.push(node.snapshot());
            } else {
                peer.push(node.snapshot());
                ours.push(node.backup());
            }
        }
    }
    println!(
        "{} writes in {CYCLE} s a cycle, half of them to {HOT} objects; medians of {ROUNDS} cycles",
        PER_SECOND * CYCLE
    );
    for (node, (ours, peer)) in nodes.iter().zip(&costs) {
        let mean = (0..1000).map(|n| object(n, n).len()).sum::<usize>() / 1000;
        println!("{} objects of {mean} B, a db of {} B", node.objects, node.db_bytes());
        println!("  a cycle of etcd2-backup  {}", Cost::medians(ours));
        println!("  etcdctl and rclone copy  {}", Cost::medians(peer));
        println!("  the snapshot by zstd -3  {:>9} B", compressed(&node.place.path("snapshot/db")));
    }
}

fn latency(tools: &Tools) {
    let node = Node::filled(tools, LARGE);
    node.backup();
    let writer = Writer::default();
    let (mut quiet, mut base, mut grpc) = (Series::default(), Series::default(), Series::default());
    let mut costs: BTreeMap<String, Vec<Cost>> = BTreeMap::new();
    thread::scope(|scope| {
        scope.spawn(|| writer.write(&node));
        for _ in 0..LATENCY_ROUNDS {
            quiet.add(writer.during(|| thread::sleep(MEASURED)));
            let (mut puts, mut counted) = (Vec::new(), Duration::ZERO);
            while counted < MEASURED {
                puts.extend(writer.during(|| {
                    let (cost, way) = as_the_unit(|| node.base());
                    counted += cost.wall;
                    costs.entry(way).or_default().push(cost);
                }));
                // Begins a generation with it.
                node.backup();
            }
            base.add(puts);
            quiet.add(writer.during(|| thread::sleep(MEASURED)));
            grpc.add(writer.during(|| {
                as_the_unit(|| {
                    let began = Instant::now();
                    while began.elapsed() < MEASURED {
                        node.copy_by_grpc();
                    }
                });
            }));
        }
        writer.done.store(true, Ordering::Relaxed);
    });
    println!("a db of {} B, {PUTS_PER_SECOND} puts/s of 1 KB, {LATENCY_ROUNDS} rounds", node.db_bytes());
    for (way, costs) in &costs {
        println!("  {} bases by {way}: {}", costs.len(), Cost::medians(costs));
    }
    println!("  puts without a backup      {quiet}");
    println!("  puts during base --now     {base}");
    println!("  puts during copies by gRPC {grpc}");
}

/// With the priority that etcd2-backup-base.service has. Linux has one for each thread, which its children inherit.
fn as_the_unit<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let with_priority = || {
        rustix::process::nice(19).unwrap();
        work()
    };
    thread::scope(|scope| scope.spawn(with_priority).join().unwrap())
}

/// A node whose v3 store holds so many objects.
struct Node<'a> {
    place: Place<'a>,
    objects: u64,
}

impl<'a> Node<'a> {
    fn filled(tools: &'a Tools, objects: u64) -> Self {
        let mut place = Place::empty(tools, "e1", "0123456789abcdef0123456789abcdef");
        place.etcd.start().unwrap();
        let mut client = Client::new(&place.etcd.client_url).unwrap();
        let numbers: Vec<u64> = (0..objects).collect();
        for numbers in numbers.chunks(100) {
            let puts: Vec<Value> = numbers
                .iter()
                .map(|n| json!({"requestPut": {"key": base64(key(*n)), "value": base64(object(*n, 0))}}))
                .collect();
            client.call("kv/txn", &json!({ "success": puts })).unwrap();
        }
        Self { place, objects }
    }

    fn db(&self) -> PathBuf {
        self.place.etcd.data_dir.join("member/snap/db")
    }

    fn db_bytes(&self) -> u64 {
        fs::metadata(self.db()).unwrap().len()
    }

    /// The writes of a cycle, at their pace.
    fn write(&self, round: u64) {
        let mut client = Client::new(&self.place.etcd.client_url).unwrap();
        let began = Instant::now();
        for number in 0..PER_SECOND * CYCLE {
            let due = began + Duration::from_secs(1) / PER_SECOND * number;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let version = 1 + round * u64::from(PER_SECOND * CYCLE) + u64::from(number);
            let object_number =
                if number % 2 == 0 { version / 2 % HOT } else { Random::of(version).next() % self.objects };
            client.put(&key(object_number), &object(object_number, version)).unwrap();
        }
    }

    fn backup(&self) -> Cost {
        self.ours("backup", &[]).0
    }

    /// Its cost, and by which way the store was copied.
    fn base(&self) -> (Cost, String) {
        let (cost, journal) = self.ours("base", &["--now"]);
        let way = journal.split_once(", by ").and_then(|(_, way)| way.split_once(", for generation"));
        (cost, way.unwrap_or_else(|| panic!("no base was taken: {journal}")).0.to_owned())
    }

    fn ours(&self, verb: &str, arguments: &[&str]) -> (Cost, String) {
        let (remote, journal) = (self.place.path("remote/ours"), self.place.path("journal"));
        let mut command = self.place.command(verb);
        // The store may come by curl.
        command.env("PATH", format!("{}:/usr/bin:/bin", self.place.tools.rclone.parent().unwrap().display()));
        command.args(arguments).stderr(File::create(&journal).unwrap());
        let before = files(&remote);
        let mut cost = Cost::of(self, || memory_of(&mut command));
        cost.sent = changed(&before, &files(&remote));
        let journal = fs::read_to_string(&journal).unwrap();
        if verb == "backup" {
            cost.read = read_bytes(&journal);
        }
        (cost, journal)
    }

    /// The same by etcd's own program and rclone.
    fn snapshot(&self) -> Cost {
        let (tools, local) = (self.place.tools, self.place.path("snapshot"));
        let (db, remote) = (local.join("db"), self.place.path("remote/snapshot"));
        fs::create_dir_all(&local).unwrap();
        let before = files(&remote);
        let mut cost = Cost::of(self, || {
            let mut etcdctl = Command::new(&tools.etcdctl);
            etcdctl.env("ETCDCTL_API", "3").args(["--endpoints", &self.place.etcd.client_url]);
            run(etcdctl.args(["snapshot", "save"]).arg(&db));
            let mut rclone = Command::new(&tools.rclone);
            rclone.arg("--config").arg(self.place.path("root/etc/rclone.conf")).arg("copy").arg(&local);
            run(rclone.arg(format!("r:{}", remote.display())));
            0
        });
        cost.sent = changed(&before, &files(&remote));
        cost
    }

    fn copy_by_grpc(&self) {
        let (settings, folder) = (self.settings(), self.place.path("copy"));
        let dir = DataDir::open(&self.place.etcd.data_dir, None).unwrap();
        copy::by(Way::Grpc, &settings, &dir, &folder).unwrap();
    }

    fn settings(&self) -> Settings {
        let pairs = [("RCLONE_ENDPOINT", "r:p"), ("ETCD2_BACKUP_RCLONE_RUNNER", "host")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let machine = "0123456789abcdef0123456789abcdef";
        let root = Root::new(self.place.path("root"));
        let mut settings = settings::parse(&pairs, &UnitEnvironment::default(), machine, &root).unwrap();
        settings.etcd.client_urls = vec![self.place.etcd.client_url.clone()];
        settings
    }
}

/// One writer; how long its puts take is noted from when it is asked to.
#[derive(Default)]
struct Writer {
    done: AtomicBool,
    noted: Mutex<Vec<Duration>>,
}

impl Writer {
    fn write(&self, node: &Node<'_>) {
        let mut client = Client::new(&node.place.etcd.client_url).unwrap();
        let mut due = Instant::now();
        for number in 1.. {
            if self.done.load(Ordering::Relaxed) {
                return;
            }
            // Puts that came too late are not made up for: each is asked for when etcd has nothing else to do for us.
            due = (due + Duration::from_secs(1) / PUTS_PER_SECOND).max(Instant::now());
            thread::sleep(due - Instant::now());
            let object_number = Random::of(number).next() % node.objects;
            let (key, value) = (key(object_number), object(object_number, number));
            let began = Instant::now();
            client.put(&key, &value).unwrap();
            self.noted.lock().unwrap().push(began.elapsed());
        }
    }

    fn during(&self, work: impl FnOnce()) -> Vec<Duration> {
        self.noted.lock().unwrap().clear();
        work();
        std::mem::take(&mut *self.noted.lock().unwrap())
    }
}

/// What the puts took, each time that something was measured.
#[derive(Default)]
struct Series(Vec<Vec<Duration>>);

impl Series {
    fn add(&mut self, mut puts: Vec<Duration>) {
        puts.sort_unstable();
        self.0.push(puts);
    }

    /// The median of what this many of a thousand puts took at most.
    fn median_of(&self, thousandths: usize) -> Duration {
        median(self.0.iter().map(|puts| puts[(puts.len() - 1) * thousandths / 1000]))
    }
}

impl std::fmt::Display for Series {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let each = self.0.iter().map(|puts| format!("{:.1?}", puts[(puts.len() - 1) * 99 / 100]));
        write!(
            f,
            "p50 {:>6.1?}, p99 {:>6.1?}, longest {:>6.1?} of {} puts (p99 of each round: {})",
            self.median_of(500),
            self.median_of(990),
            self.0.iter().flatten().max().unwrap(),
            self.0.iter().map(Vec::len).sum::<usize>(),
            each.collect::<Vec<_>>().join(" ")
        )
    }
}

#[derive(Debug, Default)]
struct Cost {
    sent: u64,
    /// Bytes of the log that a backup read.
    read: u64,
    /// Milliseconds of all processes that are started, and of etcd meanwhile.
    cpu: u64,
    etcd: u64,
    /// kB, of our own process.
    memory: u64,
    wall: Duration,
}

impl Cost {
    fn of(node: &Node<'_>, work: impl FnOnce() -> u64) -> Self {
        let etcd = || cpu_of(node.place.etcd.pid().unwrap());
        let (cpu, of_etcd, began) = (cpu_of_children(), etcd(), Instant::now());
        let memory = work();
        let wall = began.elapsed();
        Self { cpu: cpu_of_children() - cpu, etcd: etcd() - of_etcd, memory, wall, ..Self::default() }
    }

    fn medians(all: &[Self]) -> String {
        let of = |what: fn(&Self) -> u64| median(all.iter().map(what));
        format!(
            "{:>9} B sent ({} to {}), {:>7} B of log, {:>5} ms of processor, {:>5} ms of etcd's, {:.2?}, {} kB of memory at most",
            of(|cost| cost.sent),
            all.iter().map(|cost| cost.sent).min().unwrap(),
            all.iter().map(|cost| cost.sent).max().unwrap(),
            of(|cost| cost.read),
            of(|cost| cost.cpu),
            of(|cost| cost.etcd),
            median(all.iter().map(|cost| cost.wall)),
            all.iter().map(|cost| cost.memory).max().unwrap(),
        )
    }
}

fn median<T: Ord>(all: impl Iterator<Item = T>) -> T {
    let mut all: Vec<T> = all.collect();
    all.sort_unstable();
    let middle = all.len() / 2;
    all.swap_remove(middle)
}

/// Milliseconds of a process that runs.
fn cpu_of(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    // utime and stime, in ticks of 10 ms.
    [11, 12].iter().map(|at: &usize| fields[*at].parse::<u64>().unwrap() * 10).sum()
}

/// Bytes of a file, compressed as by `zstd -3`.
fn compressed(path: &Path) -> u64 {
    zstd::encode_all(File::open(path).unwrap(), 3).unwrap().len() as u64
}
