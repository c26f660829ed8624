//! Copies of the v3 store of an etcd that runs: each is of one moment, whoever writes meanwhile, and whatever is not is refused.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use etcd2_backup::backup::base::copy::{self, Way};
use etcd2_backup::cluster::v3::calls;
use etcd2_backup::etcd::bolt::Db;
use etcd2_backup::etcd::datadir::DataDir;
use etcd2_backup::etcd::v3::base::Base as V3Base;
use etcd2_backup::etcd::v3::mvcc;
use etcd2_backup::settings::{self, Settings, UnitEnvironment};
use etcd2_backup::sys::http::Client;
use etcd2_backup::sys::root::Root;
use serde_json::json;
use testkit::etcd::{Cluster, Member};
use testkit::faults::disk;
use testkit::faults::namespace::is_inside;
use testkit::tools::{self, Tools};
use testkit::v3::{self, base64};

/// So large a store takes a while to read, in which etcd commits.
const LARGE_VALUES: usize = 80;
const LARGE: usize = 100_000;

pub(crate) fn settings(urls: &[&str]) -> Settings {
    let pairs = [("RCLONE_ENDPOINT", "r:p"), ("ETCD2_BACKUP_RCLONE_RUNNER", "host")];
    let ours = pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
    let id = "0123456789abcdef0123456789abcdef";
    let mut settings = settings::parse(&ours, &UnitEnvironment::default(), id, &Root::new("/")).unwrap();
    settings.etcd.client_urls = urls.iter().map(|url| (*url).to_owned()).collect();
    settings.etcd.auth_file = "/nonexistent".into();
    settings
}

pub(crate) fn data_of(data_dir: &Path) -> DataDir {
    DataDir::open(data_dir, None).unwrap()
}

/// A member that serves the v3 API alone and holds some megabytes.
fn filled(tools: &Tools, folder: &Path) -> Member {
    let mut member = Member::new(tools, "e1", &folder.join("e1")).unwrap();
    member.without_v2();
    member.start().unwrap();
    fill(&member.client_url);
    member
}

fn fill(url: &str) {
    let mut client = v3::Client::new(url).unwrap();
    for n in 0..LARGE_VALUES {
        client.put(&format!("/large/{n}"), &format!("{n} ").repeat(LARGE / 3)).unwrap();
    }
}

/// Puts, deletions, transactions of several keys, and leases whose end takes rows out of the db, until it is told to stop.
fn write_on(url: &str, stop: &AtomicBool) -> u64 {
    static WRITERS: AtomicU64 = AtomicU64::new(1);
    let mut client = v3::Client::new(url).unwrap();
    let leases = WRITERS.fetch_add(1, Ordering::Relaxed) << 32;
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        client.put(&format!("/k/{}", n % 50), &"v".repeat(n % 3000)).unwrap();
        let put = |key: &str| json!({"requestPut": {"key": base64(key), "value": base64(n.to_string())}});
        client.call("kv/txn", &json!({"success": [put("/a"), put("/b"), put("/c")]})).unwrap();
        if n % 3 == 0 {
            client.delete(&format!("/k/{}", n % 50)).unwrap();
        }
        if n % 100 == 0 {
            let lease = leases + n as u64;
            client.grant(lease, 1000).unwrap();
            client.put_leased("/leased", "x", lease).unwrap();
            client.call("lease/revoke", &json!({ "ID": lease })).unwrap();
        }
    }
    n as u64
}

/// Runs `body` while so many write, and ends them however it ends.
fn while_written(url: &str, writers: usize, body: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    let (done, written) = thread::scope(|scope| {
        let all: Vec<_> = (0..writers).map(|_| scope.spawn(|| write_on(url, &stop))).collect();
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        stop.store(true, Ordering::Relaxed);
        (done, all.into_iter().map(|writer| writer.join().unwrap()).sum::<u64>())
    });
    if let Err(e) = done {
        std::panic::resume_unwind(e);
    }
    assert!(written > 50, "{written}");
}

/// Compares a copy with its etcd, which has gone on: the sum over all revisions up to the copy's last one.
#[track_caller]
fn assert_of_one_moment(base: &V3Base, url: &str, what: &str) {
    let revision = i64::try_from(base.state.revision).unwrap();
    let live = calls::hash_kv(&Client::default(), url, revision).unwrap();
    let copied = mvcc::hash_kv(&mut Db::open(base.file().unwrap()).unwrap(), None).unwrap();
    assert_eq!(copied, live.hash, "{what}: revision {revision}");
    assert_eq!(base.size % 512, 0, "{what}");
}

#[test]
fn copies_that_are_taken_while_etcd_is_written_to_are_of_one_moment() {
    for tools in Tools::all_with_v3() {
        let work = tempfile::tempdir().unwrap();
        let member = filled(tools, work.path());
        let url = member.client_url.as_str();
        let (settings, dir) = (settings(&[url]), data_of(&member.data_dir));
        while_written(url, 1, || {
            let (mut between, mut failed, mut last) = (0, 0, 0);
            for round in 0..12 {
                let what = format!("{} {round}", tools.etcd.display());
                match copy::by(Way::BetweenCommits, &settings, &dir, &work.path().join("between")) {
                    Ok(base) => {
                        between += 1;
                        assert_of_one_moment(&base, url, &what);
                        assert!(base.state.revision > last, "{what}");
                        last = base.state.revision;
                    }
                    Err(e) => {
                        failed += 1;
                        assert!(format!("{e:#}").contains("etcd writes too much"), "{what}: {e:#}");
                    }
                }
                if round % 3 == 0 {
                    let acknowledged = v3::Client::new(url).unwrap().revision().unwrap();
                    let base = copy::by(Way::Grpc, &settings, &dir, &work.path().join("grpc")).unwrap();
                    assert_of_one_moment(&base, url, &what);
                    assert!(base.state.revision >= acknowledged, "{what}");
                    last = base.state.revision;
                }
            }
            assert!(between >= 3, "{between} of {}", between + failed);
        });
    }
}

/// Hardly any reading is over before the next commit here. What is not refused all the same is of one moment.
#[test]
fn where_etcd_commits_all_the_time_a_copy_is_refused_or_right() {
    let Some(tools) = Tools::all_with_v3().into_iter().next() else { return };
    let work = tempfile::tempdir().unwrap();
    let mut member = Member::new(tools, "e1", &work.path().join("e1")).unwrap();
    member.without_v2();
    member.set("ETCD_BACKEND_BATCH_INTERVAL", "1ms");
    member.start().unwrap();
    let url = member.client_url.as_str();
    fill(url);
    let (settings, dir) = (settings(&[url]), data_of(&member.data_dir));
    while_written(url, 3, || {
        let mut refused = 0;
        for round in 0..30 {
            match copy::by(Way::BetweenCommits, &settings, &dir, &work.path().join("copy")) {
                Ok(base) => assert_of_one_moment(&base, url, &format!("{round}")),
                Err(e) => {
                    assert!(format!("{e:#}").contains("etcd writes too much"), "{round}: {e:#}");
                    refused += 1;
                }
            }
            if refused == 2 {
                break;
            }
        }
    });
}

#[test]
fn the_first_way_that_works_is_taken() {
    let Some(tools) = Tools::all_with_v3().into_iter().next() else { return };
    let work = tempfile::tempdir().unwrap();
    let mut member = filled(tools, work.path());
    let (dir, folder) = (data_of(&member.data_dir), work.path().join("copy"));
    let settings = settings(&[&member.client_url]);
    let (idle, way) = copy::take(&settings, &dir, &folder).unwrap();
    assert!(matches!(way, Way::Clone | Way::BetweenCommits), "{way}");
    assert_of_one_moment(&idle, &member.client_url, "idle");
    member.stop().unwrap();
    let (stopped, way) = copy::take(&settings, &dir, &folder).unwrap();
    assert!(matches!(way, Way::Clone | Way::BetweenCommits), "{way}");
    // etcd commits a moment after it answers, and at its end.
    let last = LARGE_VALUES as u64 + 1;
    assert!(stopped.state.revision == last && idle.state.revision <= last, "{}", idle.state.revision);
    let error = copy::by(Way::Grpc, &settings, &dir, &folder).unwrap_err();
    assert!(format!("{error:#}").contains("asking who answers at http://"), "{error:#}");
    assert!(fs::read_dir(&folder).unwrap().next().is_none());
}

#[test]
fn another_members_store_is_not_taken() {
    let Some(tools) = Tools::all_with_v3().into_iter().next() else { return };
    let work = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(tools, &["e1", "e2"].map(|name| (name, work.path().join(name)))).unwrap();
    cluster.members.iter_mut().for_each(Member::without_v2);
    cluster.start().unwrap();
    let [own, other] = [0, 1].map(|n| cluster.members[n].client_url.as_str());
    let (dir, folder) = (data_of(&cluster.members[0].data_dir), work.path().join("copy"));
    let ways = [Way::Grpc, Way::Etcdctl];
    for way in ways {
        let error = format!("{:#}", copy::by(way, &settings(&[other]), &dir, &folder).unwrap_err());
        assert!(error.contains(&format!("answers at {other}, and the log here is of member ")), "{error}");
    }
    copy::by(Way::Grpc, &settings(&[other, own]), &dir, &folder).unwrap();
    let none = copy::by(Way::Grpc, &settings(&[]), &dir, &folder).unwrap_err();
    assert!(format!("{none:#}").contains("ETCD_ADVERTISE_CLIENT_URLS"), "{none:#}");
}

/// Past the harness, which shows nothing of a test that passes. That a file can be mounted is nowhere promised, not in CI either.
fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}: nothing is cloned");
}

#[test]
fn a_clone_that_is_made_while_etcd_is_written_to_is_of_one_moment() {
    let test = "v3_base::a_clone_that_is_made_while_etcd_is_written_to_is_of_one_moment";
    let Some(tools) = Tools::all_with_v3().into_iter().next() else { return };
    let is_here = |kind: &&str| Command::new(format!("mkfs.{kind}")).arg("-V").output().is_ok();
    let kinds: Vec<&str> = ["xfs", "btrfs"].into_iter().filter(is_here).collect();
    if kinds.is_empty() {
        return tools::skip_unless_ci(
            &std::io::Error::other("neither mkfs.xfs nor mkfs.btrfs is here").into(),
        );
    }
    if !is_inside(test) {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    for kind in kinds {
        let folder = work.path().join(kind);
        fs::create_dir(&folder).unwrap();
        let Some(place) = disk::in_a_file(&folder, kind, 400 << 20) else {
            skipped(&format!("{kind} cannot be mounted here"));
            continue;
        };
        let member = filled(tools, &place);
        let url = member.client_url.as_str();
        let (settings, dir) = (settings(&[url]), data_of(&member.data_dir));
        while_written(url, 1, || {
            for round in 0..15 {
                let (base, way) = copy::take(&settings, &dir, &place.join("copy")).unwrap();
                assert_eq!(way, Way::Clone, "{kind}");
                assert_of_one_moment(&base, url, &format!("{kind} {round}"));
            }
            // Out of it there is no clone.
            let error = copy::by(Way::Clone, &settings, &dir, &work.path().join("away")).unwrap_err();
            assert!(error.to_string().contains("is on another file system"), "{error:#}");
        });
        drop(member);
        assert!(Command::new("umount").arg(&place).status().unwrap().success(), "{kind}");
    }
}
