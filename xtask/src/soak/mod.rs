//! `cargo xtask soak`: three members under writes, backups every second or two, and kills of etcd, of the backup and of the
//! remote at random. Twice a minute an archive is restored, started under a real etcd, and every write that had been
//! acknowledged before the last reported point must be there. With `--v3` the writes are transactions of the v3 store, and new
//! bases are taken in between.

mod clients;
mod served;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, bail, ensure};
use etcd2_backup::sys::fs::{create_dirs, remove_dir_if_there, write_atomic};
use etcd2_backup::sys::terminal::table::count;
use testkit::etcd::{Cluster, Member};
use testkit::tools::Tools;

use self::clients::{Clients, V2, V3};
use self::served::{Served, wait};
use crate::checkout;

const NAMES: [&str; 3] = ["e1", "e2", "e3"];
/// One restore in so much time.
const RESTORE: Duration = Duration::from_secs(30);
/// Long enough for a backup on a busy machine, retries included.
const LIMIT: Duration = Duration::from_secs(60);

/// What `soak` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How long it runs
    #[arg(long, value_name = "N", default_value_t = 10)]
    minutes: u64,
    /// What decides on each kill; printed, so that a run can be repeated
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write to the v3 store, by several clients; etcd serves no v2 API
    #[arg(long)]
    v3: bool,
}

#[derive(Debug, Default)]
struct Counts {
    backups: u64,
    bases: u64,
    failed: u64,
    killed_backups: u64,
    killed_etcds: u64,
    killed_remotes: u64,
    restores: u64,
    compared: u64,
}

/// Runs the soak.
pub(crate) fn main(options: &Options) -> Result<()> {
    let seed = options.seed.unwrap_or_else(|| u64::from(std::process::id()) * 0x9e37_79b9);
    println!("seed {seed}, {}", count(options.minutes, "minute", "minutes"));
    let status = Command::new(env!("CARGO")).args(["build", "--locked", "--workspace"]).status()?;
    ensure!(status.success(), "the node program does not compile");
    let dir = checkout::target().join("soak");
    remove_dir_if_there(&dir)?;
    create_dirs(&dir, 0o700)?;
    // A copy: somebody may build while it runs.
    fs::copy(checkout::target().join("debug/etcd2-backup"), dir.join("etcd2-backup"))?;
    let tools = Tools::locate_or_fetch(&checkout::target().join("tools")).map_err(checkout::with_hint)?;
    let mut cluster = Cluster::new(&tools, &NAMES.map(|name| (name, dir.join(name).join("var/lib/etcd2"))))?;
    // Snapshots, purges and new generations come by often.
    cluster.set("ETCD_SNAPSHOT_COUNT", "2000");
    if options.v3 {
        cluster.members.iter_mut().for_each(Member::without_v2);
    }
    cluster.start()?;
    let mut soak = Soak {
        remote: Served::start(&tools, &dir.join("remote"))?,
        random: Random(seed | 1),
        counts: Counts::default(),
        reported: BTreeMap::new(),
        down: Vec::new(),
        v3: options.v3,
        cluster,
        tools,
        dir,
    };
    for name in NAMES {
        soak.make_node(name, name)?;
    }
    let clients: Arc<dyn Clients> =
        if options.v3 { Arc::new(V3::new(seed)) } else { Arc::new(V2::default()) };
    let done = Arc::new(AtomicBool::new(false));
    let urls: Vec<String> = soak.cluster.members.iter().map(|m| m.client_url.clone()).collect();
    let writers: Vec<_> = (0..clients.number())
        .map(|which| {
            let (clients, done, urls) = (Arc::clone(&clients), Arc::clone(&done), urls.clone());
            thread::spawn(move || clients.write(which, &urls, &done))
        })
        .collect();
    let outcome = soak.run(Duration::from_secs(60 * options.minutes), &*clients);
    done.store(true, Ordering::Relaxed);
    let written =
        writers.into_iter().try_for_each(|writer| writer.join().unwrap_or_else(|_| bail!("a client died")));
    println!("{} acknowledged; {:?}", count(clients.acknowledged(), "write", "writes"), soak.counts);
    outcome.and(written).with_context(|| format!("seed {seed}"))?;
    ensure!(soak.counts.restores > 0 && soak.counts.compared > 0, "nothing was restored");
    ensure!(!options.v3 || soak.counts.bases > 0 || options.minutes < 5, "no base was taken");
    println!("no acknowledged write before a reported point was missing");
    Ok(())
}

struct Soak {
    dir: PathBuf,
    tools: Tools,
    cluster: Cluster,
    remote: Served,
    random: Random,
    counts: Counts,
    /// By node: the raft index that its last backup said the remote holds.
    reported: BTreeMap<String, u64>,
    /// Members that were killed, and when they come back.
    down: Vec<(usize, Instant)>,
    v3: bool,
}

impl Soak {
    fn run(&mut self, time: Duration, clients: &dyn Clients) -> Result<()> {
        let began = Instant::now();
        let mut restored = Instant::now();
        while began.elapsed() < time {
            let name = NAMES[self.random.below(3)];
            if self.v3 && self.random.below(12) == 0 {
                self.take_base(name)?;
            }
            self.back_up(name)?;
            self.trouble()?;
            if restored.elapsed() >= RESTORE {
                restored = Instant::now();
                self.remote.up()?;
                let name = NAMES[self.random.below(3)];
                self.restore(name, clients)?;
                println!("{:>4} s: {:?}", began.elapsed().as_secs(), self.counts);
            }
        }
        Ok(())
    }

    /// Kills and brings back, never so much that nothing is left to look at.
    fn trouble(&mut self) -> Result<()> {
        let now = Instant::now();
        if let Some(at) = self.down.iter().position(|(_, back)| *back <= now) {
            let (member, _) = self.down.remove(at);
            self.cluster.members[member].spawn(&[])?;
        }
        // All three at once too, now and then.
        if self.random.below(8) == 0 {
            let member = self.random.below(3);
            if self.down.iter().all(|(down, _)| *down != member) {
                self.cluster.members[member].kill()?;
                self.counts.killed_etcds += 1;
                self.down.push((member, now + Duration::from_millis(self.random.below(4000) as u64)));
            }
        }
        self.remote.up_if_due()?;
        if self.random.below(8) == 0 {
            self.remote.kill(Duration::from_millis(self.random.below(6000) as u64))?;
            self.counts.killed_remotes += 1;
        }
        thread::sleep(Duration::from_millis(self.random.below(1000) as u64));
        Ok(())
    }

    /// One cycle of a node.
    fn back_up(&mut self, name: &str) -> Result<()> {
        let Some((code, said)) = self.killed_sometimes(name, &["backup"])? else { return Ok(()) };
        self.counts.backups += 1;
        match code {
            0 => self.note(name, &said)?,
            // The remote is down, or a file was purged under our eyes.
            _ => self.counts.failed += 1,
        }
        ensure!([0, 12, 13].contains(&code), "backup of {name} ended with {code}: {said}");
        Ok(())
    }

    /// A new base; the next backup begins a generation with it.
    fn take_base(&mut self, name: &str) -> Result<()> {
        let Some((code, said)) = self.killed_sometimes(name, &["base", "--now"])? else { return Ok(()) };
        match code {
            0 => self.counts.bases += 1,
            _ => self.counts.failed += 1,
        }
        ensure!([0, 12, 13].contains(&code), "base of {name} ended with {code}: {said}");
        Ok(())
    }

    /// How it ended, and what it said; one in six is killed somewhere in it.
    fn killed_sometimes(&mut self, name: &str, arguments: &[&str]) -> Result<Option<(i32, String)>> {
        let log = self.dir.join(format!("{name}.{}.log", arguments[0]));
        let mut command = self.program(name, name)?;
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&log)?);
        let mut child = command.spawn()?;
        let kill = self.random.below(6) == 0;
        let limit = if kill { Duration::from_millis(self.random.below(600) as u64) } else { LIMIT };
        match wait(&mut child, limit)? {
            Some(code) => return Ok(Some((code, fs::read_to_string(&log)?))),
            None if kill => self.counts.killed_backups += 1,
            None => bail!("a {} of {name} took longer than {LIMIT:?}", arguments[0]),
        }
        Ok(None)
    }

    fn note(&mut self, name: &str, said: &str) -> Result<()> {
        let index =
            said.lines().rev().find_map(|line| line.split_once(" index=")?.1.split(' ').next()?.parse().ok());
        let index = index.with_context(|| format!("no index in what the backup said: {said}"))?;
        self.reported.insert(name.to_owned(), index);
        Ok(())
    }

    /// Restores a node's archive into a folder of its own, and looks for every write that must be there.
    fn restore(&mut self, name: &str, clients: &dyn Clients) -> Result<()> {
        let Some(&reported) = self.reported.get(name) else { return Ok(()) };
        remove_dir_if_there(&self.dir.join("restored"))?;
        self.make_node("restored", name)?;
        let mut member = Member::new(&self.tools, "restored", &self.dir.join("restored/var/lib/etcd2"))?;
        if self.v3 {
            member.without_v2();
        }
        let mut command = self.program("restored", name)?;
        command.envs(&member.environment).env("ETCD_RESTORE_MASTER_ADV_PEER_URLS", &member.peer_url);
        command.env("ETCD_DATA_DIR", "/var/lib/etcd2").args(["restore", "--clone"]);
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "restore of {name}: {}: {said}", output.status);
        member.start()?;
        let compared = clients.compare(&member, reported);
        self.counts.compared += compared.with_context(|| format!("{name} up to index {reported}: {said}"))?;
        member.kill()?;
        self.counts.restores += 1;
        Ok(())
    }

    /// A tree for the program, with the machine ID of the node `of`.
    fn make_node(&self, name: &str, of: &str) -> Result<()> {
        let root = self.dir.join(name);
        create_dirs(&root.join("etc"), 0o755)?;
        create_dirs(&root.join("var/lib"), 0o755)?;
        let conf = format!("[r]\ntype = webdav\nvendor = other\nurl = {}\n", self.remote.port.url());
        write_atomic(&root.join("etc/rclone.conf"), conf.as_bytes(), 0o600)?;
        let id = format!("{}\n", of.trim_start_matches('e').repeat(32));
        write_atomic(&root.join("etc/machine-id"), id.as_bytes(), 0o644)
    }

    fn program(&self, name: &str, of: &str) -> Result<Command> {
        let member = self.cluster.members.iter().find(|m| m.name == of).context("no such member")?;
        let mut command = Command::new(self.dir.join("etcd2-backup"));
        let path = self.tools.rclone.parent().unwrap_or(Path::new("/")).display().to_string();
        command.env_clear().env("PATH", format!("{path}:/usr/bin:/bin"));
        command.env("RCLONE_ENDPOINT", "r:backups").env("ETCD2_BACKUP_RCLONE_RUNNER", "host");
        command.env("ETCD2_BACKUP_RCLONE_TIMEOUT", "20s").env("ETCD2_BACKUP_QUIET_INTERVAL", "5s");
        for variable in ["ETCD_NAME", "ETCD_INITIAL_ADVERTISE_PEER_URLS", "ETCD_ADVERTISE_CLIENT_URLS"] {
            command.env(variable, &member.environment[variable]);
        }
        command.arg("--root").arg(self.dir.join(name));
        Ok(command)
    }
}

/// xorshift64*: the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}
