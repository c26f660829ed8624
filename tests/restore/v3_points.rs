//! The v3 store at points in the past, from the archive: one client writes everything that a v3 store knows, in five generations of
//! two lineages, and the whole store is recorded after each write. At random indexes it must come back as it was recorded, with each
//! key's revisions and lease, with leases, users and roles.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use testkit::node::Node;
use testkit::tools::{Tools, etcd_version};
use testkit::v3::random::Random;
use testkit::v3::{Client, Store};
use testkit::wait::until;

use crate::PROGRAM;

const SEED: u64 = 17;
/// So many recorded points of each generation are restored.
const OF_EACH: usize = 4;
const GENERATIONS: u64 = 5;
/// The code for what is not there.
const NOT_FOUND: i32 = 12;

/// The store as it was from one raft index to another one. etcd 3.4 and 3.5 log who asks for users and roles too, so what reads the
/// whole store moves the index.
struct Recorded {
    generation: u64,
    first: u64,
    last: u64,
    what: String,
    store: Store,
}

/// A node whose one client writes and records.
struct History {
    node: Node,
    tools: &'static Tools,
    random: Random,
    recorded: Vec<Recorded>,
    generation: u64,
}

fn client(node: &Node) -> Client {
    Client::new(&node.etcd.client_url).unwrap()
}

fn next_second() {
    let second = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let now = second();
    until("the clock stands", Duration::from_secs(10), || second() > now);
}

impl History {
    fn new(tools: &'static Tools) -> Self {
        let mut node = Node::new(PROGRAM, tools);
        node.etcd.set("ETCD_SNAPSHOT_COUNT", "100");
        node.etcd.start().unwrap();
        Self { node, tools, random: Random::new(SEED), recorded: Vec::new(), generation: 0 }
    }

    /// So many writes; the store is recorded after each.
    fn write(&mut self, v3: &mut Client, count: usize) {
        for _ in 0..count {
            let what = self.random.write(v3).unwrap_or_else(|e| panic!("seed {SEED}: {e:#}"));
            let (first, store) = (v3.raft_index().unwrap(), v3.store().unwrap());
            let (generation, last) = (self.generation, v3.raft_index().unwrap());
            self.recorded.push(Recorded { generation, first, last, what, store });
        }
    }

    fn back_up(&self) {
        self.node.ok(&["backup"]);
    }

    /// Writes with a backup behind every few of them.
    fn cycles(&mut self) {
        let mut v3 = client(&self.node);
        for _ in 0..5 {
            let count = 3 + self.random.below(5);
            self.write(&mut v3, usize::try_from(count).unwrap());
            self.back_up();
        }
    }

    /// The first backup of a lineage takes a base by itself.
    fn begin_lineage(&mut self) {
        self.back_up();
        self.generation += 1;
        self.cycles();
    }

    /// A new base is taken, and the generation that begins with it; what is written between the two belongs to it.
    fn begin_generation(&mut self) {
        self.node.ok(&["base", "--now"]);
        self.generation += 1;
        self.write(&mut client(&self.node), 3);
        self.back_up();
        self.cycles();
    }

    /// A moment between two cycles, with writes between the one before and it, and the store that the former has.
    fn moment(&mut self) -> (SystemTime, Store) {
        self.back_up();
        let known = self.recorded.last().unwrap().store.clone();
        // Captures are known by the second.
        next_second();
        self.write(&mut client(&self.node), 3);
        let moment = SystemTime::now();
        next_second();
        self.back_up();
        (moment, known)
    }

    /// What the store holds, and etcd's sum over it.
    fn seen(&self) -> (Store, (u64, u64)) {
        let mut v3 = client(&self.node);
        let store = v3.store().unwrap();
        let sum = v3.hash(&self.tools.etcdctl, store.revision).unwrap();
        (store, sum)
    }

    /// `.snap` files of the member.
    fn snapshots(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(self.node.path("/var/lib/etcd2/member/snap")).unwrap();
        all.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "snap")).collect()
    }

    /// All is lost, and the newest point comes back.
    fn lose_everything(&mut self) {
        self.back_up();
        let before = self.seen();
        self.node.destroy_data().unwrap();
        let log = self.node.ok(&["restore", "--no-bump"]);
        assert!(!log.contains("only the v2 store"), "{log}");
        self.node.start_etcd();
        assert_eq!(self.seen(), before, "the newest point");
    }

    /// Random records of each generation, with an index of each: where one entry less or more would be seen, and in between.
    fn picked(&mut self) -> Vec<(usize, u64)> {
        let mut picked = Vec::new();
        for generation in 1..=GENERATIONS {
            let mut of_it: Vec<usize> =
                (0..self.recorded.len()).filter(|at| self.recorded[*at].generation == generation).collect();
            for number in 0..OF_EACH {
                let at = of_it.swap_remove(usize::try_from(self.random.below(of_it.len() as u64)).unwrap());
                let Recorded { first, last, .. } = self.recorded[at];
                let index = match number {
                    0 => first,
                    1 => last,
                    _ => first + self.random.below(last - first + 1),
                };
                picked.push((at, index));
            }
        }
        picked
    }

    /// Another machine, which restores from this one's folder.
    fn other(&self, digit: char) -> Node {
        let mut node = Node::named(PROGRAM, self.tools, "other");
        node.back_up_beside(&self.node, digit);
        node
    }

    /// Restores what `options` say, starts etcd on it, and compares with what was recorded. Gives the log.
    #[track_caller]
    fn assert_restores(&self, node: &mut Node, options: &[&str], expected: &Store, what: &str) -> String {
        let from = ["restore", "--no-bump", "--from", &self.node.machine_id];
        let log = node.ok(&[&from[..], options].concat());
        node.start_etcd();
        let found = client(node).store().unwrap();
        assert!(found == *expected, "{options:?}, {what}: {}\n{log}", differences(expected, &found));
        node.etcd.kill().unwrap();
        log
    }
}

/// What is not equal, as a test is to say it: two whole stores would be unreadable.
fn differences(expected: &Store, found: &Store) -> String {
    let mut all = vec![format!("revision {} and {}", expected.revision, found.revision)];
    let keys: BTreeSet<_> = expected.keys.keys().chain(found.keys.keys()).collect();
    for key in keys.into_iter().filter(|key| expected.keys.get(*key) != found.keys.get(*key)) {
        all.push(format!("{key}: {:?} and {:?}", expected.keys.get(key), found.keys.get(key)));
    }
    for (one, other) in
        [(&expected.leases, &found.leases), (&expected.users, &found.users), (&expected.roles, &found.roles)]
    {
        if one != other {
            all.push(format!("{one:?} and {other:?}"));
        }
    }
    all.join("\n")
}

fn points_of(tools: &'static Tools) {
    let mut history = History::new(tools);
    history.write(&mut client(&history.node), 30);
    history.recorded.clear();
    // Its stop has etcd write its db: the first base is not older than this.
    history.node.etcd.restart().unwrap();
    history.begin_lineage();
    let (moment, known) = history.moment();
    (0..2).for_each(|_| history.begin_generation());
    assert!(history.snapshots().len() > 1, "{:?}", history.snapshots());
    history.lose_everything();
    history.begin_lineage();
    history.begin_generation();
    let newest = history.seen();
    history.node.etcd.stop().unwrap();
    assert_eq!(history.generation, GENERATIONS);
    // A store that is nearly always the same would be restored from anywhere.
    let distinct = history.recorded.windows(2).filter(|w| w[0].store != w[1].store).count();
    assert!(distinct * 3 > history.recorded.len() * 2, "{distinct} of {}", history.recorded.len());

    let lowest = lists_five_generations(&history);
    nothing_before_the_oldest_base(&history, lowest);
    every_point(&mut history);
    a_moment_between_two_cycles(&history, moment, &known);
    the_newest(&history, &newest);
}

/// The lowest index that can be restored.
fn lists_five_generations(history: &History) -> u64 {
    let run = history.node.run(&["list", "--json"]);
    assert_eq!(run.code, 0, "{}", run.log);
    let answer: Value = serde_json::from_str(&run.answer).unwrap();
    let generations = answer["machines"][0]["generations"].as_array().unwrap();
    assert_eq!(generations.len() as u64, GENERATIONS, "{answer}");
    for (generation, number) in generations.iter().zip(1u64..) {
        let of_it = history.recorded.iter().filter(|r| r.generation == number);
        let first = generation["first_index"].as_u64().unwrap();
        let last = generation["points"].as_array().unwrap().last().unwrap()["index"].as_u64().unwrap();
        assert_eq!(generation["whole"], true, "{generation}");
        for Recorded { first: from, last: to, what, .. } in of_it {
            assert!(first <= *from && *to <= last, "{what}: {from} to {to} is not in {first} to {last}");
        }
    }
    let points = history.node.run(&["list", "--points"]);
    assert_eq!(points.code, 0, "{}", points.log);
    generations.iter().filter_map(|g| g["first_index"].as_u64()).min().unwrap()
}

fn nothing_before_the_oldest_base(history: &History, lowest: u64) {
    assert!(lowest > 30, "{lowest}");
    let before = history.node.kept("");
    let says = format!("the nearest that can be restored: {lowest}");
    for index in [1, lowest - 1] {
        let asked = index.to_string();
        for options in [&["--raft-index", &asked][..], &["--raft-index", &asked, "--generation", "1"]] {
            let words = [format!("index {index} "), says.clone()];
            let words = words.each_ref().map(String::as_str);
            history.node.refused(&[&["restore"], options].concat(), NOT_FOUND, &words);
        }
    }
    let log = history.node.ok(&["restore", "--plan", "--raft-index", &lowest.to_string()]);
    assert!(log.contains(&format!("up to index {lowest} ")), "{log}");
    assert_eq!(history.node.kept(""), before);
}

/// Four nodes, each of which takes the next point: most of the time is etcd's wait for its election.
fn every_point(history: &mut History) {
    let picked = history.picked();
    assert_eq!(picked.len(), 20);
    let (history, left) = (&*history, &Mutex::new(picked.into_iter().enumerate()));
    let next = || left.lock().unwrap().next();
    thread::scope(|scope| {
        for digit in ['a', 'b', 'c', 'd'] {
            scope.spawn(move || {
                let mut node = history.other(digit);
                while let Some((number, (at, index))) = next() {
                    let recorded = &history.recorded[at];
                    let (asked, generation) = (index.to_string(), recorded.generation.to_string());
                    let mut options = vec!["--raft-index", &asked];
                    // Without it, the newest generation that has the index is taken.
                    if number % 2 == 0 {
                        options.extend(["--generation", &generation]);
                    }
                    let log = history.assert_restores(&mut node, &options, &recorded.store, &recorded.what);
                    assert!(log.contains(&format!(" up to index {index} in ")), "{log}");
                    let named = log.contains(&format!("generation {generation},"));
                    assert!(named || number % 2 == 1, "generation {generation}: {log}");
                }
            });
        }
    });
}

/// The log of the v3 store has no clock in it.
fn a_moment_between_two_cycles(history: &History, moment: SystemTime, known: &Store) {
    let at = humantime::format_rfc3339_nanos(moment).to_string();
    let mut node = history.other('e');
    let log = history.assert_restores(&mut node, &["--at", &at], known, "a moment");
    assert!(log.contains("by the time of the backup: the WAL has nothing more exact"), "{log}");
}

/// In place, on the disk that is there.
fn the_newest(history: &History, (store, sum): &(Store, (u64, u64))) {
    let etcd = history.tools.etcd.to_str().unwrap();
    for arguments in [&["verify"][..], &["rehearse", "--etcd", etcd]] {
        let run = history.node.run(arguments);
        assert_eq!(run.code, 0, "{arguments:?}: {}{}", run.answer, run.log);
    }
    let mut node = history.other('f');
    history.assert_restores(&mut node, &[], store, "the newest");
    node.start_etcd();
    assert_eq!(client(&node).hash(&history.tools.etcdctl, store.revision).unwrap(), *sum);
}

#[test]
fn any_index_of_the_etcd_at_hand_is_restored_exactly() {
    let Some(tools) = Tools::from_env() else { return };
    // Before, its gateway has other names.
    if etcd_version(&tools.etcd).unwrap() >= (3, 4) {
        points_of(tools);
    }
}

#[test]
fn any_index_of_etcd_3_5_1_is_restored_exactly() {
    let Some(tools) = Tools::etcd_3_5_from_env() else { return };
    points_of(tools);
}

#[test]
fn any_index_of_a_later_etcd_3_5_is_restored_exactly() {
    let Some(tools) = Tools::etcd_newer_3_5_from_env() else { return };
    points_of(tools);
}

#[test]
fn any_index_of_etcd_3_6_is_restored_exactly() {
    let Some(tools) = Tools::etcd_3_6_from_env() else { return };
    points_of(tools);
}
