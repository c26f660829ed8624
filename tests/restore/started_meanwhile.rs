//! etcd is started by somebody else in the middle of a recovery: behind the fence that is seen, and nothing is changed. Else it
//! would go on in the directory that was set aside, and what it acknowledged would be gone at its next start.

use std::process::{Child, Stdio};
use std::time::Duration;

use testkit::faults::wrapper::Wrapper;
use testkit::files::{tree, write};
use testkit::keys::{self, Client};
use testkit::node::{Node, Run};
use testkit::tools::Tools;
use testkit::wait::until;

use crate::PROGRAM;

/// A node with one backup, whose etcd is stopped, and whose downloads wait for a file.
fn node_with_a_slow_remote(tools: &Tools) -> (Node, Wrapper) {
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.start().unwrap();
    keys::write_many(&node.etcd.client_url, "/first", 20).unwrap();
    node.ok(&["backup"]);
    node.etcd.stop().unwrap();
    let wrapper = Wrapper::new(&mut node, tools);
    let (here, on) = (node.path("/here"), node.path("/go-on"));
    wrapper.instead(&format!(
        "[ $VERB = copy ] && {{ : >{}; while [ ! -e {} ]; do sleep 0.01; done; }}\nexec \"$REAL\" \"$@\"",
        here.display(),
        on.display()
    ));
    (node, wrapper)
}

fn begin(node: &Node, arguments: &[&str]) -> Child {
    let mut command = node.command(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// A restore that has begun to download, and etcd, which was started since.
fn started_while_it_restores(tools: &Tools) -> (Node, Wrapper, Child) {
    let (mut node, wrapper) = node_with_a_slow_remote(tools);
    let restore = begin(&node, &["restore"]);
    until("nothing is downloaded", Duration::from_secs(60), || node.path("/here").exists());
    node.start_etcd();
    (node, wrapper, restore)
}

fn go_on(node: &Node, run: Child) -> Run {
    write(&node.path("/go-on"), "");
    run.wait_with_output().unwrap().into()
}

#[track_caller]
fn assert_refused(node: &Node, run: &Run, words: &str) {
    assert!(run.code == 10 && run.log.contains(words) && run.log.contains("hint: "), "{}", run.log);
    assert!(run.log.contains("nothing was changed"), "{}", run.log);
    assert!(!node.is_fenced() && node.kept("member.").is_empty());
    assert!(!node.path("/var/lib/etcd2-backup/exchange").exists());
}

#[test]
fn what_it_acknowledged_while_a_restore_downloads_is_there_when_it_starts_again() {
    let Some(tools) = Tools::from_env() else { return };
    let (mut node, _wrapper, restore) = started_while_it_restores(tools);
    let mut client = Client::new(&node.etcd.client_url).unwrap();
    client.put("/acknowledged", "1").unwrap();
    let run = go_on(&node, restore);
    assert_refused(&node, &run, "etcd was started here in the meantime");
    client.put("/later", "1").unwrap();
    let all = keys::dump(&node.etcd.client_url).unwrap();
    node.etcd.stop().unwrap();
    node.assert_etcd_has(&all);
}

/// It runs no more when it is asked again: only its log tells.
#[test]
fn what_it_acknowledged_before_it_was_stopped_again_is_noticed_too() {
    let Some(tools) = Tools::from_env() else { return };
    let (mut node, _wrapper, restore) = started_while_it_restores(tools);
    Client::new(&node.etcd.client_url).unwrap().put("/acknowledged", "1").unwrap();
    let all = keys::dump(&node.etcd.client_url).unwrap();
    node.etcd.stop().unwrap();
    let data = tree(&node.path("/var/lib/etcd2"));
    let run = go_on(&node, restore);
    assert_refused(&node, &run, "etcd ran here in the meantime");
    assert!(tree(&node.path("/var/lib/etcd2")) == data);
    node.assert_etcd_has(&all);
    node.etcd.stop().unwrap();
    // What is on the disk now is known then.
    node.ok(&["restore", "--source", "local"]);
    node.assert_etcd_has(&all);
}

#[test]
fn an_etcd_that_goes_on_in_what_was_set_aside_keeps_it() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.start().unwrap();
    node.ok(&["backup"]);
    node.etcd.stop().unwrap();
    node.ok(&["restore"]);
    node.start_etcd();
    // As an earlier version could leave it behind.
    let (member, aside) = (node.path("/var/lib/etcd2/member"), node.kept("member.before-restore-").remove(0));
    let away = member.with_file_name("away");
    std::fs::rename(&aside, &away).unwrap();
    std::fs::rename(&member, &aside).unwrap();
    std::fs::rename(&away, &member).unwrap();
    let etcd = node.run(&["clean", "--yes"]);
    assert!(etcd.code == 10 && etcd.log.contains("a running etcd has"), "{}", etcd.log);
    assert!(aside.exists());
}
