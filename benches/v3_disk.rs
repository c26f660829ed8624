//! A disk with a v3 store restored and started, beside what etcd itself takes for a copy of the same db, its start and the replay of the
//! same entries: 500 MB of db, 200,000 entries behind it.

#![allow(missing_docs, reason = "a program of its own")]
#![allow(clippy::print_stdout, reason = "its results")]

mod place;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use place::{Place, asked, memory_of, value};
use testkit::tools::Tools;
use testkit::v3::Client;

const WRITERS: usize = 16;
/// Values of the db, and what is written behind it.
const LARGE: (usize, usize) = (2500, 200 << 10);
const SMALL: (usize, usize) = (200_000, 256);
const ROUNDS: usize = 3;

fn main() {
    if !asked("v3_disk") {
        return;
    }
    for tools in [Tools::from_env(), Tools::etcd_3_5_from_env()].into_iter().flatten() {
        measure(tools);
    }
}

fn measure(tools: &Tools) {
    let mut node = Place::empty(tools, "e1", "11111111111111111111111111111111");
    // As it is by default: no snapshot within this many.
    node.etcd.set("ETCD_SNAPSHOT_COUNT", "1000000");
    node.etcd.set("ETCD_QUOTA_BACKEND_BYTES", (4_u64 << 30).to_string());
    let member = node.path("root/var/lib/etcd2/member");
    let (db, old, saved) = (member.join("snap/db"), node.path("old-db"), node.path("saved"));
    node.etcd.start().unwrap();
    fill(&node, "large", LARGE);
    node.etcd.stop().unwrap();
    fs::copy(&db, &old).unwrap();
    node.etcd.start().unwrap();
    let revision = fill(&node, "small", SMALL);
    node.etcd.stop().unwrap();
    // A crash that lost all of the db's later commits: each of these entries is to be applied anew.
    fs::copy(&old, &db).unwrap();
    copy(&member, &saved);

    let megabytes = fs::metadata(&db).unwrap().len() / 1_000_000;
    println!(
        "{}: a db of {megabytes} MB and {} entries behind it, the fastest of {ROUNDS}",
        tools.etcd.display(),
        SMALL.0
    );
    let (mut plain, mut restored, mut ours, mut memory) = (Duration::MAX, Duration::MAX, Duration::MAX, 0);
    for _ in 0..ROUNDS {
        put_back(&saved, &member);
        let began = Instant::now();
        let copied = member.join("copy");
        fs::copy(&db, &copied).unwrap();
        fs::File::open(&copied).unwrap().sync_all().unwrap();
        started_at(&mut node, revision);
        plain = plain.min(began.elapsed());
        node.etcd.kill().unwrap();

        put_back(&saved, &member);
        let began = Instant::now();
        memory = memory.max(memory_of(
            node.command("restore").args(["--source", "local", "--no-bump"]).stderr(Stdio::null()),
        ));
        ours = ours.min(began.elapsed());
        started_at(&mut node, revision);
        restored = restored.min(began.elapsed());
        node.etcd.kill().unwrap();
    }
    println!("  a copy of the db, and etcd's start on this disk    {plain:>7.1?}");
    println!(
        "  restore, and etcd's start on what it wrote         {restored:>7.1?}   {:.2} times",
        restored.as_secs_f64() / plain.as_secs_f64()
    );
    println!("  of it the restore                                  {ours:>7.1?}   {memory} kB at most");
}

/// Writes so many values of so many bytes; the revision after it.
fn fill(node: &Place<'_>, name: &str, (count, bytes): (usize, usize)) -> u64 {
    let url = &node.etcd.client_url;
    thread::scope(|scope| {
        for first in 0..WRITERS {
            scope.spawn(move || {
                let mut client = Client::new(url).unwrap();
                for number in (first..count).step_by(WRITERS) {
                    let (key, value) = (format!("{name}/{number:06}"), value(number as u64, bytes));
                    client.put(&key, &value).unwrap();
                }
            });
        }
    });
    Client::new(url).unwrap().revision().unwrap()
}

/// Starts etcd, until it has applied everything.
fn started_at(node: &mut Place<'_>, revision: u64) {
    node.etcd.start().unwrap();
    let mut client = Client::new(&node.etcd.client_url).unwrap();
    while !client.revision().is_ok_and(|now| now >= revision) {
        thread::sleep(Duration::from_millis(20));
    }
}

fn copy(from: &Path, to: &PathBuf) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

fn put_back(saved: &Path, member: &PathBuf) {
    let data = member.parent().unwrap();
    fs::remove_dir_all(data).unwrap();
    fs::create_dir(data).unwrap();
    copy(saved, member);
    assert!(Command::new("sync").status().unwrap().success());
}
