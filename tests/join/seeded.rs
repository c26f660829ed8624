//! `join` of a node that begins with what the founding member was restored from: its leader sends it no snapshot. And every
//! reason why it begins empty after all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use etcd2_backup::archive::lineage::Record;
use etcd2_backup::etcd::datadir::DataDir;
use etcd2_backup::etcd::frame::Kind;
use etcd2_backup::etcd::proto::Entry;
use etcd2_backup::etcd::wal::{self, Reading};
use testkit::faults::curl::Curl;
use testkit::faults::disk::{Disk, PAGE};
use testkit::faults::namespace::is_inside;
use testkit::files::{tree, write};
use testkit::keys::{self, Client, Keys};
use testkit::node::Node;
use testkit::tools::{Tools, etcd_version};

use crate::PROGRAM;

const SEEDED: &str = "will be seeded from what the founding member was restored from";
const EMPTY: &str = "the member will start empty, and the leader will send it everything: ";

/// A founding member and a second node with one remote.
struct Pair {
    founder: Node,
    second: Node,
    keys: Keys,
}

impl Pair {
    /// The founder has keys, with a snapshot among them.
    fn new() -> Option<Self> {
        let tools = Tools::from_env()?;
        let mut founder = Node::named(PROGRAM, tools, "e1");
        founder.etcd.set("ETCD_SNAPSHOT_COUNT", "100");
        if etcd_version(&tools.etcd).unwrap().0 == 2 {
            // Else the leader says nothing of a snapshot that it sends.
            founder.etcd.set("ETCD_DEBUG", "true");
        }
        let mut second = Node::joining(tools, "e2", &founder);
        second.back_up_beside(&founder, '2');
        founder.etcd.start().unwrap();
        keys::write_sample(&founder.etcd.client_url).unwrap();
        keys::write_many(&founder.etcd.client_url, "/many", 150).unwrap();
        Some(Self { founder, second, keys: Keys::new() })
    }

    /// The founder restored and running again, with a key more.
    fn restored(&mut self, arguments: &[&str]) {
        self.founder.etcd.kill().unwrap();
        self.founder.ok(&[&["restore"], arguments].concat());
        self.founder.start_etcd();
        Client::new(&self.founder.etcd.client_url).unwrap().put("/since", "then").unwrap();
        self.keys = keys::dump(&self.founder.etcd.client_url).unwrap();
    }

    /// The same, backed up before.
    fn from_archive() -> Option<Self> {
        let mut pair = Self::new()?;
        pair.founder.ok(&["backup"]);
        pair.restored(&[]);
        Some(pair)
    }

    /// The second node joins, and has every key; what the first run said.
    fn join(&mut self, arguments: &[&str]) -> String {
        let log = self.second.ok(&[&["join"], arguments].concat());
        self.second.start_etcd();
        self.second.ok(&["join"]);
        assert!(!self.second.is_fenced());
        assert!(!self.second.path("/var/lib/etcd2-restore/incoming").exists());
        let found = Client::new(&self.second.etcd.client_url).unwrap().dump_local().unwrap();
        let differences = keys::compare(&self.keys, &found);
        assert!(differences.is_empty(), "{differences:?} {log}");
        assert_eq!(self.founder.etcd.members().unwrap().len(), 2);
        log
    }

    fn record(&self) -> (PathBuf, Record) {
        let objects = self.founder.objects();
        let mut paths = objects.iter().filter(|p| p.starts_with("recovery"));
        let path = self.founder.folder().join(paths.next().unwrap());
        assert_eq!(paths.next(), None);
        (path.clone(), serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
    }
}

/// What etcd says where a leader sends a member its store, and where the member takes it.
fn snapshots_sent(node: &Node) -> bool {
    says(node, &["sent snapshot[", "sending merged snapshot"])
}

fn snapshots_taken(node: &Node) -> bool {
    says(node, &["starts to restore snapshot", "applying snapshot"])
}

fn says(node: &Node, words: &[&str]) -> bool {
    let log = fs::read_to_string(&node.etcd.log).unwrap();
    assert!(log.contains("raft"), "{} holds nothing", node.etcd.log.display());
    words.iter().any(|words| log.contains(words))
}

/// The entries of a member's log as they are in it, by index.
fn entries(data_dir: &Path) -> BTreeMap<u64, Vec<u8>> {
    let dir = DataDir::open(data_dir, None).unwrap();
    let contents = dir.scan(Reading::Live).unwrap();
    let mut all = BTreeMap::new();
    wal::walk(&dir.wal, contents.start, Reading::Live, &mut |_, record| {
        if record.kind == Kind::Entry {
            all.insert(Entry::decode(record.data)?.index, record.data.to_vec());
        }
        Ok(())
    })
    .unwrap();
    all
}

#[test]
fn a_seeded_member_is_sent_no_snapshot_and_holds_nothing_that_the_founder_has_not() {
    let Some(mut pair) = Pair::from_archive() else { return };
    let (_, record) = pair.record();
    let log = pair.second.ok(&["join", "--no-start"]);
    assert!(log.contains(SEEDED) && log.contains("start etcd as usual"), "{log}");
    assert!(!pair.second.is_fenced());

    let seed = entries(&pair.second.path("/var/lib/etcd2"));
    let founders = entries(&pair.founder.path("/var/lib/etcd2"));
    assert_eq!(seed.last_key_value().unwrap().0, &record.index);
    for (index, entry) in &seed {
        assert!(founders.get(index) == Some(entry), "{index}");
    }
    // What the restore appended is behind it.
    assert!(founders.contains_key(&(record.index + 1)));

    let log = pair.join(&[]);
    assert!(log.contains("starting it unchanged"), "{log}");
    assert!(!snapshots_sent(&pair.founder) && !snapshots_taken(&pair.second));
    let id = pair.second.etcd.members().unwrap().into_iter().find(|m| m.name == "e2").unwrap().id;
    let stamp = fs::read_to_string(pair.second.path("/etc/etcd2-backup/identity.json")).unwrap();
    assert!(stamp.contains(&id), "{stamp} {id}");
}

#[test]
fn what_is_looked_for_in_the_logs_is_there_when_a_snapshot_is_sent() {
    let Some(mut pair) = Pair::from_archive() else { return };
    let log = pair.join(&["--plain"]);
    assert!(!log.contains(SEEDED) && !log.contains(EMPTY), "{log}");
    assert!(snapshots_sent(&pair.founder) && snapshots_taken(&pair.second));
}

#[test]
fn a_join_that_is_refused_takes_its_seed_back() {
    let Some(mut pair) = Pair::from_archive() else { return };
    let curl = Curl::new(&mut pair.second);
    // The seed is all there by now but its log.
    let refusal = r#"[ -d "$DATA/member.restoring/new/snap" ] && mkdir seen-before
printf 'HTTP/1.1 403 Forbidden\r\n\r\n{"message":"no"}'; exit 0"#;
    pair.second.environment.insert("DATA".into(), pair.second.path("/var/lib/etcd2").display().to_string());
    curl.instead("^request = .POST", refusal);
    pair.second.refused(&["join"], 16, &["did not accept this node as a member"]);
    assert!(curl.made("seen-before"));
    assert_eq!(tree(&pair.second.path("/var/lib/etcd2")).len(), 0);
    assert_eq!(tree(&pair.second.path("/var/lib/etcd2-restore")).len(), 0);
    assert!(!pair.second.is_fenced());
    curl.honest();
    assert!(pair.join(&[]).contains(SEEDED));
}

#[test]
fn a_seed_that_there_is_no_room_for_is_not_brought() {
    let test = "seeded::a_seed_that_there_is_no_room_for_is_not_brought";
    if Tools::from_env().is_none() || !is_inside(test) {
        return;
    }
    let mut pair = Pair::from_archive().unwrap();
    let disk = Disk::on(pair.second.path("/var/lib/etcd2-restore"), "1m");
    disk.leave(4);
    let log = pair.join(&[]);
    let line = log.lines().find_map(|line| line.split_once(EMPTY)).unwrap_or_else(|| panic!("{log}"));
    assert!(line.1.starts_with("there is no room in "), "{log}");
    assert_eq!(disk.free(), 4 * PAGE);
}

#[test]
fn old_data_is_set_aside_for_the_seed() {
    let Some(mut pair) = Pair::from_archive() else { return };
    pair.second.put_fixture("v238-single-snap");
    let old = tree(&pair.second.path("/var/lib/etcd2/member"));
    assert!(pair.join(&[]).contains(SEEDED));
    let kept = pair.second.kept("member.before-join-");
    assert_eq!(kept.len(), 1);
    assert_eq!(tree(&kept[0]), old);
    assert!(!snapshots_sent(&pair.founder));
}

#[test]
fn a_separate_wal_directory_gets_its_part() {
    let Some(mut pair) = Pair::from_archive() else { return };
    let wal = pair.second.path("/var/lib/etcd2-wal");
    pair.second.environment.insert("ETCD_WAL_DIR".into(), "/var/lib/etcd2-wal".into());
    pair.second.etcd.set("ETCD_WAL_DIR", wal.to_string_lossy());
    assert!(pair.join(&[]).contains(SEEDED));
    assert!(wal.exists() && !pair.second.path("/var/lib/etcd2/member/wal").exists());
    assert!(!snapshots_sent(&pair.founder) && !snapshots_taken(&pair.second));
}

/// The backup has a part of what the disk had.
#[test]
fn after_a_restore_from_a_disk_the_backup_before_it_serves() {
    let Some(mut pair) = Pair::new() else { return };
    pair.founder.ok(&["backup"]);
    let backed_up = *entries(&pair.founder.path("/var/lib/etcd2")).last_key_value().unwrap().0;
    keys::write_many(&pair.founder.etcd.client_url, "/behind", 20).unwrap();
    pair.restored(&["--source", "local"]);
    assert!(pair.record().1.index >= backed_up + 20);
    let log = pair.join(&[]);
    assert!(log.contains(SEEDED), "{log}");
    assert!(!snapshots_sent(&pair.founder) && !snapshots_taken(&pair.second));
}

#[test]
fn a_leader_without_the_entries_behind_the_seed_sends_a_snapshot() {
    let Some(mut pair) = Pair::from_archive() else { return };
    keys::write_many(&pair.founder.etcd.client_url, "/more", 250).unwrap();
    // At its start a leader has the entries behind its last snapshot only.
    pair.founder.etcd.restart().unwrap();
    pair.keys = keys::dump(&pair.founder.etcd.client_url).unwrap();
    assert!(pair.join(&[]).contains(SEEDED));
    assert!(snapshots_sent(&pair.founder));
}

#[test]
fn without_a_seed_a_member_begins_empty_and_says_why() {
    let Some(mut pair) = Pair::new() else { return };
    let why = |pair: &Pair| {
        let left = ["/var/lib/etcd2/member.restoring", "/var/lib/etcd2-restore/incoming"];
        let left = left.map(|path| pair.second.path(path));
        // As a run that was killed leaves it.
        for dir in &left {
            fs::create_dir_all(dir).unwrap();
            write(&dir.join("half"), "x");
        }
        let log = pair.second.ok(&["join", "--no-start"]);
        assert!(left.iter().all(|dir| !dir.exists()), "{log}");
        let line = log.lines().find_map(|line| line.split_once(EMPTY)).unwrap_or_else(|| panic!("{log}"));
        // Nothing but the IDs, and the next one decides anew.
        let member = pair.second.path("/var/lib/etcd2/member");
        assert_eq!(entries(&pair.second.path("/var/lib/etcd2")).len(), 0);
        fs::remove_dir_all(member).unwrap();
        write(&pair.second.path("/etc/etcd2-backup/fence"), "`etcd2-backup join`");
        line.1.to_owned()
    };
    // Later runs find the member in the list, and decide anew.
    assert_eq!(why(&pair), "there is no recovery record of that cluster");

    pair.restored(&["--source", "local"]);
    let said = why(&pair);
    assert!(said.ends_with(" was a disk and is not in the archive"), "{said}");

    pair.founder.ok(&["backup"]);
    pair.restored(&[]);
    let paths: Vec<PathBuf> = tree(&pair.founder.folder()).into_keys().collect();
    let parts = paths.iter().filter(|p| p.extension().is_some_and(|e| e == "part"));
    let parts: Vec<PathBuf> = parts.map(|p| pair.founder.folder().join(p)).collect();
    assert_eq!(parts.len(), 1);
    let whole = fs::read(&parts[0]).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    write(&parts[0], &damaged);
    assert!(why(&pair).contains("is corrupt"), "{}", why(&pair));
    fs::remove_file(&parts[0]).unwrap();
    assert!(why(&pair).contains("is no longer in 0123456789abcdef0123456789abcdef"), "{}", why(&pair));
    write(&parts[0], &whole);

    let endpoint = pair.second.environment.insert("RCLONE_ENDPOINT".into(), "nowhere:backups".into());
    assert!(why(&pair).contains("nowhere"), "{}", why(&pair));
    pair.second.environment.insert("RCLONE_ENDPOINT".into(), endpoint.unwrap());
    assert!(pair.join(&[]).contains(SEEDED));
}
