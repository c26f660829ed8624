//! A cycle of the backup beside one of the original's method, on one etcd under writes: `etcdctl backup`, the last backup
//! copied from remote to remote, the new one sent. Bytes, processor time of all processes, memory, etcd's latency.

#![allow(missing_docs, reason = "a program of its own")]
#![allow(clippy::print_stdout, reason = "its results")]

mod place;

use std::fs::{self, File};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use place::{Place, VALUE_BYTES, asked, changed, cpu_of_children, files, memory_of, read_bytes, run, value};
use testkit::keys::Client;
use testkit::tools::Tools;

const PER_SECOND: u32 = 100;
const CYCLE: Duration = Duration::from_secs(30);
const CYCLES: u64 = 4;

fn main() {
    if !(asked("original") || asked("size")) {
        return;
    }
    let Some(tools) = Tools::from_env() else { return };
    if asked("original") {
        side_by_side(tools);
    }
    if asked("size") {
        by_size(tools);
    }
}

fn by_size(tools: &Tools) {
    println!("\nCPU of a cycle of {PER_SECOND} writes x 30 (all processes), by keys in the store");
    for keys in [10_000, 1_000_000] {
        let mut place = Place::new(tools, keys);
        place.ours();
        let mut times = Vec::new();
        for cycle in 0..5 {
            place.fill(&format!("/cycle{cycle}"), 3000);
            let cost = place.ours();
            times.push(cost.cpu);
            println!("  {keys:>9} keys: {:>4} ms of processor, {:>5} kB of memory", cost.cpu, cost.memory);
        }
        times.sort_unstable();
        println!("  {keys:>9} keys: the median is {} ms", times[times.len() / 2]);
    }
}

fn side_by_side(tools: &Tools) {
    let mut place = Place::new(tools, 100_000);
    place.ours();
    place.original();
    let during = Arc::new(AtomicUsize::new(0));
    let (done, latencies) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(vec![Vec::new(); 3])));
    let writer = {
        let (during, done, latencies) = (Arc::clone(&during), Arc::clone(&done), Arc::clone(&latencies));
        let url = place.etcd.client_url.clone();
        thread::spawn(move || write(&url, &during, &done, &latencies))
    };
    let (mut ours, mut original) = (Cost::default(), Cost::default());
    for _ in 0..CYCLES {
        let until = Instant::now() + CYCLE;
        thread::sleep(until - Instant::now());
        during.store(1, Ordering::Relaxed);
        ours += place.ours();
        during.store(2, Ordering::Relaxed);
        original += place.original();
        during.store(0, Ordering::Relaxed);
    }
    done.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    println!(
        "100,000 keys x {VALUE_BYTES} B, {PER_SECOND} writes/s, a cycle of 30 s, {CYCLES} cycles, for each cycle:"
    );
    for (name, cost) in [("the original's", per_cycle(&original)), ("etcd2-backup", per_cycle(&ours))] {
        println!("  {name:<15} {cost}");
    }
    println!("  bytes sent: 1/{}", original.sent / ours.sent.max(1));
    println!("  bytes sent without compression: 1/{}", original.sent / ours.read.max(1));
    println!(
        "  with those from remote to remote: 1/{}",
        (original.sent + original.copied) / ours.sent.max(1)
    );
    println!("  processor: 1/{:.1}", original.cpu as f64 / ours.cpu.max(1) as f64);
    println!("  own peak of memory: {} kB", ours.memory);
    for (name, all) in ["without a backup", "during ours", "during the original's"]
        .iter()
        .zip(latencies.lock().unwrap().iter_mut())
    {
        all.sort_unstable();
        let p99 = all.get(all.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default();
        println!("  p99 of etcd's writes {name}: {p99:?} of {} writes", all.len());
    }
}

fn per_cycle(cost: &Cost) -> String {
    format!(
        "{:>9} B sent, {:>9} B from remote to remote, {:>5} ms of processor, {:>5} ms",
        cost.sent / CYCLES,
        cost.copied / CYCLES,
        cost.cpu / CYCLES,
        cost.wall.as_millis() / u128::from(CYCLES)
    )
}

/// Writes at the pace, and notes how long each took and what ran then.
fn write(url: &str, during: &AtomicUsize, done: &AtomicBool, latencies: &Mutex<Vec<Vec<Duration>>>) {
    let mut client = Client::new(url).unwrap();
    let began = Instant::now();
    for number in 0.. {
        if done.load(Ordering::Relaxed) {
            return;
        }
        let due = began + Duration::from_secs(1) / PER_SECOND * number;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let (then, running) = (Instant::now(), during.load(Ordering::Relaxed));
        client
            .put(&format!("/bench/{:06}", number % 100_000), &value(!u64::from(number), VALUE_BYTES))
            .unwrap();
        latencies.lock().unwrap()[running].push(then.elapsed());
    }
}

#[derive(Debug, Default)]
struct Cost {
    sent: u64,
    /// Bytes of the log that ours sent: what they would be without compression.
    read: u64,
    copied: u64,
    /// Milliseconds.
    cpu: u64,
    /// kB, of our own process.
    memory: u64,
    wall: Duration,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.read += other.read;
        self.copied += other.copied;
        self.cpu += other.cpu;
        self.memory = self.memory.max(other.memory);
        self.wall += other.wall;
    }
}

impl Place<'_> {
    /// One cycle of ours.
    fn ours(&mut self) -> Cost {
        let remote = self.path("remote/ours");
        let before = files(&remote);
        let mut command = self.command("backup");
        let journal = self.path("journal");
        command.stderr(File::create(&journal).unwrap());
        let mut cost = Cost::default();
        cost.measure(|| memory_of(&mut command));
        cost.sent = changed(&before, &files(&remote));
        cost.read = read_bytes(&fs::read_to_string(&journal).unwrap());
        cost
    }

    /// One cycle as etcd2-backup-coreos did it.
    fn original(&mut self) -> Cost {
        let (now, last) = (self.path("remote/original"), self.path("remote/original_backup"));
        let before = [files(&now), files(&last)];
        let local = self.path("original/backup");
        let mut cost = Cost::default();
        cost.measure(|| {
            let _ = fs::remove_dir_all(&local);
            let mut etcdctl = Command::new(&self.tools.etcdctl);
            etcdctl.env("ETCDCTL_API", "2").arg("backup");
            etcdctl.arg("--data-dir").arg(&self.etcd.data_dir).arg("--backup-dir").arg(&local);
            run(&mut etcdctl);
            for (from, to) in [(&now, &last), (&local, &now)] {
                let mut rclone = Command::new(&self.tools.rclone);
                rclone.env("RCLONE_CHECKSUM", "true").arg("--config").arg(self.path("root/etc/rclone.conf"));
                rclone.arg("copy").arg(format!("r:{}", from.display())).arg(format!("r:{}", to.display()));
                fs::create_dir_all(from).unwrap();
                run(&mut rclone);
            }
            0
        });
        (cost.sent, cost.copied) = (changed(&before[0], &files(&now)), changed(&before[1], &files(&last)));
        cost
    }
}

impl Cost {
    /// Processor time of all that is started and waited for, and the memory that is given back.
    fn measure(&mut self, work: impl FnOnce() -> u64) {
        let (cpu, began) = (cpu_of_children(), Instant::now());
        self.memory = work();
        (self.cpu, self.wall) = (cpu_of_children() - cpu, began.elapsed());
    }
}
