//! `join` where a cluster is closed: certificates on both ports, and etcd's own authentication.

use std::fs;
use std::process::Command;

use testkit::certificates::{Authority, For};
use testkit::faults::curl::Curl;
use testkit::files::{tree, write};
use testkit::keys::{self, Client, Keys};
use testkit::node::Node;
use testkit::ports::Port;
use testkit::tools::{Tools, etcd_version};

use crate::PROGRAM;

/// A node whose two ports take only who has a certificate. Another one, which it tells nobody of, is the test's.
struct Closed {
    node: Node,
    _port: Port,
}

const FILES: [(&str, &str); 6] = [
    ("ETCD_PEER_CERT_FILE", "member.pem"),
    ("ETCD_PEER_KEY_FILE", "member.key"),
    ("ETCD_PEER_TRUSTED_CA_FILE", "ca.pem"),
    ("ETCD_CERT_FILE", "member.pem"),
    ("ETCD_KEY_FILE", "member.key"),
    ("ETCD_TRUSTED_CA_FILE", "ca.pem"),
];
const FOUNDER: &str = "ETCD_RESTORE_MASTER_ADV_PEER_URLS";

impl Closed {
    fn new(tools: &Tools, name: &str, authority: &Authority, founder: Option<&Self>) -> Self {
        let mut node = Node::named(PROGRAM, tools, name);
        authority.issue("member", For::Member, &node.path("/etc/etcd2"));
        let port = Port::reserve().unwrap();
        let open = node.etcd.client_url.clone();
        let client = port.url().replace("http:", "https:");
        let peer = node.etcd.peer_url.replace("http:", "https:");
        node.etcd.peer_url.clone_from(&peer);
        let founding = founder.map_or(peer.clone(), |f| f.node.etcd.peer_url.clone());
        for (variable, value) in [
            ("ETCD_LISTEN_CLIENT_URLS", format!("{client},{open}")),
            ("ETCD_ADVERTISE_CLIENT_URLS", client.clone()),
            ("ETCD_LISTEN_PEER_URLS", peer.clone()),
            ("ETCD_INITIAL_ADVERTISE_PEER_URLS", peer.clone()),
            ("ETCD_INITIAL_CLUSTER", format!("{name}={peer}")),
            ("ETCD_CLIENT_CERT_AUTH", "true".to_owned()),
            ("ETCD_PEER_CLIENT_CERT_AUTH", "true".to_owned()),
        ] {
            node.etcd.set(variable, &value);
        }
        for (variable, file) in FILES {
            node.etcd.set(variable, node.path("/etc/etcd2").join(file).to_string_lossy());
            node.environment.insert(variable.into(), format!("/etc/etcd2/{file}"));
        }
        let told = [
            ("ETCD_INITIAL_ADVERTISE_PEER_URLS", peer),
            ("ETCD_ADVERTISE_CLIENT_URLS", client),
            (FOUNDER, founding),
        ];
        node.environment.extend(told.map(|(n, v)| (n.to_owned(), v)));
        Self { node, _port: port }
    }
}

#[track_caller]
fn assert_has_all(expected: &Keys, node: &Node) {
    let found = Client::new(&node.etcd.client_url).unwrap().dump_local().unwrap();
    let differences = keys::compare(expected, &found);
    assert!(differences.is_empty(), "{}: {differences:?}", node.etcd.name);
}

#[test]
fn a_cluster_with_client_certificates_on_both_ports() {
    let Some(tools) = Tools::from_env() else { return };
    certificates_on_both_ports(tools, true);
}

/// etcd 3.4 and newer with default flags.
#[test]
fn client_certificates_on_both_ports_where_the_v3_api_alone_is_served() {
    let Some(tools) = Tools::from_env() else { return };
    if etcd_version(&tools.etcd).unwrap() >= (3, 4) {
        certificates_on_both_ports(tools, false);
    }
}

fn certificates_on_both_ports(tools: &Tools, by_v2: bool) {
    let Some(authority) = Authority::new() else { return };
    let served = |closed: &mut Closed| {
        if !by_v2 {
            closed.node.etcd.without_v2();
        }
    };
    // Without the v2 API nobody sees its keys; how they come across is seen with it.
    let assert_has_all = |expected: &Keys, node: &Node| match by_v2 {
        true => assert_has_all(expected, node),
        false => assert!(node.etcd.is_healthy(), "{}", node.etcd.name),
    };
    let mut e1 = Closed::new(tools, "e1", &authority, None);
    e1.node.etcd.start().unwrap();
    keys::write_sample(&e1.node.etcd.client_url).unwrap();
    let expected = keys::dump(&e1.node.etcd.client_url).unwrap();
    e1.node.ok(&["backup"]);
    e1.node.assert_restores(&expected, &[]);
    if !by_v2 {
        served(&mut e1);
        e1.node.etcd.restart().unwrap();
    }

    let mut e2 = Closed::new(tools, "e2", &authority, Some(&e1));
    served(&mut e2);
    // Without its own certificates, or with an authority that did not sign the founding member's.
    let good = e2.node.environment.clone();
    let untouched = tree(&e2.node.path("/etc"));
    for without in
        ["ETCD_PEER_CERT_FILE", "ETCD_CERT_FILE", "ETCD_PEER_TRUSTED_CA_FILE", "ETCD_TRUSTED_CA_FILE"]
    {
        e2.node.environment.remove(without);
        let words = ["could not query the founding member", "https://127.0.0.1", "ETCD_PEER_CERT_FILE"];
        e2.node.refused(&["join"], 15, &words);
        e2.node.environment.clone_from(&good);
    }
    assert_eq!(tree(&e2.node.path("/etc")), untouched);
    e2.node.ok(&["join"]);
    e2.node.start_etcd();
    e2.node.ok(&["join"]);
    assert_has_all(&expected, &e2.node);

    // A certificate that is good for asking alone, told as etcdctl is told.
    let mut e3 = Closed::new(tools, "e3", &authority, Some(&e1));
    served(&mut e3);
    authority.issue("asks", For::Client, &e3.node.path("/etc/etcd2"));
    for (variable, file) in [("ETCDCTL_CERT_FILE", "asks.pem"), ("ETCDCTL_KEY_FILE", "asks.key")] {
        e3.node.environment.insert(variable.into(), format!("/etc/etcd2/{file}"));
    }
    e3.node.environment.remove("ETCD_CERT_FILE");
    e3.node.ok(&["join"]);
    e3.node.start_etcd();
    e3.node.ok(&["join"]);
    assert_has_all(&expected, &e3.node);
    assert_eq!(e1.node.etcd.members().unwrap().len(), 3);

    // A quorum behind certificates is one, too.
    e1.node.etcd.stop().unwrap();
    e2.node.etcd.wait_healthy().unwrap();
    e1.node.refused(&["restore", "--source", "local"], 10, &["which has a quorum (asked at https://"]);
}

/// etcd's wrapper has `ETCD_SSL_DIR` as /etc/ssl/certs in its container, and etcd's settings name the files there.
#[test]
fn certificates_are_named_as_etcd_sees_them_in_its_container() {
    let (Some(tools), Some(authority)) = (Tools::from_env(), Authority::new()) else { return };
    let mut e1 = Closed::new(tools, "e1", &authority, None);
    e1.node.etcd.start().unwrap();
    keys::write_sample(&e1.node.etcd.client_url).unwrap();
    let expected = keys::dump(&e1.node.etcd.client_url).unwrap();
    e1.node.ok(&["backup"]);
    let in_container = |name: &str| {
        let mut closed = Closed::new(tools, name, &authority, Some(&e1));
        authority.issue("member", For::Member, &closed.node.path("/etc/ssl/etcd/etcd"));
        let named = FILES.map(|(variable, file)| (variable.into(), format!("/etc/ssl/certs/etcd/{file}")));
        closed.node.environment.extend(named);
        let endpoint = e1.node.environment["RCLONE_ENDPOINT"].clone();
        closed.node.environment.insert("RCLONE_ENDPOINT".into(), endpoint);
        closed
    };
    let ssl_dir = |closed: &mut Closed| {
        closed.node.environment.insert("ETCD_SSL_DIR".into(), "/etc/ssl/etcd".into());
    };

    // A cluster that could not be asked is not dead.
    let mut e2 = in_container("e2");
    let missing = "/etc/ssl/certs/etcd/member.pem";
    let restore = ["restore", "--as-founder"];
    let untouched = tree(&e2.node.path("/etc"));
    let unknown = "could not determine whether the cluster of this data is still running";
    let words = [unknown, "opening the certificate ", missing, "--force"];
    e2.node.refused(&restore, 15, &words);
    let plan = e2.node.ok(&[&restore[..], &["--plan"]].concat());
    assert!(plan.contains("a restore would be refused now: ") && plan.contains(unknown), "{plan}");
    let words = ["could not query the founding member", missing, "ETCD_PEER_CERT_FILE"];
    e2.node.refused(&["join"], 15, &words);
    for without in FILES {
        e2.node.environment.remove(without.0);
    }
    e2.node.refused(&restore, 15, &[unknown, "(60)", "--force"]);
    // Without curl nobody can be asked at all.
    let good = e2.node.environment.clone();
    let path = e2.node.path("/bin");
    fs::create_dir(&path).unwrap();
    std::os::unix::fs::symlink(&tools.rclone, path.join("rclone")).unwrap();
    e2.node.environment.insert("PATH".into(), path.to_string_lossy().into_owned());
    e2.node.refused(&restore, 10, &[unknown, "asking through curl", "install curl", "--force"]);
    e2.node.refused(&["join"], 1, &["could not query the founding member", "install curl"]);
    e2.node.environment.clone_from(&good);
    let named = FILES.map(|(variable, file)| (variable.to_owned(), format!("/etc/ssl/certs/etcd/{file}")));
    e2.node.environment.extend(named);
    assert_eq!(tree(&e2.node.path("/etc")), untouched);
    assert!(!e2.node.is_fenced() && !e2.node.path("/var/lib/etcd2").exists());

    ssl_dir(&mut e2);
    e2.node.refused(&restore, 10, &["which runs elsewhere and has a quorum (asked at https://"]);
    e2.node.ok(&["join"]);
    e2.node.start_etcd();
    e2.node.ok(&["join"]);
    assert_has_all(&expected, &e2.node);

    // Who is down is known to be, whatever the certificates are.
    let e3 = in_container("e3");
    e1.node.etcd.kill().unwrap();
    e2.node.etcd.kill().unwrap();
    e3.node.ok(&restore);
}

const PASSWORD: &str = "pass:word \"$1\"";
const LOGIN: &str = "root:pass:word \"$1\"";
const AUTH: &str = "/etc/etcd2-backup/auth";

/// Asks etcd as its root user.
fn as_root(node: &Node, method: &str, path: &str, body: &str) {
    let url = format!("{}/v2/auth/{path}", node.etcd.client_url);
    let mut command = Command::new("curl");
    command.args([
        "-sSf",
        "-u",
        LOGIN,
        "-X",
        method,
        "-H",
        "Content-Type: application/json",
        "-d",
        body,
        &url,
    ]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{method} {url}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_cluster_whose_authentication_is_on() {
    let Some(tools) = Tools::from_env() else { return };
    let mut e1 = Node::named(PROGRAM, tools, "e1");
    e1.etcd.start().unwrap();
    keys::write_sample(&e1.etcd.client_url).unwrap();
    let expected = keys::dump(&e1.etcd.client_url).unwrap();
    let user = serde_json::json!({"user": "root", "password": PASSWORD}).to_string();
    as_root(&e1, "PUT", "users/root", &user);
    as_root(&e1, "PUT", "enable", "");
    // Nobody reads a key without a password either.
    as_root(&e1, "DELETE", "roles/guest", "");

    let mut e2 = Node::joining(tools, "e2", &e1);
    let curl = Curl::new(&mut e2);
    let untouched = tree(&e2.path("/etc"));
    let hint = "install -m 600 /dev/null /etc/etcd2-backup/auth, then write root:PASSWORD into it";
    e2.refused(
        &["join"],
        15,
        &["authentication is enabled on etcd at http://", "no credentials are configured", hint],
    );
    assert_eq!(tree(&e2.path("/etc")), untouched);
    fs::create_dir(e2.path("/etc/etcd2-backup")).unwrap();
    for (text, mode, said) in [
        (format!("{LOGIN}\n"), 0o644, "its mode is 0644"),
        (PASSWORD.replace(':', ""), 0o600, "it does not hold user:password"),
        ("root:other\n".to_owned(), 0o600, "rejected the user and password in /etc/etcd2-backup/auth"),
    ] {
        etcd2_backup::sys::fs::write_atomic(&e2.path(AUTH), text.as_bytes(), mode).unwrap();
        e2.refused(&["join"], 15, &[said, hint]);
    }
    assert_eq!(e1.etcd.members().unwrap().len(), 1);
    assert!(!e2.is_fenced());

    write(&e2.path(AUTH), format!("{LOGIN}\n"));
    let mut log = e2.ok(&["join"]);
    e2.start_etcd();
    log += &e2.ok(&["join"]);
    assert_eq!(e1.etcd.members().unwrap().len(), 2);
    for (place, text) in [("the log", log), ("an argument or variable of curl", curl.seen())] {
        assert!(!text.is_empty() && !text.contains("pass:word"), "{place}: {text}");
    }

    // What is restored has the same users.
    let etcd = tools.etcd.to_str().unwrap();
    e1.ok(&["backup"]);
    e1.refused(
        &["rehearse", "--etcd", etcd],
        15,
        &["is enabled on etcd at the restored etcd, but no credentials are configured"],
    );
    write(&e1.path(AUTH), format!("{LOGIN}\n"));
    e1.ok(&["rehearse", "--etcd", etcd]);

    as_root(&e1, "DELETE", "enable", "");
    assert_has_all(&expected, &e1);
    e2.ok(&["join"]);
    assert_has_all(&expected, &e2);
}
