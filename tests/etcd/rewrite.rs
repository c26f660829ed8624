//! Member directories written offline, for several new members at once, for one that joins and for an exact index, started
//! under the real etcd of this machine. (For one new member: tests/etcd/fixtures.rs.)

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use etcd2_backup::etcd::datadir::{Contents, DataDir, Family};
use etcd2_backup::etcd::log::Log;
use etcd2_backup::etcd::rewrite::{NewMember, Purpose, Rewrite, Target, prove, write_member_dir};
use etcd2_backup::etcd::wal::{self, Reading};
use etcd2_backup::exit::{Exit, exit_of};
use etcd2_backup::sys::fs::write_atomic;
use testkit::etcd::Member;
use testkit::fixtures::{Fixture, NAMES};
use testkit::http::Connection;
use testkit::keys::{self, Client, Keys, address_of};
use testkit::process::run;
use testkit::store;
use testkit::tools::{Tools, etcd_version};

const CLUSTER: u64 = 0xc1;

/// What is restored, and the keys that must come back.
struct Source {
    dir: DataDir,
    contents: Contents,
    keys: Keys,
}

impl Source {
    fn open(data_dir: &Path, keys: Keys) -> Self {
        let dir = DataDir::open(data_dir, None).unwrap();
        let contents = dir.scan(Reading::Still).unwrap();
        Self { dir, contents, keys }
    }

    fn fixture(name: &str, work: &Path) -> Self {
        let fixture = Fixture::unpack(name, work).unwrap();
        Self::open(&fixture.data_dir, fixture.keys)
    }

    /// A member of the etcd at hand that was killed, with entries behind its last snapshot.
    fn killed(tools: &Tools, work: &Path) -> Self {
        let mut member = Member::new(tools, "old", &work.join("old")).unwrap();
        member.set("ETCD_SNAPSHOT_COUNT", "150");
        member.start().unwrap();
        keys::write_sample(&member.client_url).unwrap();
        keys::write_many(&member.client_url, "/many", 170).unwrap();
        let keys = keys::dump(&member.client_url).unwrap();
        member.wait_snapshot().unwrap();
        member.kill().unwrap();
        Self::open(&member.data_dir, keys)
    }

    /// Writes and proves directories for members with these IDs.
    fn write(&self, rewrite: &Rewrite, members: &[(u64, &Member)]) {
        for (member_id, member) in members {
            let path = member.data_dir.join("member");
            let target = Target { member_id: *member_id, path: &path };
            write_member_dir(&self.dir, &self.contents, rewrite, target).unwrap();
            prove(&self.contents, rewrite, target).unwrap();
        }
    }

    /// Entries behind the snapshot, halved.
    fn middle(&self) -> u64 {
        let (base, last) = (self.contents.base_index(), self.contents.last().index);
        assert!(last > base + 4, "{base} to {last}");
        base.midpoint(last)
    }
}

fn family(tools: &Tools) -> Family {
    if etcd_version(&tools.etcd).unwrap().0 == 2 { Family::Two } else { Family::Three }
}

/// The sources that the etcd at hand can start on: 2.x refuses the data of 3.x.
fn sources(tools: &Tools, work: &Path) -> Vec<Source> {
    let mut all = vec![Source::fixture("v238-single-snap", work), Source::killed(tools, work)];
    if family(tools) == Family::Three {
        all.push(Source::fixture("v3423-single-snap-trimmed", work));
    }
    all
}

fn new_member((id, member): (u64, &Member)) -> NewMember {
    NewMember { id, peer_urls: vec![member.peer_url.clone()] }
}

fn assert_holds(member: &Member, expected: &Keys, what: &str) {
    let differences = keys::compare(expected, &keys::dump(&member.client_url).unwrap());
    assert!(differences.is_empty(), "{}, {what}: {differences:?}", member.name);
}

/// Whether etcd says that it took its store from a snapshot that its leader sent.
fn took_a_snapshot(member: &Member) -> bool {
    let log = std::fs::read_to_string(&member.log).unwrap();
    assert!(log.contains("raft"), "{} holds nothing", member.log.display());
    log.contains("starts to restore snapshot") || log.contains("applying snapshot")
}

/// Adds a member to the cluster, and gives its ID.
fn add(founder: &Member, peer_url: &str) -> u64 {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--header", "Content-Type: application/json", "--data"]);
    curl.arg(format!(r#"{{"peerURLs":["{peer_url}"]}}"#)).arg(format!("{}/v2/members", founder.client_url));
    let answer = run(&mut curl, Duration::from_secs(30)).unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    u64::from_str_radix(answer["id"].as_str().unwrap(), 16).unwrap()
}

/// A founder that was restored from all of a source and took writes of its own; and the keys it has then.
fn founder(tools: &Tools, source: &Source, dir: &Path) -> (Member, Keys) {
    let mut founder = Member::new(tools, "founder", dir).unwrap();
    let members = vec![new_member((0xf0, &founder))];
    let rewrite = Rewrite {
        cluster_id: CLUSTER,
        purpose: Purpose::Found(members),
        up_to: None,
        family: family(tools),
        bump: None,
    };
    source.write(&rewrite, &[(0xf0, &founder)]);
    founder.start().unwrap();
    keys::write_many(&founder.client_url, "/later", 40).unwrap();
    let keys = keys::dump(&founder.client_url).unwrap();
    (founder, keys)
}

#[test]
fn what_is_not_as_planned_is_not_taken() {
    let work = tempfile::tempdir().unwrap();
    let source = Source::fixture("v238-single-snap", work.path());
    let path = work.path().join("new");
    let target = Target { member_id: 7, path: &path };
    let found = |id| Purpose::Found(vec![NewMember { id, peer_urls: vec!["http://127.0.0.1:1".into()] }]);
    let (up_to, family) = (source.middle(), source.contents.family);
    let rewrite = Rewrite { cluster_id: CLUSTER, purpose: found(7), up_to: Some(up_to), family, bump: None };
    write_member_dir(&source.dir, &source.contents, &rewrite, target).unwrap();
    let proven = |rewrite: &Rewrite, target| prove(&source.contents, rewrite, target).is_ok();
    assert!(proven(&rewrite, target));
    assert!(!proven(&rewrite, Target { member_id: 8, ..target }));
    for other in [
        Rewrite { cluster_id: CLUSTER + 1, ..rewrite.clone() },
        Rewrite { purpose: found(8), ..rewrite.clone() },
        Rewrite { purpose: Purpose::Seed, ..rewrite.clone() },
        Rewrite { up_to: Some(up_to + 1), ..rewrite.clone() },
        Rewrite { up_to: Some(up_to - 1), ..rewrite.clone() },
    ] {
        assert!(!proven(&other, target), "{other:?}");
    }

    // One byte of a file at a time, and a cut.
    let base = source.contents.base.as_ref().unwrap().name.to_string();
    let log = wal::segments(&path.join("wal")).unwrap()[0].path(&path.join("wal"));
    for file in [path.join("snap").join(base), log] {
        let whole = std::fs::read(&file).unwrap();
        let middle = whole.len() / 2;
        let mut damaged = whole.clone();
        damaged[middle] ^= 1;
        for bytes in [&damaged[..], &whole[..middle]] {
            write_atomic(&file, bytes, 0o600).unwrap();
            assert!(!proven(&rewrite, target), "{}", file.display());
        }
        write_atomic(&file, &whole, 0o600).unwrap();
    }
    assert!(proven(&rewrite, target));
}

#[test]
fn three_members_written_from_one_source_start_together() {
    let Some(tools) = Tools::from_env() else { return };
    let work = tempfile::tempdir().unwrap();
    for (number, source) in sources(tools, work.path()).iter().enumerate() {
        let dir = |name: &str| work.path().join(format!("three-{number}")).join(name);
        let mut members = ["a", "b", "c"].map(|name| Member::new(tools, name, &dir(name)).unwrap());
        let ids = [0xa1, 0xb1, 0xc1];
        let with_ids: Vec<_> = ids.into_iter().zip(&members).collect();
        let purpose = Purpose::Found(with_ids.iter().copied().map(new_member).collect());
        let rewrite =
            Rewrite { cluster_id: CLUSTER, purpose, up_to: None, family: family(tools), bump: None };
        source.write(&rewrite, &with_ids);

        members.iter_mut().for_each(|m| m.spawn(&[]).unwrap());
        members.iter_mut().for_each(|m| m.wait_healthy().unwrap());
        for member in &members {
            assert_holds(member, &source.keys, "behind the start");
            let mut listed: Vec<_> =
                member.members().unwrap().into_iter().map(|m| (m.id, m.peer_urls)).collect();
            listed.sort();
            let expected: Vec<_> = ["a1", "b1", "c1"]
                .into_iter()
                .zip(&members)
                .map(|(id, m)| (id.into(), vec![m.peer_url.clone()]))
                .collect();
            assert_eq!(listed, expected, "as {} knows them", member.name);
        }
        let mut all = source.keys.clone();
        all.insert("/new".into(), Client::new(&members[1].client_url).unwrap().put("/new", "x").unwrap());
        for member in &members {
            assert_holds(member, &all, "behind a write");
            assert!(!took_a_snapshot(member), "{}", member.name);
        }
    }
}

/// etcd 3.5.1 to 3.5.19 carries no Update of a member into its `snap/db`, and 3.6 reads members there alone.
#[test]
fn members_keep_the_urls_of_those_before_them_in_the_v3_store_too() {
    let Some(tools) = Tools::etcd_3_5_from_env() else { return };
    let work = tempfile::tempdir().unwrap();
    let mut sources = sources(tools, work.path());
    sources.push(Source::fixture("v351-single-snap", work.path()));
    for (number, source) in sources.iter().enumerate() {
        let dir = work.path().join(format!("same-{number}"));
        let mut member = Member::new(tools, "same", &dir).unwrap();
        // What the source's members have, and one of its own, at which it listens.
        let taken: Vec<String> =
            source.contents.members().unwrap().into_values().flat_map(|old| old.peer_urls).collect();
        assert!(!taken.is_empty());
        let peer_urls: Vec<String> = [member.peer_url.clone()].into_iter().chain(taken).collect();
        let purpose = Purpose::Found(vec![NewMember { id: 0x5a, peer_urls: peer_urls.clone() }]);
        let rewrite =
            Rewrite { cluster_id: CLUSTER, purpose, up_to: None, family: family(tools), bump: None };
        source.write(&rewrite, &[(0x5a, &member)]);
        member.start().unwrap();
        assert_holds(&member, &source.keys, "behind the start");
        let listed: Vec<_> = member.members().unwrap().into_iter().map(|m| m.id).collect();
        assert_eq!(listed, ["5a"], "source {number}");
        member.stop().unwrap();

        let stored = testkit::bolt::bucket(&member.data_dir.join("member/snap/db"), "members").unwrap();
        let stored: Vec<(String, serde_json::Value)> = stored
            .into_iter()
            .map(|(id, json)| (String::from_utf8(id).unwrap(), serde_json::from_slice(&json).unwrap()))
            .collect();
        assert!(stored.len() == 1 && stored[0].0 == "000000000000005a" || stored[0].0 == "5a", "{stored:?}");
        assert_eq!(stored[0].1["peerURLs"], serde_json::json!(peer_urls), "source {number}");
    }
}

#[test]
fn a_seed_joins_the_restored_founder_without_a_snapshot() {
    let Some(tools) = Tools::from_env() else { return };
    let work = tempfile::tempdir().unwrap();
    for (number, source) in sources(tools, work.path()).iter().enumerate() {
        for (case, up_to) in [("all", None), ("half", Some(source.middle()))] {
            let dir = work.path().join(format!("seed-{number}-{case}"));
            let (founder, mut keys) = founder(tools, source, &dir.join("founder"));
            let mut seed = Member::new(tools, "seed", &dir.join("seed")).unwrap();
            let id = add(&founder, &seed.peer_url);
            let rewrite = Rewrite {
                cluster_id: CLUSTER,
                purpose: Purpose::Seed,
                up_to,
                family: family(tools),
                bump: None,
            };
            source.write(&rewrite, &[(id, &seed)]);

            seed.start().unwrap();
            keys.insert("/new".into(), Client::new(&seed.client_url).unwrap().put("/new", "x").unwrap());
            for member in [&founder, &seed] {
                assert_holds(member, &keys, case);
                assert_eq!(member.members().unwrap().len(), 2, "{case}");
            }
            assert!(!took_a_snapshot(&seed), "{case}");
        }
    }
}

/// What the test above looks for does appear when a snapshot is sent.
#[test]
fn an_empty_member_joins_by_a_snapshot() {
    let Some(tools) = Tools::from_env() else { return };
    let work = tempfile::tempdir().unwrap();
    let source = Source::fixture("v238-single-snap", work.path());
    let (founder, keys) = founder(tools, &source, &work.path().join("founder"));
    let mut empty = Member::new(tools, "empty", &work.path().join("empty")).unwrap();
    add(&founder, &empty.peer_url);
    empty.set("ETCD_INITIAL_CLUSTER", format!("founder={},empty={}", founder.peer_url, empty.peer_url));
    empty.set("ETCD_INITIAL_CLUSTER_STATE", "existing");
    empty.start().unwrap();
    assert_holds(&empty, &keys, "empty");
    assert!(took_a_snapshot(&empty) && !took_a_snapshot(&founder));
}

/// What the benchmarks measure is what etcd would have written.
#[test]
fn etcd_starts_on_the_store_of_the_benchmarks() {
    let Some(tools) = Tools::from_env() else { return };
    let work = tempfile::tempdir().unwrap();
    for snapshot in [0, 150] {
        let dir = work.path().join(snapshot.to_string());
        store::data_dir(&dir.join("old"), 200, 256, snapshot);
        let source = Source::open(&dir.join("old"), Keys::new());
        assert_eq!(source.contents.base.is_some(), snapshot > 0);
        let (_founder, keys) = founder(tools, &source, &dir.join("founder"));
        let values: Vec<_> = keys.iter().filter(|(key, _)| key.starts_with("/bench/")).collect();
        assert_eq!(values.len(), 200, "{snapshot}");
        assert!(values.iter().all(|(_, node)| node.value.as_ref().is_some_and(|v| v.len() == 256)));
    }
}

#[test]
fn a_source_is_restored_to_an_exact_index() {
    let Some(tools) = Tools::from_env() else { return };
    let work = tempfile::tempdir().unwrap();
    let mut old = Member::new(tools, "old", &work.path().join("old")).unwrap();
    old.start().unwrap();
    keys::write_sample(&old.client_url).unwrap();
    let mut connection = Connection::new(address_of(&old.client_url).unwrap());
    let reply = connection.request("PUT", "/v2/keys/exact", Some("value=this")).unwrap();
    let index: u64 = reply.header("x-raft-index").unwrap().parse().unwrap();
    let keys = keys::dump(&old.client_url).unwrap();
    connection.request("PUT", "/v2/keys/exact", Some("value=that")).unwrap();
    connection.request("DELETE", "/v2/keys/svc?recursive=true", None).unwrap();
    keys::write_many(&old.client_url, "/later", 20).unwrap();
    old.kill().unwrap();
    let source = Source::open(&old.data_dir, keys);
    assert!(source.contents.last().index > index + 20);

    let mut exact = Member::new(tools, "exact", &work.path().join("exact")).unwrap();
    let purpose = Purpose::Found(vec![new_member((0xe1, &exact))]);
    let mut rewrite =
        Rewrite { cluster_id: CLUSTER, purpose, up_to: Some(index), family: family(tools), bump: None };
    source.write(&rewrite, &[(0xe1, &exact)]);
    exact.start().unwrap();
    assert_holds(&exact, &source.keys, "exact");

    let path = work.path().join("beyond");
    let target = Target { member_id: 0xe1, path: &path };
    rewrite.up_to = Some(source.contents.last().index + 1);
    let error = write_member_dir(&source.dir, &source.contents, &rewrite, target).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Refused);
    assert!(!path.exists());
}

#[test]
fn an_index_within_the_snapshot_is_refused() {
    let work = tempfile::tempdir().unwrap();
    let source = Source::fixture("v238-single-snap", work.path());
    let path = work.path().join("new");
    let target = Target { member_id: 1, path: &path };
    for (up_to, refused) in [(-1, true), (0, false)] {
        let up_to = source.contents.base_index().checked_add_signed(up_to);
        let rewrite =
            Rewrite { cluster_id: CLUSTER, purpose: Purpose::Seed, up_to, family: Family::Two, bump: None };
        let written = write_member_dir(&source.dir, &source.contents, &rewrite, target);
        assert_eq!(written.as_ref().is_err_and(|e| exit_of(e) == Exit::Refused), refused, "{written:?}");
        assert_eq!(path.exists(), !refused);
    }
}

#[test]
fn what_a_scan_says_of_the_log_behind_the_snapshot_is_what_reading_it_from_there_says() {
    for name in NAMES.iter().filter(|n| !n.contains("flipped")) {
        let work = tempfile::tempdir().unwrap();
        let Source { dir, contents, .. } = Source::fixture(name, work.path());
        let from = contents.base.as_ref().map(|b| b.metadata.position).unwrap_or_default();
        let mut log = Log { metadata: Some(contents.metadata), ..Log::behind(from, contents.start_state) };
        let tail =
            wal::walk(&dir.wal, contents.start, Reading::Still, &mut |_, record| log.add(record)).unwrap();
        // The newest SYNC may lie before the snapshot, and is still the newest.
        log.sync_time = log.sync_time.or(contents.log.sync_time);
        assert_eq!((contents.log, contents.tail), (log, tail), "{name}");
    }
}
