//! `inspect` of each fixture, of single files, of damaged ones, and of an archive made by real backups.
//!
//! `tests/etcd/inspect/NAME.txt` is what it prints about fixture NAME; `UPDATE_EXPECTED=1` writes them anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use testkit::fixtures::{Fixture, NAMES, V3_NAMES, unpack_v3};
use testkit::keys::{self, Client, Keys};
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

const SEGMENT: &str = "member/wal/0000000000000000-0000000000000000.wal";
const SNAPSHOT: &str = "member/snap/0000000000000002-0000000000000194.snap";

/// How a run ended.
struct Run {
    code: i32,
    out: String,
    err: String,
}

fn program() -> Command {
    let mut program = Command::new(PROGRAM);
    program.arg("inspect").env_remove("JOURNAL_STREAM");
    program
}

fn inspect(path: &Path, arguments: &[&str]) -> Run {
    let output = program().arg(path).args(arguments).output().unwrap();
    Run {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Inspects, and expects this code and these words in what is printed.
#[track_caller]
fn expect(path: &Path, arguments: &[&str], code: i32, words: &[&str]) -> String {
    let run = inspect(path, arguments);
    assert_eq!(run.code, code, "{}{}", run.out, run.err);
    let broken: String = run.out.lines().map(str::trim_start).collect();
    let said = [run.out.as_str(), &run.err, &on_one_line(&run.out), &on_one_line(&run.err), &broken];
    for word in words {
        assert!(said.iter().any(|text| text.contains(word)), "no {word:?} in: {}{}", run.out, run.err);
    }
    run.out
}

/// How wide a column is, and where a line is broken, is the table's.
fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn fixture(name: &str) -> (tempfile::TempDir, Fixture) {
    let work = tempfile::tempdir().unwrap();
    let fixture = Fixture::unpack(name, work.path()).unwrap();
    (work, fixture)
}

fn alter(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    testkit::files::write(path, bytes);
}

#[test]
fn every_fixture_is_told_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/etcd/inspect");
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();
    for name in NAMES.into_iter().chain(V3_NAMES) {
        let (work, data_dir) = match V3_NAMES.contains(&name) {
            true => {
                let work = tempfile::tempdir().unwrap();
                let (data_dir, _) = unpack_v3(name, work.path()).unwrap();
                (work, data_dir)
            }
            false => {
                let (work, fixture) = fixture(name);
                (work, fixture.data_dir)
            }
        };
        let place = work.path().to_str().unwrap();
        let mut told = String::new();
        let all = ["--entries=165..", "--keys"];
        let v3 = if V3_NAMES.contains(&name) { all.as_slice() } else { &[] };
        let arguments = [&[][..], &["--json"], &["--entries=..12"], &["--entries=8..9", "--json"]];
        for arguments in arguments.into_iter().chain(v3.chunks(1)) {
            let run = inspect(&data_dir, arguments);
            told += &format!(
                "$ etcd2-backup inspect {} # {}\n",
                [&[name], arguments].concat().join(" "),
                run.code
            );
            told += &(run.out + &run.err).replace(place, "");
        }
        let expected = folder.join(format!("{name}.txt"));
        if update {
            testkit::files::write(&expected, &told);
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(told, expected, "{name}: UPDATE_EXPECTED=1 writes what is expected anew");
        let (table, _) = told.split_once("\n$ ").unwrap();
        assert!(!table.contains("value-") && !table.contains("svc"), "{name}: a value or key in {table}");
    }
    let files = fs::read_dir(&folder).unwrap().count();
    assert_eq!(files, NAMES.len() + V3_NAMES.len(), "a text without a fixture");
}

/// One line of `--keys --json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    value: Option<String>,
    #[serde(default)]
    dir: bool,
    #[serde(rename = "createdIndex")]
    created: u64,
    #[serde(rename = "modifiedIndex")]
    modified: u64,
    expiration: Option<String>,
}

/// The keys of the snapshot; hidden ones apart, which etcd never lists.
fn listed(path: &Path) -> (Keys, Vec<String>) {
    let lines = inspect(path, &["--keys", "--json"]).out;
    let (mut all, mut hidden) = (Keys::new(), Vec::new());
    for line in lines.lines() {
        let Line { key, value, dir, created, modified, expiration } = serde_json::from_str(line).unwrap();
        if key.contains("/_") {
            hidden.push(key);
        } else {
            all.insert(key, keys::Node { value, dir, created, modified, expiration });
        }
    }
    (all, hidden)
}

#[test]
fn the_keys_of_a_snapshot_are_those_that_etcd_listed() {
    let mut compared = 0;
    for name in NAMES.into_iter().filter(|n| !n.contains("nosnap")) {
        let (_work, fixture) = fixture(name);
        let (found, _) = listed(&fixture.data_dir);
        // What was changed behind the snapshot is another matter.
        let newest = found.values().map(|n| n.modified).max().unwrap_or(0);
        let before: Keys = fixture.keys.into_iter().filter(|(_, n)| n.modified <= newest).collect();
        let found: Keys = found.into_iter().filter(|(key, _)| before.contains_key(key)).collect();
        assert_eq!(keys::compare(&before, &found), [], "{name}");
        compared += before.len();
    }
    assert!(compared > 300, "{compared}");
}

#[test]
fn the_keys_of_a_snapshot_of_a_running_etcd_are_all_that_it_lists() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.set("ETCD_SNAPSHOT_COUNT", "100");
    node.etcd.start().unwrap();
    let url = node.etcd.client_url.clone();
    keys::write_sample(&url).unwrap();
    // Each of these is an entry and no change: the next snapshot has all of the sample.
    let mut client = Client::new(&url).unwrap();
    let expected = client.dump().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let snap = node.path("/var/lib/etcd2/member/snap");
    let is_snapshot =
        |e: std::io::Result<fs::DirEntry>| e.unwrap().path().extension().is_some_and(|e| e == "snap");
    let taken = || fs::read_dir(&snap).unwrap().any(is_snapshot);
    let mut dumped = 0;
    while dumped < 150 || !taken() {
        assert_eq!(keys::compare(&expected, &client.dump().unwrap()), []);
        dumped += 1;
        assert!(Instant::now() < deadline, "no snapshot after {dumped} reads");
    }
    node.etcd.stop().unwrap();

    let data = node.path("/var/lib/etcd2");
    let (found, hidden) = listed(&data);
    assert_eq!(keys::compare(&expected, &found), []);
    assert_eq!(hidden, ["/_hidden", "/_hidden/secret"]);
    let text =
        expect(&data, &["--keys"], 0, &["/emptydir/\n", "/empty \"\"\n", "/_hidden/secret \"not listed\""]);
    assert!(text.contains(r#"/uni/ключ "quotes \" ' \\ <&> newline\n snowman ☃""#), "{text}");

    // The same out of a part, alone and in its archive.
    node.ok(&["backup"]);
    let part = node.folder().join(&node.objects()[0]);
    for path in [&part, &node.folder()] {
        assert_eq!(expect(path, &["--keys"], 0, &[]), text);
    }
}

/// A full disk or a power cut leaves such: what was in the segment is gone.
#[test]
fn a_newest_segment_of_no_length_is_torn() {
    for (name, lengths) in
        [("v238-single-nosnap", &[0][..]), ("v3423-single-nosnap-trimmed", &[0, 64_000_000])]
    {
        for &length in lengths {
            let (_work, fixture) = fixture(name);
            let newest = "member/wal/0000000000000001-0000000000000fff.wal";
            let newest = fixture.data_dir.join(newest);
            fs::File::create(&newest).unwrap().set_len(length).unwrap();
            let words = ["torn at its end", "0fff.wal@0: torn write: the segment holds no record"];
            expect(&fixture.data_dir, &[], 17, &words);
            expect(&newest, &[], 17, &words);
        }
    }
}

#[test]
fn files_alone_are_told_too() {
    let (_work, torn) = fixture("v238-torn-tail");
    let (_work_2, flipped) = fixture("v238-flipped-wal");
    let (segment, snapshot) = (torn.data_dir.join(SEGMENT), torn.data_dir.join(SNAPSHOT));
    expect(&segment, &[], 17, &["torn at its end", "459 entries", ".wal@60850: torn write: 18 of 25"]);
    expect(&segment, &["--entries=459"], 17, &["459     2  "]);
    let out = expect(&flipped.data_dir.join(SEGMENT), &[], 11, &["fault", ".wal@57771: CRC is", "hint: "]);
    assert!(out.contains("458 entries") && out.contains("members "), "{out}");
    expect(&snapshot, &[], 0, &["what snapshot", "index 404, term 2", "4f0a04caf489cc6 f2"]);
    expect(&snapshot, &["--keys"], 0, &["/svc/d0/k0 \"value-0-cas\""]);
    let other = snapshot.with_file_name("0000000000000002-0000000000000195.snap");
    fs::rename(&snapshot, &other).unwrap();
    expect(&other, &[], 11, &["it holds the state at term 2, index 404", "hint: "]);
    alter(&other, |bytes| bytes[50_000] ^= 1);
    expect(&other, &[], 11, &["corrupt", "fault", "hint: "]);
    // What follows a snapshot that cannot be used is told; the one before it is used.
    expect(
        &torn.data_dir,
        &[],
        17,
        &["passed over", "0000000000000195.snap: ", "0000000000000002-000000000000012f.snap"],
    );
}

#[test]
fn layouts_and_what_is_not_there() {
    let (work, fixture) = fixture("v238-single-snap");
    let (data, member) = (&fixture.data_dir, fixture.data_dir.join("member"));
    let told = expect(data, &[], 0, &["459 entries"]);
    assert_eq!(expect(&member, &[], 0, &[]), told);
    let log = work.path().join("log");
    fs::rename(member.join("wal"), &log).unwrap();
    assert_eq!(expect(data, &["--wal-dir", log.to_str().unwrap()], 0, &[]), told);
    expect(data, &[], 12, &["is neither a data directory nor an archive: no etcd log in ", "hint: "]);
    expect(&data.join("absent"), &[], 12, &["there is no ", "hint: "]);
    let text = work.path().join("x.txt");
    testkit::files::write(&text, "x");
    expect(&text, &[], 12, &["is not a file of etcd or etcd2-backup", "hint: "]);
    expect(&log, &["--keys", "--entries"], 2, &["--entries and --keys exclude each other", "hint: "]);
    // A snapshot without the log that it needs is passed over, and then nothing fits.
    fs::rename(&log, member.join("wal")).unwrap();
    alter(&data.join(SEGMENT), |bytes| bytes.truncate(0));
    expect(data, &[], 11, &["does not name its member", "passed over"]);
}

#[test]
fn a_db_of_the_v3_store_is_told_alone_with_its_sum_and_its_damage() {
    let work = tempfile::tempdir().unwrap();
    let (data_dir, _) = unpack_v3(V3_NAMES[0], work.path()).unwrap();
    let within = data_dir.join("member/snap/db");
    let told =
        expect(&within, &[], 0, &["what db", "v3 applied index 226", "v3 revision 203, compacted to 160"]);
    assert!(expect(&data_dir, &[], 0, &[]).ends_with(told.split_once("v3 db").unwrap().1));

    // As a maintenance snapshot has it.
    let alone = work.path().join("snapshot.db");
    let db = fs::read(&within).unwrap();
    let summed = [&db[..], &Sha256::digest(&db)[..]].concat();
    testkit::files::write(&alone, &summed);
    expect(&alone, &[], 0, &["in use, its sha256 is right"]);
    let keys =
        expect(&alone, &["--keys"], 0, &["159 159 1 - /registry/pods/default/a", "0000000000001b5b large"]);
    assert_eq!(keys.lines().count(), 66);
    assert!(!keys.contains("made"), "{keys}");
    expect(&alone, &["--keys", "--values"], 0, &["/registry/pods/default/a \"made\""]);
    let json = expect(&alone, &["--keys", "--values", "--json"], 0, &[]);
    let line = r#"{"key":"large","create_revision":202,"mod_revision":202,"version":1,"lease":"0000000000001b5b","value_bytes":5,"value":"small"}"#;
    assert!(json.lines().any(|l| l == line), "{json}");

    alter(&alone, |bytes| *bytes.last_mut().unwrap() ^= 1);
    expect(&alone, &[], 11, &["corrupt", "the sha256 at the end of", "is wrong", "hint: "]);
    alter(&alone, |bytes| bytes.truncate(db.len() - 4096));
    expect(&alone, &[], 11, &["the db is cut off: ", "hint: "]);
    // A page that is not what it should be.
    alter(&within, |bytes| bytes[4 * 4096 + 8] ^= 8);
    let words = ["corrupt", "page 4: it is neither branch nor leaf, but 0xa", "hint: "];
    for path in [&within, &data_dir] {
        expect(path, &[], 11, &words);
    }
    alter(&within, |bytes| bytes.truncate(10));
    expect(&data_dir, &[], 11, &["db: no valid meta page"]);
    fs::remove_file(&within).unwrap();
    expect(&data_dir, &[], 0, &[]);
}

#[test]
fn a_closed_output_ends_quietly() {
    let (_work, fixture) = fixture("v238-flipped-wal");
    for arguments in [&[][..], &["--json"], &["--keys"], &["--entries", "--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = program().arg(&fixture.data_dir).args(arguments).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()), "{arguments:?}");
    }
}

/// A node with two parts in the remote, stopped.
fn archived() -> Option<Node> {
    let mut node = Node::new(PROGRAM, Tools::from_env()?);
    node.etcd.start().unwrap();
    let url = node.etcd.client_url.clone();
    keys::write_sample(&url).unwrap();
    node.ok(&["backup"]);
    keys::write_many(&url, "/more", 50).unwrap();
    node.etcd.stop().unwrap();
    node.ok(&["backup"]);
    Some(node)
}

#[test]
fn an_archive_is_told_generation_by_generation() {
    let Some(node) = archived() else { return };
    let (data, folder) = (node.path("/var/lib/etcd2"), node.folder());
    let parts: Vec<PathBuf> = node.objects().iter().map(|p| folder.join(p)).collect();
    assert_eq!(parts.len(), 2);
    let out = expect(&folder, &[], 0, &["what archive", "1: whole, cluster ", ", 2 parts, "]);
    assert_eq!(expect(parts[0].parent().unwrap(), &[], 0, &[]), out);
    let same = |label: &str| {
        let row = |text: &str| on_one_line(text.lines().find(|l| l.starts_with(label)).unwrap());
        assert_eq!(row(&out), row(&expect(&data, &[], 0, &[])), "{label}");
    };
    ["etcd", "cluster", "member", "members", "last entry", "hard state"].into_iter().for_each(same);
    assert_eq!(expect(&folder, &["--entries"], 0, &[]), expect(&data, &["--entries"], 0, &[]));
    let second = expect(&parts[1], &["--entries"], 0, &["PUT /1/more/000000 \"value of key 0\""]);
    assert!(!second.contains("/1/svc"), "{second}");
    expect(&parts[1], &[], 0, &["what part", "1 of generation 1, captured 2", "e1 http://127.0.0.1:"]);

    // The newest upload was cut off: that backup never was.
    let whole = fs::read(&parts[1]).unwrap();
    alter(&parts[1], |bytes| bytes.truncate(100));
    expect(&folder, &[], 17, &["torn at its end", "1 object ignored"]);
    alter(&parts[1], |bytes| *bytes = whole.clone());
    alter(&parts[1], |bytes| bytes[100] ^= 1);
    let out =
        on_one_line(&expect(&folder, &[], 11, &["corrupt", "00000001-", "its checksum is wrong", "hint: "]));
    assert!(out.contains("1: corrupt, cluster ") && out.contains(", 1 part, "), "{out}");
    expect(&parts[1], &[], 11, &["its checksum is wrong", "hint: "]);
    fs::remove_file(&parts[0]).unwrap();
    expect(&folder, &[], 11, &["the base of generation 1 is missing or truncated", "hint: "]);
}

#[test]
fn a_generation_that_begins_with_a_snapshot_is_read_as_a_stream() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.set("ETCD_SNAPSHOT_COUNT", "100");
    node.etcd.start().unwrap();
    keys::write_many(&node.etcd.client_url, "/k", 350).unwrap();
    node.etcd.wait_snapshot().unwrap();
    node.ok(&["backup"]);
    node.etcd.stop().unwrap();
    node.ok(&["backup"]);
    let (data, folder) = (node.path("/var/lib/etcd2"), node.folder());
    let (there, here) = (expect(&folder, &[], 0, &[]), expect(&data, &[], 0, &[]));
    for label in ["members", "snapshot", "last entry", "hard state"] {
        let row = |text: &str| on_one_line(text.lines().find(|l| l.starts_with(label)).unwrap());
        assert_eq!(row(&there), row(&here));
    }
    assert!(there.contains(".snap, index "), "{there}");
    let entries = expect(&data, &["--entries"], 0, &[]);
    let behind = expect(&folder, &["--entries"], 0, &[]);
    assert!(entries.ends_with(behind.split_once('\n').unwrap().1), "{behind}");
    assert_eq!(expect(&folder, &["--keys"], 0, &[]), expect(&data, &["--keys"], 0, &[]));
}
