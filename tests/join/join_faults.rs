//! `join` when the cluster, or an answer of it, fails at the worst moment.

use std::time::{Duration, Instant};
use std::{fs, thread};

use testkit::etcd::Listed;
use testkit::faults::curl::Curl;
use testkit::files::tree;
use testkit::keys::{self, Client, Keys};
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

/// Answers "500" to the call and lets it be carried out some time later, once: as etcd does without a quorum.
const LATER: &str = r#"if mkdir once 2>/dev/null; then
{ for i in 1 2 3; do sleep 1; done; printf '%s' "$CONFIG" | "$REAL" -q --config -; mkdir late; } >/dev/null 2>&1 &
printf 'HTTP/1.1 500 Internal Server Error\r\n\r\n{"message":"Internal Server Error"}'
exit 0
fi
while [ ! -e late ]; do
printf 'HTTP/1.1 500 Internal Server Error\r\n\r\n{"message":"Internal Server Error"}'
exit 0
done"#;

fn founder(tools: &Tools) -> (Node, Keys) {
    let mut founder = Node::named(PROGRAM, tools, "e1");
    founder.etcd.start().unwrap();
    keys::write_sample(&founder.etcd.client_url).unwrap();
    let keys = keys::dump(&founder.etcd.client_url).unwrap();
    (founder, keys)
}

fn joined(tools: &Tools, name: &str, founder: &Node) -> Node {
    let mut node = Node::joining(tools, name, founder);
    node.ok(&["join"]);
    come_up(&mut node);
    node
}

fn come_up(node: &mut Node) {
    node.start_etcd();
    node.ok(&["join"]);
}

fn listed(founder: &Node) -> Vec<Listed> {
    founder.etcd.members().unwrap()
}

#[track_caller]
fn assert_has_all(expected: &Keys, node: &Node) {
    let found = Client::new(&node.etcd.client_url).unwrap().dump_local().unwrap();
    let differences = keys::compare(expected, &found);
    assert!(differences.is_empty(), "{}: {differences:?}", node.etcd.name);
}

#[test]
fn a_500_on_add_that_is_carried_out_later() {
    let Some(tools) = Tools::from_env() else { return };
    let (e1, expected) = founder(tools);
    let mut e2 = Node::joining(tools, "e2", &e1);
    let curl = Curl::new(&mut e2);
    curl.instead("^request = .POST", LATER);
    let log = e2.ok(&["join"]);
    assert!(curl.made("late") && log.contains("does not accept the membership change yet: 500"), "{log}");
    assert_eq!(listed(&e1).len(), 2);
    come_up(&mut e2);
    assert_eq!(listed(&e1).len(), 2);
    assert_has_all(&expected, &e2);
}

#[test]
fn a_500_on_remove_that_is_carried_out_later() {
    let Some(tools) = Tools::from_env() else { return };
    let (e1, expected) = founder(tools);
    let _e2 = joined(tools, "e2", &e1);
    let mut e3 = joined(tools, "e3", &e1);
    e3.etcd.kill().unwrap();
    fs::remove_dir_all(e3.path("/var/lib/etcd2")).unwrap();
    let before = listed(&e1);
    let curl = Curl::new(&mut e3);
    // Not the call that only asks for the rights.
    curl.instead(
        "v2/members/[0-9a-f]",
        &format!("if printf '%s' \"$CONFIG\" | grep -q DELETE; then {LATER}\nfi"),
    );
    let log = e3.ok(&["join"]);
    assert!(curl.made("late") && log.contains("does not accept the membership change yet: 500"), "{log}");
    come_up(&mut e3);
    let after = listed(&e1);
    assert_eq!(after.len(), 3);
    let new: Vec<_> = after.iter().filter(|m| !before.contains(m)).collect();
    assert!(new.len() == 1 && new[0].name == "e3", "{before:?} {after:?}");
    assert_has_all(&expected, &e3);
}

#[test]
fn an_answer_to_add_that_is_lost() {
    let Some(tools) = Tools::from_env() else { return };
    let (e1, expected) = founder(tools);
    let mut e2 = Node::joining(tools, "e2", &e1);
    let curl = Curl::new(&mut e2);
    let lost =
        "printf '%s' \"$CONFIG\" | \"$REAL\" \"$@\" >/dev/null\necho 'curl: (52) Empty reply' >&2\nexit 52";
    curl.instead("^request = .POST", lost);
    e2.ok(&["join"]);
    assert_eq!(listed(&e1).len(), 2);
    come_up(&mut e2);
    assert_has_all(&expected, &e2);
}

#[test]
fn the_founding_member_dies_between_two_joins() {
    let Some(tools) = Tools::from_env() else { return };
    let (mut e1, expected) = founder(tools);
    let e2 = joined(tools, "e2", &e1);
    let mut e3 = Node::joining(tools, "e3", &e1);
    let untouched = tree(&e3.path("/etc"));
    e1.etcd.kill().unwrap();
    e3.refused(&["join"], 16, &["the founding member does not answer"]);
    // The survivor alone has no quorum, and is not changed.
    e3.environment.insert("ETCD_RESTORE_MASTER_ADV_PEER_URLS".into(), e2.etcd.peer_url.clone());
    e3.refused(&["join", "--wait", "2s"], 16, &["not caught up within 2s"]);
    assert_eq!(tree(&e3.path("/etc")), untouched);
    assert_eq!(listed(&e2).len(), 2);

    e1.etcd.start().unwrap();
    e3.ok(&["join"]);
    come_up(&mut e3);
    assert_eq!(listed(&e1).len(), 3);
    assert_has_all(&expected, &e3);
}

/// The founding member dies when the new one is added and not started: one of two, so no quorum.
#[test]
fn the_founding_member_dies_in_the_middle_of_a_join() {
    let Some(tools) = Tools::from_env() else { return };
    let (mut e1, expected) = founder(tools);
    let mut e2 = Node::joining(tools, "e2", &e1);
    e2.ok(&["join"]);
    let entry = listed(&e1).into_iter().find(|m| m.name.is_empty()).unwrap().id;
    e1.etcd.kill().unwrap();
    e2.refused(&["join"], 16, &["the founding member does not answer"]);
    e1.etcd.spawn(&[]).unwrap();
    // etcd 3.x serves no clients now, peers alone.
    let deadline = Instant::now() + Duration::from_secs(60);
    let log = loop {
        let run = e2.run(&["join"]);
        if run.code == 0 {
            break run.log;
        }
        assert!(run.code == 16 && Instant::now() < deadline, "{}", run.log);
        thread::sleep(Duration::from_millis(50));
    };
    assert!(log.contains("starting it unchanged"), "{log}");
    come_up(&mut e2);
    assert!(listed(&e1).iter().any(|m| m.id == entry && m.name == "e2"), "{:?}", listed(&e1));
    assert_has_all(&expected, &e2);
}
