//! Copies of the v3 store of an etcd that runs: each is of one moment, whoever writes meanwhile, and whatever is not is refused.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use etcd2_backup::backup::base::copy::{self, Way};
use etcd2_backup::cluster::v3::calls;
use etcd2_backup::etcd::bolt::Db;
use etcd2_backup::etcd::datadir::DataDir;
use etcd2_backup::etcd::v3::base::Base as V3Base;
use etcd2_backup::etcd::v3::mvcc;
use etcd2_backup::exit::{Exit, exit_of, hint_of};
use etcd2_backup::settings::{self, Settings, UnitEnvironment};
use etcd2_backup::sys::http::Client;
use etcd2_backup::sys::root::Root;
use serde_json::json;
use testkit::certificates::{Authority, For};
use testkit::etcd::{Cluster, Member};
use testkit::faults::curl::Curl;
use testkit::faults::disk::Disk;
use testkit::faults::namespace::is_inside;
use testkit::fixtures::unpack_v3;
use testkit::node::Node;
use testkit::tools::Tools;
use testkit::v3::{self, base64};

use crate::PROGRAM;

/// So large a store takes a while to read, in which etcd commits.
const LARGE_VALUES: usize = 80;
const LARGE: usize = 100_000;

fn settings(urls: &[&str]) -> Settings {
    let pairs = [("RCLONE_ENDPOINT", "r:p"), ("ETCD2_BACKUP_RCLONE_RUNNER", "host")];
    let ours = pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
    let id = "0123456789abcdef0123456789abcdef";
    let mut settings = settings::parse(&ours, &UnitEnvironment::default(), id, &Root::new("/")).unwrap();
    settings.etcd.client_urls = urls.iter().map(|url| (*url).to_owned()).collect();
    settings.etcd.auth_file = "/nonexistent".into();
    settings
}

fn data_of(data_dir: &Path) -> DataDir {
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
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let writer = scope.spawn(|| write_on(url, &stop));
            let copied = std::panic::catch_unwind(|| {
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
            stop.store(true, Ordering::Relaxed);
            let written = writer.join().unwrap();
            if let Err(e) = copied {
                std::panic::resume_unwind(e);
            }
            assert!(written > 50, "{written}");
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
    let stop = AtomicBool::new(false);
    let copied = thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| write_on(url, &stop));
        }
        let copied = std::panic::catch_unwind(|| {
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
        stop.store(true, Ordering::Relaxed);
        copied
    });
    if let Err(e) = copied {
        std::panic::resume_unwind(e);
    }
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

/// Set where this program takes a copy for another test, which gives it an environment: way, member's data, folder, client URL, file of
/// the user.
const ASKED: &str = "ETCD2_BACKUP_TEST_COPY";

#[test]
fn takes_a_copy_for_another_test() {
    let Some(asked) = std::env::var_os(ASKED) else { return };
    let asked: Vec<String> = serde_json::from_slice(asked.as_encoded_bytes()).unwrap();
    let [way, data_dir, folder, url, auth] = asked.try_into().unwrap();
    let mut settings = settings(&[&url]);
    settings.etcd.auth_file = auth.into();
    let way = serde_json::from_str(&way).unwrap();
    let said = match copy::by(way, &settings, &data_of(Path::new(&data_dir)), Path::new(&folder)) {
        Ok(base) => format!("revision {}", base.state.revision),
        Err(e) => format!("{e:#}"),
    };
    testkit::files::write(&Path::new(&folder).join("said"), said);
}

/// What comes of it with the node's PATH.
fn elsewhere(way: Way, node: &Node, folder: &Path, auth: &Path) -> String {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let asked = json!([
        serde_json::to_string(&way).unwrap(),
        text(&node.etcd.data_dir),
        text(folder),
        node.etcd.client_url,
        text(auth)
    ]);
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["v3_base::takes_a_copy_for_another_test", "--exact", "--nocapture"]);
    again.env(ASKED, asked.to_string()).env("PATH", &node.environment["PATH"]);
    let output = again.output().unwrap();
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
    let said = folder.join("said");
    let answer = fs::read_to_string(&said).unwrap();
    fs::remove_file(said).unwrap();
    answer
}

/// A node whose etcd serves the v3 API alone, runs and holds something; its etcdctl is in its PATH.
fn node(tools: &Tools) -> Node {
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.without_v2();
    node.etcd.start().unwrap();
    let mut client = v3::Client::new(&node.etcd.client_url).unwrap();
    for n in 0..50 {
        client.put(&format!("/needle/{n}"), &"needle ".repeat(500)).unwrap();
    }
    let etcdctl = tools.etcdctl.parent().unwrap().display().to_string();
    let path = format!("{etcdctl}:{}", node.environment["PATH"]);
    node.environment.insert("PATH".into(), path);
    node
}

#[test]
fn a_stream_that_is_altered_or_cut_off_is_refused() {
    let Some(tools) = Tools::all_with_v3().into_iter().next() else { return };
    let mut node = node(tools);
    let curl = Curl::new(&mut node);
    let work = tempfile::tempdir().unwrap();
    let take = |way| elsewhere(way, &node, work.path(), Path::new("/nonexistent"));
    assert_eq!(take(Way::Grpc), "revision 51");
    let asks = r#"printf '%s' "$CONFIG" | "$REAL" "$@""#;
    for (body, said) in [
        (format!("{asks} | LC_ALL=C sed 's/needle/nedele/3'; exit 0"), "not what its SHA-256 says"),
        (format!("{asks} | head -c 50000; exit 0"), ""),
        (format!("{asks} >whole; head -c 50000 whole; exit 0"), "the last message is cut off"),
        (format!("{asks} >whole; cat whole whole; exit 0"), "do not end with a SHA-256"),
        (format!("{asks} >/dev/null; exit 0"), "what etcd sent is not whole: 0 bytes"),
        ("echo 'curl: (56) reset' >&2; exit 56".to_owned(), "(56) reset"),
    ] {
        curl.instead("Maintenance/Snapshot", &body);
        let answer = take(Way::Grpc);
        assert!(!answer.starts_with("revision") && answer.contains(said), "{body}: {answer}");
        assert!(fs::read_dir(work.path()).unwrap().next().is_none(), "{body}");
    }
    curl.instead("Maintenance/Snapshot", "exit 1");
    assert_eq!(take(Way::Etcdctl), "revision 51");
    let fake = work.path().join("bin/etcdctl");
    fs::create_dir(fake.parent().unwrap()).unwrap();
    let old = format!("{}:{}", fake.parent().unwrap().display(), node.environment["PATH"]);
    node.environment.insert("PATH".into(), old);
    for (script, said) in [
        ("#!/bin/sh\nexit 0\n", "etcdctl saved nothing"),
        ("#!/bin/sh\necho no such thing >&2\nexit 1\n", "no such thing"),
        ("#!/bin/sh\nhead -c 8224 /dev/zero >\"$3\"\n", "not what its SHA-256 says"),
    ] {
        testkit::files::write_program(&fake, script);
        let answer = elsewhere(Way::Etcdctl, &node, &work.path().join("to"), Path::new("/nonexistent"));
        assert!(answer.contains(said), "{answer}");
    }
}

const PASSWORD: &str = "pass:word \"$1\"";

#[test]
fn where_authentication_is_on_root_alone_is_given_it() {
    let Some(tools) = Tools::all_with_v3().into_iter().next() else { return };
    let mut node = node(tools);
    for (path, body) in [
        ("auth/user/add", json!({"name": "root", "password": PASSWORD})),
        ("auth/user/add", json!({"name": "other", "password": "x"})),
        ("auth/role/add", json!({"name": "root"})),
        ("auth/user/grant", json!({"user": "root", "role": "root"})),
        ("auth/enable", json!({})),
    ] {
        let answer = node.etcd.ask_v3(path, &body.to_string());
        assert!(answer.is_ok() || path == "auth/role/add", "{path}: {answer:?}");
    }
    let curl = Curl::new(&mut node);
    let work = tempfile::tempdir().unwrap();
    let (auth, folder) = (work.path().join("auth"), work.path().join("to"));
    fs::create_dir(&folder).unwrap();
    let nobody = elsewhere(Way::Grpc, &node, &folder, &auth);
    assert!(nobody.contains("Maintenance/Snapshot") && nobody.contains("(gRPC status"), "{nobody}");
    for (login, good) in [("root:wrong", false), ("other:x", false), (&*format!("root:{PASSWORD}"), true)] {
        etcd2_backup::sys::fs::write_atomic(&auth, format!("{login}\n").as_bytes(), 0o600).unwrap();
        for way in [Way::Grpc, Way::Etcdctl] {
            let said = elsewhere(way, &node, &folder, &auth);
            assert_eq!(said.starts_with("revision"), good, "{way} {login}: {said}");
            assert!(!said.contains("pass:word"), "{said}");
        }
    }
    // Who gives his name where nobody asks for it is served as well.
    let seen = curl.seen();
    assert!(!seen.is_empty() && !seen.contains("pass:word"), "{seen}");
}

#[test]
fn a_port_for_certificates_is_asked_with_one() {
    let (Some(tools), Some(authority)) = (Tools::all_with_v3().into_iter().next(), Authority::new()) else {
        return;
    };
    let work = tempfile::tempdir().unwrap();
    let certificates = work.path().join("tls");
    authority.issue("member", For::Member, &certificates);
    authority.issue("asks", For::Client, &certificates);
    let path = |file: &str| certificates.join(file);
    let mut member = Member::new(tools, "e1", &work.path().join("e1")).unwrap();
    member.without_v2();
    let port = testkit::ports::Port::reserve().unwrap();
    let url = port.url().replace("http:", "https:");
    let open = member.client_url.clone();
    for (variable, value) in [
        ("ETCD_LISTEN_CLIENT_URLS", format!("{url},{open}")),
        ("ETCD_CLIENT_CERT_AUTH", "true".to_owned()),
        ("ETCD_CERT_FILE", path("member.pem").to_string_lossy().into_owned()),
        ("ETCD_KEY_FILE", path("member.key").to_string_lossy().into_owned()),
        ("ETCD_TRUSTED_CA_FILE", path("ca.pem").to_string_lossy().into_owned()),
    ] {
        member.set(variable, value);
    }
    member.start().unwrap();
    v3::Client::new(&open).unwrap().put("a", "1").unwrap();
    let (dir, folder) = (data_of(&member.data_dir), work.path().join("copy"));
    let mut settings = settings(&[&url]);
    let error = copy::by(Way::Grpc, &settings, &dir, &folder).unwrap_err();
    assert!(format!("{error:#}").contains("certificate"), "{error:#}");
    let file = |name: &str| -> Option<PathBuf> { Some(path(name)) };
    settings.etcd.client_tls.cert = file("asks.pem");
    settings.etcd.client_tls.key = file("asks.key");
    settings.etcd.client_tls.ca = file("ca.pem");
    assert_eq!(copy::by(Way::Grpc, &settings, &dir, &folder).unwrap().state.revision, 2);
}

#[test]
fn without_room_no_way_begins() {
    if !is_inside("v3_base::without_room_no_way_begins") {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let (data_dir, _) = unpack_v3("v3423-v3-member-trimmed", work.path()).unwrap();
    let disk = Disk::on(work.path().join("disk"), "100k");
    let folder = disk.path().join("copy");
    let error = copy::take(&settings(&["http://127.0.0.1:1"]), &data_of(&data_dir), &folder).unwrap_err();
    let text = error.to_string();
    assert_eq!(exit_of(&error), Exit::NoSpace, "{text}");
    for said in [
        "cloning the file: the file system of ",
        "copying the file between two commits: there is no room in ",
        "a snapshot from etcd by gRPC: asking who answers at http://127.0.0.1:1",
        "etcdctl snapshot save: asking",
    ] {
        assert!(text.contains(said), "{said} in {text}");
    }
    assert!(hint_of(&error).unwrap().starts_with("free at least "));
    assert!(fs::read_dir(&folder).unwrap().next().is_none());
}

/// Past the harness, which shows nothing of a test that passes. These programs are nowhere promised, not in CI either.
fn skipped(why: &str) {
    writeln!(std::io::stderr(), "SKIPPED: {why}: nothing is cloned").unwrap();
}

/// A file system of this kind, in a file; `None` if it cannot be mounted here.
fn cloning(work: &Path, kind: &str) -> Option<PathBuf> {
    let (image, place) = (work.join("image"), work.join("mounted"));
    fs::File::create(&image).unwrap().set_len(400 << 20).unwrap();
    let made = Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image).status().unwrap();
    assert!(made.success(), "mkfs.{kind}");
    fs::create_dir(&place).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", kind, "-o", "loop"]).arg(&image).arg(&place);
    mount.status().unwrap().success().then_some(place)
}

#[test]
fn a_clone_that_is_made_while_etcd_is_written_to_is_of_one_moment() {
    let test = "v3_base::a_clone_that_is_made_while_etcd_is_written_to_is_of_one_moment";
    let Some(tools) = Tools::all_with_v3().into_iter().next() else { return };
    let is_here = |kind: &&str| Command::new(format!("mkfs.{kind}")).arg("-V").output().is_ok();
    let kinds: Vec<&str> = ["xfs", "btrfs"].into_iter().filter(is_here).collect();
    if kinds.is_empty() {
        skipped("neither mkfs.xfs nor mkfs.btrfs is here");
        return;
    }
    if !is_inside(test) {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    for kind in kinds {
        let folder = work.path().join(kind);
        fs::create_dir(&folder).unwrap();
        let Some(place) = cloning(&folder, kind) else {
            skipped(&format!("{kind} cannot be mounted here"));
            continue;
        };
        let member = filled(tools, &place);
        let url = member.client_url.as_str();
        let (settings, dir) = (settings(&[url]), data_of(&member.data_dir));
        let stop = AtomicBool::new(false);
        let copied = thread::scope(|scope| {
            scope.spawn(|| write_on(url, &stop));
            let copied = std::panic::catch_unwind(|| {
                for round in 0..15 {
                    let (base, way) = copy::take(&settings, &dir, &place.join("copy")).unwrap();
                    assert_eq!(way, Way::Clone, "{kind}");
                    assert_of_one_moment(&base, url, &format!("{kind} {round}"));
                }
                // Out of it there is no clone.
                let error = copy::by(Way::Clone, &settings, &dir, &work.path().join("away")).unwrap_err();
                assert!(error.to_string().contains("is on another file system"), "{error:#}");
            });
            stop.store(true, Ordering::Relaxed);
            copied
        });
        if let Err(e) = copied {
            std::panic::resume_unwind(e);
        }
        drop(member);
        assert!(Command::new("umount").arg(&place).status().unwrap().success(), "{kind}");
    }
}
