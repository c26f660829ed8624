//! Two writers of one folder: machines with one machine ID, a cloned disk, a folder copied onto another. It is noticed, the
//! data is kept apart, and no restore mixes it.

use std::fs;
use std::process::Command;

use testkit::files::write;
use testkit::keys::{self, Keys};
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

/// So many parts lie between two looks at the folder.
const PARTS: usize = 20;

/// A node with a running etcd that holds the sample keys, and one of its own.
fn running(tools: &Tools, name: &str) -> Node {
    let mut node = Node::named(PROGRAM, tools, name);
    node.etcd.start().unwrap();
    keys::write_sample(&node.etcd.client_url).unwrap();
    keys::write_many(&node.etcd.client_url, &format!("/of-{name}"), 1).unwrap();
    node
}

/// Lets a node use another one's folder.
fn share(node: &mut Node, owner: &Node) {
    node.environment.insert("RCLONE_ENDPOINT".into(), owner.environment["RCLONE_ENDPOINT"].clone());
}

fn cycle(node: &Node, dir: &str) -> String {
    keys::write_many(&node.etcd.client_url, dir, 1).unwrap();
    node.ok(&["backup"])
}

fn dump(node: &Node) -> Keys {
    keys::dump(&node.etcd.client_url).unwrap()
}

/// The numbers of the generations that a log says have begun.
fn begun(log: &str) -> Vec<u64> {
    let lines = log.lines().filter_map(|l| l.strip_prefix("generation ")?.split_once(" begins: "));
    lines.map(|(number, _)| number.parse().unwrap()).collect()
}

/// Both write in turn, so many times each; what each of them said.
fn in_turn(one: &Node, other: &Node, times: usize) -> [String; 2] {
    let mut said = [String::new(), String::new()];
    for i in 0..times {
        said[0] += &cycle(one, &format!("/one-{i}"));
        said[1] += &cycle(other, &format!("/other-{i}"));
    }
    said
}

/// The warnings; what it says of removing older generations, which it then does not do, is another test's.
fn warnings(log: &str) -> Vec<&str> {
    let of_retention =
        ["warning: older generations are kept until you confirm", "warning: hint: check the data"];
    let about_folder = |l: &&str| !of_retention.iter().any(|start| l.starts_with(start));
    log.lines().filter(|l| l.starts_with("warning: ")).filter(about_folder).collect()
}

#[test]
fn two_machines_of_one_machine_id_with_data_of_their_own() {
    let Some(tools) = Tools::from_env() else { return };
    let mut one = running(tools, "e1");
    let mut other = running(tools, "e2");
    share(&mut other, &one);
    // It makes another cluster of it.
    assert_eq!(begun(&one.ok(&["backup"])), [1]);
    assert_eq!(begun(&other.ok(&["backup"])), [2]);
    let said = in_turn(&one, &other, PARTS + 1);
    // The first to look finds the other's generation, and goes on behind it, which the other one finds in its turn.
    let [first, second] = [begun(&said[0]), begun(&said[1])];
    assert_eq!((first.len(), second.len()), (1, 1), "{said:?}");
    assert!((3..=258).contains(&first[0]) && second[0] > first[0], "{first:?} {second:?}");
    for log in &said {
        let found = warnings(log);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("is not from this node, which writes 0000000"), "{found:?}");
        assert!(found[0].contains("two machines write to this directory"), "{found:?}");
        assert!(found[0].contains("Give one of the machines another ID"), "{found:?}");
    }
    let expected = [dump(&one), dump(&other)];
    one.refused(&["restore", "--force"], 10, &["a running etcd has"]);
    one.etcd.stop().unwrap();
    one.refused(&["restore"], 10, &["the remote directory holds unrelated histories", "--generation"]);
    one.assert_restores(&expected[0], &["--generation", &first[0].to_string()]);
    other.assert_restores(&expected[1], &["--generation", &second[0].to_string()]);
}

/// The same disk twice, with the state of the backup on it: for a while both go on in one generation.
#[test]
fn two_machines_of_which_one_is_a_clone_of_the_other() {
    let Some(tools) = Tools::from_env() else { return };
    let mut one = running(tools, "e1");
    one.ok(&["backup"]);
    cycle(&one, "/before");
    one.etcd.stop().unwrap();
    let mut other = Node::named(PROGRAM, tools, "e1");
    share(&mut other, &one);
    let disk = format!("cp -a {}/. {}", one.root().display(), other.root().display());
    assert!(Command::new("sh").args(["-c", &disk]).status().unwrap().success());
    one.etcd.start().unwrap();
    other.etcd.start().unwrap();

    let shared = |node: &Node| {
        node.objects().iter().filter(|p| p.starts_with(node.objects()[0].parent().unwrap())).count()
    };
    let said = in_turn(&one, &other, PARTS);
    let [first, second] = [begun(&said[0]), begun(&said[1])];
    assert_eq!((first.len(), second.len()), (1, 1), "{said:?}");
    assert_ne!(first, second);
    for log in &said {
        assert!(warnings(log).iter().any(|l| l.contains("two machines write to this directory")), "{log}");
    }
    assert!(shared(&one) > PARTS, "both wrote into the first one");
    let expected = [dump(&one), dump(&other)];
    for (node, number, expected, own, foreign) in [
        (&mut one, &first, &expected[0], "/one-0", "/other-0"),
        (&mut other, &second, &expected[1], "/other-0", "/one-0"),
    ] {
        let folder = node.folder();
        node.assert_restores(expected, &["--generation", &number[0].to_string()]);
        let has = |dir: &str| expected.keys().any(|key| key.starts_with(dir));
        assert!(has(own) && !has(foreign), "{}", folder.display());
    }
    // The shared generation: one chain of the two, whole, and nothing of the other.
    one.etcd.kill().unwrap();
    fs::remove_dir_all(one.path("/var/lib/etcd2")).unwrap();
    one.ok(&["restore", "--generation", "1"]);
    one.etcd.start().unwrap();
    let got = dump(&one);
    let of = |dir: &str| got.keys().filter(|key| key.starts_with(dir)).count();
    assert!(of("/before") > 0 && (of("/one-") == 0) != (of("/other-") == 0), "{:?}", got.keys());
}

#[test]
fn one_folder_is_copied_onto_another() {
    let Some(tools) = Tools::from_env() else { return };
    let mut one = running(tools, "e1");
    let other = running(tools, "e2");
    one.ok(&["backup"]);
    for node in [&other, &other] {
        node.ok(&["backup"]);
        // Two generations, so that the copied numbers are larger.
        fs::remove_file(node.path("/var/lib/etcd2-backup/state.json")).unwrap();
    }
    let copy = format!("cp -a {}/. {}", other.folder().display(), one.folder().display());
    assert!(Command::new("sh").args(["-c", &copy]).status().unwrap().success());
    one.etcd.stop().unwrap();
    one.refused(&["restore", "--plan"], 10, &["the remote directory holds unrelated histories"]);
    one.etcd.start().unwrap();

    let log: String = (0..PARTS + 1).map(|i| cycle(&one, &format!("/later-{i}"))).collect();
    let number = begun(&log);
    assert!(number.len() == 1 && number[0] >= 3, "{number:?}");
    let found = warnings(&log);
    assert!(found.len() == 1 && found[0].contains("or another directory was copied into it"), "{found:?}");
    let expected = dump(&one);
    one.etcd.stop().unwrap();
    one.refused(&["restore", "--plan"], 10, &["the remote directory holds unrelated histories"]);
    one.assert_restores(&expected, &["--generation", &number[0].to_string()]);
}

/// A folder that is called like a generation and holds no part is none. One that holds a part is, and what comes behind the
/// largest number of eight digits is found as well.
#[test]
fn a_folder_is_called_like_the_last_generation_of_eight_digits() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = running(tools, "e1");
    node.ok(&["backup"]);
    let anew = |node: &Node, dir: &str| {
        fs::remove_file(node.path("/var/lib/etcd2-backup/state.json")).unwrap();
        begun(&cycle(node, dir))
    };
    let stray = node.folder().join("99999999-0000000000000000-0000000000000000-00000000");
    fs::create_dir_all(&stray).unwrap();
    write(&stray.join("junk"), "x");
    assert_eq!(anew(&node, "/behind-the-stray-one"), [2]);

    let newest = node.objects().remove(1);
    let (_, ids) = newest.parent().unwrap().to_str().unwrap().split_once('-').unwrap();
    let copy = node.folder().join(format!("99999999-{ids}")).join(newest.file_name().unwrap());
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    write(&copy, fs::read(node.folder().join(&newest)).unwrap());
    assert_eq!(anew(&node, "/behind-the-part"), [100_000_000]);
    cycle(&node, "/and-on");
    let listed = node.run(&["list"]).answer;
    assert!(listed.lines().any(|line| line.trim_start().starts_with("100000000 ")), "{listed}");
    node.ok(&["verify", "--newest"]);
    let expected = dump(&node);
    let log = node.assert_restores(&expected, &[]);
    assert!(log.contains("generation 100000000, part 1, "), "{log}");
}
