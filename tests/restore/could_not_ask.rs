//! What could not be asked is no "no": for each question whose answer decides, a fault in its way, and what the verb says.
//!
//! A path is in a circle of links: whoever looks at it gets an error, root as well, who may read whatever the modes say. The
//! same for a cluster: tests/join/join_access.rs; for all nodes at once: tests/join/recover.rs and `src/fleet/plan/tests.rs`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use testkit::faults::wrapper::Wrapper;
use testkit::files::tree;
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

/// A path that cannot be looked at as long as this lives; then it is what it was.
struct Circle {
    path: PathBuf,
}

impl Circle {
    fn at(path: PathBuf) -> Self {
        if path.exists() {
            fs::rename(&path, Self::beside(&path, "aside")).unwrap();
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let other = Self::beside(&path, "other");
        symlink(&other, &path).unwrap();
        symlink(&path, &other).unwrap();
        assert_eq!(fs::metadata(&path).unwrap_err().raw_os_error(), Some(40), "ELOOP");
        Self { path }
    }

    fn beside(path: &Path, name: &str) -> PathBuf {
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{name}"));
        beside.into()
    }
}

impl Drop for Circle {
    fn drop(&mut self) {
        // What the program did there is in the message; nothing is tidied up behind it.
        if std::thread::panicking() {
            return;
        }
        fs::remove_file(&self.path).unwrap();
        fs::remove_file(Self::beside(&self.path, "other")).unwrap();
        let aside = Self::beside(&self.path, "aside");
        if aside.exists() {
            fs::rename(aside, &self.path).unwrap();
        }
    }
}

/// A node with a fixture's data and a backup of it.
fn backed_up() -> Option<Node> {
    let node = Node::new(PROGRAM, Tools::from_env()?);
    node.put_fixture("v3423-single-snap-trimmed");
    node.ok(&["backup"]);
    Some(node)
}

/// The verb ends with this code and says so; the remote is what it was, and etcd not fenced.
#[track_caller]
fn says(node: &Node, arguments: &[&str], code: i32, words: &[&str]) {
    let objects = node.objects();
    node.refused(arguments, code, words);
    assert!(node.objects() == objects && !node.is_fenced(), "{arguments:?}");
}

const MEMBER: &str = "/var/lib/etcd2/member";
const WAL: &str = "/var/lib/etcd2/member/wal";
const FENCE: &str = "/etc/etcd2-backup/fence";
const STAMP: &str = "/etc/etcd2-backup/identity.json";
const OURS: &str = "/var/lib/etcd2-backup";

#[test]
fn a_path_that_cannot_be_looked_at_is_not_absent() {
    let Some(node) = backed_up() else { return };
    let data = tree(&node.path("/var/lib/etcd2"));
    let looking = |path: &str| format!("looking at {}", node.path(path).display());
    let reading = |path: &str| format!("reading {}", node.path(path).display());
    let listing = |path: &str| format!("listing {}", node.path(path).display());
    let ours = |name: &str| format!("{OURS}/{name}");
    // The question; what is in the way; who asks it.
    let table: [(&str, String, &[&str], i32, String); 17] = [
        ("is there a member?", MEMBER.into(), &["status"], 1, looking(MEMBER)),
        ("is there a member?", MEMBER.into(), &["backup"], 1, looking(MEMBER)),
        ("is there a log?", WAL.into(), &["status"], 1, listing(WAL)),
        ("is there a log?", WAL.into(), &["backup"], 1, listing(WAL)),
        ("what could be restored?", WAL.into(), &["sources"], 1, listing(WAL)),
        ("does etcd run on it?", WAL.into(), &["restore"], 1, listing(WAL)),
        ("is the local data newer?", WAL.into(), &["restore", "--source", "auto"], 1, listing(WAL)),
        ("is a recovery in progress?", FENCE.into(), &["backup"], 1, looking(FENCE)),
        ("is a recovery in progress?", FENCE.into(), &["status"], 1, reading(FENCE)),
        ("is a recovery in progress?", FENCE.into(), &["verify"], 1, looking(FENCE)),
        ("is one unfinished?", FENCE.into(), &["restore"], 1, reading(FENCE)),
        ("is one unfinished?", FENCE.into(), &["undo"], 1, node.path(FENCE).display().to_string()),
        ("does etcd run on it?", MEMBER.into(), &["restore", "--force"], 1, listing(WAL)),
        ("what was sent?", ours("state.json"), &["status"], 1, "state.json".into()),
        ("what is damaged?", ours("verified.json"), &["prune"], 1, "verified.json".into()),
        ("what is damaged?", ours("verified.json"), &["verify", "--share", "1/7"], 1, "verified.json".into()),
        (
            "what does it continue?",
            ours("parents.json"),
            &["restore", "--source", "local"],
            1,
            "parents.json".into(),
        ),
    ];
    for (question, path, arguments, code, words) in table {
        let _circle = Circle::at(node.path(&path));
        let run = node.run(arguments);
        assert_eq!(run.code, code, "{question} {arguments:?}: {}", run.log);
        assert!(run.log.contains("error: ") && run.log.contains(&words), "{question} {words}: {}", run.log);
        assert!(!run.log.contains("its data is gone"), "{question}: {}", run.log);
    }
    assert!(!node.is_fenced() && tree(&node.path("/var/lib/etcd2")) == data);
    node.ok(&["restore", "--source", "auto"]);
}

/// Without data: who was no member has nothing to lose, who was one has lost it, and who does not know says so.
#[test]
fn whether_it_was_a_member_could_not_be_asked() {
    let Some(node) = backed_up() else { return };
    fs::remove_dir_all(node.path("/var/lib/etcd2")).unwrap();
    for verb in ["status", "backup"] {
        says(&node, &[verb], 12, &["this node was a member, but its data is gone"]);
        let _circle = Circle::at(node.path(STAMP));
        says(&node, &[verb], 1, &["looking at ", STAMP]);
    }
    fs::remove_file(node.path(STAMP)).unwrap();
    fs::remove_dir_all(node.path(OURS)).unwrap();
    assert_eq!(node.run(&["status"]).code, 19);
    let _circle = Circle::at(node.path("/var/lib/etcd2"));
    says(&node, &["status"], 1, &["looking at ", "/var/lib/etcd2"]);
}

/// What is there now may be a member of a cluster that lives: then its members are asked first.
#[test]
fn an_undo_reads_what_it_gives_up() {
    let Some(node) = backed_up() else { return };
    node.ok(&["restore"]);
    let snap = node.path("/var/lib/etcd2/member/snap");
    {
        let _circle = Circle::at(snap);
        says(&node, &["undo"], 1, &["reading the data that is there now", "member/snap"]);
    }
    node.ok(&["undo"]);
}

/// `auto` compares. What cannot be compared is not decided, unless somebody says so.
#[test]
fn an_archive_that_is_away_is_not_older_than_the_disk() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    let wrapper = Wrapper::new(&mut node, tools);
    node.put_fixture("v3423-single-snap-trimmed");
    // There is none yet: the disk is what there is.
    let log = node.ok(&["restore", "--source", "auto", "--plan"]);
    assert!(log.contains("the archive cannot be used, but the local data can"), "{log}");
    node.ok(&["backup"]);
    wrapper.instead("echo 'directory not listed: permission denied' >&2; exit 1");
    says(&node, &["restore", "--source", "auto"], 13, &["comparing the local data", "--source local"]);
    node.ok(&["restore", "--source", "local"]);
}
