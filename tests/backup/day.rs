//! No false alarm: a day of cycles on a node to which happens what happens to nodes. Each ends with code 0, begins a generation
//! only where one is due, and calls rclone as the documents say. The clock, the boots and etcd's unit are made up, and rclone is a
//! script; etcd's files and the locks on them are real, and what runs on them is the program's own backup.

mod etcd;
mod remote;
mod timetable;

use std::fs::{self, File};
use std::path::Path;

use anyhow::Result;
use etcd2_backup::backup::cycle;
use etcd2_backup::backup::outcome::Cycle;
use etcd2_backup::etcd::frame::FrameReader;
use etcd2_backup::exit::{Exit, exit_of};
use etcd2_backup::node::running::surroundings::{Run, Surroundings};
use etcd2_backup::settings::{self, Settings, UnitEnvironment};
use etcd2_backup::sys::root::Root;
use testkit::files::write;
use testkit::node::Node;
use testkit::replay;
use testkit::tools::Tools;

use self::etcd::{Etcd, locked};
use self::remote::Remote;
use self::timetable::{CYCLE, CYCLES, Due, Event, is_written, timetable};
use crate::PROGRAM;

/// 2025-06-15T00:00:00Z.
const MIDNIGHT: u64 = 1_749_945_600;
/// A remote may show a part so late, in seconds: the next cycle may miss it, and the clock may have been set meanwhile.
const LAG: u64 = 45;

/// What the program asks of the node.
struct Made {
    now: u64,
    run: Run,
}

impl Surroundings for Made {
    fn now(&self) -> u64 {
        self.now
    }

    fn etcd(&self, unit: &str) -> Result<Option<Run>> {
        assert_eq!(unit, "etcd2.service");
        Ok(Some(self.run.clone()))
    }
}

/// A node in the course of a day.
struct Day {
    node: Node,
    settings: Settings,
    remote: Remote,
    etcd: Etcd,
    made: Made,
    due: Due,
    /// etcd holds its log from this second after the boot on.
    ready: Option<u64>,
    torn: bool,
    starts: u64,
    tokens: u64,
    neighbour: Option<File>,
    /// Somebody writes in each so many cycles of office hours.
    every: u64,
    /// The node is up from this cycle on.
    up: u64,
}

impl Day {
    fn new(tools: &Tools, sealed: bool, every: u64) -> Self {
        let mut node = Node::new(PROGRAM, tools);
        let remote = Remote::new(&mut node);
        if sealed {
            let password = "/etc/rclone.pass";
            write(&node.path(password), "correct horse");
            node.environment.insert("ETCD2_BACKUP_RCLONE_PASSWORD_FILE".into(), password.into());
        }
        let settings = settings_of(&node);
        let etcd = Etcd::new(&node.path("/var/lib/etcd2"));
        let run = Run { started: None, boot: "boot 0".into(), uptime: 5000 };
        let made = Made { now: MIDNIGHT, run };
        let due = Due::new(sealed);
        // What else an etcd has on this host: another member's log, and a proxy's folder.
        let beside = node.path("/var/lib/etcd-events");
        testkit::store::data_dir(&beside, 1, 16, 0);
        fs::create_dir_all(node.path("/var/lib/etcd-proxy/proxy")).unwrap();
        let neighbour = Some(lock_of(&beside));
        let (ready, torn, starts, tokens, up) = (None, false, 0, 0, 0);
        let mut this = Self {
            node,
            settings,
            remote,
            etcd,
            made,
            due,
            ready,
            torn,
            starts,
            tokens,
            neighbour,
            every,
            up,
        };
        this.happens(Event::Start(0));
        this.token();
        this
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Stop => self.down(),
            Event::Torn => {
                self.etcd.torn();
                self.torn = true;
                self.down();
            }
            Event::Start(seconds) => {
                self.start();
                self.ready = Some(self.made.run.uptime + seconds);
            }
            Event::Fail => {
                self.down();
                self.start();
            }
            Event::Upgrade => self.etcd.three = true,
            Event::Cut => self.etcd.cut(),
            Event::Snapshot => self.etcd.take_snapshot(),
            Event::Purge => self.etcd.purge(),
            Event::Token => self.token(),
            Event::Rclone => {
                self.remote.upgrade("two");
                self.due.other_way = true;
            }
            Event::Lag(lags) => {
                self.remote.lag(lags);
                self.due.lagging = lags;
            }
            Event::Step(seconds) => self.made.now = self.made.now.checked_add_signed(seconds).unwrap(),
            Event::Reboot => {
                self.down();
                self.neighbour = None;
                self.made.run.boot = "boot 1".into();
                self.made.run.uptime = 0;
                self.up = timetable::at(12, 32, 0);
            }
            Event::Neighbour(true) => {
                self.neighbour = Some(lock_of(&self.node.path("/var/lib/etcd-events")));
            }
            Event::Neighbour(false) => self.neighbour = None,
        }
        self.due.logged |= matches!(event, Event::Cut | Event::Snapshot);
    }

    fn down(&mut self) {
        self.etcd.gone();
        (self.made.run.started, self.ready) = (None, None);
    }

    fn start(&mut self) {
        self.starts += 1;
        self.made.run.started = Some(self.made.run.uptime * 1_000_000 + self.starts);
    }

    fn token(&mut self) {
        self.tokens += 1;
        let tokens = self.tokens;
        let conf = if self.due.sealed {
            format!(
                "# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nGUzz{tokens:08}vNEm4UBVyhIR6Z4=\n"
            )
        } else {
            format!("[r]\ntype = local\ntoken = {{\"access_token\":\"{tokens}\"}}\n")
        };
        write(&self.node.path("/etc/rclone.conf"), conf);
        self.due.other_token = true;
    }

    /// What etcd logs in half a minute.
    fn work(&mut self, cycle: u64) {
        if self.ready.is_some_and(|ready| ready <= self.made.run.uptime) {
            self.ready = None;
            if std::mem::take(&mut self.torn) {
                self.etcd.repair();
            }
            self.etcd.ready();
            (self.due.written, self.due.logged) = (true, true);
        }
        if !self.etcd.holds() {
            return;
        }
        // One SYNC stands for the 60 of half a minute. 3.x logs none where no key expires.
        if !self.etcd.three {
            self.etcd.tick(self.made.now);
            self.due.logged = true;
        }
        if is_written(cycle, self.every) {
            self.etcd.put();
            (self.due.written, self.due.logged) = (true, true);
        }
    }

    fn backup(&self) -> (Result<Exit>, Cycle) {
        let mut said = Cycle::default();
        let here = here(&self.node, self.settings.clone());
        let ended = cycle::run(&self.made, &here, None, &mut said);
        (ended, said)
    }

    fn passes(&mut self, bases: u64) {
        let timetable = timetable();
        let mut backups = 0;
        for cycle in 0..CYCLES {
            let clock = format!("{:02}:{:02}:{:02}", cycle / 120, cycle / 2 % 60, cycle % 2 * 30);
            for &event in timetable.get(&cycle).into_iter().flatten() {
                self.happens(event);
            }
            if cycle >= self.up {
                self.work(cycle);
                if self.due.stale > 0 && self.due.age(self.made.now) > LAG {
                    self.remote.settle();
                    self.due.stale = 0;
                }
                let (outcome, calls) = self.due.next(self.made.now);
                let (ended, said) = self.backup();
                let ended = ended.unwrap_or_else(|e| panic!("{clock}: code {:?}: {e:#}", exit_of(&e)));
                assert_eq!(ended, Exit::Done, "{clock}");
                assert_eq!((said.outcome, self.remote.calls()), (Some(outcome), owned(&calls)), "{clock}");
                assert_eq!(said.generation, Some(self.due.bases), "{clock}");
                backups += 1;
            }
            self.made.now += CYCLE;
            self.made.run.uptime += CYCLE;
        }
        // Four were due while the node was down.
        assert_eq!((backups, self.due.bases), (CYCLES - 4, bases));
        assert!(self.etcd.purged() > 3 && self.etcd.keys.len() > 400, "{}", self.etcd.purged());
    }

    /// What would be no false alarm is one.
    fn alarms(&mut self) {
        self.happens(Event::Stop);
        self.happens(Event::Start(600));
        for seconds in [0, 30, 60] {
            let (ended, _) = self.backup();
            let code = ended.unwrap_or_else(|e| exit_of(&e));
            let expected = if seconds < 60 { Exit::Done } else { Exit::Settings };
            assert_eq!(code, expected, "{seconds} s without a lock on the log");
            self.made.run.uptime += CYCLE;
        }
    }

    /// The remote has every key that was ever acknowledged.
    fn restores(&mut self) {
        self.etcd.gone();
        write(&self.node.path("/etc/rclone.conf"), "[r]\ntype = local\n");
        self.node.environment.insert("ETCD2_BACKUP_RCLONE_RUNNER".into(), "host".into());
        self.node.environment.remove("ETCD2_BACKUP_RCLONE_PASSWORD_FILE");
        fs::remove_dir_all(self.node.path("/var/lib/etcd2")).unwrap();
        self.node.ok(&["restore"]);
        let member = self.node.path("/var/lib/etcd2/member");
        let mut keys = std::collections::BTreeMap::new();
        for path in files(&member.join("snap"), ".snap") {
            keys.extend(replay::snapshot(&fs::read(path).unwrap()).unwrap().keys);
        }
        let mut crc = 0;
        for path in files(&member.join("wal"), ".wal") {
            let bytes = fs::read(path).unwrap();
            let mut reader = FrameReader::new(&bytes[..], 0, crc);
            while reader.next_record().unwrap().is_ok() {}
            let entries = replay::entries(&bytes[..reader.offset() as usize], &mut crc).unwrap();
            keys.extend(entries.into_iter().filter_map(|entry| entry.put).map(|put| (put.key, put.value)));
        }
        assert_eq!(keys, self.etcd.keys);
    }
}

fn owned(calls: &[&str]) -> Vec<String> {
    calls.iter().map(|&call| call.to_owned()).collect()
}

fn files(dir: &Path, end: &str) -> Vec<std::path::PathBuf> {
    let mut all: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| path.to_string_lossy().ends_with(end));
    all.sort();
    all
}

fn lock_of(data_dir: &Path) -> File {
    locked(&files(&data_dir.join("member/wal"), ".wal")[0])
}

/// As the program reads them in a tree.
fn settings_of(node: &Node) -> Settings {
    let variables = node.environment.clone();
    let unit = UnitEnvironment { variables: variables.clone(), ..UnitEnvironment::default() };
    settings::parse(&variables, &unit, &node.machine_id, &Root::new(node.root())).unwrap()
}

fn here(node: &Node, settings: Settings) -> etcd2_backup::node::Node {
    etcd2_backup::node::Node::with(Root::new(node.root()), settings)
}

/// So many bases are due.
fn a_day(sealed: bool, every: u64, bases: u64) {
    let Some(tools) = Tools::from_env() else { return };
    let mut day = Day::new(tools, sealed, every);
    day.passes(bases);
    day.alarms();
    day.restores();
}

#[test]
fn no_cycle_of_a_day_is_a_false_alarm() {
    // The first one; and that of a generation of more than 1,000 parts.
    a_day(false, 1, 2);
}

#[test]
fn no_cycle_of_a_day_is_a_false_alarm_with_an_encrypted_rclone_conf() {
    a_day(true, 3, 1);
}

/// A node that is only a proxy has nothing to back up all day, calls nobody, and says so by a code that its
/// unit takes for success.
#[test]
fn a_proxy_is_no_alarm_either() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    let remote = Remote::new(&mut node);
    let settings = settings_of(&node);
    fs::create_dir_all(node.path("/var/lib/etcd2/proxy")).unwrap();
    let run = Run { started: Some(1), boot: "boot 0".into(), uptime: 0 };
    let mut made = Made { now: MIDNIGHT, run };
    for cycle in 0..CYCLES {
        let here = here(&node, settings.clone());
        let ended = cycle::run(&made, &here, None, &mut Cycle::default());
        assert_eq!(ended.unwrap(), Exit::NoMember, "{cycle}");
        made.now += CYCLE;
        made.run.uptime += CYCLE;
    }
    assert!(remote.calls().is_empty() && node.objects().is_empty());
}
