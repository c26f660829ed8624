//! kill -9 at every step of `backup` and `restore`: nothing that was kept is lost, etcd starts on the old data or on the
//! new and on nothing in between, and running it again ends well.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use etcd2_backup::etcd::datadir::{Contents, DataDir};
use etcd2_backup::etcd::wal::Reading;
use etcd2_backup::node::identity;
use etcd2_backup::sys::root::Root;
use testkit::faults::kill::{Step, kill_at, steps};
use testkit::files::{alter_json, tree, trim_log, write};
use testkit::keys::{self, Keys};
use testkit::node::Node;
use testkit::tools::{self, Tools};
use testkit::v3::{Client, Store};

use crate::PROGRAM;

type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

const FIXTURE: &str = "v3423-single-snap-trimmed";
/// After every so many steps the real etcd is started on what is there.
const REAL: usize = 10;

/// A node that has the fixture's data and no backup yet.
struct Case {
    node: Node,
    strace: &'static Path,
    keys: Keys,
    old: Tree,
    old_contents: Contents,
    /// etcd's WAL directory, if it is a separate one, and what was in it.
    log: Option<(PathBuf, Tree)>,
    /// What the v3 store holds, if it has data.
    v3: Option<Store>,
}

/// A separate WAL directory.
const LOG: &str = "/var/lib/etcd2-log";

impl Case {
    fn new() -> Option<Self> {
        let strace = tools::strace_from_env()?;
        let node = Node::new(PROGRAM, Tools::from_env()?);
        let keys = node.put_fixture(FIXTURE);
        let member = node.path("/var/lib/etcd2/member");
        let old_contents = scan(&member).unwrap();
        Some(Self { strace, keys, old: tree(&member), old_contents, node, log: None, v3: None })
    }

    /// A node whose data is in the v3 store, which its backups leave out.
    fn with_v3() -> Option<Self> {
        let strace = tools::strace_from_env()?;
        let mut node = Node::new(PROGRAM, Tools::from_env()?);
        node.environment.insert("ETCD2_BACKUP_V2_ONLY".into(), "true".into());
        node.etcd.start().unwrap();
        let mut v3 = Client::new(&node.etcd.client_url).unwrap();
        v3.grant(7, 3600).unwrap();
        for i in 0..30 {
            v3.put_leased(&format!("key {}", i % 20), &format!("{i}"), if i % 4 == 0 { 7 } else { 0 })
                .unwrap();
        }
        let (store, keys) = (v3.store().unwrap(), keys::dump(&node.etcd.client_url).unwrap());
        node.etcd.kill().unwrap();
        let member = node.path("/var/lib/etcd2/member");
        trim_log(&node.etcd.data_dir);
        let (old, old_contents) = (tree(&member), scan(&member).unwrap());
        Some(Self { strace, keys, old, old_contents, node, log: None, v3: Some(store) })
    }

    /// The same, with a separate WAL directory.
    fn with_separate_log() -> Option<Self> {
        let mut case = Self::new()?;
        let log = case.node.path(LOG);
        fs::rename(case.member().join("wal"), &log).unwrap();
        case.node.environment.insert("ETCD_WAL_DIR".into(), LOG.into());
        case.node.etcd.set("ETCD_WAL_DIR", log.to_string_lossy());
        case.old = tree(&case.member());
        case.log = Some((log.clone(), tree(&log)));
        Some(case)
    }

    fn member(&self) -> PathBuf {
        self.node.path("/var/lib/etcd2/member")
    }

    fn scan(&self) -> anyhow::Result<Contents> {
        let member = self.member();
        let wal = self.log.as_ref().map_or_else(|| member.join("wal"), |(log, _)| log.clone());
        DataDir { snap: member.join("snap"), wal }.scan(Reading::Still)
    }

    /// Whether the data directory and the log are as they were.
    fn is_old(&self) -> bool {
        tree(&self.member()) == self.old && self.log.as_ref().is_none_or(|(log, old)| tree(log) == *old)
    }

    /// Whether one of the two directories is old and the other new.
    fn is_mixed(&self) -> bool {
        let is_old = tree(&self.member()) == self.old;
        self.log.as_ref().is_some_and(|(log, old)| (tree(log) == *old) != is_old)
    }

    /// The IDs in the data directory must be those the guard and the next backup go by.
    #[track_caller]
    fn assert_new(&self, step: &Step) {
        let contents = self.scan().unwrap_or_else(|e| panic!("{step}: {e:#}"));
        assert_ne!(contents.metadata.cluster_id, self.old_contents.metadata.cluster_id, "{step}");
        assert!(contents.last().index > self.old_contents.last().index, "{step}");
        let stamp = identity::load(&Root::new(self.node.root())).unwrap().expect("no identity");
        let ids = (stamp.cluster_id, stamp.member_id);
        assert_eq!(ids, (contents.metadata.cluster_id, contents.metadata.member_id), "{step}");
    }

    /// Without a fence there is exactly the old data or exactly the new; and the old is somewhere in any case.
    #[track_caller]
    fn assert_old_or_new(&self, step: &Step) {
        if !self.node.is_fenced() && !self.is_old() {
            self.assert_new(step);
        }
        assert!(self.old_is_there(), "{step}: the old data is lost");
    }

    fn old_is_there(&self) -> bool {
        let mut places = self.node.kept("member.before-restore-");
        places.push(self.member());
        places.iter().any(|place| tree(place) == self.old)
            && self.log.as_ref().is_none_or(|(log, old)| beside(log).iter().any(|place| tree(place) == *old))
    }

    /// The guard lets etcd start, and etcd has all keys.
    #[track_caller]
    fn assert_etcd_has_all(&mut self, step: &Step) {
        self.node.ok(&["guard"]);
        self.node.etcd.start().unwrap_or_else(|e| panic!("{step}: {e:#}"));
        let differences = keys::compare(&self.keys, &keys::dump(&self.node.etcd.client_url).unwrap());
        let v3 = self.v3.as_ref().map(|_| Client::new(&self.node.etcd.client_url).unwrap().store().unwrap());
        self.node.etcd.kill().unwrap();
        assert_eq!(v3, self.v3, "{step}");
        assert!(differences.is_empty(), "{step}: {differences:?}");
    }
}

/// A directory, and what was set aside of it.
fn beside(dir: &Path) -> Vec<PathBuf> {
    let name = dir.file_name().unwrap().to_string_lossy().into_owned();
    let all = fs::read_dir(dir.parent().unwrap()).unwrap().map(|e| e.unwrap().path());
    all.filter(|p| p.file_name().unwrap().to_string_lossy().starts_with(&name)).collect()
}

fn scan(member: &Path) -> anyhow::Result<Contents> {
    DataDir { snap: member.join("snap"), wal: member.join("wal") }.scan(Reading::Still)
}

/// Kills a restore at each step from the first one whose line has this in it; `arguments` say from where the data is.
fn restore_killed_at_every_step(mut case: Case, arguments: &[&str], from: &str) {
    case.node.ok(&["backup"]);
    case.node.save();
    let all = steps(&case.node, case.strace, arguments);
    let begin = all.iter().position(|s| s.line.contains(from)).expect(from);
    let (mut fenced, mut mixed) = (0, 0);
    for (i, step) in all[begin..].iter().enumerate() {
        case.node.reset();
        kill_at(&case.node, case.strace, arguments, step);
        case.assert_old_or_new(step);
        let was_fenced = case.node.is_fenced();
        if !was_fenced && i % REAL == 0 {
            case.assert_etcd_has_all(step);
            continue;
        }
        let was_mixed = case.is_mixed();
        let log = case.node.ok(arguments);
        assert!(!case.node.is_fenced(), "{step}");
        case.assert_new(step);
        if was_mixed {
            mixed += 1;
            assert!(log.contains("that was rolled back"), "{step}: {log}");
            // Nothing else was restored from, and nothing else is kept.
            let kept = case.node.kept("member.before-restore-");
            assert!(kept.len() == 1 && tree(&kept[0]) == case.old, "{step}: {kept:?}");
        }
        assert!(case.old_is_there(), "{step}: the old data is lost");
        assert!(!case.member().with_file_name("member.restoring").exists(), "{step}");
        assert!(!case.node.path(&format!("{LOG}.restoring")).exists(), "{step}");
        if was_fenced {
            fenced += 1;
            // The archive goes on from here, and knows what continues what.
            case.node.ok(&["backup"]);
            case.node.ok(&["restore", "--plan"]);
        }
        if i % REAL == 1 {
            case.assert_etcd_has_all(step);
        }
    }
    assert_eq!(mixed > 0, case.log.is_some(), "{mixed}");
    assert!(fenced > 5, "only {fenced} of {} steps lie behind the fence", all.len());
}

#[test]
fn a_restore_from_the_archive() {
    let Some(case) = Case::new() else { return };
    restore_killed_at_every_step(case, &["restore"], "etcd2-restore");
}

/// Two directories, and no exchange of both at once: in between etcd would have the snapshots of one and the log of the
/// other.
#[test]
fn a_restore_with_a_separate_wal_directory() {
    let Some(case) = Case::with_separate_log() else { return };
    restore_killed_at_every_step(case, &["restore", "--source", "local"], "parents.json");
}

#[test]
fn a_restore_from_the_local_disk() {
    // Before that it does what the other does.
    let Some(case) = Case::new() else { return };
    restore_killed_at_every_step(case, &["restore", "--source", "local"], "parents.json");
}

#[test]
fn a_restore_of_a_v3_store_from_the_local_disk() {
    let Some(case) = Case::with_v3() else { return };
    restore_killed_at_every_step(case, &["restore", "--source", "local"], "/snap\"");
}

/// 2.0.0 had `snap` and `wal` directly in the data directory: two names, and no exchange of both at once.
#[test]
fn a_restore_of_the_layout_of_2_0_0_from_the_local_disk() {
    let Some(case) = Case::new() else { return };
    let (node, data) = (&case.node, case.node.path("/var/lib/etcd2"));
    for name in ["snap", "wal"] {
        fs::rename(case.member().join(name), data.join(name)).unwrap();
    }
    fs::remove_dir(case.member()).unwrap();
    let part = |name: &str| {
        let places = [vec![data.join(name)], node.kept(&format!("{name}.before-restore-"))].concat();
        places.iter().map(|p| tree(p)).find(|t| !t.is_empty())
    };
    let old = [part("snap"), part("wal")];
    node.save();
    let arguments = ["restore", "--source", "local"];
    let all = steps(node, case.strace, &arguments);
    let begin = all.iter().position(|s| s.line.contains("/fence")).unwrap();
    for step in &all[begin..] {
        node.reset();
        kill_at(node, case.strace, &arguments, step);
        let there = [data.join("snap"), data.join("wal"), case.member()].map(|p| p.exists());
        let whole = [[true, true, false], [false, false, true]].contains(&there);
        assert!(node.is_fenced() || whole, "{step}: {there:?}");
        node.ok(&arguments);
        case.assert_new(step);
        assert_eq!([part("snap"), part("wal")], old, "{step}: the old data is lost");
    }
}

/// Kills a backup at each step. The next one ends well, and all is in the archive then.
fn backup_killed_at_every_step(mut case: Case) {
    case.node.save();
    let all = steps(&case.node, case.strace, &["backup"]);
    let restored = |node: &Node| {
        let objects = node.objects().len();
        fs::remove_dir_all(node.path("/var/lib/etcd2/member")).unwrap();
        node.ok(&["restore"]);
        (objects, scan(&node.path("/var/lib/etcd2/member")).unwrap().last().index)
    };
    let expected = restored(&case.node);
    for (i, step) in all.iter().enumerate() {
        case.node.reset();
        kill_at(&case.node, case.strace, &["backup"], step);
        assert_eq!(tree(&case.member()), case.old, "{step}");
        case.node.ok(&["backup"]);
        assert_eq!(restored(&case.node), expected, "{step}");
        case.assert_new(step);
        if i % REAL == 0 {
            case.assert_etcd_has_all(step);
        }
    }
}

#[test]
fn a_first_backup() {
    let Some(case) = Case::new() else { return };
    backup_killed_at_every_step(case);
}

#[test]
fn a_backup_that_finds_objects_gone_and_begins_anew() {
    let Some(case) = Case::new() else { return };
    let wal = case.member().join("wal/0000000000000000-0000000000000000.wal");
    let whole = fs::read(&wal).unwrap();
    write(&wal, &whole[..whole.len() - 2000]);
    case.node.ok(&["backup"]);
    // As if many parts were sent since, and then all was removed.
    let state = case.node.path("/var/lib/etcd2-backup/state.json");
    alter_json(&state, |state| {
        assert_eq!(state["sequence"], 0);
        state["sequence"] = 20.into();
    });
    fs::remove_dir_all(case.node.folder()).unwrap();
    fs::File::options().write(true).open(&wal).unwrap().write_all(&whole).unwrap();
    let log = {
        case.node.save();
        let log = case.node.ok(&["backup"]);
        case.node.reset();
        log
    };
    assert!(log.contains("generation 2 begins: part 0 of generation 00000001-"), "{log}");
    backup_killed_at_every_step(case);
}

#[test]
fn a_backup_that_goes_on() {
    let Some(case) = Case::new() else { return };
    // The first backup finds the log as it was while its last entries were being written.
    let wal = case.member().join("wal/0000000000000000-0000000000000000.wal");
    let whole = fs::read(&wal).unwrap();
    write(&wal, &whole[..whole.len() - 2000]);
    case.node.ok(&["backup"]);
    fs::File::options().write(true).open(&wal).unwrap().write_all(&whole).unwrap();
    backup_killed_at_every_step(case);
}
