//! The restore of a founding member beside the original's way, on the same store and the same remote: both from the start of the
//! command until etcd may be started. And a seeded join by the size of the store: from `member add` until it has caught up.

#![allow(missing_docs, reason = "a program of its own")]
#![allow(clippy::print_stdout, reason = "its results")]

mod place;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use place::{Place, VALUE_BYTES, asked, run};
use testkit::tools::Tools;

const KEYS: usize = 100_000;
const ROUNDS: usize = 5;
/// Between two looks of the original at its temporary etcd, and how many.
const PAUSE: Duration = Duration::from_secs(2);
const LOOKS: usize = 10;
/// In its place, to see what it takes without its pauses.
const NO_PAUSE: Duration = Duration::from_millis(10);

fn main() {
    if !(asked("original") || asked("join")) {
        return;
    }
    let Some(tools) = Tools::from_env() else { return };
    if asked("original") {
        side_by_side(tools);
    }
    if asked("join") {
        println!("a seeded join, from member add until it has caught up, the fastest of {ROUNDS}");
        for keys in [1000, 30_000] {
            join(tools, keys);
        }
    }
}

/// So many keys of 10 kB in the snapshot, and the same log behind it for any number.
fn join(tools: &Tools, keys: usize) {
    let mut founder = Place::empty(tools, "e1", "11111111111111111111111111111111");
    founder.etcd.set("ETCD_SNAPSHOT_COUNT", keys.to_string());
    // Some are etcd's own entries; it stops when the snapshot is written.
    for (folder, keys) in [("/bench", keys + 20), ("/behind", 100)] {
        founder.etcd.start().unwrap();
        founder.fill_with(folder, keys, 10 << 10);
        founder.etcd.stop().unwrap();
    }
    founder.etcd.start().unwrap();
    run(&mut founder.command("backup"));
    let (mut fastest, mut start) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        founder.etcd.stop().unwrap();
        run(&mut founder.command("restore"));
        founder.etcd.start().unwrap();
        let mut second = founder.joining("e2", "22222222222222222222222222222222");
        let prepared = since_added(second.command("join").arg("--no-start"));
        let began = Instant::now();
        second.etcd.start().unwrap();
        start = start.min(began.elapsed());
        let began = Instant::now();
        run(&mut second.command("join"));
        fastest = fastest.min(prepared + began.elapsed());
        // Two members without one of them cannot go on: the next round founds a cluster of one again.
        second.etcd.kill().unwrap();
    }
    println!("  {:>4} MB: {fastest:>7.1?}, and etcd's own start {start:>7.1?}", keys * 10 / 1000);
}

/// Runs it; how long it took from the line on that says that the member was added.
fn since_added(command: &mut Command) -> Duration {
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut added, mut said) = (None, String::new());
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.starts_with("this node is member ") {
            added = Some(Instant::now());
        }
        said += &line;
    }
    assert!(child.wait().unwrap().success() && said.contains("will be seeded from"), "{said}");
    added.unwrap().elapsed()
}

fn side_by_side(tools: &Tools) {
    let mut place = Place::new(tools, KEYS);
    run(&mut place.command("backup"));
    back_up_as_the_original(&place);
    place.etcd.stop().unwrap();
    println!("restore of {KEYS} keys x {VALUE_BYTES} B, the median of {ROUNDS}");
    let (mut times, mut paused) = ([const { Vec::new() }; 3], 0);
    for _ in 0..ROUNDS {
        times[0].push(ours(&place));
        let (time, looks) = original(&place, PAUSE);
        paused += usize::from(looks > 1);
        times[1].push(time);
        times[2].push(original(&place, NO_PAUSE).0);
    }
    let [ours, original, hurried] = times.map(|mut times| {
        times.sort_unstable();
        times[ROUNDS / 2]
    });
    let ratio = |other: Duration| other.as_secs_f64() / ours.as_secs_f64();
    println!("  etcd2-backup                        {ours:>8.1?}");
    println!(
        "  the original's                      {original:>8.1?}  1/{:.1}, {paused} paused",
        ratio(original)
    );
    println!("  the original's without its pauses   {hurried:>8.1?}  1/{:.1}", ratio(hurried));
}

fn ours(place: &Place<'_>) -> Duration {
    let began = Instant::now();
    run(&mut place.command("restore"));
    began.elapsed()
}

fn rclone(place: &Place<'_>, from: &str, to: &str) {
    let mut rclone = Command::new(&place.tools.rclone);
    rclone.env("RCLONE_CHECKSUM", "true").arg("--config").arg(place.path("root/etc/rclone.conf")).arg("copy");
    run(rclone.args([from, to].map(|path| format!("r:{}", place.path(path).display()))));
}

fn back_up_as_the_original(place: &Place<'_>) {
    let mut etcdctl = Command::new(&place.tools.etcdctl);
    etcdctl.env("ETCDCTL_API", "2").arg("backup").arg("--data-dir").arg(&place.etcd.data_dir);
    run(etcdctl.arg("--backup-dir").arg(place.path("original/backup")));
    rclone(place, "original/backup", "remote/original");
}

/// As etcd2-backup-coreos did it: removed, downloaded, made a new cluster by a temporary etcd whose member is then told its
/// peer URL, copied into place. And how often it looked at that etcd.
fn original(place: &Place<'_>, pause: Duration) -> (Duration, usize) {
    let (data, restored) = (place.path("original/etcd2"), place.path("original/restore"));
    let began = Instant::now();
    for dir in [&data, &restored] {
        let _ = fs::remove_dir_all(dir);
        fs::create_dir_all(dir).unwrap();
    }
    rclone(place, "remote/original", "original/restore");
    let url = &place.etcd.client_url;
    let mut etcd = Command::new(&place.tools.etcd);
    etcd.envs(&place.etcd.environment).env("ETCD_DATA_DIR", &restored).arg("--force-new-cluster");
    let mut etcd = etcd.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let etcdctl = |arguments: &[&str]| {
        let mut etcdctl = Command::new(&place.tools.etcdctl);
        let output =
            etcdctl.env("ETCDCTL_API", "2").arg("--endpoints").arg(url).args(arguments).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let most = if pause == PAUSE { LOOKS } else { 1000 };
    let mut looks = 1;
    while !etcdctl(&["cluster-health"]).0 {
        assert!(looks < most, "the temporary etcd is not healthy");
        looks += 1;
        thread::sleep(pause);
    }
    let (listed, members) = etcdctl(&["member", "list"]);
    let id = members.split(':').next().filter(|_| listed).unwrap().to_owned();
    assert!(etcdctl(&["member", "update", &id, &place.etcd.peer_url]).0);
    etcd.kill().unwrap();
    etcd.wait().unwrap();
    run(Command::new("cp").arg("-a").arg(restored.join("member")).arg(&data));
    run(Command::new("chown").arg("-R").arg("root:root").arg(&data));
    (began.elapsed(), looks)
}
