//! `join` and the URLs by which members are reached: which of them the founding member is found by, and members with
//! several.

use std::fs;
use std::net::{Ipv6Addr, TcpListener};

use testkit::files::write;
use testkit::keys::{self, Client, Keys};
use testkit::node::Node;
use testkit::ports::Port;
use testkit::tools::Tools;

use crate::PROGRAM;

const FOUNDER: &str = "ETCD_RESTORE_MASTER_ADV_PEER_URLS";
const OWN: &str = "ETCD_INITIAL_ADVERTISE_PEER_URLS";

fn start_founder(e1: &mut Node) -> Keys {
    e1.etcd.start().unwrap();
    keys::write_sample(&e1.etcd.client_url).unwrap();
    keys::dump(&e1.etcd.client_url).unwrap()
}

#[track_caller]
fn comes_in(expected: &Keys, node: &mut Node) {
    node.ok(&["join"]);
    node.start_etcd();
    node.ok(&["join"]);
    let found = Client::new(&node.etcd.client_url).unwrap().dump_local().unwrap();
    let differences = keys::compare(expected, &found);
    assert!(differences.is_empty(), "{}: {differences:?}", node.etcd.name);
}

#[test]
fn the_founding_member_is_found_by_any_of_its_urls() {
    let Some(tools) = Tools::from_env() else { return };
    let mut e1 = Node::named(PROGRAM, tools, "e1");
    start_founder(&mut e1);
    let mut e2 = Node::joining(tools, "e2", &e1);
    let untouched = testkit::files::tree(&e2.root());
    let dead = Port::reserve().unwrap();
    let peer = e1.etcd.peer_url.clone();
    let plan = ["join", "--wait", "1s"];
    // It is found, and then refuses us: its name is ours.
    e2.environment.insert("ETCD_NAME".into(), "e1".into());
    for url in [
        e1.etcd.client_url.clone(),
        peer.clone(),
        format!("{peer}/"),
        peer.replace("127.0.0.1", "localhost"),
        format!("{},{peer}", dead.url()),
        format!("{}, {}", dead.url(), e1.etcd.client_url.replace("127.0.0.1", "localhost")),
    ] {
        e2.environment.insert(FOUNDER.into(), url.clone());
        e2.refused(&plan, 10, &["already has this node's name", "asked at http://"]);
    }
    e2.environment.insert(FOUNDER.into(), dead.url());
    e2.refused(&plan, 16, &["the founding member does not answer"]);
    e2.environment.insert(FOUNDER.into(), peer.replace("127.0.0.1", "no-such-host.invalid"));
    e2.refused(&plan, 16, &["the founding member does not answer", "resolve"]);
    e2.environment.insert(FOUNDER.into(), "http://[127.0.0.1]:1".into());
    assert_ne!(e2.run(&plan).code, 0);
    let mut now = testkit::files::tree(&e2.root());
    now.retain(|path, _| !path.starts_with("var/lib/etcd2-backup"));
    assert_eq!(now, untouched);
}

#[test]
fn ipv6_literals() {
    let Some(tools) = Tools::from_env() else { return };
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        // Not every machine has it, and none needs it for this.
        return;
    }
    let with_v6 = |name: &str, founder: Option<&Node>| {
        let mut node = Node::named(PROGRAM, tools, name);
        let v6 = |url: &str| url.replace("127.0.0.1", "[::1]");
        let (open, client, peer) =
            (node.etcd.client_url.clone(), v6(&node.etcd.client_url), v6(&node.etcd.peer_url));
        node.etcd.set("ETCD_LISTEN_CLIENT_URLS", format!("{client},{open}"));
        node.etcd.set("ETCD_ADVERTISE_CLIENT_URLS", &client);
        node.etcd.set("ETCD_LISTEN_PEER_URLS", &peer);
        node.etcd.set(OWN, &peer);
        node.etcd.set("ETCD_INITIAL_CLUSTER", format!("{name}={peer}"));
        node.etcd.peer_url.clone_from(&peer);
        let founding = founder.map_or(peer.clone(), |f| f.etcd.peer_url.clone());
        let told = [(FOUNDER, founding), (OWN, peer), ("ETCD_ADVERTISE_CLIENT_URLS", client)];
        node.environment.extend(told.map(|(n, v)| (n.to_owned(), v)));
        node
    };
    let mut e1 = with_v6("e1", None);
    let expected = start_founder(&mut e1);
    let mut e2 = with_v6("e2", Some(&e1));
    comes_in(&expected, &mut e2);
    assert!(e1.etcd.members().unwrap().iter().all(|m| m.peer_urls[0].starts_with("http://[::1]:")));
}

/// A node with three peer URLs, which etcd and we are told of in different orders.
fn with_three(tools: &Tools, name: &str, founder: Option<&Node>) -> (Node, [Port; 2]) {
    let mut node = Node::named(PROGRAM, tools, name);
    let more = [Port::reserve().unwrap(), Port::reserve().unwrap()];
    let (a, b, c) = (node.etcd.peer_url.clone(), more[0].url(), more[1].url());
    node.etcd.set("ETCD_LISTEN_PEER_URLS", format!("{a},{b},{c}"));
    node.etcd.set(OWN, format!("{b},{c},{a}"));
    node.etcd.set("ETCD_INITIAL_CLUSTER", format!("{name}={c},{name}={b},{name}={a}"));
    node.environment.insert(OWN.into(), format!("{c},{a},{b}"));
    let founding = founder.map_or(format!("{b},{a},{c}"), |f| f.environment[FOUNDER].clone());
    node.environment.insert(FOUNDER.into(), founding);
    (node, more)
}

#[test]
fn members_with_three_peer_urls() {
    let Some(tools) = Tools::from_env() else { return };
    let (mut e1, _ports) = with_three(tools, "e1", None);
    let expected = start_founder(&mut e1);
    e1.ok(&["backup"]);
    e1.assert_restores(&expected, &[]);
    e1.refused(&["join"], 10, &["this node is the founding member"]);
    let (mut e2, _more) = with_three(tools, "e2", Some(&e1));
    // Added with one URL alone, by a join that ended before it wrote anything.
    let three = e2.environment.insert(OWN.into(), e2.etcd.peer_url.clone()).unwrap();
    e2.ok(&["join"]);
    fs::remove_dir_all(e2.path("/var/lib/etcd2/member")).unwrap();
    write(&e2.path("/etc/etcd2-backup/fence"), "`etcd2-backup join`");
    e2.environment.insert(OWN.into(), three);
    e2.refused(&["join"], 10, &["but with the URLs", &e2.etcd.peer_url.clone(), "ADVERTISE_PEER_URLS"]);
    e1.etcd.stop().unwrap();
    e1.ok(&["restore", "--source", "local"]);
    e1.start_etcd();
    comes_in(&expected, &mut e2);
    let mut e3 = Node::named(PROGRAM, tools, "e3");
    e3.environment.insert(FOUNDER.into(), e1.environment[FOUNDER].clone());
    comes_in(&expected, &mut e3);
    let mut counts: Vec<usize> = e1.etcd.members().unwrap().iter().map(|m| m.peer_urls.len()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 3, 3]);
}
