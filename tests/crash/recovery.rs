//! kill -9 at every step of a recovery of two members together: of the `restore --initial-cluster` that begins it, and of the
//! `restore --recovery` on a node that has other data. etcd starts there on the old data, or as the member that the record
//! makes of it, or not at all; and running it again ends with that member.

use std::path::Path;

use etcd2_backup::archive::lineage::Record;
use etcd2_backup::etcd::datadir;
use testkit::faults::kill::{Step, kill_at, steps};
use testkit::files::{tree, trim_log};
use testkit::keys::{self, Keys};
use testkit::node::Node;
use testkit::tools::{self, Tools};

use crate::PROGRAM;

/// After every so many steps both members are started.
const REAL: usize = 12;

/// A founding member with a backup, which is stopped, and a node with the data of another cluster.
struct Pair {
    strace: &'static Path,
    founder: Node,
    node: Node,
    keys: Keys,
}

impl Pair {
    fn new() -> Option<Self> {
        let (strace, tools) = (tools::strace_from_env()?, Tools::from_env()?);
        let mut founder = Node::named(PROGRAM, tools, "e1");
        let mut node = Node::joining(tools, "e2", &founder);
        for etcd in [&mut founder.etcd, &mut node.etcd] {
            // A leader is there at once.
            etcd.set("ETCD_HEARTBEAT_INTERVAL", "10");
            etcd.set("ETCD_ELECTION_TIMEOUT", "50");
        }
        founder.etcd.set("ETCD_SNAPSHOT_COUNT", "50");
        founder.etcd.start().unwrap();
        keys::write_sample(&founder.etcd.client_url).unwrap();
        keys::write_many(&founder.etcd.client_url, "/many", 60).unwrap();
        founder.etcd.wait_snapshot().unwrap();
        founder.ok(&["backup"]);
        let keys = keys::dump(&founder.etcd.client_url).unwrap();
        founder.etcd.stop().unwrap();
        trim_log(&founder.etcd.data_dir);

        node.back_up_beside(&founder, '2');
        node.put_fixture("v3423-single-snap-trimmed");
        node.save();
        Some(Self { strace, founder, node, keys })
    }

    /// What begins the recovery on the founding member.
    fn begin(&self) -> Vec<String> {
        let list = format!("e1={},e2={}", self.founder.etcd.peer_url, self.node.etcd.peer_url);
        ["restore", "--json", "--initial-cluster", &list].map(str::to_owned).to_vec()
    }

    /// Both members start, and have all keys.
    #[track_caller]
    fn assert_serves(&mut self, step: &Step) {
        let mut both = [&mut self.founder, &mut self.node];
        for node in &mut both {
            node.ok(&["guard"]);
            node.etcd.spawn(&[]).unwrap();
        }
        for node in &mut both {
            node.etcd.wait_healthy().unwrap();
            let found = keys::dump(&node.etcd.client_url).unwrap();
            let differences = keys::compare(&self.keys, &found);
            assert!(differences.is_empty(), "{step}: {differences:?}");
        }
        for node in &mut both {
            node.etcd.kill().unwrap();
        }
    }
}

fn ids_of(member: &Path) -> (u64, u64) {
    let ids = datadir::ids(&member.join("wal")).unwrap();
    (ids.cluster_id, ids.member_id)
}

fn id_of(record: &Record, name: &str) -> (u64, u64) {
    (record.cluster_id, record.members.iter().find(|m| m.name == name).unwrap().id)
}

#[test]
fn the_founding_member_that_begins_it() {
    let Some(mut pair) = Pair::new() else { return };
    pair.founder.save();
    let member = pair.founder.path("/var/lib/etcd2/member");
    let old = tree(&member);
    let begin = pair.begin();
    let begin: Vec<&str> = begin.iter().map(String::as_str).collect();
    let all = steps(&pair.founder, pair.strace, &begin);
    let (mut fenced, mut records) = (0, 0);
    for (i, step) in all.iter().enumerate() {
        pair.founder.reset();
        kill_at(&pair.founder, pair.strace, &begin, step);
        let places = [vec![member.clone()], pair.founder.kept("member.before-restore-")].concat();
        assert!(places.iter().any(|place| tree(place) == old), "{step}: the old data is lost");
        fenced += usize::from(pair.founder.is_fenced());
        records += usize::from(pair.founder.objects().iter().any(|path| path.starts_with("recovery")));

        // What was killed may have told of its recovery already. Run again it is another one, and no harm in the first.
        let run = pair.founder.run(&begin);
        let record: Record =
            serde_json::from_str(&run.answer).unwrap_or_else(|e| panic!("{step}: {e} {}", run.log));
        assert_eq!(ids_of(&member), id_of(&record, "e1"), "{step}");
        assert!(!pair.founder.is_fenced() && pair.founder.kept("member.restoring").is_empty(), "{step}");
        if i % REAL == 0 || i + 1 == all.len() {
            pair.node.reset();
            pair.node.ok(&["restore", "--recovery", &record.token]);
            assert_eq!(ids_of(&pair.node.path("/var/lib/etcd2/member")), id_of(&record, "e2"), "{step}");
            pair.assert_serves(step);
        }
    }
    assert!(
        fenced > 5 && records > 0,
        "{fenced} of {} steps behind the fence, {records} behind the record",
        all.len()
    );
}

#[test]
fn a_node_that_takes_part_in_it() {
    let Some(mut pair) = Pair::new() else { return };
    let begin = pair.begin();
    let run = pair.founder.run(&begin.iter().map(String::as_str).collect::<Vec<_>>());
    let record: Record = serde_json::from_str(&run.answer).unwrap();
    pair.founder.save();
    let member = pair.node.path("/var/lib/etcd2/member");
    let old = tree(&member);
    let is_new = || ids_of(&member) == id_of(&record, "e2");

    let restore = ["restore", "--recovery", &record.token];
    let all = steps(&pair.node, pair.strace, &restore);
    let (mut fenced, mut exchanged) = (0, 0);
    for (i, step) in all.iter().enumerate() {
        pair.node.reset();
        kill_at(&pair.node, pair.strace, &restore, step);
        let places = [vec![member.clone()], pair.node.kept("member.before-restore-")].concat();
        assert!(places.iter().any(|place| tree(place) == old), "{step}: the old data is lost");
        if pair.node.is_fenced() {
            fenced += 1;
        } else {
            assert!(tree(&member) == old || is_new(), "{step}");
        }
        if member.exists() && tree(&member) != old {
            exchanged += 1;
            assert!(is_new(), "{step}");
        }

        pair.node.ok(&restore);
        assert!(
            is_new() && !pair.node.is_fenced() && pair.node.kept("member.restoring").is_empty(),
            "{step}"
        );
        let kept = pair.node.kept("member.before-restore-");
        assert!(kept.iter().any(|kept| tree(kept) == old), "{step}: {kept:?}");
        if i % REAL == 0 || i + 1 == all.len() {
            pair.founder.reset();
            pair.assert_serves(step);
        }
    }
    assert!(
        fenced > 5 && exchanged > 0,
        "{fenced} of {} steps lie behind the fence, {exchanged} behind it",
        all.len()
    );
}
