//! `restore --plan` says all that will happen and changes nothing; a clock that is behind the data is refused.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcd2_backup::etcd::datadir::DataDir;
use etcd2_backup::etcd::frame::{FrameWriter, Kind};
use etcd2_backup::etcd::wal::Reading;
use etcd2_backup::etcd::wire::Encoder;
use etcd2_backup::sys::terminal::table::{bytes, count};
use etcd2_backup::sys::time;
use testkit::files::tree;
use testkit::keys::{Client, How};
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

const HOUR: u64 = 3600;

/// Everything on the node and in the remote but what a plan may write: the download, the lock's empty file, and which rclone
/// it found.
fn everything(node: &Node) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut all = tree(node.root().parent().unwrap());
    let notes = ["", "/lock", "/rclone-version"].map(|name| format!("root/var/lib/etcd2-backup{name}"));
    all.retain(|path, _| {
        !path.starts_with("root/var/lib/etcd2-restore") && notes.iter().all(|note| path != Path::new(note))
    });
    all
}

/// The plan's lines; nothing is changed by it.
fn plan(node: &Node, options: &[&str]) -> String {
    let before = everything(node);
    let log = node.ok(&[&["restore", "--plan"], options].concat());
    assert!(everything(node) == before, "{options:?}");
    assert!(log.ends_with("nothing was changed\n"), "{log}");
    log
}

#[track_caller]
fn assert_says(log: &str, words: &[String]) {
    for word in words {
        assert!(log.contains(word), "no {word:?} in {log}");
    }
}

/// A SYNC behind everything in the log of 2.x, from a leader whose clock says this.
fn append_sync(node: &Node, seconds: u64) {
    let member = node.path("/var/lib/etcd2/member");
    let dir = DataDir { snap: member.join("snap"), wal: member.join("wal") };
    let contents = dir.scan(Reading::Still).unwrap();
    let (end, last) = (contents.tail.end, contents.last());
    let sync = Encoder::default().number(1, 9).bytes(2, b"SYNC").number(15, seconds * 1_000_000_000).done();
    let entry =
        Encoder::default().number(1, 0).number(2, last.term).number(3, last.index + 1).bytes(4, &sync);
    let mut frame = FrameWriter::new(Vec::new(), end.crc);
    frame.record(Kind::Entry, &entry.done()).unwrap();
    let mut file = File::options().write(true).open(end.segment.path(&dir.wal)).unwrap();
    file.seek(SeekFrom::Start(end.offset)).unwrap();
    file.write_all(&frame.into_inner()).unwrap();
}

#[test]
fn a_plan_says_source_lineage_age_and_what_is_given_up_or_has_expired() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.set("ETCD_SNAPSHOT_COUNT", "50");
    node.etcd.start().unwrap();
    let mut client = Client::new(&node.etcd.client_url).unwrap();
    let short = How { ttl: Some(1), ..How::default() };
    // Held back until etcd is gone: a leader would log their removal.
    client.put_how("/of-the-snapshot", "1", &How { ttl: Some(3), ..How::default() }).unwrap();
    client.put_how("/stays", "1", &How { ttl: Some(1_000_000), ..How::default() }).unwrap();
    testkit::keys::write_many(&node.etcd.client_url, "/many", 60).unwrap();
    client.put_how("/of-the-log", "1", &short).unwrap();
    node.etcd.wait_snapshot().unwrap();
    node.etcd.kill().unwrap();
    let written = time::now();
    // Until both have expired.
    while time::now() <= written + 4 {
        std::thread::sleep(Duration::from_millis(100));
    }
    node.ok(&["backup"]);
    let parts: u64 =
        node.objects().iter().map(|path| fs::metadata(node.folder().join(path)).unwrap().len()).sum();

    let log = plan(&node, &[]);
    let member = node.path("/var/lib/etcd2/member");
    let dir = DataDir { snap: member.join("snap"), wal: member.join("wal") };
    let contents = dir.scan(Reading::Still).unwrap();
    let written = contents.base_size().unwrap()
        + contents.tail.extents.iter().map(|e| e.to - e.from.offset).sum::<u64>();
    let (cluster, last) = (contents.metadata.cluster_id, contents.last());
    assert_says(
        &log,
        &[
            "source: the archive, generation 1, part 0, captured ".into(),
            format!("data of cluster {cluster:x}, up to index {} of term {}", last.index, last.term),
            "becomes cluster ".into(),
            " with one member, ".into(),
            "the restore point is ".into(),
            " old, by its ".into(),
            "expired: 1 key in the snapshot and at most 1 write in the WAL after it".into(),
            format!("downloaded from the remote: {}; to be written in ", bytes(parts)),
            format!("{} is kept as {}.before-restore-", member.display(), member.display()),
        ],
    );
    assert!(!log.contains("given up") && !log.contains("continues"), "{log}");

    let index = contents.base_index() + 2;
    let entries = |n: u64| count(n, "entry", "entries");
    let log = plan(&node, &["--raft-index", &index.to_string()]);
    assert_says(
        &log,
        &[
            format!("given up: {} of this source after the restore point", entries(last.index - index)),
            format!("is intact and goes {} further than the restore point", entries(last.index - index)),
        ],
    );
    let log = plan(&node, &["--source", "local"]);
    assert_says(
        &log,
        &[
            "this node's own data directory".into(),
            format!(
                "downloaded from the remote: 0 B; to be written in {}: at most {}",
                node.path("/var/lib/etcd2").display(),
                bytes(written)
            ),
        ],
    );

    // What continues what, by the archive and by the node.
    node.ok(&["restore"]);
    node.ok(&["backup"]);
    for options in [&[][..], &["--source", "local"]] {
        let log = plan(&node, options);
        assert_says(&log, &[format!("its cluster continues cluster {cluster:x} from index {}", last.index)]);
    }
}

#[test]
fn a_plan_is_made_while_etcd_runs_and_on_another_node_than_the_founding_member() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.start().unwrap();
    testkit::keys::write_many(&node.etcd.client_url, "/many", 20).unwrap();
    node.ok(&["backup"]);
    node.environment.insert("ETCD_RESTORE_MASTER_ADV_PEER_URLS".into(), "http://10.1.2.3:2380".into());
    for source in ["archive", "local"] {
        let log = node.ok(&["restore", "--plan", "--source", source]);
        for words in
            ["a running etcd has", "is not the founding member", "--as-founder", "nothing was changed"]
        {
            assert!(log.contains(words), "no {words:?} in {log}");
        }
    }
    node.refused(&["restore"], 10, &["a running etcd has"]);
    node.etcd.stop().unwrap();
    node.refused(&["restore"], 10, &["is not the founding member", "--as-founder"]);
    node.ok(&["restore", "--as-founder"]);
}

#[test]
fn a_clock_more_than_an_hour_behind_the_newest_sync_is_refused() {
    let Some(tools) = Tools::from_env() else { return };
    let node = Node::new(PROGRAM, tools);
    node.put_fixture("v238-single-snap");
    append_sync(&node, time::now() + HOUR - 60);
    plan(&node, &["--source", "local"]);
    append_sync(&node, time::now() + 2 * HOUR + 30);
    node.ok(&["backup"]);
    let before = everything(&node);
    let words = ["the clock is 2 h slow", "the newest SYNC of the source", "set the clock", "--force"];
    let log = plan(&node, &[]);
    assert!(
        log.contains("a restore would be refused now: ") && words.iter().all(|w| log.contains(w)),
        "{log}"
    );
    for arguments in [&["restore"][..], &["restore", "--source", "local"]] {
        node.refused(arguments, 10, &words);
        assert!(everything(&node) == before && !node.is_fenced(), "{arguments:?}");
    }
    node.ok(&["restore", "--force"]);
}
