//! Copies of the v3 store that are refused, or come to who is let in alone: a stream that is altered or cut off, an etcdctl that
//! fails, authentication, certificates, no room.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use etcd2_backup::backup::base::copy::{self, Way};
use etcd2_backup::exit::{Exit, exit_of, hint_of};
use serde_json::json;
use testkit::certificates::{Authority, For};
use testkit::etcd::Member;
use testkit::faults::curl::Curl;
use testkit::faults::disk::Disk;
use testkit::faults::namespace::is_inside;
use testkit::fixtures::unpack_v3;
use testkit::node::Node;
use testkit::tools::Tools;
use testkit::v3;

use crate::PROGRAM;
use crate::v3_base::{data_of, settings};

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
    again.args(["v3_base_faults::takes_a_copy_for_another_test", "--exact", "--nocapture"]);
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
    node.etcd.enable_v3_auth(PASSWORD);
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
    if !is_inside("v3_base_faults::without_room_no_way_begins") {
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
