//! What can go wrong while a node is restored. Whatever it is: the old data is as it was, etcd is not fenced, and when it is
//! over the same command brings every key back.
//!
//! A kill at each step is in tests/crash/backup_restore.rs and tests/crash/undo.rs, a full disk in tests/restore/space.rs, a wrong clock in
//! tests/restore/plan.rs, a cluster that still lives in tests/restore/living_cluster.rs.

use std::fs;

use testkit::faults::wrapper::Wrapper;
use testkit::files::{tree, write};
use testkit::keys::{self, Keys};
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

/// A node with two generations of one cluster, and the keys at the end of each.
fn two_generations(tools: &Tools) -> (Node, [Keys; 2]) {
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.start().unwrap();
    let url = node.etcd.client_url.clone();
    let mut states = Vec::new();
    for dir in ["/first", "/second"] {
        keys::write_many(&url, dir, 20).unwrap();
        fs::remove_file(node.path("/var/lib/etcd2-backup/state.json")).ok();
        node.ok(&["backup"]);
        states.push(keys::dump(&url).unwrap());
    }
    node.etcd.stop().unwrap();
    let [first, second] = states.try_into().unwrap();
    (node, [first, second])
}

#[track_caller]
fn assert_restores(node: &mut Node, options: &[&str], expected: &Keys) -> String {
    let log = node.ok(&[&["restore"], options].concat());
    node.start_etcd();
    let differences = keys::compare(expected, &keys::dump(&node.etcd.client_url).unwrap());
    assert!(differences.is_empty(), "{differences:?}");
    node.etcd.stop().unwrap();
    log
}

/// Every object of it, its base too: no part of that generation can be used.
#[test]
fn the_newest_generation_is_corrupt() {
    let Some(tools) = Tools::from_env() else { return };
    let (mut node, [first, _]) = two_generations(tools);
    let newest = node.objects().into_iter().filter(|path| path.to_string_lossy().starts_with("00000002-"));
    for path in newest.map(|path| node.folder().join(path)) {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        write(&path, &bytes);
    }
    let data = tree(&node.path("/var/lib/etcd2"));
    node.refused(&["restore"], 11, &["checksum is wrong", "--accept-older", "--generation N"]);
    assert!(tree(&node.path("/var/lib/etcd2")) == data && !node.is_fenced());
    let log = assert_restores(&mut node, &["--accept-older"], &first);
    assert!(log.contains("given up: ") && log.contains("restored from the archive, generation 1"), "{log}");
}

/// What a remote holds whole, and the first download does not.
#[test]
fn an_object_is_damaged_on_its_way() {
    let Some(tools) = Tools::from_env() else { return };
    let (mut node, [_, second]) = two_generations(tools);
    let wrapper = Wrapper::new(&mut node, tools);
    let damage = r#"exec dd if=/dev/zero of="$1" bs=1 seek=99 count=1 conv=notrunc status=none"#;
    wrapper.instead(&format!(
        "\"$REAL\" \"$@\" || exit\nfor TARGET; do :; done\n\
         [ $VERB = copy ] && [ -d \"$TARGET\" ] && mkdir \"$0.once\" 2>/dev/null || exit 0\n\
         find \"$TARGET\" -name '*.part' -exec sh -c '{damage}' sh {{}} ';'"
    ));
    let log = assert_restores(&mut node, &[], &second);
    assert!(log.contains("downloading it again"), "{log}");
}

/// What is pruned or merged while a restore runs is gone when it is brought.
#[test]
fn a_folder_that_changes_after_it_was_listed_is_listed_once_more() {
    let Some(tools) = Tools::from_env() else { return };
    let (mut node, _) = two_generations(tools);
    let wrapper = Wrapper::new(&mut node, tools);
    node.environment.insert("ETCD2_BACKUP_RCLONE_TIMEOUT".into(), "15s".into());
    let folder = node.folder();
    let (once, aside) = (folder.with_extension("once"), folder.with_extension("aside"));
    fs::create_dir(&aside).unwrap();
    // The newest generation goes with the first call.
    let gone = format!("mv $(ls -d {}/0* | tail -n 1) {}/", folder.display(), aside.display());
    let copying = "[ $VERB = copy ]";
    let first = format!("{copying} && ! [ -e {0} ] && touch {0} && {gone}", once.display());
    wrapper.instead(&format!("{first}\nexec \"$REAL\" \"$@\""));
    let log = node.ok(&["restore", "--plan"]);
    assert!(log.contains("has changed since it was listed") && log.contains("generation 1"), "{log}");
    // Where it goes on changing, that is said and not tried for ever.
    wrapper.instead(&format!("{copying} && {gone}\nexec \"$REAL\" \"$@\""));
    wrapper.calls();
    let run = node.run(&["restore", "--plan"]);
    assert!(run.code == 13 || run.code == 12, "{}", run.log);
    let calls = wrapper.calls();
    assert!(calls.iter().filter(|verb| *verb == "copy").count() < 20, "{calls:?}");
}

/// It lists everything, gives some of it, and is gone.
#[test]
fn the_remote_vanishes_half_way() {
    let Some(tools) = Tools::from_env() else { return };
    let (mut node, [_, second]) = two_generations(tools);
    let wrapper = Wrapper::new(&mut node, tools);
    node.environment.insert("ETCD2_BACKUP_RCLONE_TIMEOUT".into(), "15s".into());
    let (folder, away) = (node.folder(), node.folder().with_extension("away"));
    let gone = format!(
        "mv {0} {1} 2>/dev/null; mkdir -p {0}; \"$REAL\" \"$@\"; exit 1",
        folder.display(),
        away.display()
    );
    wrapper.instead(&format!("if [ $VERB = copy ]; then {gone}; fi\nexec \"$REAL\" \"$@\""));
    let data = tree(&node.path("/var/lib/etcd2"));
    node.refused(&["restore"], 13, &[]);
    assert!(wrapper.calls().contains(&"copy".to_owned()));
    assert!(tree(&node.path("/var/lib/etcd2")) == data && !node.is_fenced());

    fs::remove_dir_all(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    wrapper.honest();
    assert_restores(&mut node, &[], &second);
}

/// Nobody may have a restore that ends well and a node that nobody can tell of it: the record waits for the next backup.
#[test]
fn the_remote_vanishes_behind_the_exchange() {
    let Some(tools) = Tools::from_env() else { return };
    let (mut node, [_, second]) = two_generations(tools);
    let wrapper = Wrapper::new(&mut node, tools);
    node.environment.insert("ETCD2_BACKUP_RCLONE_TIMEOUT".into(), "15s".into());
    wrapper.instead("case \"$*\" in *spool*) exit 1;; esac\nexec \"$REAL\" \"$@\"");
    let log = assert_restores(&mut node, &[], &second);
    assert!(log.contains("will be uploaded with the next backup"), "{log}");
    let records = |node: &Node| node.objects().iter().filter(|path| path.starts_with("recovery")).count();
    assert_eq!(records(&node), 0);
    wrapper.honest();
    node.ok(&["backup"]);
    assert_eq!(records(&node), 1);
    node.ok(&["restore", "--plan"]);
}
