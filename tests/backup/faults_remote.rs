//! What a remote does to a backup: away for long, lying about what arrived, showing old listings, emptied by somebody. After
//! each a restore gives every key that was acknowledged before the last backup that ended well.

use std::fs;
use std::process::Command;

use testkit::faults::wrapper::Wrapper;
use testkit::files::tree;
use testkit::keys::{self, Keys};
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

/// A node with one backup of a running etcd, and a script in front of its rclone.
pub(crate) fn backed_up() -> Option<(Node, Wrapper)> {
    let tools = Tools::from_env()?;
    let mut node = Node::new(PROGRAM, tools);
    let wrapper = Wrapper::new(&mut node, tools);
    node.etcd.start().unwrap();
    keys::write_sample(&node.etcd.client_url).unwrap();
    node.ok(&["backup"]);
    Some((node, wrapper))
}

fn write_one(node: &Node, dir: &str) {
    keys::write_many(&node.etcd.client_url, dir, 1).unwrap();
}

pub(crate) fn dump(node: &Node) -> Keys {
    keys::dump(&node.etcd.client_url).unwrap()
}

/// A write and a backup of it, so many times; all that the program said.
fn cycles(node: &Node, dir: &str, count: usize) -> String {
    let cycle = |i: usize| {
        write_one(node, &format!("{dir}-{i}"));
        node.ok(&["backup"])
    };
    (0..count).map(cycle).collect()
}

fn parts(node: &Node) -> usize {
    node.objects().iter().filter(|p| p.extension().is_some_and(|e| e == "part")).count()
}

#[test]
fn the_remote_is_down_for_many_cycles_and_back() {
    let Some((mut node, wrapper)) = backed_up() else { return };
    wrapper.instead("echo 'dial tcp: no route to host' >&2; exit 1");
    for i in 0..8 {
        write_one(&node, &format!("/while-down-{i}"));
        let run = node.run(&["backup"]);
        assert_eq!(run.code, 13, "{}", run.log);
        let spool = tree(&node.path("/var/lib/etcd2-backup/spool"));
        let waiting = spool.values().filter(|content| content.is_some()).count();
        assert_eq!(waiting, 1, "cycle {i}: {:?}", spool.keys());
    }
    let expected = dump(&node);
    wrapper.honest();
    wrapper.calls();
    let log = node.ok(&["backup"]);
    assert!(log.contains("sending part 1 of generation 1 again"), "{log}");
    assert_eq!((wrapper.calls().len(), parts(&node)), (2, 3));
    node.assert_restores(&expected, &[]);
}

#[test]
fn an_upload_reported_failed_has_arrived() {
    let Some((mut node, wrapper)) = backed_up() else { return };
    write_one(&node, "/more");
    wrapper.instead(r#""$REAL" "$@"; exit 1"#);
    node.refused(&["backup"], 13, &["rclone copy"]);
    let arrived = tree(&node.folder());
    assert_eq!(parts(&node), 2);
    wrapper.honest();
    let expected = dump(&node);
    let log = node.ok(&["backup"]);
    assert!(log.contains("sending part 1 of generation 1 again"), "{log}");
    let mut after = tree(&node.folder());
    after.retain(|path, _| arrived.contains_key(path));
    assert_eq!(after, arrived);
    node.assert_restores(&expected, &[]);
}

/// Cuts off the newest object behind the back of rclone, which says that all went well.
fn cut_off_newest(node: &Node) -> String {
    let newest = format!("ls -d {}/*/*.part | tail -1", node.folder().display());
    format!(r#""$REAL" "$@" && truncate -s -100 "$({newest})""#)
}

#[test]
fn an_upload_reported_done_is_truncated() {
    let Some((mut node, wrapper)) = backed_up() else { return };
    cycles(&node, "/before", 1);
    let before = dump(&node);
    wrapper.instead(&cut_off_newest(&node));
    cycles(&node, "/cut", 1);
    wrapper.honest();
    // The newest object is not whole: that backup never was.
    let expected = dump(&node);
    node.save();
    node.assert_restores(&before, &[]);
    node.reset();
    node.etcd.restart().unwrap();

    // Behind a gap: refused until it is noticed.
    cycles(&node, "/behind", 1);
    node.etcd.stop().unwrap();
    node.refused(&["restore", "--plan"], 11, &["--accept-older"]);
    node.etcd.start().unwrap();
    let log = cycles(&node, "/later", 38);
    let noticed = "part 2 of generation ";
    assert!(log.contains(&format!("warning: {noticed}")), "{log}");
    assert!(
        log.contains("is missing or truncated in the remote: restore points of that generation"),
        "{log}"
    );
    assert!(log.contains(&format!("generation 2 begins: {noticed}")), "{log}");
    assert_eq!(log.matches("warning: ").count(), 1, "{log}");
    let later = dump(&node);
    assert!(later.len() > expected.len());
    node.assert_restores(&later, &[]);
}

#[test]
fn objects_are_deleted_by_somebody_else() {
    let Some((mut node, _)) = backed_up() else { return };
    fs::remove_file(node.folder().join(&node.objects()[0])).unwrap();
    let log = cycles(&node, "/one-is-gone", 19);
    assert!(!log.contains("generation 2 begins"), "{log}");
    let log = cycles(&node, "/noticed", 2);
    assert!(log.contains("warning: part 0 of generation 00000001-"), "{log}");
    assert!(log.contains("generation 2 begins: part 0 of generation 00000001-"), "{log}");
    let expected = dump(&node);
    node.save();
    node.assert_restores(&expected, &[]);

    // All of it.
    node.reset();
    node.etcd.restart().unwrap();
    fs::remove_dir_all(node.folder()).unwrap();
    let log = cycles(&node, "/all-is-gone", 21);
    assert!(log.contains("generation 3 begins: part 0 of generation 00000002-"), "{log}");
    let expected = dump(&node);
    node.assert_restores(&expected, &[]);
}

#[test]
fn a_listing_lags_behind() {
    let Some((mut node, wrapper)) = backed_up() else { return };
    let lagging = node.root().with_file_name("lagging");
    let keep = || {
        fs::remove_dir_all(&lagging).ok();
        let remote = node.root().with_file_name("remote");
        assert!(Command::new("cp").arg("-a").args([&remote, &lagging]).status().unwrap().success());
    };
    keep();
    // No argument has a space in it.
    let old = r#"[ $VERB = lsjson ] && set -- $(echo "$@" | sed s,/remote/,/lagging/,); exec "$REAL" "$@""#;
    wrapper.instead(old);
    wrapper.calls();
    // Of all that follows the first look sees nothing, the second what there was at the first.
    let log = cycles(&node, "/first", 21);
    keep();
    let log = log + &cycles(&node, "/second", 20);
    assert_eq!(wrapper.calls().iter().filter(|verb| *verb == "lsjson").count(), 2);
    assert!(!log.contains("warning") && !log.contains("begins"), "{log}");
    assert_eq!(parts(&node), 42);
    // A new generation, of which no listing knows the one before: the numbers go on all the same.
    fs::remove_dir_all(&lagging).unwrap();
    fs::create_dir_all(&lagging).unwrap();
    node.etcd.stop().unwrap();
    fs::remove_dir_all(node.path("/var/lib/etcd2")).unwrap();
    let expected = {
        let mut other = node.run(&["restore"]);
        assert_eq!(other.code, 12, "{}", other.log);
        wrapper.honest();
        other = node.run(&["restore"]);
        assert_eq!(other.code, 0, "{}", other.log);
        wrapper.instead(old);
        node.etcd.start().unwrap();
        node.environment.insert("ETCD2_BACKUP_RCLONE_TIMEOUT".into(), "5s".into());
        let run = node.run(&["backup"]);
        assert!(run.code == 13 && run.log.contains("generation 2 begins"), "{}", run.log);
        dump(&node)
    };
    wrapper.honest();
    let log = node.ok(&["backup"]);
    assert!(log.contains("sending part 0 of generation 2 again"), "{log}");
    node.assert_restores(&expected, &[]);
}
